//! Reaching out: names to addresses, addresses to connections, TLS and HTTP on top. Every wait ends with the operation's
//! deadline or its cancel flag, and nothing is reached that the configuration does not allow. It does not know what for.

mod connect;
pub mod dns;
mod error;
pub mod http;
mod policy;
mod tls;
mod verifier;
mod wire;

#[cfg(test)]
pub(in crate::drivers) mod testing;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dns::Found;
use dns::message::Data;
use policy::Policy;
use rustls::ClientConfig;

use super::Watch;
use crate::config::Config;
use crate::sys::{clock, random};
pub use error::{ReachError, Stop};
pub use http::{HttpAgent, HttpReply, HttpRequest};
pub use policy::Special;
pub use tls::TlsFault;
pub use wire::{Attended, Wire};

/// The longest wait without a look at the cancel flag.
const SLICE: Duration = Duration::from_millis(100);
/// Mail hosts of one domain that are tried.
const MAX_MAIL_HOSTS: usize = 64;

/// Until when work may go on, and whether it still may. Made once per operation.
#[derive(Clone, Copy)]
pub struct Lookout<'a> {
    /// Whoever runs the operation.
    pub watch: &'a dyn Watch,
    /// A reading of the boot clock.
    pub deadline: Duration,
}

impl<'a> Lookout<'a> {
    /// From now on, for `within`.
    pub fn new(watch: &'a dyn Watch, within: Duration) -> Lookout<'a> {
        Lookout { watch, deadline: clock::boottime() + within }
    }

    /// Whether the work is to end; to be asked at least every 250 ms.
    pub fn check(&self) -> Result<(), Stop> {
        if self.watch.cancelled() {
            return Err(Stop::Cancelled);
        }
        if self.left().is_zero() { Err(Stop::Late) } else { Ok(()) }
    }

    /// What is left of the time.
    pub fn left(&self) -> Duration {
        self.deadline.saturating_sub(clock::boottime())
    }

    /// The same work, for a step of it that may take no longer than `step` from now.
    pub fn until(&self, step: Duration) -> Lookout<'a> {
        Lookout { deadline: self.deadline.min(clock::boottime() + step), ..*self }
    }
}

/// What an operation needs to get out. Cheap to make and to clone; holds no connection. System files are read when they
/// are needed, the trusted roots once.
#[derive(Clone)]
pub struct Reach {
    policy: Policy,
    bundle: Option<PathBuf>,
    files: dns::Files,
    tls: Arc<OnceLock<Result<Arc<ClientConfig>, TlsFault>>>,
}

/// A host that takes mail for a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailHost {
    /// Its name.
    pub host: String,
    /// Lower ones come first; 0 for a domain that is its own mail host.
    pub preference: u16,
}

impl Reach {
    /// With the `allow_targets` and `tls.ca_file` of a configuration.
    pub fn new(config: &Config) -> Reach {
        Reach {
            policy: Policy::new(&config.allow_targets, config.bench),
            bundle: config.tls.ca_file.clone(),
            files: dns::Files::default(),
            tls: Arc::default(),
        }
    }

    /// The addresses of a host that the meter may connect to, IPv6 first; `host` may be a literal, also in brackets. An
    /// error if there is none, or none that is allowed.
    pub fn resolve(&self, host: &str, look: &Lookout) -> Result<Vec<IpAddr>, ReachError> {
        let literal = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
        let all = match literal.parse() {
            Ok(addr) => vec![addr],
            Err(_) => dns::addresses(&self.files, host, look)?,
        };
        let (mut res, mut refused) = (Vec::new(), None);
        for addr in all {
            match self.policy.check(addr) {
                Ok(()) => res.push(addr),
                Err(why) => refused = refused.or(Some(ReachError::Forbidden { host: host.into(), addr, why })),
            }
        }
        match refused {
            Some(err) if res.is_empty() => Err(err),
            _ => Ok(res),
        }
    }

    /// The hosts that take mail for a domain, in the order in which they are to be tried; those of equal preference in
    /// random order (RFC 5321, 5.1). A domain without any is its own; one that takes no mail is an error.
    pub fn mail_hosts(&self, domain: &str, look: &Lookout) -> Result<Vec<MailHost>, ReachError> {
        let records = match dns::mail_hosts(&self.files, domain, look)? {
            Found::Records(records) => records,
            Found::NoData => return Ok(vec![MailHost { host: domain.into(), preference: 0 }]),
            Found::NoName => return Err(ReachError::NoSuchHost(domain.into())),
        };
        let only_null = records.iter().all(|it| matches!(it, Data::MailHost(_, name) if name.is_root()));
        let mut res: Vec<(u64, MailHost)> = Vec::new();
        for it in records {
            if let Data::MailHost(preference, name) = it
                && let Some(host) = name.host()
            {
                let dice = u64::from(u32::from_ne_bytes(random::bytes()));
                res.push((u64::from(preference) << 32 | dice, MailHost { host, preference }));
            }
        }
        res.sort_by_key(|it| it.0);
        res.truncate(MAX_MAIL_HOSTS);
        match res.is_empty() {
            true if only_null => Err(ReachError::NullMx(domain.into())),
            true => Err(ReachError::NoAddress(domain.into())),
            false => Ok(res.into_iter().map(|it| it.1).collect()),
        }
    }

    /// A connection to the first address of `host` that takes one.
    pub fn connect(&self, host: &str, port: u16, look: &Lookout) -> Result<Wire, ReachError> {
        let addrs: Vec<_> = self.resolve(host, look)?.into_iter().map(|it| SocketAddr::new(it, port)).collect();
        connect::first(&addrs, look)
    }

    /// A connection to one address, if it is allowed.
    pub fn connect_to(&self, addr: SocketAddr, look: &Lookout) -> Result<Wire, ReachError> {
        self.allow(addr)?;
        connect::first(&[addr], look)
    }

    /// Encrypts a connection from here on; the other side must prove that it is `name`, a host's name or a literal
    /// address.
    pub fn encrypt(&self, wire: Wire, name: &str, look: &Lookout) -> Result<Wire, ReachError> {
        let config = self.tls.get_or_init(|| tls::client(self.bundle.as_deref()));
        let config = config.clone().map_err(ReachError::Tls)?;
        wire.encrypt(config, tls::server_name(name).map_err(ReachError::Tls)?, look)
    }

    /// An HTTP client whose waits end with `look`. It takes no proxy from the environment.
    pub fn agent<'a>(&self, look: &Lookout<'a>) -> HttpAgent<'a> {
        HttpAgent::new(self.clone(), look)
    }

    fn allow(&self, addr: SocketAddr) -> Result<(), ReachError> {
        let host = || addr.ip().to_string();
        self.policy.check(addr.ip()).map_err(|why| ReachError::Forbidden { host: host(), addr: addr.ip(), why })
    }
}

#[cfg(test)]
mod tests;
