//! One request at a time over a wire: old frames are thrown away first, every wait has an end, and it is said whether a
//! wait may be cut short. It does not know what the frames mean.

use std::io;
use std::time::Duration;

use super::super::Watch;
use super::frame::{LONGEST, Request};
use super::target::Mac;
use crate::sys::clock::boottime;
use crate::sys::packet::PacketSocket;

/// The longest sleep between two looks at the cancel flag.
const SLICE: Duration = Duration::from_millis(200);
/// Silence before every request, in which what still comes in is dropped: a copy of the last answer, which a loop in the
/// cabling makes, would else pass for the next one.
const GAP: Duration = Duration::from_millis(150);

/// What carries frames, and the clock by which it is waited for them. Tests bring their own of both.
pub trait Wire {
    /// The address that requests come from.
    fn mac(&self) -> Mac;
    /// Time since some fixed moment.
    fn now(&self) -> Duration;
    /// Sends a frame now or not at all.
    fn send(&mut self, frame: &[u8]) -> io::Result<()>;
    /// The length of the next frame that is for us, put into `buffer`; `None` if there was none within `wait`.
    fn receive(&mut self, buffer: &mut [u8], wait: Duration) -> io::Result<Option<usize>>;
    /// From now on only frames with these bytes in these places need to come; a flood of others can then push none out.
    fn expect(&mut self, bytes: &[(usize, u8)]) -> io::Result<()>;
    /// Throws away what has arrived; it must end even while more arrives.
    fn drain(&mut self) -> io::Result<()>;
}

/// What to do when cancelling is asked for during a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancel {
    /// End the wait.
    Heeded,
    /// Wait on: the answer decides what has to be done next. The wait's own end is near in any case.
    Deferred,
}

/// Why a wait brought nothing.
#[derive(Debug)]
pub enum LinkError {
    /// Cancelling was asked for.
    Cancelled,
    /// The request did not go out.
    NotSent(io::Error),
    /// The wire failed afterwards.
    Broken(io::Error),
}

/// A wire with somebody who watches.
pub struct Link<'a> {
    wire: &'a mut dyn Wire,
    watch: &'a dyn Watch,
}

impl<'a> Link<'a> {
    /// Nothing is sent or heard before the first request.
    pub fn new(wire: &'a mut dyn Wire, watch: &'a dyn Watch) -> Link<'a> {
        Link { wire, watch }
    }

    /// The address that requests come from.
    pub fn mac(&self) -> Mac {
        self.wire.mac()
    }

    /// The wire's clock.
    pub fn now(&self) -> Duration {
        self.wire.now()
    }

    /// Sends a request on a quiet wire and shows every frame that comes within `time` to `see`, until that is content.
    /// Says whether it was.
    pub fn ask(
        &mut self,
        request: &Request,
        time: Duration,
        cancel: Cancel,
        see: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<bool, LinkError> {
        self.wire.expect(&request.confirmation()).map_err(LinkError::NotSent)?;
        // The system reports once that the interface was down for a while; whether it still is, sending tells.
        if let Err(LinkError::Cancelled) = self.listen(GAP, cancel, &mut |_| false) {
            return Err(LinkError::Cancelled);
        }
        self.wire.drain().map_err(LinkError::NotSent)?;
        self.wire.send(request.bytes()).map_err(LinkError::NotSent)?;
        self.listen(time, cancel, see)
    }

    /// Shows every frame that comes within `time` to `see`, until that is content. Says whether it was.
    pub fn listen(
        &mut self,
        time: Duration,
        cancel: Cancel,
        see: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<bool, LinkError> {
        // The end is fixed here, because frames that mean nothing must not put it off.
        let until = self.wire.now() + time;
        let mut buffer = [0; LONGEST];
        loop {
            if cancel == Cancel::Heeded && self.watch.cancelled() {
                return Err(LinkError::Cancelled);
            }
            let left = until.saturating_sub(self.wire.now());
            if left.is_zero() {
                return Ok(false);
            }
            if let Some(length) = self.wire.receive(&mut buffer, left.min(SLICE)).map_err(LinkError::Broken)?
                && see(&buffer[..length])
            {
                return Ok(true);
            }
        }
    }
}

impl Wire for PacketSocket {
    fn mac(&self) -> Mac {
        Mac(PacketSocket::mac(self))
    }

    fn now(&self) -> Duration {
        boottime()
    }

    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        PacketSocket::send(self, frame)
    }

    fn receive(&mut self, buffer: &mut [u8], wait: Duration) -> io::Result<Option<usize>> {
        PacketSocket::receive(self, buffer, wait)
    }

    fn expect(&mut self, bytes: &[(usize, u8)]) -> io::Result<()> {
        PacketSocket::expect(self, bytes)
    }

    fn drain(&mut self) -> io::Result<()> {
        PacketSocket::drain(self)
    }
}
