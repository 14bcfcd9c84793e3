//! Sockets of attackers and of the healthy client: each side has addresses of its own below 127/8, so that the service
//! can tell them apart as it would on a network.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

/// Nobody waits longer for a connection, nor for one that takes no bytes.
const WAIT: Duration = Duration::from_secs(1);

/// What an attack is aimed at.
pub struct Front {
    pub addr: SocketAddr,
    /// The service's process.
    pub pid: u32,
    /// A token that is good.
    pub token: String,
    /// A neighbour that takes connections and says nothing.
    pub silent: SocketAddr,
    /// When the attack has to be over.
    pub until: Instant,
}

/// The address of the n-th attacker.
pub fn attacker(n: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 1, (n / 250 % 250) as u8, (n % 250 + 1) as u8)
}

/// A connection to `addr` from an address of loopback.
pub fn dial(addr: SocketAddr, from: Ipv4Addr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    // Many short connections from one address; without this the ports of their ends would run out.
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::new(IpAddr::V4(from), 0).into())?;
    socket.connect_timeout(&addr.into(), WAIT)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_read_timeout(Some(WAIT))?;
    socket.set_write_timeout(Some(WAIT))?;
    Ok(socket.into())
}

impl Front {
    /// Whether the attack goes on.
    pub fn lasts(&self) -> bool {
        Instant::now() < self.until
    }

    /// A connection of the n-th attacker; nothing if it is refused.
    pub fn dial(&self, n: usize) -> Option<TcpStream> {
        dial(self.addr, attacker(n)).ok()
    }

    /// A connection of the n-th attacker over which `bytes` were sent.
    pub fn say(&self, n: usize, bytes: &[u8]) -> Option<TcpStream> {
        let mut stream = self.dial(n)?;
        stream.write_all(bytes).ok().map(|()| stream)
    }

    /// Connections from `peers` addresses, `each` from every one, all of which have sent `bytes`.
    pub fn hold(&self, peers: usize, each: usize, bytes: &[u8]) -> Vec<TcpStream> {
        let callers = (0..peers * each).take_while(|_| self.lasts());
        callers.filter_map(|n| self.say(n % peers, bytes)).collect()
    }

    /// Keeps connections open and sends a byte over each every 100 ms; those that were closed are opened anew.
    pub fn drip(&self, peers: usize, each: usize, start: &[u8], byte: u8) {
        let mut held = self.hold(peers, each, start);
        while self.lasts() {
            std::thread::sleep(Duration::from_millis(100));
            held.retain_mut(|it| it.write_all(&[byte]).is_ok());
            let lost = peers * each - held.len();
            held.extend((0..lost).take_while(|_| self.lasts()).filter_map(|n| self.say(n % peers, start)));
        }
    }

    /// Sits the rest of the attack out.
    pub fn wait(&self) {
        std::thread::sleep(self.until.saturating_duration_since(Instant::now()));
    }

    /// Runs `work` on so many threads for as long as the attack lasts, each time with another number.
    pub fn repeat(&self, threads: usize, work: impl Fn(usize) + Sync) {
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let work = &work;
                scope.spawn(move || {
                    for n in 0.. {
                        if !self.lasts() {
                            break;
                        }
                        work(n * threads + thread);
                    }
                });
            }
        });
    }

    /// A request with the good token.
    pub fn authorised(&self, method: &str, path: &str, body: &[u8]) -> Vec<u8> {
        request(method, path, Some(&self.token), body)
    }
}

/// Sends as much as is taken until the end of the attack, and never reads.
pub fn pour(front: &Front, mut stream: &TcpStream, piece: &[u8], pieces: usize) {
    for _ in 0..pieces {
        if !front.lasts() || stream.write_all(piece).is_err() {
            return;
        }
    }
}

/// Closing it will be a reset.
pub fn reset(stream: TcpStream) {
    let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
}

/// A whole request.
pub fn request(method: &str, path: &str, token: Option<&str>, body: &[u8]) -> Vec<u8> {
    let login = token.map_or(String::new(), |it| format!("Authorization: Bearer {it}\r\n"));
    let head = format!("{method} {path} HTTP/1.1\r\nHost: m\r\n{login}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}
