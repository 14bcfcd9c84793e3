//! The connection under a request, waited on in slices: Ctrl-C is seen while a meter works before it answers, and the kernel
//! asks meanwhile whether the meter is still there. So a long silence can be waited out without taking a dead link for work.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use socket2::{SockRef, TcpKeepalive};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport, time::Duration as Limit,
};
use ureq::{Error, Timeout};

use super::interrupt;

/// One look at Ctrl-C.
const SLICE: Duration = Duration::from_millis(100);
/// For so long a meter is listened to in spite of Ctrl-C: most answer at once, and then it is known what became of a command.
const GRACE: Duration = Duration::from_secs(1);
/// How long a connection is silent before the kernel asks whether the other end is there.
const IDLE: Duration = Duration::from_secs(15);
/// Between two such questions.
const INTERVAL: Duration = Duration::from_secs(5);
/// After what time without a sign of the other end's kernel the connection is dead.
const DEAD: Duration = Duration::from_secs(30);

/// Opens connections.
#[derive(Debug)]
pub struct Wires {
    /// Whether Ctrl-C ends a wait. A question is answered soon, and the end of an operation is waited for in spite of it.
    pub heeds_interrupt: bool,
}

/// That a wait was ended by Ctrl-C, on its way through ureq.
#[derive(Debug)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

impl Connector for Wires {
    type Out = Wire;

    fn connect(&self, details: &ConnectionDetails, _: Option<()>) -> Result<Option<Wire>, Error> {
        let mut failure = Error::ConnectionFailed;
        for addr in &details.addrs {
            let within = remaining(details.timeout).unwrap_or(DEAD);
            match TcpStream::connect_timeout(addr, within) {
                Ok(stream) => {
                    prepare(&stream)?;
                    let config = details.config;
                    let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
                    return Ok(Some(Wire { stream, buffers, heeds_interrupt: self.heeds_interrupt }));
                }
                Err(err) if is_over(&err) => failure = Error::Timeout(Timeout::Connect),
                Err(err) => failure = err.into(),
            }
        }
        Err(failure)
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(IDLE).with_interval(INTERVAL))?;
    // Beyond keepalive this also ends a connection that takes no more data.
    socket.set_tcp_user_timeout(Some(DEAD))
}

fn remaining(timeout: NextTimeout) -> Option<Duration> {
    timeout.not_zero().map(|it: Limit| *it)
}

fn is_over(err: &io::Error) -> bool {
    matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// A connection with ureq's buffers.
pub struct Wire {
    stream: TcpStream,
    buffers: LazyBuffers,
    heeds_interrupt: bool,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

impl Transport for Wire {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let timeout = timeout.for_write();
        self.stream.set_write_timeout(remaining(timeout))?;
        self.stream.write_all(&self.buffers.output()[..amount]).map_err(|err| match is_over(&err) {
            true => Error::Timeout(timeout.reason),
            false => err.into(),
        })
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let timeout = timeout.for_read();
        let (begun, limit) = (Instant::now(), remaining(timeout));
        loop {
            let left = limit.map_or(SLICE, |it| it.saturating_sub(begun.elapsed()));
            if left.is_zero() {
                return Err(Error::Timeout(timeout.reason));
            }
            self.stream.set_read_timeout(Some(left.min(SLICE)))?;
            match self.stream.read(self.buffers.input_append_buf()) {
                Ok(n) => {
                    self.buffers.input_appended(n);
                    return Ok(0 < n);
                }
                Err(err) if err.kind() == ErrorKind::Interrupted || is_over(&err) => {}
                Err(err) => return Err(err.into()),
            }
            if self.heeds_interrupt && interrupt::pressed() && GRACE < begun.elapsed() {
                return Err(io::Error::other(Interrupted).into());
            }
        }
    }

    fn is_open(&mut self) -> bool {
        // No connection is kept for a second request.
        false
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_kernel_asks_whether_a_silent_meter_is_there() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        prepare(&stream).unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), IDLE);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(DEAD));
    }
}
