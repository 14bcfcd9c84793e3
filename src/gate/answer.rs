//! Reading an answer of tiny_http and wording it anew for the client.
//! Sans-IO; it knows framing and fields, not who waits for the answer.

use super::flow::Flow;
use crate::http::chunked::Malformed;

/// Bytes of an answer's head.
const HEAD_BYTES: usize = 16 * 1024;
/// Fields that describe the connection to tiny_http or its make, and those that are written anew.
const DROPPED: [&str; 6] = ["Connection", "Keep-Alive", "Upgrade", "Server", "Content-Length", "Transfer-Encoding"];

/// The head of an answer.
#[derive(Debug)]
pub(super) struct AnswerHead {
    status_line: Vec<u8>,
    /// The fields that are passed on, each with its line end.
    fields: Vec<u8>,
    /// The length that was declared.
    pub(super) length: Option<u64>,
    /// Whether a body follows, going by the request's method and the status.
    pub(super) bodiless: bool,
}

/// How the client will know where the body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delimiter {
    Length(u64),
    Chunked,
    /// By the connection's end, for HTTP/1.0.
    Close,
    /// There is no body, and no length is known that one would have had.
    Nothing,
}

impl AnswerHead {
    /// The head as the client gets it.
    pub(super) fn bytes(&self, delimiter: Delimiter, keep: bool) -> Vec<u8> {
        let mut res = [&self.status_line[..], &self.fields].concat();
        match delimiter {
            Delimiter::Length(n) => res.extend_from_slice(format!("Content-Length: {n}\r\n").as_bytes()),
            Delimiter::Chunked => res.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
            Delimiter::Close | Delimiter::Nothing => {}
        }
        res.extend_from_slice(if keep { b"Connection: keep-alive\r\n\r\n" } else { b"Connection: close\r\n\r\n" });
        res
    }
}

/// Reads one answer.
pub(super) struct Reader {
    /// The request was a HEAD.
    head_only: bool,
    raw: Vec<u8>,
    body: Option<(AnswerHead, Flow)>,
}

impl Reader {
    pub(super) fn new(head_only: bool) -> Reader {
        Reader { head_only, raw: Vec::new(), body: None }
    }

    /// Whether anything has come.
    pub(super) fn begun(&self) -> bool {
        self.body.is_some() || !self.raw.is_empty()
    }

    pub(super) fn head(&self) -> Option<&AnswerHead> {
        self.body.as_ref().map(|(head, _)| head)
    }

    /// Whether the whole answer has come; an end of the stream before that is a cut.
    pub(super) fn done(&self) -> bool {
        self.body.as_ref().is_some_and(|(_, flow)| flow.done())
    }

    /// Takes what has come and adds the body's part of it to `sink`. Bytes behind the answer are an error, for nobody
    /// has asked for them.
    pub(super) fn feed(&mut self, input: &[u8], sink: &mut Vec<u8>) -> Result<(), Malformed> {
        if let Some((_, flow)) = &mut self.body {
            return if flow.take(input, sink)? == input.len() { Ok(()) } else { Err(Malformed) };
        }
        self.raw.extend_from_slice(input);
        let Some(end) = self.raw.windows(4).position(|it| it == b"\r\n\r\n") else {
            return if self.raw.len() < HEAD_BYTES { Ok(()) } else { Err(Malformed) };
        };
        let raw = std::mem::take(&mut self.raw);
        self.body = Some(parse(&raw[..end + 2], self.head_only)?);
        self.feed(&raw[end + 4..], sink)
    }
}

fn parse(head: &[u8], head_only: bool) -> Result<(AnswerHead, Flow), Malformed> {
    let mut lines = head.split_inclusive(|&it| it == b'\n');
    let status_line = lines.next().ok_or(Malformed)?;
    let status = match status_line {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', _, b' ', code @ .., b'\r', b'\n'] => {
            std::str::from_utf8(code.get(..3).ok_or(Malformed)?).ok().and_then(|it| it.parse::<u16>().ok())
        }
        _ => None,
    };
    // Interim answers are never asked for: the gate keeps `Expect` to itself.
    let status = status.filter(|it| (200..600).contains(it)).ok_or(Malformed)?;
    let (mut fields, mut length, mut chunked) = (Vec::new(), None, false);
    for line in lines {
        let colon = line.iter().position(|&it| it == b':').ok_or(Malformed)?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let is = |it: &str| name.eq_ignore_ascii_case(it.as_bytes());
        if is("Content-Length") {
            length = Some(std::str::from_utf8(value).ok().and_then(|it| it.parse().ok()).ok_or(Malformed)?);
        }
        chunked |= is("Transfer-Encoding") && value.eq_ignore_ascii_case(b"chunked");
        if !DROPPED.iter().any(|it| is(it)) {
            fields.extend_from_slice(line);
        }
    }
    let empty = matches!(status, 204 | 304);
    let bodiless = head_only || empty;
    let flow = match (bodiless, chunked, length) {
        (true, _, _) => Flow::Length(0),
        (false, true, None) => Flow::chunked(),
        (false, false, Some(n)) => Flow::Length(n),
        _ => return Err(Malformed),
    };
    let length = if empty { None } else { length };
    Ok((AnswerHead { status_line: status_line.to_vec(), fields, length, bodiless }, flow))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds an answer in two pieces at every cut: all agree on body, end and refusal.
    #[track_caller]
    fn check(answer: &str, head_only: bool, expect: Result<(&str, bool), Malformed>) {
        for cut in 0..=answer.len() {
            let (mut reader, mut body) = (Reader::new(head_only), Vec::new());
            let (one, two) = answer.as_bytes().split_at(cut);
            let res = reader.feed(one, &mut body).and_then(|()| match two {
                [] => Ok(()),
                _ => reader.feed(two, &mut body),
            });
            let res = res.map(|()| (std::str::from_utf8(&body).unwrap(), reader.done()));
            assert_eq!(res, expect, "cut at {cut}");
        }
    }

    #[test]
    fn both_framings_are_read_in_every_cut() {
        check("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", false, Ok(("abc", true)));
        check("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc", false, Ok(("abc", false)));
        check("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", false, Ok(("abc", true)));
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n!\r\n", false, Err(Malformed));
    }

    #[test]
    fn some_answers_have_no_body() {
        check("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", true, Ok(("", true)));
        check("HTTP/1.1 204 No Content\r\n\r\n", false, Ok(("", true)));
        check("HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", false, Ok(("", true)));
    }

    #[test]
    fn what_cannot_be_framed_is_refused() {
        check("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab", false, Err(Malformed));
        check("HTTP/1.1 200 OK\r\n\r\n", false, Err(Malformed));
        check("HTTP/1.1 100 Continue\r\n\r\n", false, Err(Malformed));
        check("garbage\r\n\r\n", false, Err(Malformed));
    }

    #[test]
    fn the_head_is_worded_anew() {
        let mut reader = Reader::new(false);
        let answer = b"HTTP/1.1 200 OK\r\nServer: x\r\nDate: y\r\nConnection: z\r\nA: b\r\nContent-Length: 0\r\n\r\n";
        reader.feed(answer, &mut Vec::new()).unwrap();
        let head = reader.head().unwrap().bytes(Delimiter::Length(0), false);
        let expect = "HTTP/1.1 200 OK\r\nDate: y\r\nA: b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        assert_eq!(std::str::from_utf8(&head).unwrap(), expect);
    }
}
