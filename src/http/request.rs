//! A request as handlers see it, made from tiny_http's and the fields that the gate has added.

use std::io::{self, ErrorKind};
use std::time::Duration;

use crate::auth::Peer;
use crate::sys::clock;

/// One request. It has no Debug: it holds a token and whatever a body holds.
pub struct Request {
    /// The method as sent.
    pub method: String,
    /// The path, undecoded, without the query.
    pub path: String,
    /// What follows the first `?`.
    pub query: Option<String>,
    /// The token of `Authorization: Bearer`.
    pub bearer: Option<String>,
    /// Who asks.
    pub peer: Peer,
    /// When the last byte came (of the head, for a streamed upload), on the clock of [`clock::boottime`].
    pub received: Duration,
    /// The client would rather have an answer at once than wait for the end of a long command (RFC 7240).
    pub respond_async: bool,
    /// The body was an upload without a valid token and has been dropped: the answer is 401.
    pub withheld: bool,
    /// The whole body; empty if it is streamed.
    pub body: Vec<u8>,
    /// The body comes through [`super::Exchange::body`], so the handler must detach or refuse.
    pub streamed: bool,
}

impl Request {
    /// Reads the request and, unless it is streamed, its body of at most `body_bytes`.
    pub(super) fn read(raw: &mut tiny_http::Request, body_bytes: usize) -> io::Result<Request> {
        let field =
            |name: &'static str| raw.headers().iter().find(|it| it.field.equiv(name)).map(|it| it.value.as_str());
        let mark = field("X-Meter-Body");
        let received = field("X-Meter-Received").and_then(|it| it.parse().ok()).map(Duration::from_nanos);
        let (path, query) = match raw.url().split_once('?') {
            Some((path, query)) => (path.to_owned(), Some(query.to_owned())),
            None => (raw.url().to_owned(), None),
        };
        let mut res = Request {
            method: raw.method().as_str().to_owned(),
            path,
            query,
            respond_async: field("X-Meter-Prefer").is_some(),
            bearer: field("Authorization").and_then(|it| it.strip_prefix("Bearer ")).map(str::to_owned),
            peer: Peer {
                ip: field("X-Meter-Peer").and_then(|it| it.parse().ok()),
                secure: field("X-Meter-Secure") == Some("yes"),
            },
            received: received.unwrap_or_else(clock::boottime),
            withheld: mark == Some("withheld"),
            body: Vec::new(),
            streamed: mark == Some("streamed"),
        };
        let length = if res.streamed { 0 } else { raw.body_length().unwrap_or(0) };
        if length > body_bytes {
            return Err(io::Error::new(ErrorKind::InvalidInput, "a body that the gate should have refused"));
        }
        if length > 0 {
            res.body = vec![0; length];
            raw.as_reader().read_exact(&mut res.body)?;
        }
        Ok(res)
    }
}
