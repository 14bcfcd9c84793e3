//! A client of the front door that writes its bytes by hand.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use meterd::sys::poll::{self, Entry};
use serde_json::Value;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::support::PATIENCE;

/// An answer as it came.
#[derive(Debug)]
pub struct Got {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Got {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|err| panic!("{err}: {self:?}"))
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().skip(1).filter_map(|it| it.split_once(':'));
        lines.find(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

/// A client that reads answers strictly, over whatever kind of stream.
pub struct Client {
    pub stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

pub trait Stream: Read + Write + Send + AsRawFd {
    fn shut(&self);
    fn clone_box(&self) -> Box<dyn Stream>;
}

impl Stream for std::net::TcpStream {
    fn shut(&self) {
        self.shutdown(std::net::Shutdown::Write).unwrap();
    }

    fn clone_box(&self) -> Box<dyn Stream> {
        Box::new(self.try_clone().unwrap())
    }
}

impl Stream for UnixStream {
    fn shut(&self) {
        self.shutdown(std::net::Shutdown::Write).unwrap();
    }

    fn clone_box(&self) -> Box<dyn Stream> {
        Box::new(self.try_clone().unwrap())
    }
}

/// A TCP socket of the given loopback address, connected.
pub fn connect(addr: SocketAddr, from: u8) -> std::net::TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let from = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, from)), 0);
    socket.bind(&from.into()).unwrap();
    socket.connect_timeout(&SockAddr::from(addr), PATIENCE).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket.into()
}

impl Client {
    /// Comes from that address of the loopback network.
    pub fn to(addr: SocketAddr, from: u8) -> Client {
        Client { stream: Box::new(connect(addr, from)), buffer: Vec::new() }
    }

    pub fn over(stream: UnixStream) -> Client {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client { stream: Box::new(stream), buffer: Vec::new() }
    }

    /// Whether the connection was cut; what came before may still be read.
    pub fn is_cut(&self) -> bool {
        let mut entries = [Entry::new(self.stream.as_raw_fd(), false, false)];
        poll::wait(&mut entries, Duration::ZERO).unwrap();
        entries[0].gone()
    }

    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    #[track_caller]
    pub fn ask(&mut self, request: &str) -> Got {
        self.send(request);
        self.answer()
    }

    /// The answer to a request, or what went wrong before it was whole.
    pub fn try_answer_to(&mut self, request: &str) -> Result<Got, String> {
        self.stream.write_all(request.as_bytes()).map_err(|err| err.kind().to_string())?;
        self.try_answer(false)
    }

    /// The next answer, whole.
    #[track_caller]
    pub fn answer(&mut self) -> Got {
        self.try_answer(false).expect("an answer")
    }

    /// The next answer, or what went wrong before it was whole.
    pub fn try_answer(&mut self, head_only: bool) -> Result<Got, String> {
        while !self.buffer.windows(4).any(|it| it == b"\r\n\r\n") {
            self.more()?;
        }
        let end = self.buffer.windows(4).position(|it| it == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(self.buffer.drain(..end + 4).collect()).unwrap();
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|it| it[..3].parse().ok()).ok_or(head.clone())?;
        let mut got = Got { status, head, body: Vec::new() };
        if head_only || status == 100 {
            return Ok(got);
        }
        if let Some(n) = got.field("Content-Length").map(|it| it.parse::<usize>().unwrap()) {
            assert!(got.field("Transfer-Encoding").is_none(), "{got:?}");
            while self.buffer.len() < n {
                self.more()?;
            }
            got.body = self.buffer.drain(..n).collect();
        } else if got.field("Transfer-Encoding") == Some("chunked") {
            loop {
                let line = self.line()?;
                let n = usize::from_str_radix(&line, 16).map_err(|err| format!("{line}: {err}"))?;
                while self.buffer.len() < n + 2 {
                    self.more()?;
                }
                got.body.extend(self.buffer.drain(..n));
                assert_eq!(self.buffer.drain(..2).collect::<Vec<_>>(), b"\r\n");
                if n == 0 {
                    break;
                }
            }
        } else {
            assert_eq!(got.field("Connection"), Some("close"), "{got:?}");
            loop {
                match self.more() {
                    Ok(()) => {}
                    Err(err) if err == "end" => break,
                    Err(err) => return Err(err),
                }
            }
            got.body = std::mem::take(&mut self.buffer);
        }
        Ok(got)
    }

    fn line(&mut self) -> Result<String, String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|it| it == b"\r\n") {
                let line = self.buffer.drain(..end + 2).take(end).map(char::from).collect();
                return Ok(line);
            }
            self.more()?;
        }
    }

    fn more(&mut self) -> Result<(), String> {
        let mut piece = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return Err("end".into()),
                Ok(n) => {
                    self.buffer.extend_from_slice(&piece[..n]);
                    return Ok(());
                }
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                Err(err) => return Err(err.kind().to_string()),
            }
        }
    }

    /// Nothing more comes, and the connection ends in order.
    #[track_caller]
    pub fn assert_end(&mut self) {
        let res = self.more();
        assert_eq!(res, Err("end".into()), "{:?}", String::from_utf8_lossy(&self.buffer));
        assert!(self.buffer.is_empty(), "{:?}", String::from_utf8_lossy(&self.buffer));
    }
}

pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
}

pub fn post(path: &str, token: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
