//! Bytes on their way into a non-blocking socket.

use std::io::{self, ErrorKind, Write};

use socket2::Socket;

/// Capacity that an empty outbox may keep.
const KEPT: usize = 4 * 1024;

/// What was said but not yet taken by the socket. Its bound is its owner's: who adds looks at [`Outbox::len`] first.
#[derive(Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
}

impl Outbox {
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory that it holds.
    pub(super) fn held(&self) -> usize {
        self.bytes.capacity()
    }

    /// Adds bytes behind those that wait, in exactly the memory they need.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.reserve_exact(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    /// Gives the socket as much as it takes now; returns how much that was.
    pub(super) fn flush(&mut self, mut socket: &Socket) -> io::Result<usize> {
        let start = self.sent;
        while self.sent < self.bytes.len() {
            match socket.write(&self.bytes[self.sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => self.sent += n,
                Err(err) if err.kind() == ErrorKind::WouldBlock => break,
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
        let n = self.sent - start;
        if self.is_empty() {
            self.bytes.clear();
            self.sent = 0;
            if self.bytes.capacity() > KEPT {
                self.bytes = Vec::new();
            }
        }
        Ok(n)
    }
}
