//! An installer at work, as the worker sees it: what it says, line by line, and how it ends. It runs in the executor's
//! care and goes on when the worker is gone.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use super::message::{MAX_REPLY, Reply};
use crate::sys::channel::Channel;
use crate::sys::clock;
use crate::sys::program::{ProgramError, Seen};

/// How long stopping it may take: it is asked first, and killed some seconds later.
const STOPPING: Duration = Duration::from_secs(20);
/// Messages that are taken in by one look; more has to wait for the next one.
const MAX_LOOK: usize = 64;

/// An installer that was started.
pub struct Installing {
    name: String,
    told: Channel,
}

impl Installing {
    pub(super) fn new(name: String, told: Channel) -> Installing {
        Installing { name, told }
    }

    /// The program's name, as it is configured.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Looks without waiting.
    pub fn look(&mut self) -> Result<Seen, ProgramError> {
        let mut res = Seen::default();
        for _ in 0..MAX_LOOK {
            if !self.told.is_ready(Duration::ZERO).map_err(|err| self.lost(err))? {
                break;
            }
            match self.next()? {
                Reply::Lines(lines) => res.lines.extend(lines),
                Reply::Ended(status) => {
                    res.ended = Some(ExitStatus::from_raw(status));
                    break;
                }
                _ => return Err(self.lost(io::ErrorKind::InvalidData.into())),
            }
        }
        Ok(res)
    }

    /// Asks the program and its children to end, and has them ended if they do not.
    pub fn stop(self) {
        let until = clock::boottime() + STOPPING;
        if self.told.send(&[0], &[]).is_err() {
            return;
        }
        while clock::boottime() < until {
            match self.told.is_ready(STOPPING) {
                Ok(true) if matches!(self.next(), Ok(Reply::Lines(_))) => {}
                _ => return,
            }
        }
    }

    fn next(&self) -> Result<Reply, ProgramError> {
        let mut buffer = vec![0; MAX_REPLY];
        let received = self.told.receive(&mut buffer).map_err(|err| self.lost(err))?;
        let received = received.ok_or_else(|| self.lost(io::ErrorKind::UnexpectedEof.into()))?;
        Reply::decode(&buffer[..received.length]).ok_or_else(|| self.lost(io::ErrorKind::InvalidData.into()))
    }

    /// Whoever had started it is gone, and with it the knowledge of how it ends.
    fn lost(&self, err: io::Error) -> ProgramError {
        ProgramError::Start(self.name.clone(), err)
    }
}
