//! A real gate in front of real tiny_http servers with a small handler.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use meterd::config::{Limits, Listen};
use meterd::gate::{self, GateError};
use meterd::http::{self, Answer, Exchange, Http, Reply, Request};
use serde_json::{Value, json};

use crate::client::Client;

/// No test waits longer for anything that is to happen.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Limits that let deadlines come soon.
pub fn limits() -> Limits {
    Limits {
        head_seconds: 1,
        body_seconds: 1,
        idle_seconds: 2,
        answer_seconds: 3,
        reply_seconds: 2,
        rate_seconds: 1,
        ..Limits::default()
    }
}

/// A door that tests open: handlers that wait, wait for it.
#[derive(Default)]
pub struct Latch(Mutex<bool>, Condvar);

impl Latch {
    pub fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    fn wait(&self) {
        let guard = self.0.lock().unwrap();
        drop(self.1.wait_timeout_while(guard, PATIENCE, |open| !*open).unwrap());
    }
}

/// What the handler shares with the test.
#[derive(Default)]
pub struct World {
    pub latch: Latch,
    /// Requests that have reached the handler.
    pub seen: AtomicUsize,
    /// Uploads that were read to their end, and those that ended with an error.
    pub whole: AtomicUsize,
    pub cut: AtomicUsize,
}

/// A running front door.
pub struct House {
    pub addr: SocketAddr,
    pub world: Arc<World>,
    pub http: Option<Http>,
    pub gate: Option<gate::Handle>,
    pub listeners: Option<gate::Listeners>,
    dir: PathBuf,
}

impl Drop for House {
    fn drop(&mut self) {
        self.world.latch.open();
        if let Some(gate) = self.gate.take() {
            gate.stop();
        }
        if let Some(http) = self.http.take() {
            http.stop();
        }
        drop(self.listeners.take());
        let left: Vec<_> = std::fs::read_dir(&self.dir).unwrap().map(|it| it.unwrap().path()).collect();
        std::fs::remove_dir_all(&self.dir).unwrap();
        if !std::thread::panicking() {
            assert!(left.is_empty(), "left behind: {left:?}");
        }
    }
}

pub fn scratch_dir() -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("meterd-door-{}-{n}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

pub fn house(limits: Limits) -> House {
    house_with(limits, false, |_| Vec::new()).unwrap()
}

/// Starts a house that listens on 127.0.0.1 and on what `listen` adds, given the house's own folder.
pub fn house_with(
    limits: Limits,
    secure_only: bool,
    listen: impl FnOnce(&std::path::Path) -> Vec<Listen>,
) -> Result<House, GateError> {
    let dir = scratch_dir();
    let world = Arc::new(World::default());
    let for_handler = world.clone();
    let handler = Arc::new(move |request: &mut Request| handle(request, &for_handler));
    let http = http::serve(&dir, &limits, handler, Box::new(|err| panic!("{err}"))).unwrap();
    let mut all = vec![Listen::Tcp("127.0.0.1:0".parse().unwrap())];
    all.extend(listen(&dir));
    let verify = Arc::new(|token: &str| token.starts_with("good"));
    let (quick, slow, probe) = (http.quick_path(), http.slow_path(), http.probe_path());
    let listeners = gate::open(&all, secure_only, &limits)?;
    let gate = gate::start(&listeners, &limits, &quick, &slow, &probe, verify)?;
    Ok(House {
        addr: gate.local_addrs()[0],
        world,
        http: Some(http),
        gate: Some(gate),
        listeners: Some(listeners),
        dir,
    })
}

fn about(request: &Request) -> Value {
    json!({
        "method": request.method, "path": request.path, "query": request.query, "bearer": request.bearer,
        "ip": request.peer.ip, "secure": request.peer.secure, "withheld": request.withheld,
        "body": String::from_utf8_lossy(&request.body[..request.body.len().min(100)]), "length": request.body.len(),
    })
}

/// The number in a query that ends with one, such as `n=12`.
fn number(request: &Request) -> usize {
    request.query.as_deref().and_then(|it| it.rsplit('=').next()).and_then(|it| it.parse().ok()).unwrap_or(0)
}

fn handle(request: &mut Request, world: &Arc<World>) -> Answer {
    world.seen.fetch_add(1, Ordering::SeqCst);
    let n = number(request);
    let world = world.clone();
    match request.path.as_str() {
        "/panic" => panic!("on purpose"),
        "/big" => Answer::Now(Reply { status: 200, body: vec![b'x'; n].into(), headers: Vec::new() }),
        "/hang" => {
            world.latch.wait();
            Answer::Now(Reply::json(200, &json!({})))
        }
        "/cmd/panic" => Answer::Detach(Box::new(|_exchange| panic!("on purpose"))),
        "/cmd/forget" => Answer::Detach(Box::new(drop)),
        "/cmd/wait" => Answer::Detach(Box::new(move |exchange| {
            world.latch.wait();
            exchange.reply(Reply::json(200, &json!({"waited": true})));
        })),
        "/cmd/db" => match request.bearer.as_deref() {
            Some("good") => Answer::Detach(Box::new(move |exchange| upload(exchange, &world))),
            Some("good-refused") => Answer::Now(Reply::error(200, "Not now.")),
            Some("good-midway") => Answer::Detach(Box::new(|mut exchange: Exchange| {
                exchange.body().read_exact(&mut [0; 100_000]).unwrap();
                exchange.reply(Reply::error(200, "Bad data."));
            })),
            Some("good-stuck") => Answer::Detach(Box::new(move |mut exchange: Exchange| {
                let _ = exchange.body().read(&mut [0; 1]);
                world.latch.wait();
            })),
            _ => Answer::Now(Reply::json(
                401,
                &json!({"error": "Authentication required.", "withheld": request.withheld}),
            )),
        },
        "/register" | "/stream" => Answer::Detach(Box::new(move |exchange| {
            let mut stream = exchange.stream(200, &[("Content-Type", "text/plain".into())]).unwrap();
            let piece = [b'y'; 1000];
            let mut left = n;
            while left > 0 {
                let now = left.min(piece.len());
                if stream.write_all(&piece[..now]).is_err() {
                    world.cut.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                left -= now;
            }
            stream.finish().unwrap();
            world.whole.fetch_add(1, Ordering::SeqCst);
        })),
        "/register/cut" => Answer::Detach(Box::new(move |exchange| {
            let mut stream = exchange.stream(200, &[]).unwrap();
            stream.write_all(&vec![b'z'; n]).unwrap();
        })),
        "/register/stall" => Answer::Detach(Box::new(move |exchange| {
            let mut stream = exchange.stream(200, &[]).unwrap();
            stream.write_all(&vec![b'z'; n]).unwrap();
            stream.flush().unwrap();
            world.latch.wait();
        })),
        _ => Answer::Now(Reply::json(200, &about(request))),
    }
}

fn upload(mut exchange: Exchange, world: &World) {
    let (mut length, mut sum, mut piece) = (0u64, 0u64, [0; 4096]);
    loop {
        match exchange.body().read(&mut piece) {
            Ok(0) => break,
            Ok(n) => {
                length += n as u64;
                sum += piece[..n].iter().map(|it| u64::from(*it)).sum::<u64>();
            }
            Err(_) => {
                world.cut.fetch_add(1, Ordering::SeqCst);
                return exchange.reply(Reply::error(200, "The body ended early."));
            }
        }
    }
    world.whole.fetch_add(1, Ordering::SeqCst);
    exchange.reply(Reply::json(200, &json!({"length": length, "sum": sum})));
}

impl House {
    pub fn client(&self) -> Client {
        self.client_from(1)
    }

    pub fn client_from(&self, from: u8) -> Client {
        Client::to(self.addr, from)
    }

    /// Somebody else is answered as if nothing were.
    #[track_caller]
    pub fn assert_healthy(&self) {
        let began = Instant::now();
        let got = self.client_from(200).ask("GET /healthy HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(got.status, 200, "{got:?}");
        let took = began.elapsed();
        assert!(took < Duration::from_secs(5), "a healthy client waited {took:?}");
    }
}

/// Waits until something has become true.
#[track_caller]
pub fn until(what: &str, mut check: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !check() {
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::yield_now();
    }
}
