//! Why something outside could not be reached, in words for a technician who stands before the meter.
//! No secret gets in here: what was sent is never part of an error.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use super::policy::Special;
use super::tls::TlsFault;

/// Why work ended before it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Somebody asked for it, or the meter goes down.
    Cancelled,
    /// The deadline has passed.
    Late,
}

/// Why something could not be reached.
#[derive(Debug)]
pub enum ReachError {
    /// The work was stopped.
    Stopped(Stop),
    /// The configuration does not allow this target.
    Forbidden {
        /// What was asked for: a name or a literal address.
        host: String,
        /// The address that it stands for.
        addr: IpAddr,
        /// What is special about that address.
        why: Special,
    },
    /// Plain HTTP, where the answer must not be read or changed on its way.
    NotSecure(String),
    /// There is no such name.
    NoSuchHost(String),
    /// The name exists and has no address.
    NoAddress(String),
    /// The domain says that it takes no mail at all (RFC 7505).
    NullMx(String),
    /// No name server gave an answer; the second text says why, by server.
    Dns(String, String),
    /// The host is there, and nobody listens on that port.
    Refused(SocketAddr),
    /// There is no way to that address.
    Unreachable(SocketAddr, io::Error),
    /// Nothing answered at that address.
    Timeout(SocketAddr),
    /// No encrypted connection came about.
    Tls(TlsFault),
    /// The other side closed the connection in the middle of something.
    Closed,
    /// The other side does not speak HTTP as it should, or the address of the request is no URL.
    Http(String),
    /// The answer has more bytes than this.
    TooLarge(u64),
    /// Anything else that the system reports.
    Io(io::Error),
}

impl fmt::Display for ReachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReachError::Stopped(stop) => stop.fmt(f),
            ReachError::Forbidden { host, addr, why } => {
                let text = addr.to_string();
                f.write_str(host)?;
                if host.trim_matches(['[', ']']) != text {
                    write!(f, " ({text})")?;
                }
                write!(f, ": {why}; the meter connects there only if allow_targets in its configuration permits it")
            }
            ReachError::NotSecure(host) => write!(f, "{host}: only HTTPS is allowed there"),
            ReachError::NoSuchHost(host) => write!(f, "{host}: there is no host of this name"),
            ReachError::NoAddress(host) => write!(f, "{host}: the name exists and has no address"),
            ReachError::NullMx(domain) => write!(f, "{domain}: the domain takes no mail (null MX)"),
            ReachError::Dns(name, why) => write!(f, "{name}: the name cannot be looked up: {why}"),
            ReachError::Refused(addr) => write!(f, "{addr}: connection refused; nothing listens there"),
            ReachError::Unreachable(addr, err) => write!(f, "{addr}: no way there: {err}"),
            ReachError::Timeout(addr) => write!(f, "{addr}: no answer to the attempt to connect"),
            ReachError::Tls(fault) => fault.fmt(f),
            ReachError::Closed => f.write_str("the other side closed the connection too early"),
            ReachError::Http(text) => f.write_str(text),
            ReachError::TooLarge(limit) => write!(f, "the answer is longer than {limit} bytes"),
            ReachError::Io(err) => err.fmt(f),
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stop::Cancelled => "cancelled",
            Stop::Late => "the time for it was over",
        })
    }
}

impl std::error::Error for ReachError {}

impl From<Stop> for ReachError {
    fn from(stop: Stop) -> Self {
        ReachError::Stopped(stop)
    }
}

/// For the readers and writers of the standard library, which know no other error; [`ReachError::from`] gets it back.
impl From<ReachError> for io::Error {
    fn from(err: ReachError) -> Self {
        match err {
            ReachError::Io(err) => err,
            err => io::Error::other(err),
        }
    }
}

impl From<io::Error> for ReachError {
    fn from(err: io::Error) -> Self {
        let kind = err.kind();
        match err.downcast::<ReachError>() {
            Ok(inner) => inner,
            Err(err) => match err.downcast::<rustls::Error>() {
                Ok(fault) => ReachError::Tls(fault.into()),
                Err(_) if is_broken(kind) => ReachError::Closed,
                Err(err) => ReachError::Io(err),
            },
        }
    }
}

/// The ways in which a connection ends that the other side has given up.
fn is_broken(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(kind, BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_survives_its_way_through_the_standard_library() {
        let there: io::Error = ReachError::Stopped(Stop::Cancelled).into();
        assert!(matches!(ReachError::from(there), ReachError::Stopped(Stop::Cancelled)));
        let there = io::Error::new(io::ErrorKind::InvalidData, rustls::Error::DecryptError);
        assert!(matches!(ReachError::from(there), ReachError::Tls(_)));
        assert!(matches!(ReachError::from(io::Error::from(io::ErrorKind::ConnectionReset)), ReachError::Closed));
        let there: io::Error = ReachError::Io(io::ErrorKind::StorageFull.into()).into();
        assert!(matches!(ReachError::from(there), ReachError::Io(err) if err.kind() == io::ErrorKind::StorageFull));
    }

    #[test]
    fn a_refused_target_is_named_once() {
        let addr: IpAddr = "127.0.0.1".parse().unwrap();
        let text = |host: &str| ReachError::Forbidden { host: host.into(), addr, why: Special::Loopback }.to_string();
        assert!(text("127.0.0.1").starts_with("127.0.0.1: "), "{}", text("127.0.0.1"));
        assert!(text("evil.test").starts_with("evil.test (127.0.0.1): "), "{}", text("evil.test"));
    }
}
