//! Addresses: the machine's own interfaces, and which addresses count as one peer.

use std::ffi::{CStr, CString};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// A port that takes what it gets and never answers (RFC 863); any would do.
const DISCARD: u16 = 9;

/// One address of an interface with the length of its network prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// The interface's own address.
    pub addr: IpAddr,
    /// Bits of the network part.
    pub prefix: u32,
}

impl Subnet {
    /// Whether `ip` is in this subnet.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.addr, canonical(ip)) {
            (IpAddr::V4(own), IpAddr::V4(ip)) => {
                let mask = u32::MAX.checked_shl(32 - self.prefix).unwrap_or(0);
                own.to_bits() & mask == ip.to_bits() & mask
            }
            (IpAddr::V6(own), IpAddr::V6(ip)) => {
                let mask = u128::MAX.checked_shl(128 - self.prefix).unwrap_or(0);
                own.to_bits() & mask == ip.to_bits() & mask
            }
            _ => false,
        }
    }
}

/// An IPv4 address that arrived on an IPv6 socket (`::ffff:a.b.c.d`) as the IPv4 address it is.
pub fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// The address under which a peer's connections and failures are counted: IPv4 as it is, IPv6 by its /64, because a
/// single host owns at least that much.
pub fn group(ip: IpAddr) -> IpAddr {
    match canonical(ip) {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64))),
        ip => ip,
    }
}

/// The subnets of every configured interface, loopback included (getifaddrs(3)).
pub fn interfaces() -> io::Result<Vec<Subnet>> {
    let mut res = Vec::new();
    each(|it| {
        // SAFETY: both pointers come from the same element, whose addresses are of the family they say.
        if let Some((addr, mask)) = unsafe { ip_of(it.ifa_addr).zip(ip_of(it.ifa_netmask)) } {
            let prefix = match mask {
                IpAddr::V4(mask) => mask.to_bits().leading_ones(),
                IpAddr::V6(mask) => mask.to_bits().leading_ones(),
            };
            res.push(Subnet { addr, prefix });
        }
    })?;
    Ok(res)
}

/// The name of the interface by which `peer` is reached, as routing stands now; nothing if there is no way to it.
pub fn interface_towards(peer: IpAddr) -> io::Result<Option<String>> {
    let peer = canonical(peer);
    let any: IpAddr = if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // Connecting a datagram socket sends nothing; it only asks the kernel which address it would send from.
    let socket = UdpSocket::bind((any, 0))?;
    if socket.connect((peer, DISCARD)).is_err() {
        return Ok(None);
    }
    let own = socket.local_addr()?.ip();
    let mut res = None;
    each(|it| {
        // SAFETY: the address is null or of the family that it says.
        if unsafe { ip_of(it.ifa_addr) } == Some(own) {
            // SAFETY: the name is a C string of the live element.
            res = Some(unsafe { CStr::from_ptr(it.ifa_name) }.to_string_lossy().into_owned());
        }
    })?;
    Ok(res)
}

/// The number of an interface; nothing if there is none of this name.
pub fn interface_index(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: the name is a live C string; the call only reads it.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}

/// Shows every address of every interface (getifaddrs(3)).
fn each(mut show: impl FnMut(&libc::ifaddrs)) -> io::Result<()> {
    let mut head: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: on success the C library stores the head of a list that it owns until freeifaddrs below.
    super::check(unsafe { libc::getifaddrs(&mut head) })?;
    let mut at = head;
    while !at.is_null() {
        // SAFETY: `at` is a live element of the list.
        let it = unsafe { &*at };
        show(it);
        at = it.ifa_next;
    }
    // SAFETY: `head` came from getifaddrs and is freed once.
    unsafe { libc::freeifaddrs(head) };
    Ok(())
}

/// The address in a socket address of either IP family.
///
/// # Safety
/// `at` is null or points to a live socket address as large as its family says.
unsafe fn ip_of(at: *const libc::sockaddr) -> Option<IpAddr> {
    if at.is_null() {
        return None;
    }
    // SAFETY: every socket address begins with its family; the casts follow it, as the caller promises.
    unsafe {
        match libc::c_int::from((*at).sa_family) {
            libc::AF_INET => {
                let it = at.cast::<libc::sockaddr_in>().read_unaligned();
                Some(Ipv4Addr::from_bits(u32::from_be(it.sin_addr.s_addr)).into())
            }
            libc::AF_INET6 => {
                let it = at.cast::<libc::sockaddr_in6>().read_unaligned();
                Some(Ipv6Addr::from(it.sin6_addr.s6_addr).into())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_among_the_interfaces() {
        let all = interfaces().unwrap();
        assert!(all.iter().any(|it| it.contains("127.9.9.9".parse().unwrap())), "{all:?}");
    }

    #[test]
    fn a_way_leads_over_an_interface() {
        assert_eq!(interface_towards("127.0.0.1".parse().unwrap()).unwrap().as_deref(), Some("lo"));
    }

    #[test]
    fn a_prefix_decides_membership() {
        let net = Subnet { addr: "192.168.1.7".parse().unwrap(), prefix: 24 };
        assert!(net.contains("192.168.1.200".parse().unwrap()));
        assert!(net.contains("::ffff:192.168.1.200".parse().unwrap()));
        assert!(!net.contains("192.168.2.1".parse().unwrap()));
        let all = Subnet { addr: "0.0.0.0".parse().unwrap(), prefix: 0 };
        assert!(all.contains("8.8.8.8".parse().unwrap()));
    }

    #[test]
    fn an_ipv6_peer_is_its_slash_64() {
        assert_eq!(group("2001:db8::1:2:3:4".parse().unwrap()), "2001:db8::".parse::<IpAddr>().unwrap());
        assert_eq!(group("::ffff:10.0.0.1".parse().unwrap()), "10.0.0.1".parse::<IpAddr>().unwrap());
    }
}
