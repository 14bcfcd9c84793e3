//! Where a request came from, as far as the gate vouches for it.

use std::net::IpAddr;

/// The client at the other end, behind the meter's own TLS front if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address; absent for a Unix listener whose front is not believed. An absent peer is never local.
    pub ip: Option<IpAddr>,
    /// Whether the client's connection is encrypted (the trusted front said `https`).
    pub secure: bool,
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.ip {
            Some(ip) => write!(f, "{ip}"),
            None => f.write_str("unknown"),
        }
    }
}
