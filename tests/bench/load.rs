//! A number of connections that ask again as soon as they are answered: how many answers, and how long one takes.
//! The clients run on the same machine and take their share of it, for everybody the same.

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::meter::answer;

/// Connections from one address; the service has a limit of 16.
const PER_ADDRESS: usize = 16;
/// How long a connection waits for an answer before the run counts as failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who is asked what, and how.
pub struct Question<'a> {
    pub addr: SocketAddr,
    pub request: &'a [u8],
    /// Whether the connection is kept for the next request.
    pub keeps: bool,
}

/// What a run gave.
#[derive(Clone, Copy)]
pub struct Load {
    /// Answers per second.
    pub rate: f64,
    /// Milliseconds from a request to its answer.
    pub p50: f64,
    pub p99: f64,
}

/// Asks over `connections` at once for as long as `time`.
pub fn press(question: &Question, connections: usize, time: Duration) -> Load {
    let mut took: Vec<u32> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..connections)
            .map(|at| {
                let body = move || ask(question, at / PER_ADDRESS, time);
                std::thread::Builder::new().stack_size(128 * 1024).spawn_scoped(scope, body).unwrap()
            })
            .collect();
        threads.into_iter().flat_map(|it| it.join().unwrap()).collect()
    });
    took.sort_unstable();
    let at = |share: f64| f64::from(took[(took.len() as f64 * share) as usize]) / 1000.0;
    Load { rate: took.len() as f64 / time.as_secs_f64(), p50: at(0.5), p99: at(0.99) }
}

/// A connection from an address of its own for each group of clients.
fn connect(addr: SocketAddr, group: usize) -> BufReader<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let from: SocketAddr = ([127, 0, 0, 1 + group as u8], 0).into();
    socket.bind(&from.into()).unwrap();
    socket.connect(&addr.into()).unwrap();
    socket.set_tcp_nodelay(true).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    BufReader::new(socket.into())
}

/// Asks until the time is over: the microseconds of each answer.
fn ask(question: &Question, group: usize, time: Duration) -> Vec<u32> {
    let mut took = Vec::new();
    let mut kept = None;
    let started = Instant::now();
    while started.elapsed() < time {
        let before = Instant::now();
        let mut stream = kept.take().unwrap_or_else(|| connect(question.addr, group));
        stream.get_mut().write_all(question.request).unwrap();
        if question.keeps {
            assert_eq!(answer(&mut stream).0, 200);
            kept = Some(stream);
        } else {
            let mut text = Vec::new();
            stream.read_to_end(&mut text).unwrap();
            assert!(text.starts_with(b"HTTP/1.") && text[8..].starts_with(b" 200 "), "{}", text.escape_ascii());
        }
        took.push(before.elapsed().as_micros() as u32);
    }
    took
}
