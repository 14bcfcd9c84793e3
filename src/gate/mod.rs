//! The public door: one thread that owns every socket a client can reach and lets only whole, checked requests through.
//!
//! The order to read it in: [`head`] and `flow` turn bytes into requests, `peers` counts who holds what, `conn` is one
//! client connection, `work` and `answer` bring its answer, `run` is the loop around them, `places` says who goes when it is
//! full.
//! The gate knows HTTP's framing and limits and who is at the other end. It knows no resource but by the class of its
//! path, and of tokens only whether a closure accepts them.

mod answer;
mod conn;
mod flow;
pub mod head;
mod house;
mod listen;
mod outbox;
mod peers;
mod places;
mod rate;
pub mod refusals;
mod request;
mod run;
mod upstream;
mod work;

use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, bounded};

use crate::config::{Limits, Listen};
use crate::sys::process;
use house::House;
use listen::Door;
use run::Run;

/// The thread's stack: the loop is flat and its buffers are on the heap.
const STACK: usize = 256 * 1024;
/// Descriptors that the rest of the service may have open: database, logs, drivers, operations.
const OTHERS: u64 = 96;

/// Why the gate cannot be opened.
#[derive(Debug)]
pub enum GateError {
    /// A listener cannot be opened.
    Listen(String, io::Error),
    /// The process may not open as many files as the limits need.
    Descriptors {
        /// How many are needed.
        needed: u64,
        /// How many may be had.
        available: u64,
    },
    /// The system gives no thread or socket pair.
    System(io::Error),
}

impl fmt::Display for GateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GateError::Listen(at, err) => write!(f, "cannot listen on {at}: {err}"),
            GateError::Descriptors { needed, available } => write!(
                f,
                "{needed} open files are needed, only {available} are allowed: raise RLIMIT_NOFILE (ulimit -n {needed}) \
                 or lower limits.connections"
            ),
            GateError::System(err) => write!(f, "cannot start the gate: {err}"),
        }
    }
}

impl std::error::Error for GateError {}

/// Descriptors that the service needs under these limits.
fn descriptors(limits: &Limits, listeners: usize) -> u64 {
    let clients = limits.connections + run::TURNED_AWAY + run::PROBES + listeners + 1;
    let links = 2 * peers::QUICK + 2 * peers::SLOW + limits.uploads + limits.downloads;
    // A connection to tiny_http is one descriptor here and two there.
    clients as u64 + 3 * links as u64 + OTHERS
}

/// A running gate.
pub struct Handle {
    addrs: Vec<SocketAddr>,
    wake: UnixStream,
    ended: Receiver<()>,
    thread: JoinHandle<()>,
}

/// The public listeners, open for as long as this lives: whoever connects meanwhile waits.
pub struct Listeners {
    doors: Vec<Door>,
    /// Paths that go with it.
    paths: Vec<PathBuf>,
}

/// Opens the listeners of a configuration, which may take rights that serving does not.
pub fn open(listen: &[Listen], secure_only: bool, limits: &Limits) -> Result<Listeners, GateError> {
    let needed = descriptors(limits, listen.len() + 1);
    let available = process::ensure_descriptors(needed).map_err(GateError::System)?;
    if available < needed {
        return Err(GateError::Descriptors { needed, available });
    }
    let mut res = Listeners { doors: Vec::new(), paths: Vec::new() };
    for (number, it) in listen.iter().enumerate() {
        res.doors.push(Door::open(it, number, secure_only).map_err(|err| GateError::Listen(name(it), err))?);
        if let Listen::Unix(unix) = it {
            res.paths.push(unix.unix.clone());
        }
    }
    Ok(res)
}

impl Drop for Listeners {
    fn drop(&mut self) {
        for path in &self.paths {
            // Where this process may not remove it, the next one does.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Starts serving who comes to the listeners: requests go to tiny_http at `quick` and `slow`, the self-probe comes in at
/// `probe`, and `verify` says whether a bearer token may upload.
pub fn start(
    listeners: &Listeners,
    limits: &Limits,
    quick: &Path,
    slow: &Path,
    probe: &Path,
    verify: Arc<dyn Fn(&str) -> bool + Send + Sync>,
) -> Result<Handle, GateError> {
    let doors = listeners.doors.iter().map(Door::try_clone).collect::<io::Result<Vec<_>>>();
    let mut doors = doors.map_err(GateError::System)?;
    let addrs = doors.iter().filter_map(Door::local_addr).collect();
    doors.push(Door::open_probe(probe).map_err(|err| GateError::Listen(probe.display().to_string(), err))?);
    let (wake, woken) = UnixStream::pair().map_err(GateError::System)?;
    let (alive, ended) = bounded(0);
    let (limits, quick, slow) = (limits.clone(), PathBuf::from(quick), PathBuf::from(slow));
    let body = move || {
        // Dropped however the thread ends, which is what `Handle::ended` tells.
        let _alive = alive;
        let house = House {
            pool: upstream::Pool::new(&quick, &slow),
            limits,
            verify,
            peers: peers::Peers::default(),
            orphans: Vec::new(),
            scratch: run::scratch(),
            stopping: false,
            turns: 0,
        };
        let places = places::Places::new(house.limits.connections);
        if let Err(err) = (Run { house, doors, conns: Vec::new(), places, wake: woken, retry: false }).serve() {
            log::error!("gate: {err}");
        }
    };
    let thread = thread::Builder::new().name("gate".into()).stack_size(STACK).spawn(body).map_err(GateError::System)?;
    Ok(Handle { addrs, wake, ended, thread })
}

fn name(listen: &Listen) -> String {
    match listen {
        Listen::Tcp(addr) => addr.to_string(),
        Listen::Unix(unix) => unix.unix.display().to_string(),
    }
}

impl Handle {
    /// The addresses of the TCP listeners, in the order of the configuration.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// A channel that is disconnected when the gate's thread has ended, be it by [`Handle::stop`] or by a fault.
    pub fn ended(&self) -> Receiver<()> {
        self.ended.clone()
    }

    /// Accepts nobody any more, lets answers in progress leave (for two seconds at most) and ends the thread.
    pub fn stop(mut self) {
        let _ = self.wake.write_all(&[1]);
        let _ = self.thread.join();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_limits_fit_into_256_descriptors() {
        assert!(descriptors(&Limits::default(), 3) <= 256, "{}", descriptors(&Limits::default(), 3));
    }

    #[test]
    fn more_descriptors_than_there_can_be_are_an_error_that_says_how_many() {
        let limits = Limits { connections: 1 << 40, ..Limits::default() };
        let res = open(&[], false, &limits);
        let Err(err @ GateError::Descriptors { needed, .. }) = res else { panic!("must be refused") };
        assert!(err.to_string().contains(&format!("ulimit -n {needed}")), "{err}");
    }
}
