//! What carries the bytes of a device: a connection, or a serial port. It does not know what they mean.

use std::time::Duration;

use super::super::reach::{Lookout, ReachError, Wire};
use super::fault::Fault;
use crate::sys::serial::Port;

/// The longest wait without a look at the cancel flag.
const SLICE: Duration = Duration::from_millis(100);
/// Bytes that are thrown away before a request at most, so that somebody who never stops talking cannot hold us.
const MAX_DRAINED: usize = 16 * 1024;

/// A way for bytes to and from a device.
pub(super) trait Line {
    /// Sends all bytes.
    fn send(&mut self, bytes: &[u8], look: &Lookout) -> Result<(), Fault>;
    /// Reads what there is into `buffer`, waiting for the first byte; 0 is the end.
    fn receive(&mut self, buffer: &mut [u8], look: &Lookout) -> Result<usize, Fault>;
    /// Throws away what has come in.
    fn drain(&mut self, look: &Lookout) -> Result<(), Fault>;
}

impl Line for Wire {
    fn send(&mut self, bytes: &[u8], look: &Lookout) -> Result<(), Fault> {
        Ok(self.write_all(bytes, look)?)
    }

    fn receive(&mut self, buffer: &mut [u8], look: &Lookout) -> Result<usize, Fault> {
        Ok(self.read(buffer, look)?)
    }

    fn drain(&mut self, look: &Lookout) -> Result<(), Fault> {
        let (mut buffer, mut drained) = ([0; 256], 0);
        while drained < MAX_DRAINED && !self.is_idle() {
            match self.read(&mut buffer, look)? {
                0 => return Err(ReachError::Closed.into()),
                n => drained += n,
            }
        }
        Ok(())
    }
}

impl Line for Port {
    fn send(&mut self, bytes: &[u8], look: &Lookout) -> Result<(), Fault> {
        let mut left = bytes;
        while !left.is_empty() {
            look.check()?;
            let sent = Port::send(self, left, look.left().min(SLICE)).map_err(Fault::Broken)?;
            left = &left[sent..];
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8], look: &Lookout) -> Result<usize, Fault> {
        loop {
            look.check()?;
            let wait = look.left().min(SLICE);
            if let Some(n) = Port::receive(self, buffer, wait).map_err(Fault::Broken)? {
                return Ok(n);
            }
        }
    }

    fn drain(&mut self, _: &Lookout) -> Result<(), Fault> {
        self.flush().map_err(Fault::Broken)
    }
}
