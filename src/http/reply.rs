//! What a handler answers with, and how its head is written.
//! tiny_http words the head; nothing a handler says can break out of its field.

use std::borrow::Cow;
use std::io::{self, Write};

use serde::Serialize;
use tiny_http::{HTTPVersion, Header, Response, StatusCode};

/// A whole answer. The content type is `application/json` unless a field says otherwise.
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Cow<'static, [u8]>,
    /// Further fields.
    pub headers: Vec<(&'static str, String)>,
}

impl Reply {
    /// A JSON value with a status.
    pub fn json(status: u16, value: &impl Serialize) -> Reply {
        match serde_json::to_vec(value) {
            Ok(body) => Reply { status, body: body.into(), headers: Vec::new() },
            Err(err) => {
                log::error!("an answer cannot be written as JSON: {err}");
                Reply::error(500, "The answer cannot be written.")
            }
        }
    }

    /// `{"error": text}` with a status.
    pub fn error(status: u16, text: &str) -> Reply {
        let body = serde_json::json!({ "error": text }).to_string().into_bytes();
        Reply { status, body: body.into(), headers: Vec::new() }
    }

    /// The same with one more field.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Reply {
        self.headers.push((name, value.into()));
        self
    }

    /// Writes head and body; the body is left out for HEAD.
    pub(super) fn write(&self, writer: &mut dyn Write, head_only: bool) -> io::Result<()> {
        let headers = self.headers.iter().map(|(name, value)| (*name, value.as_str()));
        let response =
            Response::new(StatusCode(self.status), fields(headers), &self.body[..], Some(self.body.len()), None)
                // Above its threshold tiny_http would choose chunks although the length is known.
                .with_chunked_threshold(usize::MAX);
        response.raw_print(&mut *writer, HTTPVersion(1, 1), &[], head_only, None)?;
        writer.flush()
    }
}

/// Writes the head of an answer whose body follows in chunks.
pub(super) fn write_stream_head(writer: &mut dyn Write, status: u16, headers: &[(&str, String)]) -> io::Result<()> {
    let headers = headers.iter().map(|(name, value)| (*name, value.as_str()));
    let response = Response::new(StatusCode(status), fields(headers), io::empty(), None, None);
    // Without a length tiny_http announces chunks, and with "no body" it leaves them to us.
    response.raw_print(writer, HTTPVersion(1, 1), &[], true, None)
}

fn fields<'a>(headers: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<Header> {
    let own = [("Content-Type", "application/json")].into_iter();
    // A later Content-Type replaces the first one in tiny_http.
    own.chain(headers).filter_map(|(name, value)| field(name, value)).collect()
}

/// A field, unless its value would end its line: tiny_http itself lets CR and LF through.
fn field(name: &str, value: &str) -> Option<Header> {
    let plain = value.bytes().all(|it| matches!(it, b'\t' | 0x20..=0x7e));
    let res = if plain { Header::from_bytes(name, value).ok() } else { None };
    if res.is_none() {
        log::error!("the field {name} of an answer is left out: its value is not plain ASCII");
    }
    res
}

/// The usual words for a status code.
pub fn status_text(status: u16) -> &'static str {
    StatusCode(status).default_reason_phrase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(reply: &Reply, head_only: bool) -> String {
        let mut res = Vec::new();
        reply.write(&mut res, head_only).unwrap();
        String::from_utf8(res).unwrap()
    }

    #[test]
    fn a_reply_is_json_with_its_length() {
        let res = text(&Reply::json(200, &serde_json::json!({"a": 1})), false);
        assert!(res.starts_with("HTTP/1.1 200 OK\r\n"), "{res}");
        assert!(res.contains("\r\nContent-Type: application/json\r\n"), "{res}");
        assert!(res.contains("\r\nContent-Length: 7\r\n") && res.ends_with("\r\n\r\n{\"a\":1}"), "{res}");
    }

    #[test]
    fn a_long_reply_still_has_a_length() {
        let reply = Reply { status: 200, body: vec![b'x'; 100_000].into(), headers: Vec::new() };
        let res = text(&reply, false);
        assert!(
            res.contains("\r\nContent-Length: 100000\r\n") && !res.contains("Transfer-Encoding"),
            "{}",
            &res[..300]
        );
    }

    #[test]
    fn head_has_the_length_and_no_body() {
        let res = text(&Reply::error(405, "No."), true);
        assert!(res.contains("\r\nContent-Length: 15\r\n") && res.ends_with("\r\n\r\n"), "{res}");
    }

    #[test]
    fn a_value_cannot_end_its_line() {
        let res = text(&Reply::error(401, "No.").with("Allow", "POST").with("X-Bad", "a\r\nSet-Cookie: b"), false);
        assert!(res.contains("\r\nAllow: POST\r\n") && !res.contains("Set-Cookie"), "{res}");
    }

    #[test]
    fn the_content_type_can_be_replaced() {
        let res = text(&Reply::error(200, "x").with("Content-Type", "text/plain"), false);
        assert!(res.contains("Content-Type: text/plain") && !res.contains("application/json"), "{res}");
    }
}
