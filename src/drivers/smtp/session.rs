//! The dialogue with one mail server, from its greeting to QUIT (RFC 5321, 3207, 4954, 6531). What it talks over is a
//! [`Link`]; which server that is, and what is tried after it, others decide.

use std::fmt;
use std::time::Duration;

use super::address::Address;
use super::auth::{self, Login, Mechanism};
use super::message::with_dots;
use super::reply::{Garbled, Reader, Reply};
use super::transcript::Transcript;
use crate::drivers::reach::ReachError;
use crate::drivers::wlan::Hidden;

/// Bytes that are read at once.
const READ: usize = 2048;
/// How long a server may take to say goodbye; by then all that counts is over.
const GOODBYE: Duration = Duration::from_secs(2);

/// What the dialogue goes over: a connection, or a test's script.
pub(super) trait Link {
    /// Reads what there is, at least a byte; zero at the end.
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, ReachError>;
    /// Writes all of it.
    fn write(&mut self, bytes: &[u8]) -> Result<(), ReachError>;
    /// Goes on under TLS, with the server's certificate and name verified.
    fn encrypt(&mut self) -> Result<(), ReachError>;
    /// Whether it is under TLS.
    fn is_encrypted(&self) -> bool;
    /// Whatever comes now must end within this time.
    fn hurry(&mut self, within: Duration);
}

/// How TLS comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tls {
    /// From the first byte.
    Immediate,
    /// With STARTTLS where it is offered.
    Offered,
    /// Not at all: it was tried with this server and did not work.
    GivenUp,
}

/// What is to be said.
pub(super) struct Terms<'a> {
    /// What the meter calls itself.
    pub(super) hello: &'a str,
    /// The sender.
    pub(super) from: &'a Address,
    /// The recipient.
    pub(super) to: &'a Address,
    /// Who logs in, if anybody.
    pub(super) login: Option<&'a Login>,
    /// Whether to log in without TLS.
    pub(super) plain_auth: bool,
    /// How TLS comes in.
    pub(super) tls: Tls,
    /// The message, with CRLF line ends.
    pub(super) message: &'a str,
}

/// Where in the course of things something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Lookup,
    Connect,
    Greeting,
    Hello,
    StartTls,
    Handshake,
    Auth,
    Mail,
    Rcpt,
    Data,
    Content,
}

impl Step {
    /// How much of the whole is done when it begins.
    pub(super) fn share(self) -> f64 {
        f64::from(self as u8) / 11.0
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Lookup => "looking up the server",
            Step::Connect => "connecting",
            Step::Greeting => "waiting for the greeting",
            Step::Hello => "EHLO",
            Step::StartTls => "STARTTLS",
            Step::Handshake => "the TLS handshake",
            Step::Auth => "logging in",
            Step::Mail => "MAIL FROM",
            Step::Rcpt => "RCPT TO",
            Step::Data => "DATA",
            Step::Content => "sending the message",
        })
    }
}

/// Why there was no delivery.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The connection, or the way to it.
    Way(Step, ReachError),
    /// The server refused.
    Said(Step, Reply),
    /// The server says what no mail server says.
    Nonsense(Step, Garbled),
    /// The server said something before TLS that it must not: somebody may be in between.
    Injected,
    /// The server lacks what is needed.
    Lacks(Lack),
}

/// What a server does not offer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// STARTTLS, without which nobody logs in.
    Tls,
    /// AUTH.
    Auth,
    /// A mechanism that the meter knows; these are the server's.
    Mechanism(String),
    /// SMTPUTF8, for an address with other than ASCII letters.
    Utf8,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Way(step, err) => write!(f, "{step}: {err}"),
            Trouble::Said(step, reply) => write!(f, "{step}: the server answered {reply}"),
            Trouble::Nonsense(step, garbled) => write!(f, "{step}: the server sent {garbled}"),
            Trouble::Injected => f.write_str("the server sent more than its answer before TLS began"),
            Trouble::Lacks(Lack::Tls) => f.write_str("the server does not offer TLS, and logging in needs it"),
            Trouble::Lacks(Lack::Auth) => f.write_str("the server does not offer to log in"),
            Trouble::Lacks(Lack::Mechanism(theirs)) => write!(f, "the server offers to log in only by {theirs}"),
            Trouble::Lacks(Lack::Utf8) => {
                f.write_str("the server does not take addresses with other letters than ASCII's (SMTPUTF8)")
            }
        }
    }
}

/// What a server offers, from its answer to EHLO.
#[derive(Default)]
struct Offers {
    starttls: bool,
    utf8: bool,
    size: bool,
    auth: Option<Vec<String>>,
}

/// Delivers the message; the server's last word on success.
pub(super) fn deliver(link: &mut dyn Link, log: &Transcript, terms: &Terms) -> Result<Reply, Trouble> {
    let mut session = Session { link, log, reader: Reader::default() };
    let res = session.run(terms);
    // A server that refused or took the message is told goodbye; one that makes trouble is left alone.
    if matches!(res, Ok(_) | Err(Trouble::Said(..) | Trouble::Lacks(_))) {
        session.quit();
    }
    res
}

struct Session<'a> {
    link: &'a mut dyn Link,
    log: &'a Transcript<'a>,
    reader: Reader,
}

impl Session<'_> {
    fn run(&mut self, terms: &Terms) -> Result<Reply, Trouble> {
        if terms.tls == Tls::Immediate {
            self.encrypt()?;
        }
        self.log.step(Step::Greeting);
        let greeting = self.reply(Step::Greeting)?;
        if !greeting.is_good() {
            return Err(Trouble::Said(Step::Greeting, greeting));
        }
        let mut offers = self.hello(terms.hello)?;
        if offers.starttls && terms.tls == Tls::Offered {
            self.command(Step::StartTls, "STARTTLS")?;
            // Whatever came in the clear behind the answer would otherwise count as said under TLS (CVE-2011-0411).
            if self.reader.has_more() {
                return Err(Trouble::Injected);
            }
            self.encrypt()?;
            offers = self.hello(terms.hello)?;
        }
        if let Some(login) = terms.login {
            self.log_in(login, &offers, terms.plain_auth)?;
        }
        self.hand_over(terms, &offers)
    }

    fn encrypt(&mut self) -> Result<(), Trouble> {
        self.log.step(Step::Handshake);
        self.link.encrypt().map_err(|err| Trouble::Way(Step::Handshake, err))?;
        self.log.note("TLS is up; the server's certificate is good and has its name");
        Ok(())
    }

    fn hello(&mut self, name: &str) -> Result<Offers, Trouble> {
        match self.command(Step::Hello, &format!("EHLO {name}")) {
            Ok(reply) => Ok(offers(&reply)),
            // Servers from before 1995 do not know EHLO.
            Err(Trouble::Said(_, reply)) if matches!(reply.code, 500 | 501 | 502 | 504 | 550) => {
                self.command(Step::Hello, &format!("HELO {name}"))?;
                Ok(Offers::default())
            }
            Err(err) => Err(err),
        }
    }

    fn log_in(&mut self, login: &Login, offers: &Offers, plain_auth: bool) -> Result<(), Trouble> {
        let encrypted = self.link.is_encrypted();
        if !encrypted && !plain_auth {
            return Err(Trouble::Lacks(Lack::Tls));
        }
        let Some(offered) = &offers.auth else { return Err(Trouble::Lacks(Lack::Auth)) };
        let Some(mechanism) = Mechanism::choose(offered, encrypted) else {
            return Err(Trouble::Lacks(Lack::Mechanism(offered.join(", "))));
        };
        if !encrypted && mechanism != Mechanism::CramMd5 {
            self.log.note("the password goes out in the clear, because mail.plain_auth is set");
        }
        self.log.step(Step::Auth);
        self.log.hide(&login.password);
        self.log.hide(&login.login_password());
        let reply = match mechanism {
            Mechanism::Plain => {
                let (token, fits) = login.plain();
                self.log.hide(&token);
                if fits {
                    self.secret("AUTH PLAIN ", &token)?
                } else {
                    self.prompt("AUTH PLAIN")?;
                    self.secret("", &token)?
                }
            }
            Mechanism::Login => {
                self.prompt("AUTH LOGIN")?;
                let user = base64::prelude::Engine::encode(&base64::prelude::BASE64_STANDARD, &login.user);
                self.prompt(&user)?;
                self.secret("", &login.login_password())?
            }
            Mechanism::CramMd5 => {
                let challenge = self.prompt("AUTH CRAM-MD5")?;
                let Some(answer) = login.cram_md5(&challenge.text()) else {
                    return Err(Trouble::Nonsense(Step::Auth, Garbled::NoCode));
                };
                self.log.hide(&answer);
                self.secret("", &answer)?
            }
        };
        self.must(Step::Auth, reply, 2).map(drop)
    }

    fn hand_over(&mut self, terms: &Terms, offers: &Offers) -> Result<Reply, Trouble> {
        let needs_utf8 = terms.from.needs_utf8() || terms.to.needs_utf8();
        if needs_utf8 && !offers.utf8 {
            return Err(Trouble::Lacks(Lack::Utf8));
        }
        let content = with_dots(terms.message);
        let mut mail = format!("MAIL FROM:<{}>", terms.from);
        if offers.size {
            mail += &format!(" SIZE={}", terms.message.len());
        }
        if needs_utf8 {
            mail += " BODY=8BITMIME SMTPUTF8";
        }
        self.command(Step::Mail, &mail)?;
        self.command(Step::Rcpt, &format!("RCPT TO:<{}>", terms.to))?;
        self.log.step(Step::Data);
        self.send("DATA", Step::Data)?;
        let reply = self.reply(Step::Data)?;
        self.must(Step::Data, reply, 3)?;
        self.log.step(Step::Content);
        for line in terms.message.split_terminator("\r\n") {
            self.log.sent(line);
        }
        self.log.sent(".");
        self.link.write(content.as_bytes()).map_err(|err| Trouble::Way(Step::Content, err))?;
        let reply = self.reply(Step::Content)?;
        self.must(Step::Content, reply, 2)
    }

    fn quit(&mut self) {
        self.link.hurry(GOODBYE);
        if self.send("QUIT", Step::Content).is_ok() {
            // The message's fate is known; what is wrong now makes no difference.
            let _ = self.reply(Step::Content);
        }
    }

    /// Sends a command whose answer must be 2xx.
    fn command(&mut self, step: Step, line: &str) -> Result<Reply, Trouble> {
        self.log.step(step);
        self.send(line, step)?;
        let reply = self.reply(step)?;
        self.must(step, reply, 2)
    }

    /// Sends a line of a login that must be answered by a prompt.
    fn prompt(&mut self, line: &str) -> Result<Reply, Trouble> {
        self.send(line, Step::Auth)?;
        let reply = self.reply(Step::Auth)?;
        self.must(Step::Auth, reply, 3)
    }

    /// Sends a secret behind `before`; the log has a mask for it.
    fn secret(&mut self, before: &str, secret: &Hidden) -> Result<Reply, Trouble> {
        self.log.sent(&format!("{before}***"));
        let line = auth::join(&[before.as_bytes(), secret.expose(), b"\r\n"]);
        self.link.write(line.expose()).map_err(|err| Trouble::Way(Step::Auth, err))?;
        self.reply(Step::Auth)
    }

    fn send(&mut self, line: &str, step: Step) -> Result<(), Trouble> {
        self.log.sent(line);
        self.link.write(format!("{line}\r\n").as_bytes()).map_err(|err| Trouble::Way(step, err))
    }

    /// A reply whose code has this first digit.
    fn must(&self, step: Step, reply: Reply, class: u16) -> Result<Reply, Trouble> {
        match reply.code / 100 == class {
            true => Ok(reply),
            false => Err(Trouble::Said(step, reply)),
        }
    }

    fn reply(&mut self, step: Step) -> Result<Reply, Trouble> {
        let garbled = |err| Trouble::Nonsense(step, err);
        loop {
            while let Some(line) = self.reader.line().map_err(garbled)? {
                let line = self.log.received(line);
                if let Some(reply) = self.reader.add(&line).map_err(garbled)? {
                    return Ok(reply);
                }
            }
            let mut buf = [0; READ];
            let n = self.link.read(&mut buf).map_err(|err| Trouble::Way(step, err))?;
            if n == 0 {
                return Err(Trouble::Way(step, ReachError::Closed));
            }
            self.reader.push(&buf[..n]);
        }
    }
}

/// The extensions that an EHLO reply names behind its first line.
fn offers(reply: &Reply) -> Offers {
    let mut res = Offers::default();
    for line in reply.lines.iter().skip(1) {
        let mut words = line.split([' ', '=']).filter(|it| !it.is_empty());
        match words.next().unwrap_or_default().to_ascii_uppercase().as_str() {
            "STARTTLS" => res.starttls = true,
            "SMTPUTF8" => res.utf8 = true,
            "SIZE" => res.size = true,
            // Some old servers write it with an equals sign, some say it twice.
            "AUTH" => res.auth.get_or_insert_default().extend(words.map(String::from)),
            _ => {}
        }
    }
    res
}
