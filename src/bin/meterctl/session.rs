//! A login that lasts: every request carries the token, and a token that is refused is replaced once. What may be sent twice
//! can be sent patiently, over a link that fails or to a meter that starts anew.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::failure::{Failure, Kind};
use super::http::{Http, Lost, Reply, Request, Way, reader};
use super::interrupt;
use super::login::{Challenge, lifetime};
use super::prompt::{Secret, Source};
use super::replies::{busy, error_of, judge, moved};
use super::state::{self, State};
use super::terminal::Terminal;

/// The text by which a meter says that a nonce is too old, whatever its other words are.
const NONCE_EXPIRED: &str = "Nonce expired.";
/// Logins in a row over a nonce that expired.
const MAX_NONCES: u32 = 5;
/// Seconds that a token is good for if it does not say so itself.
const LIFETIME: u64 = 600;
/// Commands that a meter may answer only when they are done, as the WebAPI has it.
const LONG: [&str; 3] = ["/cmd/db", "/cmd/wlan", "/cmd/homeplug"];
/// The pause between two attempts to reach a meter that does not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// A token and until when it is good, by this computer's clock.
#[derive(Clone, Serialize, Deserialize)]
struct Token {
    jwt: String,
    until: u64,
}

/// A meter, an account on it, and what is needed to log in again.
pub struct Session<'a> {
    http: Http,
    /// Whom to log in as.
    pub user: &'a str,
    password: Source<'a>,
    asked: Option<Secret>,
    token: Option<Token>,
    state: Option<State>,
    key: String,
    /// How people are told what is going on.
    pub terminal: &'a Terminal,
    patience: Duration,
}

impl<'a> Session<'a> {
    /// Nothing is sent yet. A token that was kept is used as long as it lasts.
    pub fn new(http: Http, user: &'a str, password: Source<'a>, terminal: &'a Terminal, patience: u64) -> Session<'a> {
        let state = State::of_user();
        let key = state::key("token", &[http.base.as_bytes(), user.as_bytes()]);
        let token = state.as_ref().and_then(|it| it.read(&key)).filter(|it: &Token| now() < it.until);
        let patience = Duration::from_secs(patience);
        Session { http, user, password, asked: None, token, state, key, terminal, patience }
    }

    /// Where the API is.
    pub fn base(&self) -> &str {
        &self.http.base
    }

    /// The folder of small files.
    pub fn state(&self) -> Option<&State> {
        self.state.as_ref()
    }

    /// Fails at once if the meter is not there or lets nobody in. What follows may be waited for.
    pub fn contact(&mut self) -> Result<(), Failure> {
        match self.get("/auth/rights") {
            Err(failure) if failure.kind != Kind::Lacking => Err(failure),
            _ => Ok(()),
        }
    }

    /// Asks a question.
    pub fn get(&mut self, path: &str) -> Result<Value, Failure> {
        self.request(Request::get(path))
    }

    /// The `result` of a question about `/sys` and `/config`.
    pub fn result(&mut self, path: &str) -> Result<Value, Failure> {
        Ok(self.get(path)?.get("result").cloned().unwrap_or(Value::Null))
    }

    /// Runs a command.
    pub fn command(&mut self, name: &str, body: &Value) -> Result<Value, Failure> {
        self.request(Request::post(&format!("/cmd/{name}"), body.to_string().as_bytes()))
    }

    /// Runs a command that has no body; some meters refuse even an empty object.
    pub fn bare_command(&mut self, name: &str) -> Result<Value, Failure> {
        self.request(Request::post(&format!("/cmd/{name}"), b""))
    }

    /// Sends one request, logging in first and after a 401 where that is needed.
    pub fn request(&mut self, request: Request) -> Result<Value, Failure> {
        let reply = self.reply(request)?;
        judge(request.path, reply)
    }

    /// The same, but a link that fails or a meter that is busy or down is waited for. Only for what may be sent twice.
    pub fn patiently<T>(&mut self, mut attempt: impl FnMut(&mut Self) -> Result<T, Failure>) -> Result<T, Failure> {
        let begun = Instant::now();
        let mut is_down = false;
        loop {
            match attempt(self) {
                Err(failure)
                    if matches!(failure.kind, Kind::Unreachable | Kind::Silent) && begun.elapsed() < self.patience =>
                {
                    if !is_down {
                        self.terminal.note(&format!("{} Still trying.", failure.text));
                    }
                    is_down = true;
                    interrupt::sleep(PAUSE)?;
                }
                res => {
                    if is_down && !matches!(&res, Err(it) if matches!(it.kind, Kind::Unreachable | Kind::Silent)) {
                        let gone = begun.elapsed().as_secs_f64();
                        self.terminal.note(&format!("The meter answers again, after {gone:.0} s."));
                    }
                    return res;
                }
            }
        }
    }

    /// The same for rows: a meter that has them may be at work on them, and gets them once.
    pub fn until_taken(
        &mut self,
        mut attempt: impl FnMut(&mut Self) -> Result<Value, Failure>,
    ) -> Result<Value, Failure> {
        self.patiently(|session| match attempt(session) {
            Err(failure) if failure.kind == Kind::Silent => Ok(Err(failure)),
            res => res.map(Ok),
        })?
    }

    /// Opens a long answer; `Err` also if the meter answers with an error in JSON.
    pub fn stream(&mut self, path: &str) -> Result<Box<dyn std::io::Read>, Failure> {
        let mut again = true;
        loop {
            let token = self.token()?;
            let mut response = self
                .http
                .open(Request { within: 0, ..Request::get(path) }, Some(&token))
                .map_err(|it| self.lost(it, false))?;
            let status = response.status().as_u16();
            let is_json = response.body().mime_type().is_some_and(|it| it.ends_with("json"));
            if status == 200 && !is_json {
                return Ok(reader(response));
            }
            let text = response.body_mut().read_to_string().unwrap_or_default();
            let json = serde_json::from_str(&text).unwrap_or(Value::Null);
            let reply = Reply { status, json, text, retry_after: None, location: None };
            if status == 401 && again {
                again = false;
                self.login_after(&reply)?;
                continue;
            }
            let words = format!("GET {path} gave JSON where a file was expected.");
            return Err(judge(path, reply).err().unwrap_or_else(|| Failure::new(Kind::Lacking, words)));
        }
    }

    fn reply(&mut self, request: Request) -> Result<Reply, Failure> {
        let token = self.token()?;
        let reply = self.send(request, Some(&token))?;
        if reply.status != 401 {
            return Ok(reply);
        }
        // Ended before its time: the meter was started anew, or somebody logged out. Nothing is executed for a 401.
        self.login_after(&reply)?;
        let token = self.token()?;
        self.send(request, Some(&token))
    }

    fn send(&self, request: Request, token: Option<&str>) -> Result<Reply, Failure> {
        let patience = LONG.contains(&request.path).then_some(self.patience);
        let request = Request { patience, ..request };
        self.http.send(request, token).map_err(|it| self.lost(it, request.path.starts_with("/cmd/")))
    }

    fn lost(&self, lost: Lost, is_command: bool) -> Failure {
        let base = &self.http.base;
        match lost.way {
            Way::Hopeless => {
                let hint = "If the meter has a certificate of its own, name it with --cacert, or say --insecure.";
                return Failure::new(Kind::Failed, format!("{base}: {}.", lost.text)).hint(hint);
            }
            Way::Plain => {
                let failure = Failure::new(Kind::Unreachable, format!("{base}: that port speaks no TLS."));
                return failure.hint("Try http:// instead of https:// in --url.");
            }
            Way::Left => {
                let hint = "The meter may go on with the command by itself: look before you send it again.";
                return Failure::interrupted().hint(hint);
            }
            Way::Silence => {}
        }
        let failure = Failure::new(Kind::Unreachable, format!("{base} does not answer: {}.", lost.text));
        match is_command && !lost.unsent {
            true => failure.hint("The command may have been carried out all the same: look before you send it again."),
            false => failure.hint("Is the address right, and is the meter on? See --url."),
        }
    }

    /// A token that is good, as far as is known here.
    fn token(&mut self) -> Result<String, Failure> {
        if let Some(token) = &self.token
            && now() < token.until
        {
            return Ok(token.jwt.clone());
        }
        self.login()?;
        Ok(self.token.as_ref().map(|it| it.jwt.clone()).unwrap_or_default())
    }

    /// The token that is kept, if any.
    pub fn kept_token(&self) -> Option<&str> {
        self.token.as_ref().map(|it| it.jwt.as_str())
    }

    /// Ends the token that is kept. One that the meter does not know any more has ended already, whatever ended it.
    pub fn logout(&mut self) -> Result<Value, Failure> {
        let reply = self.send(Request::get("/auth/logout"), self.kept_token());
        self.forget();
        match reply? {
            reply if reply.status == 401 => Ok(json!({ "status": "OK" })),
            reply => judge("/auth/logout", reply),
        }
    }

    /// Logs in anew, whether or not there is a token; seconds that the new one is good for.
    pub fn login(&mut self) -> Result<u64, Failure> {
        let mut challenge = self.challenge()?;
        for _ in 0..MAX_NONCES {
            match self.answer(&challenge)? {
                Some(token) => {
                    let lifetime = token.until.saturating_sub(now());
                    self.keep(token);
                    return Ok(lifetime);
                }
                None => challenge = self.challenge()?,
            }
        }
        Err(Failure::new(Kind::Login, "The meter calls every nonce of its own expired.")
            .hint("Is its clock running, or is there a proxy in between that keeps answers?"))
    }

    fn login_after(&mut self, reply: &Reply) -> Result<(), Failure> {
        self.token = None;
        if let Some(challenge) = Challenge::of(&reply.json)
            && let Some(token) = self.answer(&challenge)?
        {
            self.keep(token);
            return Ok(());
        }
        self.login().map(drop)
    }

    fn keep(&mut self, token: Token) {
        if let Some(state) = &self.state
            && let Err(err) = state.write(&self.key, &token)
        {
            self.terminal.note(&format!("The token cannot be kept: {err}."));
        }
        self.token = Some(token);
    }

    /// Forgets the token.
    pub fn forget(&mut self) {
        if let Some(state) = &self.state {
            state.remove(&self.key);
        }
        self.token = None;
    }

    /// Whether the meter is there, asked in the way that other clients do while it is started anew.
    pub fn liveness(&self) -> Liveness {
        let request = Request { within: 1, ..Request::get("/auth/unauthorized") };
        match self.http.send(request, self.kept_token()) {
            Ok(reply) if reply.status == 401 => Liveness::Stranger,
            Ok(reply) if (200..300).contains(&reply.status) => Liveness::Up,
            Ok(_) | Err(_) => Liveness::Down,
        }
    }

    /// How long to wait for a meter that does not answer.
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// Realm and nonce, which every 401 has; `/auth/unauthorized` is there to give them.
    fn challenge(&self) -> Result<Challenge, Failure> {
        for path in ["/auth/unauthorized", "/auth/rights"] {
            let reply = self.send(Request::get(path), None)?;
            if let Some(challenge) = Challenge::of(&reply.json) {
                return Ok(challenge);
            }
            if let Some(failure) = busy(&reply).or_else(|| moved(&reply)) {
                return Err(failure);
            }
        }
        let text = format!("{} gives no realm and nonce to log in with.", self.http.base);
        Err(Failure::new(Kind::Lacking, text)
            .hint("Is that a meter with the WebAPI, and is the path right? See --url."))
    }

    /// The answer to a challenge; nothing if its nonce expired meanwhile.
    fn answer(&mut self, challenge: &Challenge) -> Result<Option<Token>, Failure> {
        if self.asked.is_none() {
            self.asked = Some(self.password.read(self.terminal)?);
        }
        let password = self.asked.as_ref().map_or("", Secret::expose);
        let random =
            state::random::<16>().map_err(|err| Failure::new(Kind::Failed, format!("/dev/urandom: {err}.")))?;
        let body = challenge.answer(self.user, password, &state::hex(&random));
        let reply = self.send(Request::post("/auth/login", body.to_string().as_bytes()), None)?;
        if let Some(failure) = busy(&reply) {
            return Err(failure);
        }
        let error = error_of(&reply.json);
        if let (None, Some(jwt)) = (&error, reply.json.get("jwt").and_then(Value::as_str)) {
            // A little early, so that no upload begins with a token that ends before it arrives.
            let until = now() + lifetime(jwt).unwrap_or(LIFETIME) * 9 / 10;
            return Ok(Some(Token { jwt: jwt.into(), until }));
        }
        if error.as_deref() == Some(NONCE_EXPIRED) {
            return Ok(None);
        }
        self.asked = None;
        let text = error.unwrap_or_else(|| format!("{} {}", reply.status, reply.text));
        Err(Failure::new(Kind::Login, format!("The login of {} was refused: {text}", self.user))
            .hint("Check the account (--user) and its password (METERCTL_PASSWORD, --password-file)."))
    }
}

/// What a quick look finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// It answers, and our token is good.
    Up,
    /// It answers, but our token is not good any more.
    Stranger,
    /// It does not answer, or says that it is busy going down.
    Down,
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
