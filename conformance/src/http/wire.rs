//! Connections to the meter: deadlines, and what went wrong in words. It knows sockets, nothing of what is said on them.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::reply::{self, Progress, Reply};

/// How long more bytes are looked for behind a reply, when the meter leaves the connection open.
const AFTERMATH: Duration = Duration::from_millis(150);
/// The longest reply that is read, in bytes: a backup is asked for in small windows.
const LONGEST: usize = 16 << 20;

/// What is read at a time; the beginning of a reply is looked at again each time.
const PIECE: usize = 64 << 10;

/// Where a meter is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// What stands in front of every path: `/api`.
    pub base: String,
}

impl Target {
    /// From `http://host[:port]/base`.
    pub fn parse(url: &str) -> Result<Target, String> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
        if authority.contains('@') {
            // It is not repeated: what stands there may be a password.
            return Err("the URL names a user, who is to be named by --user and --password-file".into());
        }
        if scheme.eq_ignore_ascii_case("https") {
            return Err(format!("{url}: TLS is not spoken here; put a forwarder like socat or stunnel in between"));
        }
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(format!("{url} is not of the form http://HOST[:PORT]/api"));
        }
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        // An IPv6 address stands in brackets, and may name its zone (RFC 6874).
        let (name, port) = match host.strip_prefix('[').map(|it| it.split_once(']')) {
            Some(Some((name, port))) => (name.replace("%25", "%"), port),
            Some(None) => (String::new(), ""),
            None => {
                let (name, port) = host.split_at(host.find(':').unwrap_or(host.len()));
                (name.to_string(), port)
            }
        };
        let port = match port {
            "" => 80,
            _ => port
                .strip_prefix(':')
                // A number's reader would take a sign, too.
                .filter(|it| it.bytes().all(|it| it.is_ascii_digit()))
                .and_then(|it| it.parse().ok())
                .ok_or_else(|| format!("{url}: {port} is no port"))?,
        };
        if name.is_empty() || path.contains(['?', '#', ' ']) {
            return Err(format!("{url} is not of the form http://HOST[:PORT]/api"));
        }
        Ok(Target { host: name, port, base: path.trim_end_matches('/').into() })
    }

    /// The Host field. A zone means something on this machine only.
    pub fn host_field(&self) -> String {
        let name = self.host.split('%').next().unwrap_or_default();
        let host = if name.contains(':') { format!("[{name}]") } else { name.to_string() };
        if self.port == 80 { host } else { format!("{host}:{}", self.port) }
    }
}

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection was refused.
    Refused,
    /// There was no way to it.
    Unreachable(String),
    /// The connection ended before a whole reply; so many bytes of one had come.
    Closed(usize),
    /// No whole reply came in time; so many bytes of one had come.
    Silent(usize),
    /// What came is no reply.
    Malformed(String),
    /// It was more than is read here, which is no fault of the meter.
    Long,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Refused => f.write_str("the connection was refused"),
            Fault::Unreachable(why) => write!(f, "no connection: {why}"),
            Fault::Closed(0) => f.write_str("the connection was closed without a reply"),
            Fault::Closed(bytes) => write!(f, "the connection was closed after {bytes} bytes of a reply"),
            Fault::Silent(0) => f.write_str("no reply in time"),
            Fault::Silent(bytes) => write!(f, "only {bytes} bytes of a reply in time"),
            Fault::Long => write!(f, "a reply of more than {} MiB, which is not read here", LONGEST >> 20),
            Fault::Malformed(why) => write!(f, "no HTTP reply that can be read: {why}"),
        }
    }
}

/// An open connection.
pub struct Connection {
    stream: TcpStream,
    /// What came and is not read as a reply yet.
    buffer: Vec<u8>,
}

impl Connection {
    /// Opens one within `timeout`.
    pub fn open(target: &Target, timeout: Duration) -> Result<Connection, Fault> {
        let unreachable = |err: std::io::Error| match err.kind() {
            ErrorKind::ConnectionRefused => Fault::Refused,
            _ => Fault::Unreachable(err.to_string()),
        };
        let mut last = Fault::Unreachable(format!("{} has no address", target.host));
        for address in (target.host.as_str(), target.port).to_socket_addrs().map_err(unreachable)? {
            match TcpStream::connect_timeout(&address, timeout) {
                Ok(stream) => {
                    let _ = stream.set_nodelay(true);
                    return Ok(Connection { stream, buffer: Vec::new() });
                }
                Err(err) => last = unreachable(err),
            }
        }
        Err(last)
    }

    /// Sends bytes. A meter may refuse and close before it has taken all, so a failure here only shows in what comes back.
    pub fn send(&mut self, bytes: &[u8], timeout: Duration) {
        let _ = self.stream.set_write_timeout(Some(timeout));
        let _ = self.stream.write_all(bytes);
    }

    /// The next reply, if it is whole within `timeout`; `head` says that it answers a HEAD.
    pub fn reply(&mut self, head: bool, timeout: Duration) -> Result<Reply, Fault> {
        let until = Instant::now() + timeout;
        loop {
            let at_end = match reply::read(&self.buffer, head).map_err(Fault::Malformed)? {
                Progress::Whole(reply, used) => {
                    self.buffer.drain(..used);
                    return Ok(reply);
                }
                Progress::More(at_end) => at_end,
            };
            if LONGEST < self.buffer.len() {
                return Err(Fault::Long);
            }
            match self.more(until) {
                Ok(true) => {}
                Ok(false) if at_end => {
                    let reply = reply::read_closed(&self.buffer).ok_or(Fault::Closed(self.buffer.len()))?;
                    self.buffer.clear();
                    return Ok(reply);
                }
                Ok(false) => return Err(Fault::Closed(self.buffer.len())),
                Err(()) => return Err(Fault::Silent(self.buffer.len())),
            }
        }
    }

    /// Whether the meter says something, or closes, within `time`. What it says is read by [`Connection::reply`].
    pub fn speaks(&mut self, time: Duration) -> bool {
        self.more(Instant::now() + time).is_ok()
    }

    /// Looks what the meter still says or whether it closes, when no more is owed; puts both into `reply`.
    pub fn aftermath(mut self, reply: &mut Reply) {
        let until = Instant::now() + AFTERMATH;
        while let Ok(more) = self.more(until) {
            if !more {
                reply.closed = true;
                break;
            }
        }
        reply.extra = self.buffer;
    }

    /// Whether more came before the end of the connection; `Err` if the time is up.
    fn more(&mut self, until: Instant) -> Result<bool, ()> {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || self.buffer.len() > LONGEST {
            return Err(());
        }
        let _ = self.stream.set_read_timeout(Some(left));
        let mut chunk = vec![0; PIECE];
        match self.stream.read(&mut chunk) {
            Ok(0) => Ok(false),
            Ok(length) => {
                self.buffer.extend_from_slice(&chunk[..length]);
                Ok(true)
            }
            Err(err) if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Err(()),
            Err(err) if err.kind() == ErrorKind::Interrupted => Ok(true),
            Err(_) => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_gives_host_port_and_base() {
        let parse = |url| Target::parse(url).map(|it| (it.host_field(), it.port, it.base));
        assert_eq!(parse("http://meter.lan/api"), Ok(("meter.lan".into(), 80, "/api".into())));
        assert_eq!(parse("http://10.0.0.1:8080/api/"), Ok(("10.0.0.1:8080".into(), 8080, "/api".into())));
        assert_eq!(parse("http://[fe80::1]:81"), Ok(("[fe80::1]:81".into(), 81, String::new())));
        assert_eq!(parse("http://[::1]/x"), Ok(("[::1]".into(), 80, "/x".into())));
        assert_eq!(parse("http://[fe80::1%25eth0]/api").unwrap().0, "[fe80::1]");
        assert_eq!(Target::parse("http://[fe80::1%25eth0]/api").unwrap().host, "fe80::1%eth0");
        for url in [
            "meter",
            "https://m/api",
            "http:///api",
            "http://m:x/api",
            "http://m:/api",
            "http://m/a?b",
            "http://fe80::1/api",
            "http://[fe80::1/api",
            "http://[]/api",
            "http://[::1]80/api",
            "http://user:hunter@m/api",
            "http://user@m/api",
            "http://m:+80/api",
        ] {
            let why = Target::parse(url).expect_err(url);
            assert!(!why.contains("hunter"), "{why}");
        }
        assert_eq!(parse("HTTP://m/api"), Ok(("m".into(), 80, "/api".into())));
    }

    /// What a meter that says `text` over and over, until nobody listens, is taken to have said.
    fn flood(text: &'static [u8]) -> Result<Reply, Fault> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let meter = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            while stream.write_all(text).is_ok() {}
        });
        let target = Target { host: "127.0.0.1".into(), port, base: String::new() };
        let mut connection = Connection::open(&target, AFTERMATH).unwrap();
        let res = connection.reply(false, Duration::from_secs(60));
        drop(connection);
        meter.join().unwrap();
        res
    }

    #[test]
    fn a_meter_that_never_ends_is_not_listened_to_for_ever() {
        let Err(fault) = flood(&[b'x'; 1 << 16]) else { panic!("that was a reply") };
        assert!(fault == Fault::Long && fault.to_string().contains("16 MiB"), "{fault}");
    }
}
