//! Helpers of the tests: a watch that can be cancelled, and servers on loopback that play a part.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::{Lookout, Reach};
use crate::config::Config;
use crate::drivers::{CancelFlag, Watch};
use crate::sys::clock;

/// Somebody who may cancel.
#[derive(Clone, Default)]
pub struct Person(pub Arc<AtomicBool>);

impl Watch for Person {
    fn cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
    fn progress(&self, _: f64) {}
    fn result(&self, _: Value) {}
    fn flag(&self) -> CancelFlag {
        let person = self.clone();
        Arc::new(move || person.cancelled())
    }
}

impl Person {
    /// Long enough for anything that works.
    pub fn look(&self) -> Lookout<'_> {
        Lookout::new(self, Duration::from_secs(20))
    }

    /// Runs `work`, cancels it after a moment, and says how long it went on from then.
    pub fn cancel<T>(&self, work: impl FnOnce(&Lookout) -> T) -> (T, Duration) {
        let person = self.clone();
        let thread = thread::spawn(move || {
            thread::sleep(Duration::from_millis(300));
            person.0.store(true, Ordering::Relaxed);
            clock::boottime()
        });
        let res = work(&self.look());
        let end = clock::boottime();
        (res, end.saturating_sub(thread.join().unwrap()))
    }
}

/// The longest time from a cancellation to its effect: 250 ms are owed, and a busy machine needs some more.
pub const AT_ONCE: Duration = Duration::from_millis(1500);

/// A way out that may use loopback.
pub fn bench() -> Reach {
    Reach::new(&Config::bench())
}

/// A server that gives each connection to `serve`, in turn.
pub fn server(serve: impl Fn(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || listener.incoming().flatten().for_each(&serve));
    addr
}

/// An HTTP server: `reply` makes whole answers from the request's head.
pub fn http(reply: impl Fn(&str) -> String + Send + 'static) -> SocketAddr {
    server(move |mut stream| {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|it| it == 1) {
            head.push(byte[0]);
        }
        let text = String::from_utf8_lossy(&head).into_owned();
        let length =
            text.to_lowercase().split("content-length: ").nth(1).and_then(|it| it.lines().next()?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        let _ = stream.read_exact(&mut body);
        let _ = stream.write_all(reply(&(text + &String::from_utf8_lossy(&body))).as_bytes());
    })
}

/// A name server: `reply` makes the datagrams that answer a question.
pub fn name_server(reply: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buf = [0; 600];
        while let Ok((length, peer)) = socket.recv_from(&mut buf) {
            for it in reply(&buf[..length]) {
                let _ = socket.send_to(&it, peer);
            }
        }
    });
    addr
}
