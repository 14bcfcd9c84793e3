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
        // Not connected: syslogd may start later than this service, and again at any time. Not blocking: a stuck one must
        // not hold the service up.
        Target::Syslog => UnixDatagram::unbound().and_then(|it| it.set_nonblocking(true).map(|()| it)).ok(),
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
        let sent = self.syslog.as_ref().is_some_and(|socket| {
            let priority = FACILITY * 8 + severity(record.level());
            let line = format!("<{priority}>meterd[{}]: {text}", std::process::id());
            socket.send_to(line.as_bytes(), SYSLOG).is_ok()
        });
        if !sent {
            let _ = writeln!(std::io::stderr(), "meterd: {}: {text}", record.level().as_str().to_lowercase());
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
