//! The client that does no harm: it asks for the state of an operation all the time, over a kept connection and now and
//! then over a new one, and notes how long each answer took.

use std::io::{BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::meter::try_answer;
use crate::wire::{dial, request};

const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 200);
/// Between two requests.
const PAUSE: Duration = Duration::from_millis(10);
/// Every so many requests use a connection of their own.
const FRESH: usize = 5;
/// A client gives up after that long. It is no measure of the service on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(5);

/// A client at work.
pub struct Healthy {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Health>,
}

/// How it fared.
#[derive(Default)]
pub struct Health {
    /// What each request took, tries that had to be repeated included.
    pub times: Vec<Duration>,
    /// Requests that were not answered well within its patience, and how.
    pub failures: Vec<String>,
}

impl Healthy {
    pub fn start(addr: SocketAddr, token: &str) -> Healthy {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, token) = (Arc::clone(&stop), token.to_string());
        let thread = std::thread::spawn(move || {
            let ask = request("GET", &format!("/api/sys/status/{}", "0".repeat(32)), Some(&token), b"");
            let (mut health, mut kept) = (Health::default(), None);
            for n in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let started = Instant::now();
                let mut own = None;
                let connection = if n % FRESH == 0 { &mut own } else { &mut kept };
                match asked(addr, &ask, connection) {
                    Ok(()) => health.times.push(started.elapsed()),
                    Err(why) => health.failures.push(why),
                }
                std::thread::sleep(PAUSE);
            }
            health
        });
        Healthy { stop, thread }
    }

    pub fn stop(self) -> Health {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }

    /// Watches for so long, with nothing else going on.
    pub fn watch(addr: SocketAddr, token: &str, time: Duration) -> Health {
        let it = Healthy::start(addr, token);
        std::thread::sleep(time);
        it.stop()
    }
}

impl Health {
    /// The time within which 99 of 100 requests were answered, in milliseconds.
    pub fn p99(&self) -> f64 {
        let mut times: Vec<f64> = self.times.iter().map(|it| it.as_secs_f64() * 1000.0).collect();
        times.sort_by(f64::total_cmp);
        times.get(times.len() * 99 / 100).copied().unwrap_or(f64::NAN)
    }
}

/// One question, asked again over a new connection when the one that was kept has been closed meanwhile, as clients do.
fn asked(addr: SocketAddr, request: &[u8], connection: &mut Option<BufReader<TcpStream>>) -> Result<(), String> {
    let until = Instant::now() + PATIENCE;
    loop {
        let res = ask(addr, request, connection);
        if res.is_ok() {
            return res;
        }
        *connection = None;
        if until < Instant::now() {
            return res;
        }
    }
}

fn ask(addr: SocketAddr, request: &[u8], connection: &mut Option<BufReader<TcpStream>>) -> Result<(), String> {
    if connection.is_none() {
        let stream = dial(addr, ADDRESS).map_err(|err| format!("connecting: {err}"))?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(|err| err.to_string())?;
        *connection = Some(BufReader::new(stream));
    }
    let Some(stream) = connection else { unreachable!("connected above") };
    stream.get_mut().write_all(request).map_err(|err| format!("asking: {err}"))?;
    match try_answer(stream).map_err(|err| format!("reading: {err}"))? {
        (200, _) => Ok(()),
        (status, _) => Err(format!("answered with {status}")),
    }
}
