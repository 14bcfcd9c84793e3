//! A connection whose reads and writes end with a [`Lookout`]: its socket never blocks, and every wait is cut into
//! slices. Plain or encrypted makes no difference to whoever uses it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use super::{Lookout, ReachError, SLICE};
use crate::sys::poll::{self, Entry};

/// Bytes that TLS may hold back for a socket that takes no more.
const TLS_BUFFER: usize = 32 * 1024;

/// A connection to the outside, plain or encrypted.
pub struct Wire {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    peer: SocketAddr,
}

/// A [`Wire`] with the lookout for its waits: the reader and writer of the standard library. Errors are [`ReachError`]s
/// inside `io::Error`; `ReachError::from` takes them out.
pub struct Attended<'a> {
    wire: &'a mut Wire,
    look: Lookout<'a>,
}

impl Wire {
    /// `socket` must be connected and must not block.
    pub(super) fn new(socket: TcpStream, peer: SocketAddr) -> Wire {
        Wire { socket, tls: None, peer }
    }

    /// The address at the other end.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The address at this end.
    pub fn local(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Whether what is sent now is encrypted, for a peer whose name was verified.
    pub fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// Reads what there is, at least one byte; 0 is the orderly end. Without TLS a connection may also end like that in
    /// the middle of something: only the protocol can tell.
    pub fn read(&mut self, buf: &mut [u8], look: &Lookout) -> Result<usize, ReachError> {
        Ok(self.with(look).read(buf)?)
    }

    /// Writes all of `buf` and leaves nothing of it in a buffer.
    pub fn write_all(&mut self, buf: &[u8], look: &Lookout) -> Result<(), ReachError> {
        let mut attended = self.with(look);
        attended.write_all(buf)?;
        Ok(attended.flush()?)
    }

    /// A reader and writer whose waits end with `look`.
    pub fn with<'a>(&'a mut self, look: &'a Lookout<'a>) -> Attended<'a> {
        Attended { wire: self, look: *look }
    }

    /// Whether nothing has come in unasked and the other side has not closed: fit for one more request.
    pub fn is_idle(&self) -> bool {
        let mut byte = [0];
        // The socket does not block, so this returns at once.
        matches!(self.socket.peek(&mut byte), Err(err) if err.kind() == io::ErrorKind::WouldBlock)
    }

    /// Says that nothing more comes and no longer waits for what the other side may say; what cannot be sent is left.
    pub fn close(mut self, look: &Lookout) {
        if let Some(mut tls) = self.tls.take() {
            tls.send_close_notify();
            let _ = tls.write_tls(&mut Raw { socket: &self.socket, look: *look });
        }
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }

    /// Encrypts from here on: the handshake, in which the other side's certificate and its name are verified.
    pub(super) fn encrypt(
        mut self,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        look: &Lookout,
    ) -> Result<Wire, ReachError> {
        let fail = |err: rustls::Error| ReachError::Tls(err.into());
        let mut tls = ClientConnection::new(config, name).map_err(fail)?;
        tls.set_buffer_limit(Some(TLS_BUFFER));
        let mut raw = Raw { socket: &self.socket, look: *look };
        while tls.is_handshaking() {
            tls.complete_io(&mut raw)?;
        }
        self.tls = Some(Box::new(tls));
        Ok(self)
    }
}

impl Read for Attended<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut raw = Raw { socket: &self.wire.socket, look: self.look };
        match &mut self.wire.tls {
            None => raw.read(buf),
            Some(tls) => rustls::Stream::new(tls.as_mut(), &mut raw).read(buf),
        }
    }
}

impl Write for Attended<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let mut raw = Raw { socket: &self.wire.socket, look: self.look };
        match &mut self.wire.tls {
            None => raw.write(buf),
            Some(tls) => rustls::Stream::new(tls.as_mut(), &mut raw).write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut raw = Raw { socket: &self.wire.socket, look: self.look };
        match &mut self.wire.tls {
            None => Ok(()),
            Some(tls) => rustls::Stream::new(tls.as_mut(), &mut raw).flush(),
        }
    }
}

/// The bare socket with the lookout for its waits.
struct Raw<'a> {
    socket: &'a TcpStream,
    look: Lookout<'a>,
}

impl Raw<'_> {
    /// Tries until it works, fails, or is to stop.
    fn retry(&self, write: bool, mut attempt: impl FnMut(&TcpStream) -> io::Result<usize>) -> io::Result<usize> {
        loop {
            self.look.check().map_err(ReachError::from)?;
            match attempt(self.socket) {
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {
                    let mut entries = [Entry::new(self.socket.as_raw_fd(), !write, write)];
                    poll::wait(&mut entries, self.look.left().min(SLICE))?;
                }
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}

impl Read for Raw<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.retry(false, |mut socket| socket.read(buf))
    }
}

impl Write for Raw<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.retry(true, |mut socket| socket.write(buf))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
