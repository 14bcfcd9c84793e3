//! The course of a test: reach the device, read it, and say how that went.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use super::super::Watch;
use super::super::reach::{Lookout, Reach, Stop};
use super::address::{Map, Modbus, Target, Way};
use super::fault::Fault;
use super::line::Line;
use super::master::{Framing, Master};
use super::report::Report;
use super::{map, meter, sunspec};
use crate::config::Config;
use crate::sys::serial::{Parity, Port};

/// The end of every test. A large device on a slow line takes a minute.
const WHOLE: Duration = Duration::from_secs(180);
/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(20);

/// Why a test did not end well; what it found all the same was shown.
#[derive(Debug)]
pub struct Failure {
    cancelled: bool,
    text: String,
}

impl Failure {
    /// It was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

/// Tests a device. The result, also while it grows, has the members `trace` (`dt` in seconds, `msg`) and `regs`
/// (`name`, `type`, and as far as known `value` and `unit`).
pub fn test(target: &Target, config: &Config, watch: &dyn Watch) -> Result<Value, Failure> {
    let report = Report::new(watch);
    let look = Lookout::new(&report, WHOLE);
    match run(target, config, &look, &report) {
        Ok(()) => {
            report.note("Done.");
            Ok(report.value())
        }
        Err(fault) => {
            let cancelled = matches!(fault, Fault::Stopped(Stop::Cancelled));
            let text = if cancelled { format!("{}.", watch.reason()) } else { fault.to_string() };
            report.note(text.clone());
            report.show();
            Err(Failure { cancelled, text })
        }
    }
}

fn run(target: &Target, config: &Config, look: &Lookout, report: &Report) -> Result<(), Fault> {
    match target {
        Target::Meter(host) => meter::read(&Reach::new(config), host, look, report),
        Target::Modbus(Modbus { map, unit, way }) => {
            let (line, framing) = open(way, config, look, report)?;
            let mut master = Master::new(line, framing, *unit, *look);
            report.step(0.1);
            match map {
                Map::SunSpec => sunspec::walk(&mut master, report),
                Map::Named(_, map) => map::read(&mut master, map, report),
            }
        }
    }
}

/// Opens the way to a Modbus device.
fn open(way: &Way, config: &Config, look: &Lookout, report: &Report) -> Result<(Box<dyn Line>, Framing), Fault> {
    let (host, framing) = match way {
        Way::Tcp(host) => (host, Framing::Tcp),
        Way::SerialServer(host) => (host, Framing::Rtu { port: None }),
        Way::Serial { path, line } => {
            let parity = match line.parity {
                Parity::None => 'n',
                Parity::Even => 'e',
                Parity::Odd => 'o',
            };
            let (baud, stops) = (line.baud, 1 + u8::from(line.two_stops));
            report.note(format!("Opening the serial port {} at {baud}/8{parity}{stops}.", path.display()));
            let port = Port::open(path, *line).map_err(|err| Fault::Port(path.clone(), err))?;
            return Ok((Box::new(port), Framing::Rtu { port: Some(*line) }));
        }
    };
    report.note(format!("Connecting to {host}."));
    let wire = Reach::new(config).connect(&host.name, host.port, &look.until(CONNECT)).map_err(|err| {
        // The end of a step is no answer, and not the end of the time for the whole.
        match Fault::from(err) {
            Fault::Stopped(Stop::Late) if look.check().is_ok() => Fault::NoConnection(CONNECT.as_secs()),
            fault => fault,
        }
    })?;
    report.note(format!("Connected to {}.", wire.peer()));
    Ok((Box::new(wire), framing))
}
