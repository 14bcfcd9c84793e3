//! Questions and answers over wpa_supplicant's control socket: one datagram each way. It knows how the other end can
//! fail, and not what the questions mean.

use std::fmt;
use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::text::Strange;
use crate::sys::{clock, random};

/// How long a wait goes on without a look at the cancel flag.
const SLICE: Duration = Duration::from_millis(200);
/// Bytes of a reply; the supplicant's own limit is 4096.
const MAX_REPLY: usize = 16 * 1024;

/// A connection to the supplicant of one interface.
pub(super) struct Control<'a> {
    socket: UnixDatagram,
    path: PathBuf,
    patience: Duration,
    cancelled: &'a dyn Fn() -> bool,
}

/// Why the supplicant did not do what it was asked.
#[derive(Debug)]
pub enum Trouble {
    /// Nobody listens on the socket.
    NotRunning(PathBuf),
    /// This process may not use the socket.
    Denied(PathBuf),
    /// It listened, and then it did not any more.
    Gone(PathBuf),
    /// It did not answer in time.
    Silent(PathBuf),
    /// It said no: the question, secrets left out, and the answer.
    Refused(String, String),
    /// Its answer cannot be read: the question.
    Strange(String),
    /// Somebody cancelled while the answer was waited for.
    Cancelled,
    /// This side failed.
    Local(io::Error),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::NotRunning(path) => {
                write!(f, "wpa_supplicant is not running: nothing listens on {}; start it.", path.display())
            }
            Trouble::Denied(path) => write!(
                f,
                "meterd may not use wpa_supplicant's socket {}; its ctrl_interface must name a group of meterd's.",
                path.display()
            ),
            Trouble::Gone(path) => write!(f, "wpa_supplicant stopped meanwhile ({}).", path.display()),
            Trouble::Silent(path) => write!(f, "wpa_supplicant does not answer on {}; restart it.", path.display()),
            Trouble::Refused(question, answer) => write!(f, "wpa_supplicant answered {question} with {answer}."),
            Trouble::Strange(question) => write!(f, "wpa_supplicant's answer to {question} cannot be read."),
            Trouble::Cancelled => f.write_str("Cancelled."),
            Trouble::Local(err) => write!(f, "The connection to wpa_supplicant failed: {err}."),
        }
    }
}

impl std::error::Error for Trouble {}

impl Trouble {
    /// Whether it is not known if the question took effect.
    pub(super) fn is_unclear(&self) -> bool {
        !matches!(self, Trouble::Refused(..) | Trouble::NotRunning(_) | Trouble::Denied(_))
    }
}

impl<'a> Control<'a> {
    /// Connects to the socket at `path`. A reply may take `patience`; `cancelled` is asked while it is waited for.
    pub fn open(path: &Path, patience: Duration, cancelled: &'a dyn Fn() -> bool) -> Result<Self, Trouble> {
        // The supplicant replies to the sender's address, so there must be one. An abstract one needs no folder in
        // which the supplicant may write, leaves nothing behind, and once connected takes datagrams from no one else.
        let name = format!("meterd-wlan-{:032x}", u128::from_ne_bytes(random::bytes()));
        let own = SocketAddr::from_abstract_name(name).map_err(Trouble::Local)?;
        let socket = UnixDatagram::bind_addr(&own).map_err(Trouble::Local)?;
        socket.set_read_timeout(Some(SLICE)).map_err(Trouble::Local)?;
        socket.set_write_timeout(Some(SLICE)).map_err(Trouble::Local)?;
        socket.connect(path).map_err(|err| match err.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => Trouble::NotRunning(path.into()),
            ErrorKind::PermissionDenied => Trouble::Denied(path.into()),
            _ => Trouble::Local(err),
        })?;
        Ok(Control { socket, path: path.into(), patience, cancelled })
    }

    /// Asks, and returns the answer without its last newline; a refusal is an error.
    pub fn ask(&self, question: &str) -> Result<String, Trouble> {
        self.ask_secret(question, b"")
    }

    /// Asks for something that can only be granted.
    pub fn order(&self, question: &str) -> Result<(), Trouble> {
        self.order_secret(question, b"")
    }

    /// The same, with `secret` at the question's end; no error repeats it.
    pub fn order_secret(&self, question: &str, secret: &[u8]) -> Result<(), Trouble> {
        match self.ask_secret(question, secret)?.as_str() {
            "OK" => Ok(()),
            _ => Err(Trouble::Strange(question.trim_end().into())),
        }
    }

    /// What a reply made of lines or columns means.
    pub fn read<T>(&self, question: &str, parse: fn(&str) -> Result<T, Strange>) -> Result<T, Trouble> {
        parse(&self.ask(question)?).map_err(|_| Trouble::Strange(question.into()))
    }

    fn ask_secret(&self, question: &str, secret: &[u8]) -> Result<String, Trouble> {
        let until = clock::boottime() + self.patience;
        let datagram = super::Hidden::from([question.as_bytes(), secret].concat());
        self.until(until, || self.socket.send(datagram.expose()))?;
        let mut buf = [0; MAX_REPLY];
        loop {
            let len = self.until(until, || self.socket.recv(&mut buf))?;
            let reply = String::from_utf8_lossy(&buf[..len]);
            // Events look like `<3>CTRL-EVENT-...`; nobody asked for them.
            if reply.starts_with('<') {
                continue;
            }
            let reply = reply.trim_end_matches('\n');
            if reply == "FAIL" || reply.starts_with("FAIL-") || reply == "UNKNOWN COMMAND" {
                return Err(Trouble::Refused(question.trim_end().into(), reply.into()));
            }
            return Ok(reply.into());
        }
    }

    /// Repeats a call that waits for a slice until it is through.
    fn until(&self, until: Duration, mut call: impl FnMut() -> io::Result<usize>) -> Result<usize, Trouble> {
        loop {
            match call() {
                Ok(len) => return Ok(len),
                Err(err) => match err.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                        if (self.cancelled)() {
                            return Err(Trouble::Cancelled);
                        }
                        if until <= clock::boottime() {
                            return Err(Trouble::Silent(self.path.clone()));
                        }
                        // A reader of datagrams is not told when the other end dies; a new connection tells.
                        if UnixDatagram::unbound().and_then(|it| it.connect(&self.path)).is_err() {
                            return Err(Trouble::Gone(self.path.clone()));
                        }
                    }
                    ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset | ErrorKind::NotConnected => {
                        return Err(Trouble::Gone(self.path.clone()));
                    }
                    _ => return Err(Trouble::Local(err)),
                },
            }
        }
    }
}
