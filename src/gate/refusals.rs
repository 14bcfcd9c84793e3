//! The answers that the gate gives itself, each with a status, a JSON `error` and `Connection: close`.
//! It knows the words, not when they are due.

/// Seconds that a client is asked to wait before it tries again.
const RETRY_AFTER: u32 = 2;

/// Why a request goes no further than the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The bytes are not HTTP as this service understands it; the text says where.
    BadRequest(&'static str),
    /// A TCP listener under `secure_only`.
    SecureOnly,
    /// A Unix listener's client that is not the front.
    Stranger,
    /// Head or body did not come in time.
    Timeout,
    /// The body is above the limit that applies to it.
    TooLarge,
    /// The request target is too long.
    TargetTooLong,
    /// `Expect` names something else than `100-continue`.
    Expectation,
    /// The head has too many bytes or fields.
    HeadTooLarge,
    /// `Transfer-Encoding` names something else than one `chunked`.
    Coding,
    /// No slot came free, or no answer came, in time.
    Busy,
    /// A version of HTTP other than 1.0 and 1.1.
    Version,
    /// A long answer over a Unix socket to a front that speaks HTTP/1.0, which could not tell a cut one from a whole one.
    LongForOldFront,
}

impl Refusal {
    /// Status, reason phrase and the text of `error`.
    fn words(self) -> (u16, &'static str, &'static str) {
        match self {
            Refusal::BadRequest(text) => (400, "Bad Request", text),
            Refusal::SecureOnly => (403, "Forbidden", "Only encrypted connections are served: use https."),
            Refusal::Stranger => (403, "Forbidden", "This socket is for the front server's user only."),
            Refusal::Timeout => (408, "Request Timeout", "The request did not come in time."),
            Refusal::TooLarge => (413, "Content Too Large", "The body is larger than this resource takes."),
            Refusal::TargetTooLong => (414, "URI Too Long", "The request target is too long."),
            Refusal::Expectation => (417, "Expectation Failed", "Only 100-continue can be expected."),
            Refusal::HeadTooLarge => (431, "Request Header Fields Too Large", "The head has too many bytes or fields."),
            Refusal::Coding => (501, "Not Implemented", "The only transfer coding is chunked."),
            Refusal::Busy => (503, "Service Unavailable", "Too much is going on; try again."),
            Refusal::Version => (505, "HTTP Version Not Supported", "The versions are HTTP/1.1 and HTTP/1.0."),
            Refusal::LongForOldFront => (
                505,
                "HTTP Version Not Supported",
                "The front server must speak HTTP/1.1 for an answer of this length.",
            ),
        }
    }

    /// The status code.
    pub fn status(self) -> u16 {
        self.words().0
    }

    /// The whole answer as it goes over the wire.
    pub fn bytes(self) -> Vec<u8> {
        let (status, reason, text) = self.words();
        let body = format!("{{\"error\":\"{text}\"}}");
        let retry = if status == 503 { format!("Retry-After: {RETRY_AFTER}\r\n") } else { String::new() };
        format!(
            "HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{retry}Connection: close\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_frames_itself_and_is_json() {
        for it in [Refusal::BadRequest("No."), Refusal::Busy, Refusal::LongForOldFront] {
            let text = String::from_utf8(it.bytes()).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {} ", it.status())), "{head}");
            assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head}");
            assert_eq!(head.contains("\r\nRetry-After: "), it == Refusal::Busy, "{head}");
            let json: serde_json::Value = serde_json::from_str(body).unwrap();
            assert!(json["error"].is_string());
        }
    }
}
