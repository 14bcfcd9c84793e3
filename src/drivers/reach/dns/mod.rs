//! A small DNS client of our own: the C library's can neither be cancelled nor asked for mail hosts. It asks the servers
//! of resolv.conf over UDP, over TCP if the answer is too long, the next one if one fails, and follows aliases.

pub mod message;
mod system;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use message::{Answer, BadAnswer, Data, Kind, Name};

use super::{Lookout, ReachError, SLICE, Stop, connect};
use crate::sys::poll::{self, Entry};
use crate::sys::random;
pub(super) use system::{Files, Settings};

/// Aliases that are followed for one question; the C library's servers follow about as many.
const MAX_ALIASES: usize = 8;
/// Bytes of a datagram. Nobody was told that more than 512 may be sent, but some do.
const MAX_DATAGRAM: usize = 4096;
/// Addresses of one name.
const MAX_ADDRESSES: usize = 16;

/// What the DNS says of a name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Records of the wanted kind.
    Records(Vec<Data>),
    /// The name exists and has none.
    NoData,
    /// There is no such name.
    NoName,
}

/// All addresses of a host's name: of the hosts file, else of the DNS; IPv6 first. No policy is applied.
pub(super) fn addresses(files: &Files, host: &str, look: &Lookout) -> Result<Vec<IpAddr>, ReachError> {
    let listed = system::hosts(&files.hosts, host);
    if !listed.is_empty() {
        return Ok(in_order(listed));
    }
    // Never asked of a server (RFC 6761, 6.3).
    let plain = host.trim_end_matches('.').to_ascii_lowercase();
    if plain == "localhost" || plain.ends_with(".localhost") {
        return Ok(vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()]);
    }
    let settings = system::settings(&files.resolv);
    let mut missing = ReachError::NoSuchHost(host.into());
    for name in candidates(host, &settings)? {
        match both(&settings, &name, look)? {
            Found::Records(records) => {
                let all = records.into_iter().filter_map(|it| match it {
                    Data::Address(addr) => Some(addr),
                    _ => None,
                });
                return Ok(in_order(all.take(MAX_ADDRESSES).collect()));
            }
            Found::NoData => missing = ReachError::NoAddress(host.into()),
            Found::NoName => {}
        }
    }
    Err(missing)
}

/// The mail hosts that the DNS has for a domain.
pub(super) fn mail_hosts(files: &Files, domain: &str, look: &Lookout) -> Result<Found, ReachError> {
    let name = Name::parse(domain).ok_or_else(|| ReachError::NoSuchHost(domain.into()))?;
    lookup(&system::settings(&files.resolv), &name, Kind::Mx, look)
}

/// The names that `host` may stand for: one of a single label is looked for in the system's domains first.
fn candidates(host: &str, settings: &Settings) -> Result<Vec<Name>, ReachError> {
    let own = Name::parse(host).ok_or_else(|| ReachError::NoSuchHost(host.into()))?;
    let mut res = Vec::new();
    if !host.contains('.') {
        res.extend(settings.search.iter().filter_map(|domain| Name::parse(&format!("{host}.{domain}"))));
    }
    res.push(own);
    Ok(res)
}

/// IPv6 first, each address once.
fn in_order(addrs: Vec<IpAddr>) -> Vec<IpAddr> {
    let mut res: Vec<IpAddr> = Vec::new();
    for addr in addrs.iter().filter(|it| it.is_ipv6()).chain(addrs.iter().filter(|it| it.is_ipv4())) {
        if !res.contains(addr) {
            res.push(*addr);
        }
    }
    res
}

/// Addresses of both families. Some servers never answer questions for IPv6, so the other one goes first and is enough.
fn both(settings: &Settings, name: &Name, look: &Lookout) -> Result<Found, ReachError> {
    let first = lookup(settings, name, Kind::A, look);
    let mut records = match first {
        Ok(Found::Records(records)) => records,
        Ok(Found::NoData) => Vec::new(),
        other => return other,
    };
    match lookup(settings, name, Kind::Aaaa, look) {
        Ok(Found::Records(more)) => records.extend(more),
        Ok(_) => {}
        Err(err @ ReachError::Stopped(_)) => return Err(err),
        Err(err) if records.is_empty() => return Err(err),
        Err(err) => log::debug!("{err}"),
    }
    Ok(if records.is_empty() { Found::NoData } else { Found::Records(records) })
}

/// What the DNS has of one kind for a name, aliases followed.
fn lookup(settings: &Settings, name: &Name, kind: Kind, look: &Lookout) -> Result<Found, ReachError> {
    let mut at = name.clone();
    let mut hops = 0;
    while hops <= MAX_ALIASES {
        let answer = ask_any(settings, &at, kind, look)?;
        let asked = at.clone();
        // The server usually sends the records at the end of the chain along.
        while hops <= MAX_ALIASES {
            let mine = answer.records.iter().filter(|(owner, _)| *owner == at).map(|it| &it.1);
            let found: Vec<Data> = mine.clone().filter(|it| !matches!(it, Data::Alias(_))).cloned().collect();
            if !found.is_empty() {
                return Ok(Found::Records(found));
            }
            let alias = mine.clone().find_map(|it| match it {
                Data::Alias(target) => Some(target.clone()),
                _ => None,
            });
            match alias {
                Some(target) => (at, hops) = (target, hops + 1),
                None => break,
            }
        }
        match answer.code {
            3 => return Ok(Found::NoName),
            _ if at == asked && hops <= MAX_ALIASES => return Ok(Found::NoData),
            _ => {}
        }
    }
    Err(ReachError::Dns(name.to_string(), format!("more than {MAX_ALIASES} aliases in a row")))
}

/// Asks the servers in turn, until one gives an answer that settles the question.
fn ask_any(settings: &Settings, name: &Name, kind: Kind, look: &Lookout) -> Result<Answer, ReachError> {
    let mut failures: Vec<(SocketAddr, String)> = Vec::new();
    for _ in 0..settings.attempts {
        for server in &settings.servers {
            match ask(settings, *server, name, kind, look) {
                Ok(answer) if matches!(answer.code, 0 | 3) => return Ok(answer),
                Ok(answer) => note(&mut failures, *server, response(answer.code)),
                Err(err) => {
                    look.check()?;
                    note(&mut failures, *server, err);
                }
            }
        }
    }
    let why: Vec<_> = failures.iter().map(|(server, why)| format!("{}: {why}", server.ip())).collect();
    Err(ReachError::Dns(name.to_string(), why.join("; ")))
}

/// Keeps the latest failure of each server.
fn note(failures: &mut Vec<(SocketAddr, String)>, server: SocketAddr, why: String) {
    failures.retain(|it| it.0 != server);
    failures.push((server, why));
}

/// A response code in words (RFC 1035, 4.1.1).
fn response(code: u8) -> String {
    match code {
        1 => "the name server did not understand the question".into(),
        2 => "the name server failed".into(),
        4 => "the name server does not answer such questions".into(),
        5 => "the name server refused to answer".into(),
        code => format!("the name server answered with code {code}"),
    }
}

/// Asks one server; the error says why it was of no use.
fn ask(settings: &Settings, server: SocketAddr, name: &Name, kind: Kind, look: &Lookout) -> Result<Answer, String> {
    let id = u16::from_ne_bytes(random::bytes());
    let question = message::question(id, name, kind);
    let step = look.until(settings.timeout);
    let answer = over_udp(server, &question, &step, |it| message::answer(it, id, name, kind))?;
    if !answer.truncated {
        return Ok(answer);
    }
    let step = look.until(settings.timeout);
    let bytes = over_tcp(server, &question, &step).map_err(|err| match err {
        ReachError::Stopped(Stop::Late) => "no answer in time over TCP".into(),
        err => format!("over TCP: {err}"),
    })?;
    match message::answer(&bytes, id, name, kind) {
        Ok(answer) if !answer.truncated => Ok(answer),
        _ => Err("the name server's answer over TCP is broken".into()),
    }
}

/// One question from a port of its own, which the kernel chooses at random. The socket is connected: it takes datagrams
/// of this server alone, and reports a closed port.
fn over_udp(
    server: SocketAddr,
    question: &[u8],
    step: &Lookout,
    read: impl Fn(&[u8]) -> Result<Answer, BadAnswer>,
) -> Result<Answer, String> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let fail = |err: io::Error| match err.kind() {
        io::ErrorKind::ConnectionRefused => "there is no name server".to_string(),
        _ => err.to_string(),
    };
    let socket = UdpSocket::bind((any, 0)).map_err(fail)?;
    socket.set_nonblocking(true).map_err(fail)?;
    socket.connect(server).map_err(fail)?;
    socket.send(question).map_err(fail)?;
    let mut buf = [0; MAX_DATAGRAM];
    loop {
        step.check().map_err(|_| "no answer in time".to_string())?;
        match socket.recv(&mut buf) {
            // What answers another question is not from whom we asked.
            Ok(length) => match read(&buf[..length]) {
                Err(BadAnswer::Foreign) => {}
                Err(BadAnswer::Broken) => return Err("the name server's answer is broken".into()),
                Ok(answer) => return Ok(answer),
            },
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => {
                let mut entries = [Entry::new(socket.as_raw_fd(), true, false)];
                poll::wait(&mut entries, step.left().min(SLICE)).map_err(fail)?;
            }
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(fail(err)),
        }
    }
}

/// The same question over TCP, where messages have their length in front (RFC 1035, 4.2.2).
fn over_tcp(server: SocketAddr, question: &[u8], step: &Lookout) -> Result<Vec<u8>, ReachError> {
    let mut wire = connect::open(server, step.left(), step)?;
    let length = (question.len() as u16).to_be_bytes();
    wire.write_all(&[&length, question].concat(), step)?;
    let mut length = [0; 2];
    io::Read::read_exact(&mut wire.with(step), &mut length)?;
    let mut res = vec![0; usize::from(u16::from_be_bytes(length))];
    io::Read::read_exact(&mut wire.with(step), &mut res)?;
    Ok(res)
}

#[cfg(test)]
mod tests;
