//! A mail server that takes every mail and delivers none (RFC 5321): it records the dialogue and the message. It has no
//! TLS, so a login that reaches it went in the clear; passwords are not recorded.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use base64::prelude::*;
use serde_json::{Value, json};

use super::{Server, locked, wait_until};
use crate::lab::{Lab, Stop};

/// Bytes of a line, and of all that one connection may say.
const LONGEST: usize = 8192;
const MOST: usize = 1 << 20;
/// What the server says of itself and of a recipient that it does not take. Both are to be found in a log.
pub const GREETING: &str = "sink.example ESMTP takes all and delivers nothing";
/// See [`GREETING`].
pub const REFUSAL: &str = "5.1.1 there is no such mailbox here, says the sink";

/// How the server behaves towards whoever connects next.
#[derive(Clone, Debug, Default)]
pub struct Mood {
    /// It does not say a word.
    pub silent: bool,
    /// It refuses every recipient.
    pub refuses: bool,
    /// It offers a login, and knows this user with this password.
    pub login: Option<(String, String)>,
    /// It thinks so long before each answer.
    pub pause: Duration,
}

/// The server.
pub struct Sink {
    server: Server,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    mood: Mood,
    sessions: Vec<Session>,
}

/// One connection.
#[derive(Clone, Default)]
struct Session {
    /// The commands, with the secrets of logins left out.
    lines: Vec<String>,
    /// The content, with the dots taken off again.
    message: Option<Vec<u8>>,
    /// A CR or LF came alone.
    bare: bool,
    /// Whether what came for a login was right.
    login: Option<bool>,
}

impl Sink {
    /// Opens it at the port of the parameter `port`.
    pub fn open(lab: &Lab<'_>, port: &str) -> Result<Sink, Stop> {
        let state = Arc::new(Mutex::new(State::default()));
        let inner = Arc::clone(&state);
        let server = Server::open(lab, port, move |stream| {
            let number = {
                let mut state = locked(&inner);
                state.sessions.push(Session::default());
                state.sessions.len() - 1
            };
            let mood = locked(&inner).mood.clone();
            Dialogue { stream, buffer: Vec::new(), state: &inner, number, mood, taken: 0 }.run();
        })?;
        Ok(Sink { server, state })
    }

    /// Where the meter reaches it.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// How it is from now on. What was recorded before is forgotten.
    pub fn set(&self, mood: Mood) {
        let mut state = locked(&self.state);
        *state = State { mood, sessions: Vec::new() };
    }

    /// How many connections there ever were.
    pub fn connections(&self) -> usize {
        self.server.connections()
    }

    /// Whether somebody connected within `time` since the mood was set.
    pub fn visited_within(&self, time: Duration) -> bool {
        wait_until(time, || !locked(&self.state).sessions.is_empty())
    }

    /// Whether everybody had gone within `time`.
    pub fn left_within(&self, time: Duration) -> bool {
        self.server.quiet_within(time)
    }

    /// What was recorded since the mood was set: an array of objects with `lines`, `message`, `ascii`, `bare`, `login`.
    pub fn record(&self) -> Value {
        let state = locked(&self.state);
        let sessions = state.sessions.iter().map(|it| {
            json!({
                "lines": it.lines, "bare": it.bare, "login": it.login,
                "message": it.message.as_ref().map(|it| String::from_utf8_lossy(it).into_owned()),
                "ascii": it.message.as_ref().is_none_or(|it| it.is_ascii()),
            })
        });
        sessions.collect()
    }
}

struct Dialogue<'a> {
    stream: TcpStream,
    buffer: Vec<u8>,
    state: &'a Mutex<State>,
    number: usize,
    mood: Mood,
    taken: usize,
}

impl Dialogue<'_> {
    /// To the end of the connection, whoever ends it.
    fn run(mut self) {
        if self.mood.silent {
            let mut rest = [0; 512];
            while self.stream.read(&mut rest).is_ok_and(|it| it != 0) {}
            return;
        }
        let _ = self.talk();
    }

    /// `None` when the meter is gone.
    fn talk(&mut self) -> Option<()> {
        self.say(&format!("220 {GREETING}"))?;
        let (mut sender, mut recipients) = (false, 0);
        loop {
            let line = self.line()?;
            let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            if verb != "AUTH" {
                self.note(&line);
            }
            match verb.as_str() {
                "EHLO" if self.mood.login.is_some() => {
                    self.say("250-sink.example\r\n250-SIZE 1000000\r\n250 AUTH PLAIN LOGIN")?;
                }
                "EHLO" => self.say("250-sink.example\r\n250 SIZE 1000000")?,
                "HELO" => self.say("250 sink.example")?,
                "AUTH" => self.log_in(&line)?,
                "MAIL" => {
                    (sender, recipients) = (true, 0);
                    self.say("250 2.1.0 so be it")?;
                }
                "RCPT" if self.mood.refuses => self.say(&format!("550 {REFUSAL}"))?,
                "RCPT" if sender => {
                    recipients += 1;
                    self.say("250 2.1.5 so be it")?;
                }
                "DATA" if recipients > 0 => {
                    self.say("354 go on, and end with a dot")?;
                    self.content()?;
                    (sender, recipients) = (false, 0);
                    self.say("250 2.0.0 taken, and thrown away")?;
                }
                "RCPT" | "DATA" => self.say("503 5.5.1 not now")?,
                "RSET" | "NOOP" => self.say("250 2.0.0 so be it")?,
                "QUIT" => return self.say("221 2.0.0 goodbye"),
                _ => self.say("502 5.5.1 this is not known here")?,
            }
        }
    }

    /// Both mechanisms, with or without an initial response.
    fn log_in(&mut self, line: &str) -> Option<()> {
        let words: Vec<_> = line.split(' ').collect();
        let mechanism = words.get(1).copied().unwrap_or_default().to_ascii_uppercase();
        self.note(&format!("AUTH {mechanism} ***"));
        let (user, password) = match mechanism.as_str() {
            "PLAIN" => {
                let token = match words.get(2) {
                    Some(token) => token.to_string(),
                    None => self.prompt("")?,
                };
                let token = decoded(&token);
                let mut parts = token.split('\0').skip(1).map(str::to_string);
                (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
            }
            "LOGIN" => {
                let user = match words.get(2) {
                    Some(user) => user.to_string(),
                    None => self.prompt("VXNlcm5hbWU6")?,
                };
                let password = self.prompt("UGFzc3dvcmQ6")?;
                (decoded(&user), decoded(&password))
            }
            _ => return self.say("504 5.5.4 this way is not known here"),
        };
        let right = self.mood.login.as_ref().is_some_and(|it| *it == (user, password));
        self.session(|it| it.login = Some(right));
        self.say(if right { "235 2.7.0 welcome" } else { "535 5.7.8 that is not right" })
    }

    fn prompt(&mut self, text: &str) -> Option<String> {
        self.say(&format!("334 {text}"))?;
        self.line()
    }

    fn content(&mut self) -> Option<()> {
        let mut res = Vec::new();
        loop {
            let line = self.bytes()?;
            if line == b".\r\n" {
                self.session(|it| it.message = Some(res));
                return Some(());
            }
            res.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        }
    }

    /// The next line, without its end.
    fn line(&mut self) -> Option<String> {
        let line = self.bytes()?;
        Some(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_string())
    }

    /// The next line as it came, up to a LF.
    fn bytes(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|it| *it == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let inside = line.strip_suffix(b"\r\n");
                if inside.is_none_or(|it| it.contains(&b'\r')) {
                    self.session(|it| it.bare = true);
                }
                return Some(line);
            }
            let mut chunk = [0; 2048];
            let length = self.stream.read(&mut chunk).ok().filter(|it| *it != 0)?;
            self.buffer.extend_from_slice(&chunk[..length]);
            self.taken += length;
            if self.buffer.len() > LONGEST || self.taken > MOST {
                return None;
            }
        }
    }

    fn say(&mut self, text: &str) -> Option<()> {
        thread::sleep(self.mood.pause);
        self.stream.write_all(format!("{text}\r\n").as_bytes()).ok()
    }

    fn note(&self, line: &str) {
        self.session(|it| it.lines.push(line.to_string()));
    }

    /// Changes what is recorded of this connection; nothing if that was forgotten meanwhile.
    fn session(&self, change: impl FnOnce(&mut Session)) {
        if let Some(it) = locked(self.state).sessions.get_mut(self.number) {
            change(it);
        }
    }
}

fn decoded(text: &str) -> String {
    String::from_utf8_lossy(&BASE64_STANDARD.decode(text).unwrap_or_default()).into_owned()
}
