//! From an address to a connection: without blocking, in slices, one address after the other.
//! It knows nothing of names and does not ask whether an address is allowed.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::wire::Wire;
use super::{Lookout, ReachError, SLICE, Stop};
use crate::sys::poll::{self, Entry};

/// How long one address may take, so that a silent one is given up before the whole work is late.
const EACH: Duration = Duration::from_secs(15);
/// How long every address is given when they are many; three times the kernel's first wait for an answer.
const AT_LEAST: Duration = Duration::from_secs(3);

/// The first of `addrs` that takes a connection; else the last one's failure. There must be at least one.
pub(super) fn first(addrs: &[SocketAddr], look: &Lookout) -> Result<Wire, ReachError> {
    let mut failure = ReachError::Io(io::ErrorKind::AddrNotAvailable.into());
    for (at, addr) in addrs.iter().enumerate() {
        let share = look.left() / (addrs.len() - at) as u32;
        failure = match open(*addr, share.clamp(AT_LEAST, EACH), look) {
            Err(err @ ReachError::Stopped(_)) => return Err(err),
            Err(err) => err,
            Ok(wire) => return Ok(wire),
        };
        log::debug!("{failure}");
    }
    Err(failure)
}

/// A connection to `addr`, which must come about within `within`.
pub(super) fn open(addr: SocketAddr, within: Duration, look: &Lookout) -> Result<Wire, ReachError> {
    look.check()?;
    let fail = |err: io::Error| failure(addr, err);
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP)).map_err(fail)?;
    socket.set_nonblocking(true).map_err(fail)?;
    socket.set_tcp_nodelay(true).map_err(fail)?;
    match socket.connect(&addr.into()) {
        Err(err) if err.raw_os_error() == Some(libc::EINPROGRESS) => {
            let step = look.until(within);
            loop {
                match step.check() {
                    Err(Stop::Late) if look.check().is_ok() => return Err(ReachError::Timeout(addr)),
                    other => other?,
                }
                let mut entries = [Entry::new(socket.as_raw_fd(), false, true)];
                poll::wait(&mut entries, step.left().min(SLICE)).map_err(fail)?;
                if entries[0].writable() {
                    break;
                }
            }
            if let Some(err) = socket.take_error().map_err(fail)? {
                return Err(fail(err));
            }
        }
        other => other.map_err(fail)?,
    }
    Ok(Wire::new(TcpStream::from(socket), addr))
}

fn failure(addr: SocketAddr, err: io::Error) -> ReachError {
    use io::ErrorKind::{
        AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkDown, NetworkUnreachable, PermissionDenied,
        TimedOut,
    };
    match err.kind() {
        ConnectionRefused => ReachError::Refused(addr),
        TimedOut => ReachError::Timeout(addr),
        HostUnreachable | NetworkUnreachable | NetworkDown | AddrNotAvailable | PermissionDenied => {
            ReachError::Unreachable(addr, err)
        }
        _ => ReachError::Io(err),
    }
}
