//! What the system says about names: resolv.conf(5) and hosts(5), read anew for every question, because the network
//! changes under a running service.

use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The port of name servers.
const PORT: u16 = 53;
/// Name servers that are asked; the C library's number.
const MAX_SERVERS: usize = 3;
/// Domains in which a name of one label is looked for.
const MAX_SEARCH: usize = 6;
/// Bytes of either file that are looked at.
const MAX_BYTES: u64 = 256 * 1024;

/// Where the files are.
#[derive(Clone, Debug)]
pub(in super::super) struct Files {
    pub resolv: PathBuf,
    pub hosts: PathBuf,
}

impl Default for Files {
    fn default() -> Self {
        Files { resolv: "/etc/resolv.conf".into(), hosts: "/etc/hosts".into() }
    }
}

/// How names are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Settings {
    /// Servers in the order in which they are asked.
    pub servers: Vec<SocketAddr>,
    /// Domains in which a name of one label is looked for.
    pub search: Vec<String>,
    /// How long one server has for its answer.
    pub timeout: Duration,
    /// How often each server is asked.
    pub attempts: u32,
}

/// The settings of resolv.conf. Without the file or a server in it, the server is this machine (resolv.conf(5)).
pub(super) fn settings(path: &Path) -> Settings {
    parse_settings(&text(path))
}

fn parse_settings(text: &str) -> Settings {
    let mut res = Settings { servers: Vec::new(), search: Vec::new(), timeout: Duration::from_secs(5), attempts: 2 };
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("nameserver") => res.servers.extend(words.next().and_then(server)),
            Some("search" | "domain") => {
                let domains = words.map(|it| it.trim_end_matches('.').to_string());
                res.search = domains.filter(|it| !it.is_empty()).take(MAX_SEARCH).collect();
            }
            Some("options") => words.for_each(|it| option(it, &mut res)),
            _ => {}
        }
    }
    res.servers.truncate(MAX_SERVERS);
    if res.servers.is_empty() {
        res.servers.push(SocketAddr::from(([127, 0, 0, 1], PORT)));
    }
    res
}

/// A server's address, perhaps with the interface by which a link-local one is reached.
fn server(text: &str) -> Option<SocketAddr> {
    if let Ok(addr) = text.parse::<IpAddr>() {
        return Some(SocketAddr::new(addr, PORT));
    }
    let (addr, zone) = text.split_once('%')?;
    let scope = crate::sys::net::interface_index(zone)?;
    Some(std::net::SocketAddrV6::new(addr.parse().ok()?, PORT, 0, scope).into())
}

/// `timeout:n` and `attempts:n`, bounded as in the C library; all other options are about things that we do not do.
fn option(text: &str, settings: &mut Settings) {
    match text.split_once(':').map(|(name, value)| (name, value.parse::<u64>())) {
        Some(("timeout", Ok(seconds))) => settings.timeout = Duration::from_secs(seconds.clamp(1, 30)),
        Some(("attempts", Ok(number))) => settings.attempts = number.clamp(1, 5) as u32,
        _ => {}
    }
}

/// The addresses of a host's name in the hosts file.
pub(super) fn hosts(path: &Path, host: &str) -> Vec<IpAddr> {
    parse_hosts(&text(path), host)
}

fn parse_hosts(text: &str, host: &str) -> Vec<IpAddr> {
    let host = host.trim_end_matches('.');
    let lines = text.lines().map(|it| it.split('#').next().unwrap_or_default());
    let found = lines.filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let addr = words.next()?.parse().ok()?;
        words.any(|it| it.eq_ignore_ascii_case(host)).then_some(addr)
    });
    found.collect()
}

/// What cannot be read is as good as not there: a meter without the file asks the default server.
fn text(path: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut res = Vec::new();
        File::open(path)?.take(MAX_BYTES).read_to_end(&mut res)?;
        Ok(res)
    };
    match read() {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(err) => {
            log::debug!("{}: {err}", path.display());
            String::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addrs(text: &[&str]) -> Vec<SocketAddr> {
        text.iter().map(|it| SocketAddr::new(it.parse().unwrap(), 53)).collect()
    }

    #[test]
    fn resolv_conf_is_read_as_the_c_library_does() {
        let text = "; old\n# new\nnameserver 192.0.2.1\nnameserver 2001:db8::1 # here\nnameserver nonsense\n\
            domain first.test\nsearch a.test b.test.\noptions ndots:2 timeout:3 attempts:9 timeout:x rotate\n\
            nameserver fe80::1%no-such-interface\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n";
        let settings = parse_settings(text);
        assert_eq!(settings.servers, addrs(&["192.0.2.1", "2001:db8::1", "192.0.2.3"]));
        assert_eq!(settings.search, ["a.test", "b.test"]);
        assert_eq!((settings.timeout, settings.attempts), (Duration::from_secs(3), 5));
    }

    #[test]
    fn without_anything_this_machine_is_asked() {
        let settings = parse_settings("");
        assert_eq!(settings.servers, addrs(&["127.0.0.1"]));
        assert_eq!((settings.timeout, settings.attempts), (Duration::from_secs(5), 2));
        assert_eq!(super::settings(Path::new("/nonexistent/resolv.conf")), settings);
    }

    #[test]
    fn a_server_may_be_on_a_link() {
        let SocketAddr::V6(addr) = parse_settings("nameserver fe80::1%lo").servers[0] else { panic!() };
        assert_ne!(addr.scope_id(), 0);
    }

    #[test]
    fn hosts_are_found_by_every_name() {
        let text = "127.0.0.1 localhost\n192.0.2.9\tNas.home nas # other\n2001:db8::9 nas\nbad nas\n#192.0.2.8 nas\n";
        let found = |host: &str| parse_hosts(text, host).iter().map(|it| it.to_string()).collect::<Vec<_>>();
        assert_eq!(found("nas"), ["192.0.2.9", "2001:db8::9"]);
        assert_eq!(found("NAS.home."), ["192.0.2.9"]);
        assert!(found("other").is_empty() && found("na").is_empty());
    }
}
