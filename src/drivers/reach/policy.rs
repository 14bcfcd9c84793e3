//! Which addresses the meter may connect to when somebody else chooses: not itself, nor what is only reached from where
//! it stands, unless the configuration permits it. It decides about addresses, never about names.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::sys::net::{self, Subnet, canonical};

/// What is special about an address that is refused.
#[derive(Debug)]
pub enum Special {
    /// 127.0.0.0/8 and ::1.
    Loopback,
    /// 169.254.0.0/16 and fe80::/10.
    LinkLocal,
    /// 224.0.0.0/4 and ff00::/8.
    Multicast,
    /// 0.0.0.0/8 and ::, by which a system reaches itself.
    Unspecified,
    /// 255.255.255.255.
    Broadcast,
    /// An address of one of the meter's interfaces.
    Own,
    /// The meter's own addresses cannot be found out, so nothing is known of this one.
    Unknown(io::Error),
}

impl fmt::Display for Special {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Special::Loopback => "a loopback address",
            Special::LinkLocal => "a link-local address",
            Special::Multicast => "a multicast address",
            Special::Unspecified => "an unspecified address",
            Special::Broadcast => "a broadcast address",
            Special::Own => "an address of the meter itself",
            Special::Unknown(err) => return write!(f, "the meter's own addresses are unknown ({err})"),
        })
    }
}

/// What the configuration says about targets.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    allowed: Vec<Subnet>,
    loopback: bool,
}

impl Policy {
    /// `allowed` are networks that are fine whatever they are; `loopback` allows loopback as a whole (bench mode).
    pub fn new(allowed: &[Subnet], loopback: bool) -> Policy {
        Policy { allowed: allowed.to_vec(), loopback }
    }

    /// Whether the configuration names this address as one that is fine.
    pub fn permits(&self, addr: IpAddr) -> bool {
        let addr = canonical(addr);
        self.allowed.iter().any(|it| it.contains(addr)) || self.loopback && addr.is_loopback()
    }

    /// Whether the meter may connect there.
    pub fn check(&self, addr: IpAddr) -> Result<(), Special> {
        let addr = canonical(addr);
        if self.permits(addr) {
            return Ok(());
        }
        match special(addr) {
            Some(special) => Err(special),
            None => match net::interfaces() {
                Ok(own) if own.iter().any(|it| is_or_means(addr, canonical(it.addr))) => Err(Special::Own),
                Ok(_) => Ok(()),
                Err(err) => Err(Special::Unknown(err)),
            },
        }
    }
}

/// Whether an address is `own`, or one for which some router on the way would take it.
fn is_or_means(addr: IpAddr, own: IpAddr) -> bool {
    let inner = match addr {
        IpAddr::V6(it) => embedded(it).map(IpAddr::V4),
        IpAddr::V4(_) => None,
    };
    addr == own || inner == Some(own)
}

/// What can be said of an address without knowing the machine.
fn special(addr: IpAddr) -> Option<Special> {
    match addr {
        IpAddr::V4(it) if it.is_loopback() => Some(Special::Loopback),
        IpAddr::V4(it) if it.is_link_local() => Some(Special::LinkLocal),
        IpAddr::V4(it) if it.is_multicast() => Some(Special::Multicast),
        IpAddr::V4(it) if it.octets()[0] == 0 => Some(Special::Unspecified),
        IpAddr::V4(it) if it.is_broadcast() => Some(Special::Broadcast),
        IpAddr::V4(_) => None,
        IpAddr::V6(it) if it.is_loopback() => Some(Special::Loopback),
        IpAddr::V6(it) if it.is_unicast_link_local() => Some(Special::LinkLocal),
        IpAddr::V6(it) if it.is_multicast() => Some(Special::Multicast),
        IpAddr::V6(it) if it.is_unspecified() => Some(Special::Unspecified),
        IpAddr::V6(it) => embedded(it).and_then(|it| special(it.into())),
    }
}

/// The IPv4 address for which some router on the way would take an IPv6 address: mapped, compatible (RFC 4291, 2.5.5),
/// translated (RFC 2765, RFC 6052, RFC 8215) or 6to4 (RFC 3056).
fn embedded(addr: Ipv6Addr) -> Option<Ipv4Addr> {
    let low = |bits: u128| Ipv4Addr::from_bits(bits as u32);
    match addr.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => Some(low(addr.to_bits())),
        [0, 0, 0, 0, 0xffff, 0, ..] | [0x64, 0xff9b, 1, ..] => Some(low(addr.to_bits())),
        [0x2002, ..] => Some(low(addr.to_bits() >> 80)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(policy: &Policy, addr: &str, expect: &str) {
        let got = policy.check(addr.parse().unwrap());
        let got = got.map_or_else(|it| it.to_string(), |()| "fine".into());
        assert!(got.contains(expect), "{addr}: {got}\nexpected {expect}");
    }

    #[test]
    fn special_addresses_are_refused_in_every_disguise() {
        let policy = Policy::new(&[], false);
        for (addr, expect) in [
            ("127.0.0.1", "loopback"),
            ("127.255.1.2", "loopback"),
            ("::1", "loopback"),
            ("::ffff:127.0.0.1", "loopback"),
            ("::127.0.0.1", "loopback"),
            ("64:ff9b::7f00:1", "loopback"),
            ("2002:7f00:1::1", "loopback"),
            ("::ffff:0:127.0.0.1", "loopback"),
            ("64:ff9b:1::127.0.0.1", "loopback"),
            ("169.254.169.254", "link-local"),
            ("fe80::1", "link-local"),
            ("febf::1", "link-local"),
            ("::ffff:169.254.1.1", "link-local"),
            ("224.0.0.1", "multicast"),
            ("239.255.255.255", "multicast"),
            ("ff02::1", "multicast"),
            ("0.0.0.0", "unspecified"),
            ("0.1.2.3", "unspecified"),
            ("::", "unspecified"),
            ("::ffff:0.0.0.0", "unspecified"),
            ("255.255.255.255", "broadcast"),
            ("192.0.2.1", "fine"),
            ("::ffff:192.0.2.1", "fine"),
            ("64:ff9b::c000:201", "fine"),
            ("2001:db8::1", "fine"),
        ] {
            check(&policy, addr, expect);
        }
    }

    #[test]
    fn own_addresses_are_refused() {
        let policy = Policy::new(&[], false);
        // Which addresses a machine has is not for a test to say; what stands for one is.
        for own in net::interfaces().unwrap().into_iter().filter(|it| special(it.addr).is_none()) {
            check(&policy, &own.addr.to_string(), "of the meter itself");
        }
        let means = |addr: &str| is_or_means(addr.parse().unwrap(), "10.9.0.1".parse().unwrap());
        for addr in ["10.9.0.1", "::10.9.0.1", "64:ff9b::10.9.0.1", "2002:a09:1::1"] {
            assert!(means(addr), "{addr}");
        }
        assert!(!means("10.9.0.2") && !means("64:ff9b::10.9.0.2") && !means("2001:db8::1"));
    }

    #[test]
    fn the_configuration_permits_what_it_names_and_no_more() {
        let net = |addr: &str, prefix| Subnet { addr: addr.parse().unwrap(), prefix };
        let policy = Policy::new(&[net("127.0.0.0", 30), net("fe80::", 10)], false);
        for (addr, expect) in [
            ("127.0.0.1", "fine"),
            ("::ffff:127.0.0.1", "fine"),
            ("127.0.0.4", "loopback"),
            ("::1", "loopback"),
            ("fe80::9", "fine"),
            ("169.254.0.1", "link-local"),
        ] {
            check(&policy, addr, expect);
        }
        let bench = Policy::new(&[], true);
        check(&bench, "127.9.9.9", "fine");
        check(&bench, "::1", "fine");
        check(&bench, "64:ff9b::7f00:1", "loopback");
        check(&bench, "0.0.0.0", "unspecified");
        assert!(!bench.permits("192.0.2.1".parse().unwrap()));
    }
}
