//! HTTP for handlers: two tiny_http servers on private Unix sockets, a bounded queue, a few workers.
//!
//! One server takes quick requests on connections that are kept, the other slow ones, so that neither waits for the
//! other's threads. It relies on the gate for everything hostile: whole requests, sane heads, true `X-Meter-*` fields.
//! It knows no resource; what a request means is the handler's.

pub mod chunked;
mod exchange;
mod pool;
mod probe;
mod reply;
mod request;

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::config::Limits;
use crate::sys::{fs, random};

pub use exchange::{Exchange, Stream};
pub use probe::self_probe;
pub use reply::{Reply, status_text};
pub use request::Request;

/// Worker threads; none ever waits for a client or a device.
const WORKERS: usize = 4;
/// Requests that may wait for a worker. The gate has fewer in work at once.
const QUEUE: usize = 32;
/// Stack of workers and of detached tasks.
const STACK: usize = 256 * 1024;
/// Stack of the two threads that only hand requests on.
const ACCEPTOR_STACK: usize = 128 * 1024;
/// How long a full queue is waited for before the request is given up.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long workers may take to finish what they are at when the service stops.
const STOP: Duration = Duration::from_secs(2);

/// What a handler decides.
pub enum Answer {
    /// The answer is known.
    Now(Reply),
    /// The answer takes time, or is long, or the body is streamed: the rest happens on a thread of its own.
    Detach(Task),
}

/// The rest of a request's work, with the request.
pub type Task = Box<dyn FnOnce(Exchange) + Send>;

/// What answers requests; it is called on a worker and must not wait.
pub type Handler = Arc<dyn Fn(&mut Request) -> Answer + Send + Sync>;

/// The running servers and workers.
pub struct Http {
    dir: PathBuf,
    stopping: Arc<AtomicBool>,
    servers: Vec<Arc<tiny_http::Server>>,
    acceptors: Vec<JoinHandle<()>>,
    /// Disconnected when the last worker has ended.
    workers: Receiver<()>,
}

/// Starts both servers in a private folder below `run_dir`. `on_fatal` is called, once for each server, when one of them
/// cannot go on: tiny_http does not accept again after an error, so the service must be restarted.
pub fn serve(
    run_dir: &Path,
    limits: &Limits,
    handler: Handler,
    on_fatal: Box<dyn Fn(String) + Send + Sync>,
) -> io::Result<Http> {
    let dir = run_dir.join(format!("door-{:016x}", u64::from_ne_bytes(random::bytes())));
    fs::private_dir(&dir)?;
    let stopping = Arc::new(AtomicBool::new(false));
    let (alive, workers) = bounded(0);
    let mut http = Http { dir, stopping, servers: Vec::new(), acceptors: Vec::new(), workers };
    let (queue, jobs) = bounded(QUEUE);
    let tasks = pool::Tasks::default();
    for n in 0..WORKERS {
        let (jobs, handler, tasks, body_bytes) = (jobs.clone(), handler.clone(), tasks.clone(), limits.body_bytes);
        let alive = alive.clone();
        let body = move || {
            let _alive: Sender<()> = alive;
            pool::work(&jobs, &handler, &tasks, body_bytes);
        };
        thread::Builder::new().name(format!("worker-{n}")).stack_size(STACK).spawn(body)?;
    }
    let on_fatal: Arc<dyn Fn(String) + Send + Sync> = on_fatal.into();
    for (name, path) in [("accept-quick", http.quick_path()), ("accept-slow", http.slow_path())] {
        let server = Arc::new(tiny_http::Server::http_unix(&path).map_err(io::Error::other)?);
        http.servers.push(server.clone());
        let (queue, stopping, on_fatal) = (queue.clone(), http.stopping.clone(), on_fatal.clone());
        let body = move || hand_on(&server, &queue, &stopping, &*on_fatal);
        http.acceptors.push(thread::Builder::new().name(name.into()).stack_size(ACCEPTOR_STACK).spawn(body)?);
    }
    Ok(http)
}

/// Hands a server's requests to the workers until the service stops or the server fails.
fn hand_on(
    server: &tiny_http::Server,
    queue: &Sender<tiny_http::Request>,
    stopping: &AtomicBool,
    on_fatal: &(dyn Fn(String) + Send + Sync),
) {
    loop {
        match server.recv() {
            // A queue that stays full means stuck workers; dropping the request answers it with 500.
            Ok(request) => drop(queue.send_timeout(request, PATIENCE)),
            Err(_) if stopping.load(Ordering::Acquire) => return,
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            Err(err) => return on_fatal(format!("the internal HTTP server has stopped: {err}")),
        }
    }
}

impl Http {
    /// The socket for quick requests.
    pub fn quick_path(&self) -> PathBuf {
        self.dir.join("quick")
    }

    /// The socket for slow requests, one on each connection.
    pub fn slow_path(&self) -> PathBuf {
        self.dir.join("slow")
    }

    /// Where the gate is to listen for the self-probe.
    pub fn probe_path(&self) -> PathBuf {
        self.dir.join("probe")
    }

    /// Ends servers and workers; detached tasks end by themselves. The gate must be stopped before.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stopping.store(true, Ordering::Release);
        for server in &self.servers {
            server.unblock();
        }
        for thread in self.acceptors.drain(..) {
            let _ = thread.join();
        }
        self.servers.clear();
        // With the acceptors went the queue's last senders, which is how the workers learn of the end.
        let _ = self.workers.recv_timeout(STOP);
        let _ = std::fs::remove_file(self.probe_path());
        let _ = std::fs::remove_dir(&self.dir);
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        self.end();
    }
}
