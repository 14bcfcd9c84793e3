//! A meter that does what a test tells it to: it takes every login, refuses whoever has none, and leaves all else to the
//! test. It shares no reading of requests with the suite.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::prelude::*;
use serde_json::{Value, json};

/// A request.
pub struct Call {
    /// As it came.
    pub method: String,
    /// Without the base and the query.
    pub path: String,
    /// The query, or nothing.
    pub query: String,
    /// Who sent it, by the login; nobody without a good one.
    pub user: Option<String>,
    /// The number of that login, counted from 1.
    pub login: usize,
    /// What came behind the head.
    pub text: String,
    /// The same as JSON, or null.
    pub body: Value,
}

impl Call {
    /// Whether it is a POST there.
    pub fn posts(&self, path: &str) -> bool {
        self.method == "POST" && self.path == path
    }
}

/// An answer: status 0 for none at all; a text goes out as it is.
pub type Answer = (u16, Value);

/// What a meter says to whoever has no login.
pub fn challenge() -> Answer {
    (401, json!({"rlm": "r", "nnc": format!("{:?}", SystemTime::now()), "error": "Authentication required."}))
}

/// A success.
pub fn fine() -> Answer {
    (200, json!({"status": "OK"}))
}

/// Starts one that ends with the process. `script` is asked first; where it has nothing to say, the meter refuses. Returns
/// its URL.
pub fn meter(script: impl FnMut(&Call) -> Option<Answer> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/api", listener.local_addr().unwrap());
    let state = Arc::new(Mutex::new((script, BTreeMap::new())));
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let state = Arc::clone(&state);
            thread::spawn(move || {
                let Some(text) = request(&mut stream) else { return };
                let (status, body) = {
                    let (script, logins) = &mut *state.lock().unwrap();
                    answer(&text, logins, script)
                };
                match status {
                    0 => thread::sleep(Duration::from_secs(60)),
                    _ => reply(&mut stream, status, &body.as_str().map_or_else(|| body.to_string(), str::to_string)),
                }
            });
        }
    });
    url
}

fn answer(text: &str, logins: &mut BTreeMap<String, usize>, script: &mut dyn FnMut(&Call) -> Option<Answer>) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = path.trim_start_matches("/api").to_string();
    let token = head.lines().find_map(|it| it.strip_prefix("Authorization: Bearer ")).unwrap_or_default();
    let login = logins.get(token).copied().unwrap_or(0);
    let user = token.split('.').nth(1).filter(|_| login != 0).and_then(|it| BASE64_URL_SAFE_NO_PAD.decode(it).ok());
    let user = user.and_then(|it| serde_json::from_slice::<Value>(&it).ok()?["usr"].as_str().map(str::to_string));
    let json = serde_json::from_str(body).unwrap_or_default();
    let call = Call { method: method.into(), path, query: query.into(), user, login, text: body.into(), body: json };
    if let Some(answer) = script(&call) {
        return answer;
    }
    if call.posts("/auth/login") && call.body["hash"].is_string() {
        let begin = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let claims = json!({"usr": call.body["usr"], "beg": begin, "ltm": 600, "number": logins.len()});
        let token = format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()));
        logins.insert(token.clone(), logins.len() + 1);
        return (200, json!({ "jwt": token }));
    }
    match (&call.user, call.path.as_str()) {
        (None, _) => challenge(),
        (_, "/auth/unauthorized") => fine(),
        (Some(user), "/auth/rights") => (200, json!({"usr": user, "rights": ["save"]})),
        _ => (200, json!({"error": "this is not there"})),
    }
}

/// A whole request, or as much as comes at once.
pub fn request(stream: &mut TcpStream) -> Option<String> {
    let _ = stream.set_read_timeout(Some(Duration::from_millis(300)));
    let (mut all, mut chunk) = (Vec::new(), [0; 65536]);
    while let Ok(length) = stream.read(&mut chunk)
        && length != 0
    {
        all.extend_from_slice(&chunk[..length]);
        let text = String::from_utf8_lossy(&all);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let owed = head.lines().find_map(|it| it.strip_prefix("Content-Length: ")?.parse().ok()).unwrap_or(0);
            if owed <= body.len() && !head.contains("chunked") {
                break;
            }
        }
    }
    (!all.is_empty()).then(|| String::from_utf8_lossy(&all).into_owned())
}

/// Sends a reply and ends the connection.
pub fn reply(stream: &mut TcpStream, status: u16, body: &str) {
    let head = format!("HTTP/1.1 {status} So\r\nContent-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    let _ = stream.write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes());
}

/// The suite's program as it would judge that meter.
pub fn suite(url: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meter-conformance"));
    command.args(["--url", url, "--user", "owner", "--quiet", "--rate", "2000", "--timeout", "1", "--max-wait", "3"]);
    command.args(args).env("METER_PASSWORD", "correct horse");
    command
}

/// Everything that it printed.
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
