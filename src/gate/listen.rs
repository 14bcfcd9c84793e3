//! The public listeners: how they are opened, and what each lets its clients claim.
//! It knows addresses and users; requests it sees only as heads.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use socket2::{Domain, SockAddr, Socket, Type};

use super::head::Head;
use super::peers::Who;
use super::refusals::Refusal;
use crate::auth::Peer;
use crate::config::{Forwarded, Listen};
use crate::sys::{net, process};

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 128;

/// One listener.
pub(super) struct Door {
    pub(super) socket: Socket,
    /// Shared with the connections that came through it, which may outlive the listener.
    pub(super) rules: Arc<Rules>,
}

/// Who comes through a listener, and what they may claim.
pub(super) enum Rules {
    /// Clients speak for themselves, and only for themselves.
    Tcp { refuses: bool },
    /// The meter's own web server, which speaks for its clients as far as it is believed.
    Front { number: usize, forwarded: Forwarded, uids: Vec<u32> },
    /// The service asking itself.
    Probe { path: PathBuf },
}

/// Somebody has connected.
pub(super) struct Caller {
    pub(super) socket: Socket,
    pub(super) ip: Option<IpAddr>,
    pub(super) rules: Arc<Rules>,
    /// Under which name the connection is counted.
    pub(super) who: Who,
    /// Why it is not served at all.
    pub(super) refused: Option<Refusal>,
}

impl Door {
    /// Opens a listener of the configuration; `number` tells Unix listeners apart.
    pub(super) fn open(listen: &Listen, number: usize, secure_only: bool) -> io::Result<Door> {
        match listen {
            Listen::Tcp(addr) => {
                let socket = Socket::new(Domain::for_address(*addr), Type::STREAM, None)?;
                socket.set_reuse_address(true)?;
                if addr.is_ipv6() {
                    // Each address is configured by itself, so "[::]" does not take "0.0.0.0" away.
                    socket.set_only_v6(true)?;
                }
                bind(socket, &(*addr).into(), Rules::Tcp { refuses: secure_only })
            }
            Listen::Unix(unix) => {
                let rules = Rules::Front { number, forwarded: unix.forwarded, uids: unix.front_uids.clone() };
                let door = bind(unix_socket(&unix.unix)?, &SockAddr::unix(&unix.unix)?, rules)?;
                // Who may speak is decided by user id, or is anybody on this machine, as on a loopback port.
                fs::set_permissions(&unix.unix, fs::Permissions::from_mode(0o666))?;
                Ok(door)
            }
        }
    }

    /// Opens the listener of the self-probe, in a folder that only this service can enter.
    pub(super) fn open_probe(path: &Path) -> io::Result<Door> {
        bind(unix_socket(path)?, &SockAddr::unix(path)?, Rules::Probe { path: path.into() })
    }

    /// The same listener, once more.
    pub(super) fn try_clone(&self) -> io::Result<Door> {
        Ok(Door { socket: self.socket.try_clone()?, rules: Arc::clone(&self.rules) })
    }

    /// The TCP address that was really bound.
    pub(super) fn local_addr(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok()?.as_socket()
    }

    /// The next one who has connected, if there is one.
    pub(super) fn accept(&self) -> io::Result<Option<Caller>> {
        let (socket, addr) = match self.socket.accept() {
            Ok(it) => it,
            Err(err) => {
                return match err.kind() {
                    ErrorKind::WouldBlock | ErrorKind::ConnectionAborted | ErrorKind::Interrupted => Ok(None),
                    _ => Err(err),
                };
            }
        };
        socket.set_nonblocking(true)?;
        let ip = addr.as_socket().map(|it| net::canonical(it.ip()));
        let (who, refused) = match &*self.rules {
            Rules::Tcp { .. } => {
                // Small answers leave at once; without this they would wait for the client's acknowledgements.
                let _ = socket.set_tcp_nodelay(true);
                (ip.map_or(Who::Turned, |it| Who::Ip(net::group(it))), None)
            }
            Rules::Front { number, uids, .. } => {
                let known = uids.is_empty() || process::peer_uid(&socket).is_ok_and(|it| uids.contains(&it));
                (Who::Front(*number), if known { None } else { Some(Refusal::Stranger) })
            }
            Rules::Probe { .. } => (Who::Probe, None),
        };
        Ok(Some(Caller { socket, ip, rules: self.rules.clone(), who, refused }))
    }
}

impl Rules {
    /// Whether this is a Unix listener.
    pub(super) fn is_unix(&self) -> bool {
        !matches!(self, Rules::Tcp { .. })
    }

    /// Whose request a head is, and under which name its work is counted; or why it is refused here.
    pub(super) fn admits(&self, head: &Head, ip: Option<IpAddr>) -> Result<(Peer, Who), Refusal> {
        let nobody = Peer { ip: None, secure: false };
        match self {
            Rules::Tcp { refuses: true } => Err(Refusal::SecureOnly),
            Rules::Tcp { refuses: false } => {
                let who = ip.map_or(Who::Turned, |it| Who::Ip(net::group(it)));
                Ok((Peer { ip, secure: false }, who))
            }
            Rules::Front { number, forwarded: Forwarded::None, .. } => Ok((nobody, Who::Front(*number))),
            Rules::Front { number, forwarded: Forwarded::Last, .. } => {
                let ip = head.forwarded_for.as_deref().and_then(last_address);
                let who = ip.map_or(Who::Front(*number), |it| Who::Ip(net::group(it)));
                Ok((Peer { ip, secure: head.forwarded_https }, who))
            }
            Rules::Probe { .. } => Ok((nobody, Who::Probe)),
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Rules::Probe { path } = &*self.rules {
            let _ = fs::remove_file(path);
        }
    }
}

/// The last element of a list of addresses: the only one that our own front has written.
fn last_address(list: &str) -> Option<IpAddr> {
    let last = list.rsplit(',').next()?.trim();
    last.parse().ok().map(net::canonical)
}

/// A socket for a path at which an earlier run may have left one.
fn unix_socket(path: &Path) -> io::Result<Socket> {
    match fs::symlink_metadata(path) {
        Ok(it) if it.file_type().is_socket() => fs::remove_file(path)?,
        _ => {}
    }
    Socket::new(Domain::UNIX, Type::STREAM, None)
}

fn bind(socket: Socket, addr: &SockAddr, rules: Rules) -> io::Result<Door> {
    socket.bind(addr)?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(Door { socket, rules: Arc::new(rules) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_forwarded_address_counts() {
        for (list, expect) in [
            ("192.0.2.7", Some("192.0.2.7")),
            ("10.0.0.1, 192.0.2.7", Some("192.0.2.7")),
            ("10.0.0.1,::ffff:192.0.2.7", Some("192.0.2.7")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("192.0.2.7, unknown", None),
            ("192.0.2.7,", None),
            ("", None),
        ] {
            assert_eq!(last_address(list), expect.map(|it| it.parse().unwrap()), "{list}");
        }
    }
}
