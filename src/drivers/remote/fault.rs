//! Why a remote device could not be read, in words that tell a technician what to look at next.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::super::reach::{ReachError, Stop};
use super::frame::{FrameFault, exception};

/// Why a remote device could not be read.
#[derive(Debug)]
pub enum Fault {
    /// Somebody cancelled, or there was no time left.
    Stopped(Stop),
    /// There is no connection to it.
    Reach(ReachError),
    /// Nothing answered the attempts to connect within so many seconds.
    NoConnection(u64),
    /// The serial port cannot be used.
    Port(PathBuf, io::Error),
    /// The connection or the serial port failed in between.
    Broken(io::Error),
    /// The other side closed the connection instead of answering.
    Closed,
    /// Nothing came.
    Silent {
        /// The unit that was asked.
        unit: u8,
        /// Whether it is on a serial line.
        serial: bool,
    },
    /// Nothing came, though this unit had answered before.
    Lost(u8),
    /// What came is no answer.
    Frame(FrameFault),
    /// The device, or the gateway in front of it, refuses.
    Exception {
        /// The unit that was asked.
        unit: u8,
        /// The code.
        code: u8,
        /// The first register that was asked for.
        address: u16,
        /// How many.
        count: u16,
    },
    /// A device that answered before could not read some of its registers (exception 04).
    Failed {
        /// Which device.
        unit: u8,
        /// The first register that was asked for.
        address: u16,
        /// How many.
        count: u16,
    },
    /// It answers, and there is no SunSpec mark in any of the places; the text says what there is.
    NotSunSpec(String),
    /// Its list of models does not end within the address space.
    EndlessModels,
    /// It answers, and none of the registers of the map can be read; why the last one cannot.
    NothingOfMap(Box<Fault>),
    /// What another meter answered is no list of registers.
    NotMeter(String),
}

impl Fault {
    /// Whether nothing else need be asked, because there is nobody to ask, or nobody who waits for it.
    pub(super) fn is_final(&self) -> bool {
        !matches!(self, Fault::Exception { .. } | Fault::Failed { .. } | Fault::Silent { .. } | Fault::Lost(_))
    }

    /// Whether it says that there may be no such unit: a gateway's word, or silence, or what servers without one say.
    pub(super) fn is_about_unit(&self) -> bool {
        matches!(self, Fault::Silent { .. } | Fault::Exception { code: 0x04 | 0x0a | 0x0b, .. })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Stopped(Stop::Cancelled) => f.write_str("Cancelled."),
            Fault::Stopped(Stop::Late) => f.write_str(
                "The time for the whole test was over before everything was read; what was found until then is shown.",
            ),
            Fault::Reach(err) => {
                if let ReachError::Timeout(_) = err {
                    f.write_str("Timeout: ")?;
                }
                write!(f, "{err}.")?;
                match err {
                    ReachError::Refused(_) => f.write_str(" Check the port, and whether the device serves it."),
                    ReachError::Timeout(_) => {
                        f.write_str(" Check the address, the device's power and network, and firewalls in between.")
                    }
                    ReachError::Unreachable(..) => f.write_str(
                        " No route to the device: check the address, cables, and the meter's own address and gateway.",
                    ),
                    _ => Ok(()),
                }
            }
            Fault::NoConnection(seconds) => write!(
                f,
                "Timeout: no connection within {seconds} s. Check the address, the device's power and network, and \
                 firewalls in between."
            ),
            Fault::Port(path, err) => {
                let path = path.display();
                match err.kind() {
                    io::ErrorKind::NotFound => write!(f, "{path}: no such serial port; is the adapter plugged in?"),
                    io::ErrorKind::ResourceBusy => write!(f, "{path}: another program uses the serial port."),
                    _ => write!(f, "{path}: {err}."),
                }
            }
            Fault::Broken(err) if err.kind() == io::ErrorKind::UnexpectedEof => {
                f.write_str("The serial port is gone; was its adapter pulled out?")
            }
            Fault::Broken(err) => write!(f, "The connection failed: {err}."),
            Fault::Closed => f.write_str(
                "The other side closed the connection instead of answering; it may serve one client at a time, or be \
                 no Modbus device.",
            ),
            Fault::Silent { unit, serial: true } => {
                write!(f, "Timeout: no answer from unit {unit} on the line. A wrong unit id")?;
                if *unit == 0 {
                    f.write_str(" (0 is for broadcasts: name the unit as in sunspec.1)")?;
                }
                f.write_str(", speed or parity, crossed wires A and B, or no device.")
            }
            Fault::Silent { unit, serial: false } => write!(
                f,
                "Timeout: connected, but unit {unit} does not answer. Probably a wrong unit id; else a device behind a \
                 gateway is off, or the port is not that of Modbus."
            ),
            Fault::Lost(unit) => write!(
                f,
                "Timeout: unit {unit} answered before and does not any more; check its power and the line, and whether \
                 another master asks it at the same time."
            ),
            Fault::Frame(fault) => {
                let text = fault.to_string();
                let mut letters = text.chars();
                let first = letters.next().map(|it| it.to_ascii_uppercase());
                write!(f, "{}{}.", first.unwrap_or_default(), letters.as_str())
            }
            Fault::Exception { unit, code, address, count } => {
                let name = exception(*code);
                write!(f, "Unit {unit} refuses {count} registers from {address} on: exception {code:02X} ({name}).")?;
                match self.is_about_unit() {
                    true => f.write_str(" Probably a wrong unit id: no device answers under it."),
                    false => Ok(()),
                }
            }
            Fault::Failed { unit, address, count } => write!(
                f,
                "Unit {unit} cannot read {count} of its registers from {address} on: exception 04 ({}). What it measures \
                 there may be missing or broken.",
                exception(0x04)
            ),
            Fault::NotSunSpec(found) => write!(
                f,
                "The device answers, but not as a SunSpec device: {found}. SunSpec may have to be turned on at the \
                 device; else it needs a map of its own (remote_maps of the configuration)."
            ),
            Fault::EndlessModels => {
                f.write_str("The device's list of SunSpec models does not end as it should; what was found is shown.")
            }
            Fault::NothingOfMap(why) => write!(f, "No register of the map could be read. {why}"),
            Fault::NotMeter(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Fault {}

impl From<Stop> for Fault {
    fn from(stop: Stop) -> Self {
        Fault::Stopped(stop)
    }
}

impl From<ReachError> for Fault {
    fn from(err: ReachError) -> Self {
        match err {
            ReachError::Stopped(stop) => Fault::Stopped(stop),
            ReachError::Closed => Fault::Closed,
            ReachError::Io(err) => Fault::Broken(err),
            err => Fault::Reach(err),
        }
    }
}

impl From<FrameFault> for Fault {
    fn from(fault: FrameFault) -> Self {
        Fault::Frame(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(fault: Fault, words: &[&str]) {
        let text = fault.to_string();
        assert!(words.iter().all(|it| text.contains(it)), "{text}");
        assert!(text.ends_with(['.', '?']) && !text.contains(".."), "{text}");
    }

    #[test]
    fn every_fault_names_what_to_look_at() {
        let addr = "10.0.0.1:502".parse().unwrap();
        let no_route = || io::Error::from_raw_os_error(libc::EHOSTUNREACH);
        check(ReachError::Refused(addr).into(), &["10.0.0.1:502", "refused", "port"]);
        check(ReachError::Unreachable(addr, no_route()).into(), &["No route", "gateway"]);
        check(ReachError::Timeout(addr).into(), &["no answer", "firewall"]);
        check(Fault::Silent { unit: 0, serial: true }, &["Timeout", "unit id", "broadcasts"]);
        check(Fault::Silent { unit: 9, serial: false }, &["Timeout", "unit 9", "unit id"]);
        check(Fault::Lost(9), &["Timeout", "unit 9", "before"]);
        check(Fault::Exception { unit: 9, code: 11, address: 1, count: 2 }, &["0B", "gateway", "unit id"]);
        let plain = Fault::Exception { unit: 9, code: 2, address: 1, count: 2 }.to_string();
        assert!(plain.contains("02") && !plain.contains("unit id"), "{plain}");
        check(FrameFault::Crc.into(), &["CRC", "parity"]);
        check(FrameFault::Transaction { asked: 1, got: 2 }.into(), &["transaction id"]);
        check(FrameFault::Short { got: 3, of: 9 }.into(), &["The answer is too short", "3 of 9"]);
        check(FrameFault::Endless.into(), &["without end"]);
        check(Fault::NotSunSpec("register 40000 holds 0 0".into()), &["not as a SunSpec device", "40000"]);
        check(Fault::Port("/dev/x".into(), io::ErrorKind::NotFound.into()), &["/dev/x", "plugged"]);
        check(Fault::Port("/dev/x".into(), io::ErrorKind::ResourceBusy.into()), &["another program"]);
    }
}
