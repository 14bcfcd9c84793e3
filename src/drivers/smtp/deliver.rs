//! Which server gets the test mail: the smarthost, or one after the other of those that the recipient's domain names.
//! One deadline stands over all of it. What is said to a server is the dialogue's business.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::Value;

use super::address::{Address, Domain, name};
use super::advice::{self, Tried};
use super::auth::Login;
use super::message::{self, Meter};
use super::reply::Reply;
use super::session::{self, Link, Step, Terms, Tls, Trouble};
use super::transcript::Transcript;
use crate::drivers::Watch;
use crate::drivers::reach::{Lookout, Reach, ReachError, Stop, Wire};
use crate::sys::{clock, random};

/// Where servers take each other's mail.
const SMTP: u16 = 25;
/// Where a server takes mail from those who log in (RFC 6409).
const SUBMISSION: u16 = 587;
/// The same with TLS from the first byte (RFC 8314).
const SUBMISSIONS: u16 = 465;
/// Servers of a domain that are tried.
const SERVERS: usize = 5;
/// Servers of a domain that are named in the log.
const NAMED: usize = 10;

/// The test mail that is wanted.
pub struct Order {
    /// The recipient.
    pub to: Address,
    /// The sender.
    pub from: Address,
    /// The server that takes it; without one the recipient's own servers are asked.
    pub smarthost: Option<Smarthost>,
    /// Who logs in to the smarthost.
    pub login: Option<Login>,
    /// What the mail says of the meter.
    pub meter: Meter,
    /// Whether user and password may go to a server without TLS.
    pub plain_auth: bool,
    /// How long all of it may take.
    pub within: Duration,
}

/// A server that takes mail for everybody who may use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Smarthost {
    /// Name or address.
    pub host: String,
    /// Port; the one for submission if it is not given.
    pub port: u16,
}

/// Why the mail was not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MailError {
    /// Somebody asked to stop.
    Cancelled,
    /// It failed; in words.
    Failed(String),
}

impl fmt::Display for MailError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MailError::Cancelled => f.write_str("Cancelled."),
            MailError::Failed(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for MailError {}

impl Smarthost {
    /// `host` or `host:port`; an IPv6 address with a port stands in brackets. The error says what is wrong.
    pub fn parse(text: &str) -> Result<Smarthost, String> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => match rest.split_once(']') {
                Some((host, "")) => (host, None),
                Some((host, rest)) => (host, Some(rest.strip_prefix(':').unwrap_or_default())),
                None => return Err("has an opening bracket and no closing one.".into()),
            },
            None => match text.split_once(':') {
                Some((_, rest)) if rest.contains(':') => (text, None),
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let is_number = |it: &&str| it.bytes().all(|it| it.is_ascii_digit());
        let port = match port.map(|it| Some(it).filter(is_number).and_then(|it| it.parse().ok())) {
            None => SUBMISSION,
            Some(Some(port)) if port != 0 => port,
            Some(_) => return Err("has no port between 1 and 65535 behind its host.".into()),
        };
        let host = match host.parse::<IpAddr>() {
            Ok(ip) => ip.to_string(),
            Err(_) if host.is_empty() => return Err("has no host.".into()),
            Err(_) => name(host).map_err(|err| err.replace("a domain", "a host name"))?,
        };
        Ok(Smarthost { host, port })
    }
}

/// Sends the mail. Comes back with the dialogue as the WebAPI's result, whether it went well or not.
pub fn send(order: &Order, reach: &Reach, watch: &dyn Watch) -> (Value, Result<(), MailError>) {
    let log = Transcript::new(watch);
    let look = Lookout { watch: &log, deadline: clock::boottime() + order.within };
    log.note(&format!("test mail from {} to {}", order.from, order.to));
    let now = clock::wall();
    let id = format!("{}.{}", now.as_secs(), random::name());
    let message = message::compose(&order.meter, &order.from, &order.to, now, &id);
    let job = Job { order, reach, log: &log, look, message: &message };
    let (res, port) = match &order.smarthost {
        Some(smarthost) => (job.through(smarthost), smarthost.port),
        None => (job.directly(), SMTP),
    };
    let trouble = match res {
        Ok(_) => {
            let last = "Done: the server has taken the mail; if it does not arrive, look into the junk folder.";
            return (log.finish(last), Ok(()));
        }
        Err(trouble) => trouble,
    };
    if matches!(trouble, Trouble::Way(_, ReachError::Stopped(Stop::Cancelled))) {
        return (log.finish(&format!("{}.", watch.reason())), Err(MailError::Cancelled));
    }
    let mut reason = trouble.to_string();
    if matches!(trouble, Trouble::Way(_, ReachError::Stopped(Stop::Late))) && look.check().is_err() {
        reason += &format!(" ({} s for everything)", order.within.as_secs());
    }
    log.note(&format!("not delivered: {reason}"));
    let tried = Tried { smarthost: order.smarthost.is_some(), login: order.login.is_some(), port };
    let last = advice::remedy(&trouble, tried).unwrap_or_default();
    let text = format!("The mail to {} was not delivered: {reason}. Likely remedy: {last}", order.to);
    (log.finish(&format!("Likely remedy: {last}")), Err(MailError::Failed(text)))
}

/// What every attempt needs.
struct Job<'a> {
    order: &'a Order,
    reach: &'a Reach,
    log: &'a Transcript<'a>,
    look: Lookout<'a>,
    message: &'a str,
}

impl Job<'_> {
    fn through(&self, smarthost: &Smarthost) -> Result<Reply, Trouble> {
        let Smarthost { host, port } = smarthost;
        let tls = if *port == SUBMISSIONS { Tls::Immediate } else { Tls::Offered };
        let how = if tls == Tls::Immediate { ", TLS from the first byte" } else { "" };
        self.log.note(&format!("smarthost {host}, port {port}{how}"));
        self.attempt(host, *port, self.order.login.as_ref(), tls, self.look)
    }

    fn directly(&self) -> Result<Reply, Trouble> {
        let hosts = self.hosts()?;
        let hosts = &hosts[..hosts.len().min(SERVERS)];
        let mut res = Err(Trouble::Way(Step::Lookup, ReachError::Closed));
        for (at, host) in hosts.iter().enumerate() {
            // A silent server leaves time for those after it.
            let look = self.look.until(self.look.left() / (hosts.len() - at) as u32);
            res = self.ask(host, look);
            match &res {
                Err(trouble) if at + 1 < hosts.len() && is_passing(trouble, &self.look) => {
                    self.log.note(&format!("{trouble}; trying the next server"));
                }
                _ => break,
            }
        }
        res
    }

    /// The names, or the address, of the servers of the recipient's domain, best first.
    fn hosts(&self) -> Result<Vec<String>, Trouble> {
        let domain = match self.order.to.domain() {
            Domain::Literal(ip) => return Ok(vec![ip.to_string()]),
            Domain::Name(name) => name,
        };
        self.log.step(Step::Lookup);
        self.log.note(&format!("looking up the mail servers of {domain}"));
        let found = self.reach.mail_hosts(domain, &self.look).map_err(|err| Trouble::Way(Step::Lookup, err))?;
        let names: Vec<String> = found.into_iter().map(|it| it.host).collect();
        let more = names.len().saturating_sub(NAMED);
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        self.log.note(&format!("mail servers: {}{rest}", names[..names.len() - more].join(", ")));
        Ok(names)
    }

    /// Asks one server of the domain. Between servers TLS is taken where it works, since most certificates there are
    /// nobody's in particular (RFC 7435), and nothing is said that is secret.
    fn ask(&self, host: &str, look: Lookout) -> Result<Reply, Trouble> {
        let trouble = match self.attempt(host, SMTP, None, Tls::Offered, look) {
            Err(trouble) if is_of_tls(&trouble) => trouble,
            res => return res,
        };
        self.log.note(&format!("{trouble}; again without TLS, as mail between servers does"));
        self.attempt(host, SMTP, None, Tls::GivenUp, look)
    }

    fn attempt(&self, host: &str, port: u16, login: Option<&Login>, tls: Tls, look: Lookout) -> Result<Reply, Trouble> {
        self.log.step(Step::Connect);
        self.log.note(&format!("connecting to {host}, port {port}"));
        let wire = self.reach.connect(host, port, &look).map_err(|err| Trouble::Way(Step::Connect, err))?;
        self.log.note(&format!("connected to {}", wire.peer()));
        let hello = hello(&self.order.meter.hostname, wire.local().ok());
        let terms = Terms {
            hello: &hello,
            from: &self.order.from,
            to: &self.order.to,
            login,
            plain_auth: self.order.plain_auth,
            tls,
            message: self.message,
        };
        let mut line = Line { wire: Some(wire), host, reach: self.reach, look };
        let res = session::deliver(&mut line, self.log, &terms);
        if let Some(wire) = line.wire {
            wire.close(&line.look);
        }
        res
    }
}

/// Whether the same server may take the mail without TLS.
fn is_of_tls(trouble: &Trouble) -> bool {
    match trouble {
        Trouble::Way(Step::Handshake, err) => matches!(err, ReachError::Tls(_) | ReachError::Closed),
        Trouble::Said(step, _) => *step == Step::StartTls,
        _ => false,
    }
}

/// Whether another server of the same domain may do better.
fn is_passing(trouble: &Trouble, look: &Lookout) -> bool {
    match trouble {
        // Sent, and no answer: a second try might deliver it twice.
        Trouble::Way(Step::Content, _) | Trouble::Nonsense(Step::Content, _) => false,
        Trouble::Way(_, ReachError::Stopped(_)) => look.check().is_ok(),
        Trouble::Said(step, reply) => reply.is_transient() || *step < Step::Mail,
        _ => true,
    }
}

/// What the meter calls itself: its name if it is a whole one, else its address (RFC 5321, 4.1.4).
fn hello(hostname: &str, local: Option<SocketAddr>) -> String {
    match (name(hostname), local) {
        (Ok(name), _) if name.contains('.') => name,
        (_, Some(local)) => Domain::Literal(local.ip().to_canonical()).to_string(),
        (Ok(name), None) => name,
        (Err(_), None) => "localhost".into(),
    }
}

/// A connection with its lookout.
struct Line<'a> {
    /// Missing only where a handshake failed, after which nobody asks for it.
    wire: Option<Wire>,
    host: &'a str,
    reach: &'a Reach,
    look: Lookout<'a>,
}

impl Line<'_> {
    fn wire(&mut self) -> Result<&mut Wire, ReachError> {
        self.wire.as_mut().ok_or(ReachError::Closed)
    }
}

impl Link for Line<'_> {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, ReachError> {
        let look = self.look;
        self.wire()?.read(buf, &look)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ReachError> {
        let look = self.look;
        self.wire()?.write_all(bytes, &look)
    }

    fn encrypt(&mut self) -> Result<(), ReachError> {
        let wire = self.wire.take().ok_or(ReachError::Closed)?;
        self.wire = Some(self.reach.encrypt(wire, self.host, &self.look)?);
        Ok(())
    }

    fn is_encrypted(&self) -> bool {
        self.wire.as_ref().is_some_and(Wire::is_encrypted)
    }

    fn hurry(&mut self, within: Duration) {
        self.look = self.look.until(within);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: &str) {
        let got = match Smarthost::parse(text) {
            Ok(Smarthost { host, port }) => format!("{host} {port}"),
            Err(reason) => format!("error: {reason}"),
        };
        assert!(got.starts_with(expect), "{text}: {got}\nexpected {expect}");
    }

    #[test]
    fn a_smarthost_is_a_host_and_perhaps_a_port() {
        check("smtp.example.test", "smtp.example.test 587");
        check("smtp.example.test:465", "smtp.example.test 465");
        check("relay:25", "relay 25");
        check("192.0.2.1", "192.0.2.1 587");
        check("192.0.2.1:2525", "192.0.2.1 2525");
        check("2001:db8::25", "2001:db8::25 587");
        check("[2001:db8::25]", "2001:db8::25 587");
        check("[2001:db8::25]:465", "2001:db8::25 465");
        check("bücher.example", "xn--bcher-kva.example 587");
    }

    #[test]
    fn what_is_wrong_with_a_smarthost_is_said() {
        check("", "error: has no host.");
        check(":25", "error: has no host.");
        check("host:", "error: has no port");
        check("host:0", "error: has no port");
        check("host:+25", "error: has no port");
        check("host:65536", "error: has no port");
        check("host:smtp", "error: has no port");
        check("[2001:db8::25", "error: has an opening bracket");
        check("[2001:db8::25]465", "error: has no port");
        check("ho st", "error: has a host name with the character");
        check("host\r\nx", "error: has a host name with the character");
        check("smtp://host", "error: has no port");
    }

    #[test]
    fn the_meter_greets_with_a_whole_name_or_its_address() {
        let local = Some("192.0.2.7:4000".parse().unwrap());
        assert_eq!(hello("m1.example.org", local), "m1.example.org");
        assert_eq!(hello("meter1", local), "[192.0.2.7]");
        assert_eq!(hello("", Some("[2001:db8::7]:4000".parse().unwrap())), "[IPv6:2001:db8::7]");
        assert_eq!(hello("meter1", None), "meter1");
        assert_eq!(hello("no name", None), "localhost");
    }
}
