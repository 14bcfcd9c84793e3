//! Which peers are near: those in one of the subnets of the machine's own interfaces, which may change while the service
//! runs. It knows nothing of users and rights.

use std::io;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use super::lock;
use crate::sys::net::Subnet;

/// How long the machine's subnets are taken as unchanged.
const KEEP: Duration = Duration::from_secs(5);

/// The subnets around this machine, read from its interfaces.
pub struct Vicinity {
    read: fn() -> io::Result<Vec<Subnet>>,
    seen: Mutex<Option<(Duration, Vec<Subnet>)>>,
}

impl Vicinity {
    /// A view through `read`, which asks the system.
    pub fn new(read: fn() -> io::Result<Vec<Subnet>>) -> Self {
        Vicinity { read, seen: Mutex::default() }
    }

    /// Whether a peer is in one of the machine's own subnets. One without an address never is.
    pub fn contains(&self, peer: Option<IpAddr>, now: Duration) -> bool {
        let Some(ip) = peer else { return false };
        // A prefix of no bits says nothing about nearness; point-to-point links may have it.
        let near = |all: &[Subnet]| all.iter().any(|it| it.prefix != 0 && it.contains(ip));
        if let Some((at, subnets)) = &*lock(&self.seen)
            && now.saturating_sub(*at) < KEEP
        {
            return near(subnets);
        }
        let subnets = (self.read)().unwrap_or_else(|err| {
            log::error!("cannot read the network interfaces, so no peer counts as local: {err}");
            Vec::new()
        });
        let res = near(&subnets);
        *lock(&self.seen) = Some((now, subnets));
        res
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! { static READS: Cell<u32> = const { Cell::new(0) }; }

    fn read() -> io::Result<Vec<Subnet>> {
        READS.set(READS.get() + 1);
        let net = |addr: &str, prefix| Subnet { addr: addr.parse().unwrap(), prefix };
        Ok(vec![net("192.168.1.7", 24), net("fe80::1", 64), net("10.0.0.1", 0)])
    }

    #[test]
    fn near_is_what_shares_a_subnet() {
        let vicinity = Vicinity::new(read);
        let cases = [
            (Some("192.168.1.200"), true),
            (Some("::ffff:192.168.1.200"), true),
            (Some("192.168.2.1"), false),
            (Some("8.8.8.8"), false),
            (Some("fe80::abcd"), true),
            (Some("2001:db8::1"), false),
            (None, false),
        ];
        for (peer, near) in cases {
            assert_eq!(vicinity.contains(peer.map(|it| it.parse().unwrap()), Duration::ZERO), near, "{peer:?}");
        }
    }

    #[test]
    fn interfaces_are_read_again_after_five_seconds() {
        let vicinity = Vicinity::new(read);
        let peer = Some("192.168.1.200".parse().unwrap());
        for (seconds, reads) in [(100, 1), (104, 1), (105, 2), (109, 2), (110, 3)] {
            assert!(vicinity.contains(peer, Duration::from_secs(seconds)));
            assert_eq!(READS.get(), reads, "at {seconds} s");
        }
    }

    #[test]
    fn nobody_is_near_when_interfaces_cannot_be_read() {
        let vicinity = Vicinity::new(|| Err(io::ErrorKind::PermissionDenied.into()));
        assert!(!vicinity.contains(Some("127.0.0.1".parse().unwrap()), Duration::ZERO));
    }
}
