//! Asking one device: a request, the wait for its answer, and another attempt where the line may be to blame. It knows
//! frames and a line that carries them, not what is in the registers.

use std::time::Duration;

use super::super::reach::{Lookout, Stop};
use super::fault::Fault;
use super::frame::{Ask, FrameFault, Reply, Table};
use super::line::Line;
use super::{rtu, tcp};
use crate::sys::serial;

/// How long a device on the network may take for an answer; gateways wait for theirs for a second or three.
const NETWORK_PATIENCE: Duration = Duration::from_secs(4);
/// Answers to earlier requests that are passed over while one is waited for; more than these nobody has asked for.
const MAX_LATE: usize = 32;
/// How long a device on a serial line may take, beside what the bytes take.
const SERIAL_PATIENCE: Duration = Duration::from_secs(1);
/// What a serial server adds to that.
const SERVER_DELAY: Duration = Duration::from_secs(1);
/// Attempts on a serial line, where noise is usual; on the network bytes come as they were sent or not at all.
const SERIAL_ATTEMPTS: usize = 3;
/// Silence in the middle of a serial frame that ends it. The standard's 1.5 characters are lost in adapters and
/// networks; this is several characters at any speed.
const GAP: Duration = Duration::from_millis(250);
/// The rest before each serial request at least; the standard wants 3.5 characters, or 1.75 ms at high speeds.
const REST: Duration = Duration::from_millis(5);
/// Times that a device which says it is busy is asked again, and the pause before.
const BUSY_ATTEMPTS: usize = 5;
const BUSY_PAUSE: Duration = Duration::from_millis(200);

/// What can read registers.
pub trait Registers {
    /// `count` registers from `address` on; at most [`super::frame::MAX_REGISTERS`].
    fn read(&mut self, table: Table, address: u16, count: u16) -> Result<Vec<u16>, Fault>;
}

/// How messages are framed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Framing {
    /// Modbus over TCP.
    Tcp,
    /// Serial frames: over a serial port, or over TCP to a serial server.
    Rtu {
        /// The port's settings; unknown behind a server.
        port: Option<serial::Line>,
    },
}

/// One device at the end of a line.
pub(super) struct Master<'a> {
    line: Box<dyn Line + 'a>,
    framing: Framing,
    unit: u8,
    look: Lookout<'a>,
    /// The number of the last request, for Modbus over TCP.
    id: u16,
    /// What has come of a message whose end has not, for Modbus over TCP.
    buffer: [u8; tcp::LONGEST],
    /// How much that is.
    length: usize,
    /// The device has answered before: silence is a lost frame and not a wrong unit.
    is_there: bool,
}

impl<'a> Master<'a> {
    pub(super) fn new(line: Box<dyn Line + 'a>, framing: Framing, unit: u8, look: Lookout<'a>) -> Master<'a> {
        Master { line, framing, unit, look, id: 0, buffer: [0; tcp::LONGEST], length: 0, is_there: false }
    }

    fn ask(&mut self, ask: &Ask) -> Result<Reply, Fault> {
        match self.framing {
            Framing::Tcp => self.ask_tcp(ask),
            Framing::Rtu { port } => self.ask_rtu(ask, port),
        }
    }

    fn ask_tcp(&mut self, ask: &Ask) -> Result<Reply, Fault> {
        self.id = self.id.wrapping_add(1);
        let step = self.look.until(NETWORK_PATIENCE);
        self.line.send(&tcp::encode(self.id, ask), &step)?;
        let mut late = 0;
        loop {
            let came = &self.buffer[..self.length];
            let of = match tcp::decode(came, self.id, self.id.saturating_sub(1), ask)? {
                tcp::Decoded::Whole(used, reply) => {
                    self.pass(used);
                    return Ok(reply);
                }
                tcp::Decoded::Late(used) => {
                    self.pass(used);
                    late += 1;
                    if MAX_LATE < late {
                        return Err(FrameFault::Endless.into());
                    }
                    continue;
                }
                tcp::Decoded::More(of) => of,
            };
            match self.line.receive(&mut self.buffer[self.length..], &step) {
                Ok(0) | Err(Fault::Closed) if self.length == 0 => return Err(Fault::Closed),
                Err(Fault::Stopped(Stop::Late)) if self.length == 0 => {
                    self.look.check()?;
                    return Err(self.silent());
                }
                Ok(0) | Err(Fault::Closed | Fault::Stopped(Stop::Late)) => {
                    self.look.check()?;
                    return Err(FrameFault::Short { got: self.length, of }.into());
                }
                Ok(n) => self.length += n,
                Err(err) => return Err(err),
            }
        }
    }

    /// Drops the first bytes that came.
    fn pass(&mut self, used: usize) {
        self.buffer.copy_within(used..self.length, 0);
        self.length -= used;
    }

    fn ask_rtu(&mut self, ask: &Ask, port: Option<serial::Line>) -> Result<Reply, Fault> {
        let frame = rtu::encode(ask);
        let delay = match port {
            Some(line) => line.time_of(frame.len() + 5 + ask.bytes()),
            None => SERVER_DELAY,
        };
        let step = self.look.until(SERIAL_PATIENCE + delay);
        // What still comes in is the end of something else.
        self.line.drain(&step)?;
        std::thread::sleep(port.map_or(REST, |line| line.time_of(4).max(REST)));
        self.line.send(&frame, &step)?;
        let (mut buffer, mut length) = ([0; rtu::LOOKED_AT], 0);
        loop {
            let wait = if length == 0 { step } else { step.until(GAP) };
            let quiet = match self.line.receive(&mut buffer[length..], &wait) {
                Ok(0) | Err(Fault::Closed) => return Err(Fault::Closed),
                Ok(n) => {
                    length += n;
                    false
                }
                Err(Fault::Stopped(Stop::Late)) => {
                    self.look.check()?;
                    true
                }
                Err(err) => return Err(err),
            };
            match rtu::decode(&buffer[..length], ask, quiet)? {
                Some(reply) => return Ok(reply),
                // Nothing but the echo of the request has come: the answer may take its time.
                None if quiet && step.check().is_ok() => length = 0,
                None if quiet => return Err(self.silent()),
                None => {}
            }
        }
    }

    fn silent(&self) -> Fault {
        if self.is_there {
            return Fault::Lost(self.unit);
        }
        Fault::Silent { unit: self.unit, serial: matches!(self.framing, Framing::Rtu { .. }) }
    }

    /// How often a request may be lost before that is final.
    fn attempts(&self) -> usize {
        match (self.framing, self.is_there) {
            (Framing::Tcp, _) => 1,
            // A wrong unit is silent in each of several places; so much patience is for devices that exist.
            (Framing::Rtu { .. }, false) => 2,
            (Framing::Rtu { .. }, true) => SERIAL_ATTEMPTS,
        }
    }

    fn pause(&self, time: Duration) -> Result<(), Fault> {
        let step = self.look.until(time);
        while step.check().is_ok() {
            std::thread::sleep(step.left().min(Duration::from_millis(50)));
        }
        Ok(self.look.check()?)
    }
}

impl Registers for Master<'_> {
    fn read(&mut self, table: Table, address: u16, count: u16) -> Result<Vec<u16>, Fault> {
        let unit = self.unit;
        let ask = Ask { unit, table, address, count };
        let (mut lost, mut busy) = (0, 0);
        loop {
            match self.ask(&ask) {
                Ok(Reply::Registers(words)) => {
                    self.is_there = true;
                    return Ok(words);
                }
                Ok(Reply::Exception(0x05 | 0x06)) if busy + 1 < BUSY_ATTEMPTS => {
                    busy += 1;
                    self.pause(BUSY_PAUSE)?;
                }
                Ok(Reply::Exception(code)) => {
                    let fault = match (code, self.is_there) {
                        // It answered before, so this is not about who it is.
                        (0x04, true) => Fault::Failed { unit, address, count },
                        _ => Fault::Exception { unit, code, address, count },
                    };
                    self.is_there |= !fault.is_about_unit();
                    return Err(fault);
                }
                Err(Fault::Silent { .. } | Fault::Lost(_) | Fault::Frame(_)) if lost + 1 < self.attempts() => lost += 1,
                Err(err) => return Err(err),
            }
        }
    }
}
