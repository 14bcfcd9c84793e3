//! Sends for the areas and records all of it. Every request passes the guard of `danger`, the rate limit and the login;
//! one connection at a time. It judges nothing.

mod leave;
mod login;
pub mod operation;
mod raw;

pub use login::harmless;

use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::danger::classes_of;
use crate::http::{Connection, Fault, Reply, Request};
use crate::options::Options;
use crate::transcript::{Exchange, Transcript};

/// Requests in a row without an answer after which the meter is asked for a sign of life.
const PATIENCE: usize = 4;
/// So often a sign of life is good enough, while everything else meets with silence.
const SIGNS: usize = 8;
/// Bytes of all requests and answers together that are kept: far more than any meter has to say.
const MOST: usize = 256 << 20;
/// Why an area ends early.
#[derive(Debug)]
pub enum Stop {
    /// This area can go no further; the others can.
    Skip(String),
    /// The meter stopped answering.
    Gone(String),
    /// The tester ended the run by a signal.
    Ended,
    /// An area tried to send what was not allowed. That is a mistake in this program.
    Forbidden(String),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::Skip(why) | Stop::Gone(why) | Stop::Forbidden(why) => f.write_str(why),
            Stop::Ended => f.write_str("ended by a signal"),
        }
    }
}

/// The place where a meter is tried.
pub struct Lab<'a> {
    /// What the tester asked for.
    pub options: &'a Options,
    /// What was recorded so far.
    pub transcript: Transcript,
    area: &'static str,
    begun: Instant,
    last: Option<Instant>,
    unanswered: usize,
    /// Signs of life in a row with nothing but silence in between.
    signs: usize,
    /// Bytes that may still be kept.
    room: usize,
    /// For one answer.
    timeout: Duration,
    /// The login's token and its end.
    token: Option<(String, Instant)>,
    /// Whether silence is expected, because the meter was told to go down.
    going_down: bool,
    /// Whether the tester wants it to end.
    ended: Arc<AtomicBool>,
    /// Whether what is sent puts something back, which is done even then.
    putting_back: bool,
}

impl<'a> Lab<'a> {
    /// Nothing is sent yet.
    pub fn new(options: &'a Options) -> Lab<'a> {
        let transcript = Transcript {
            meter: options.url.clone(),
            begun: wall().floor() as u64,
            allowed: options.allowed.clone(),
            secrets: options.credentials.iter().map(|it| it.password.clone()).collect(),
            ..Transcript::default()
        };
        let begun = Instant::now();
        Lab {
            options,
            transcript,
            area: "",
            begun,
            last: None,
            unanswered: 0,
            signs: 0,
            room: MOST,
            timeout: options.timeout,
            token: None,
            going_down: false,
            ended: Arc::default(),
            putting_back: false,
        }
    }

    /// From now on records are those of this area.
    pub fn enter(&mut self, area: &'static str) {
        self.area = area;
        self.going_down = false;
    }

    /// The area that is played.
    pub fn area(&self) -> &'static str {
        self.area
    }

    /// The tester's value for a parameter of this area.
    pub fn param(&self, name: &str) -> Option<&'a str> {
        self.options.params.get(name).map(String::as_str)
    }

    /// The tester's value, without which the area ends.
    pub fn need(&self, name: &str) -> Result<&'a str, Stop> {
        self.param(name).ok_or_else(|| Stop::Skip(format!("needs --with {name}=...")))
    }

    /// The first line of the file that the tester named for a parameter: a password or a key, which is never shown.
    pub fn secret(&mut self, name: &str) -> Result<Option<String>, Stop> {
        let Some(path) = self.param(name) else { return Ok(None) };
        let text = fs::read_to_string(path).map_err(|err| Stop::Skip(format!("--with {name}={path}: {err}")))?;
        let line = text.lines().next().unwrap_or_default().to_string();
        self.transcript.secrets.push(line.clone());
        Ok(Some(line))
    }

    /// The tester's seconds for a parameter of this area, or so many.
    pub fn seconds(&self, name: &str, otherwise: f64) -> Result<Duration, Stop> {
        let Some(text) = self.param(name) else { return Ok(Duration::from_secs_f64(otherwise)) };
        let number = text.parse::<f64>().ok().filter(|it| (0.0..=86400.0).contains(it));
        number
            .map(Duration::from_secs_f64)
            .ok_or_else(|| Stop::Skip(format!("--with {name}={text}: a number of seconds is expected")))
    }

    /// Keeps what was learned otherwise.
    pub fn fact(&mut self, name: &str, value: impl Into<Value>) {
        self.transcript.facts.insert(format!("{}/{name}", self.area), value.into());
    }

    /// The last exchange is recorded under another label.
    fn rename_last(&mut self, label: &str) {
        if let Some(last) = self.transcript.exchanges.last_mut() {
            last.label = label.into();
        }
    }

    /// Silence is no fault of the meter from now on, or is one again.
    pub fn expect_down(&mut self, down: bool) {
        self.going_down = down;
        self.unanswered = 0;
    }

    /// Sends a request on a connection of its own and records it.
    pub fn send(&mut self, label: &str, request: &Request) -> Result<Exchange, Stop> {
        let token = if request.login { Some(self.login()?) } else { None };
        let target = &self.options.target;
        let bytes = request.bytes(&target.host_field(), &target.base, token.as_deref());
        self.send_bytes(label, bytes, request.method == "HEAD")
    }

    /// Sends a request whose answer is not waited for longer than `timeout`, and not longer than any other.
    pub fn send_within(&mut self, label: &str, request: &Request, timeout: Duration) -> Result<Exchange, Stop> {
        let usual = self.timeout;
        self.timeout = timeout.min(usual);
        let res = self.send(label, request);
        self.timeout = usual;
        res
    }

    /// GET with the login, recorded under `label`.
    pub fn get(&mut self, label: &str, path: &str) -> Result<Exchange, Stop> {
        self.send(label, &Request::get(path))
    }

    /// POST of a JSON value with the login, recorded under `label`.
    pub fn post(&mut self, label: &str, path: &str, body: &Value) -> Result<Exchange, Stop> {
        self.send(label, &Request::post(path, body))
    }

    /// Sends these very bytes on a connection of their own and records the first reply; what else came is in its `extra`.
    pub fn send_bytes(&mut self, label: &str, bytes: Vec<u8>, head: bool) -> Result<Exchange, Stop> {
        self.guard(&bytes)?;
        self.pace();
        let (at, wall, start) = (self.begun.elapsed().as_secs_f64(), wall(), Instant::now());
        let answer = self.ask(&bytes, head);
        let took = start.elapsed().as_secs_f64();
        self.record(Exchange { area: self.area.into(), label: label.into(), at, wall, took, sent: bytes, answer })
    }

    /// Sends several requests on one connection, each after the reply to the one before, and records each under its label.
    pub fn send_in_a_row(&mut self, requests: &[(&str, Request)]) -> Result<Vec<Exchange>, Stop> {
        let target = &self.options.target;
        let mut connection = None;
        let mut res = Vec::new();
        for (label, request) in requests {
            let token = if request.login { Some(self.login()?) } else { None };
            let bytes = request.bytes(&target.host_field(), &target.base, token.as_deref());
            self.guard(&bytes)?;
            self.pace();
            let (at, wall, start) = (self.begun.elapsed().as_secs_f64(), wall(), Instant::now());
            let timeout = self.timeout;
            let open = match connection.take() {
                Some(open) => Ok(open),
                None if res.is_empty() => Connection::open(target, timeout),
                None => Err(Fault::Closed(0)),
            };
            let answer = open.and_then(|mut open: Connection| {
                open.send(&bytes, timeout);
                let reply = open.reply(request.method == "HEAD", timeout)?;
                connection = Some(open);
                Ok(reply)
            });
            let took = start.elapsed().as_secs_f64();
            let (area, label) = (self.area.into(), label.to_string());
            res.push(self.record(Exchange { area, label, at, wall, took, sent: bytes, answer })?);
        }
        Ok(res)
    }

    /// Waits, as long as the tester lets anything wait.
    pub fn wait(&self, time: Duration) {
        thread::sleep(time);
    }

    /// Random hexadecimal digits for nonces and names.
    pub fn random(&self, digits: usize) -> String {
        let mut bytes = vec![0; digits.div_ceil(2)];
        // Where there is no such file, the clock has to do: these are names, not secrets.
        if File::open("/dev/urandom").and_then(|mut it| it.read_exact(&mut bytes)).is_err() {
            let seed = wall().to_bits().to_le_bytes();
            bytes.iter_mut().enumerate().for_each(|(at, it)| *it = seed[at % 8] ^ at as u8);
        }
        let mut res: String = bytes.iter().map(|it| format!("{it:02x}")).collect();
        res.truncate(digits);
        res
    }

    fn ask(&self, bytes: &[u8], head: bool) -> Result<Reply, Fault> {
        let timeout = self.timeout;
        let mut connection = Connection::open(&self.options.target, timeout)?;
        connection.send(bytes, timeout);
        let mut reply = connection.reply(head, timeout)?;
        connection.aftermath(&mut reply);
        Ok(reply)
    }

    fn guard(&self, bytes: &[u8]) -> Result<(), Stop> {
        self.go_on()?;
        let Some(class) = classes_of(bytes).into_iter().find(|it| !self.options.allowed.contains(it)) else {
            return Ok(());
        };
        // A token of the meter's may be what reads like a command.
        let text = String::from_utf8_lossy(bytes);
        let given = self.transcript.exchanges.iter().filter_map(operation::token_of);
        given.filter(|it| text.contains(it.as_str())).try_for_each(|it| harmless(&it))?;
        let line = text.lines().next().unwrap_or_default().to_string();
        Err(Stop::Forbidden(format!("{}: {line:?} is of class {class}, which is not allowed", self.area)))
    }

    fn pace(&mut self) {
        if let Some(last) = self.last {
            thread::sleep((last + self.options.gap).saturating_duration_since(Instant::now()));
        }
        self.last = Some(Instant::now());
    }

    fn record(&mut self, exchange: Exchange) -> Result<Exchange, Stop> {
        // A connection that is closed without a reply may be the right answer to bad bytes; a meter that is gone says no more.
        match &exchange.answer {
            Err(Fault::Refused | Fault::Unreachable(_) | Fault::Silent(_)) => self.unanswered += 1,
            _ => (self.unanswered, self.signs) = (0, 0),
        }
        let gone = !self.going_down && self.unanswered >= PATIENCE;
        let why = format!("the meter stopped answering: {}", exchange.answer_text());
        let size = exchange.sent.len() + exchange.answer.as_ref().map_or(0, |it| it.body.len() + it.extra.len());
        let Some(room) = self.room.checked_sub(size) else {
            return Err(Stop::Gone(format!("the meter says more than can be kept: {} MiB", MOST >> 20)));
        };
        self.room = room;
        self.transcript.exchanges.push(exchange.clone());
        if gone && (self.signs == SIGNS || !self.gives_a_sign()) { Err(Stop::Gone(why)) } else { Ok(exchange) }
    }

    /// Whether the meter answers a right request: silence may be what it thinks of the wrong ones.
    fn gives_a_sign(&mut self) -> bool {
        let target = &self.options.target;
        let look = Request::get("/auth/unauthorized").anonymous();
        let sent = look.bytes(&target.host_field(), &target.base, None);
        self.pace();
        let (at, wall, start) = (self.begun.elapsed().as_secs_f64(), wall(), Instant::now());
        let answer = self.ask(&sent, false);
        let (took, there) = (start.elapsed().as_secs_f64(), answer.is_ok());
        let (area, label) = (self.area.into(), "sign-of-life".into());
        self.transcript.exchanges.push(Exchange { area, label, at, wall, took, sent, answer });
        if there {
            (self.unanswered, self.signs) = (0, self.signs + 1);
        }
        there
    }
}

/// Unix time by the tester's clock.
pub fn wall() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |it| it.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_meter_that_says_too_much_ends_the_run_and_the_memory_does_not() {
        let options = Options::parse(["--replay", "none"].iter().map(|it| it.to_string())).unwrap();
        let mut lab = Lab::new(&options);
        lab.room = 100;
        let long =
            || crate::evidence::testing::exchange("a", "x", 0.0, b"GET / HTTP/1.1\r\n\r\n", 200, &"x".repeat(50));
        assert!(lab.record(long()).is_ok());
        assert!(matches!(lab.record(long()), Err(Stop::Gone(_))));
    }

    #[test]
    fn nothing_that_was_not_allowed_leaves_the_program() {
        // Nobody listens there; what is refused by the guard does not even get that far.
        let args = ["--url", "http://127.0.0.1:9/api", "--replay", "none", "--allow", "time", "--timeout", "1"];
        let mut options = Options::parse(args.iter().map(|it| it.to_string())).unwrap();
        options.target = crate::http::Target::parse(&options.url).unwrap();
        let mut lab = Lab::new(&options);
        lab.enter("a");
        let reboot = Request::post("/cmd/reboot", &json!({})).anonymous();
        let time = Request::post("/cmd/set-time", &json!("1")).anonymous();
        let bytes = reboot.bytes("m", "/api", None);
        let (head, body) = bytes.split_at(20);
        assert!(matches!(lab.send("x", &reboot), Err(Stop::Forbidden(_))));
        assert!(matches!(lab.send_bytes("x", bytes.clone(), false), Err(Stop::Forbidden(_))));
        assert!(matches!(lab.send_in_pieces("x", &[head, body], Duration::ZERO), Err(Stop::Forbidden(_))));
        assert!(matches!(lab.send_in_a_row(&[("x", time.clone()), ("y", reboot.clone())]), Err(Stop::Forbidden(_))));
        let sent = lab.transcript.exchanges.len();
        assert!(matches!(lab.send_at_once(&[("x", time.clone()), ("y", reboot)]), Err(Stop::Forbidden(_))));
        assert_eq!(lab.transcript.exchanges.len(), sent);
        assert!(lab.send("x", &time).is_ok());
        assert!(lab.transcript.exchanges.iter().all(|it| !it.sent.windows(6).any(|it| it == b"reboot")));
    }
}
