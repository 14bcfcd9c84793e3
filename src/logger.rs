//! Log lines to standard error, or to syslog's socket when asked for. One line per record, nothing buffered.

use std::io::Write;
use std::os::unix::net::UnixDatagram;

use log::{Level, LevelFilter, Log, Metadata, Record};

/// Where syslogd listens.
const SYSLOG: &str = "/dev/log";
/// The `daemon` facility of RFC 3164.
const FACILITY: u8 = 3;

/// Where the lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Standard error.
    Stderr,
    /// The local syslog daemon.
    Syslog,
}

struct Logger {
    syslog: Option<UnixDatagram>,
}

/// Starts logging at `level`; if syslog cannot be reached, standard error is used instead.
pub fn start(target: Target, level: LevelFilter) {
    let syslog = match target {
        Target::Stderr => None,
        Target::Syslog => UnixDatagram::unbound()
            .and_then(|socket| {
                socket.connect(SYSLOG)?;
                // A stuck syslogd must not hold up the service.
                socket.set_nonblocking(true)?;
                Ok(socket)
            })
            .inspect_err(|err| eprintln!("meterd: {SYSLOG}: {err}; logging to standard error"))
            .ok(),
    };
    // A second call (in tests) keeps the first logger.
    if log::set_boxed_logger(Box::new(Logger { syslog })).is_ok() {
        log::set_max_level(level);
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // tiny_http reports every connection; what matters of that is logged by the gate.
        metadata.target().starts_with("meterd") || metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        // A record must not be able to forge further lines.
        let text = record.args().to_string().replace(|it: char| it.is_control(), " ");
        match &self.syslog {
            Some(socket) => {
                let priority = FACILITY * 8 + severity(record.level());
                let _ = socket.send(format!("<{priority}>meterd[{}]: {text}", std::process::id()).as_bytes());
            }
            None => {
                let _ = writeln!(std::io::stderr(), "meterd: {}: {text}", record.level().as_str().to_lowercase());
            }
        }
    }

    fn flush(&self) {}
}

/// The syslog severity (RFC 3164, table 2).
fn severity(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}
