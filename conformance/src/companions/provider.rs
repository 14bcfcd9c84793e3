//! A provider with which a service is activated (WebAPI §4, the protocol that a meter performs as client), over plain
//! HTTP. It records the requests; whether they are right, rules say.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::{Server, locked, wait_until};
use crate::lab::{Lab, Stop};

/// Bytes of a request.
const MOST: usize = 65536;

/// What the provider answers from now on.
#[derive(Clone, Debug, Default)]
pub enum Mood {
    /// Nothing at all.
    #[default]
    Silent,
    /// This, with this status.
    Says(u16, Value),
    /// The first value to an introduction, and the second to what carries a `hash`.
    Challenges(Value, Value),
}

/// The provider.
pub struct Provider {
    server: Server,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    mood: Mood,
    requests: Vec<Value>,
}

impl Provider {
    /// Opens it at the port of the parameter `port`.
    pub fn open(lab: &Lab<'_>, port: &str) -> Result<Provider, Stop> {
        let state = Arc::new(Mutex::new(State::default()));
        let inner = Arc::clone(&state);
        let server = Server::open(lab, port, move |stream| {
            let _ = serve(stream, &inner);
        })?;
        Ok(Provider { server, state })
    }

    /// Where the meter reaches it.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// How it is from now on. What was recorded before is forgotten.
    pub fn set(&self, mood: Mood) {
        *locked(&self.state) = State { mood, requests: Vec::new() };
    }

    /// How many connections there ever were.
    pub fn connections(&self) -> usize {
        self.server.connections()
    }

    /// Whether somebody asked something within `time` since the mood was set.
    pub fn asked_within(&self, time: std::time::Duration) -> bool {
        wait_until(time, || !locked(&self.state).requests.is_empty())
    }

    /// What was recorded since the mood was set: an array of objects with `method`, `path`, `type` and `body`.
    pub fn record(&self) -> Value {
        Value::Array(locked(&self.state).requests.clone())
    }
}

/// One request, its answer, and the end of the connection.
fn serve(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let request = loop {
        let mut chunk = [0; 2048];
        let length = stream.read(&mut chunk)?;
        bytes.extend_from_slice(&chunk[..length]);
        if let Some(request) = request(&bytes) {
            break request;
        }
        if length == 0 || bytes.len() > MOST {
            return Ok(());
        }
    };
    let mood = {
        let mut state = locked(state);
        state.requests.push(request.clone());
        state.mood.clone()
    };
    let (status, body) = match mood {
        Mood::Silent => {
            // Held open until the meter, or the end of the tests, closes it.
            let mut rest = [0; 512];
            while stream.read(&mut rest)? != 0 {}
            return Ok(());
        }
        Mood::Says(status, body) => (status, body),
        Mood::Challenges(first, then) => (200, if request["body"]["hash"].is_string() { then } else { first }),
    };
    let body = body.to_string();
    let length = body.len();
    let reply = format!(
        "HTTP/1.1 {status} So\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n\
         {body}"
    );
    stream.write_all(reply.as_bytes())
}

/// The request in `bytes` once it is whole. A body that is no JSON is a string.
fn request(bytes: &[u8]) -> Option<Value> {
    let end = bytes.windows(4).position(|it| it == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let field = |name: &str| {
        let mut fields = head.lines().skip(1).filter_map(|it| it.split_once(':'));
        fields.find(|it| it.0.eq_ignore_ascii_case(name)).map(|it| it.1.trim().to_string())
    };
    let rest = &bytes[end + 4..];
    let body = match (field("transfer-encoding"), field("content-length")) {
        (Some(_), _) => unchunked(rest)?,
        (None, length) => rest.get(..length.map_or(Some(0), |it| it.parse().ok())?)?.to_vec(),
    };
    let mut words = head.lines().next()?.split(' ');
    let text = String::from_utf8_lossy(&body).into_owned();
    let body: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Some(json!({"method": words.next(), "path": words.next(), "type": field("content-type"), "body": body}))
}

/// The data of a body in chunks, once it is whole.
fn unchunked(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut res = Vec::new();
    loop {
        let end = bytes.windows(2).position(|it| it == b"\r\n")?;
        let size = usize::from_str_radix(String::from_utf8_lossy(&bytes[..end]).trim(), 16).ok()?;
        let data = bytes.get(end + 2..)?;
        if size == 0 {
            return Some(res);
        }
        res.extend_from_slice(data.get(..size)?);
        bytes = data.get(size + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_when_it_is_whole() {
        let text = b"POST /x HTTP/1.1\r\nContent-Type: a/b\r\nContent-Length: 8\r\n\r\n{\"sn\":1}";
        assert_eq!(request(&text[..text.len() - 1]), None);
        assert_eq!(request(text).unwrap(), json!({"method": "POST", "path": "/x", "type": "a/b", "body": {"sn": 1}}));
        let text = b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[1\r\n1\r\n]\r\n0\r\n\r\n";
        assert_eq!(request(text).unwrap()["body"], json!([1]));
        assert_eq!(request(&text[..50]), None);
    }
}
