//! Replies of a mail server: bytes become lines, lines become replies, within limits.
//! It knows nothing of what was asked.

use std::fmt;

/// Bytes of a line; RFC 5321 has 512, servers send more.
const LINE: usize = 2048;
/// Lines of one reply.
const LINES: usize = 100;
/// Characters of a reply's text that are repeated elsewhere; the log has its lines.
const SHOWN: usize = 300;

/// A whole reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its three digits as a number, 200 to 599.
    pub code: u16,
    /// The text of each of its lines.
    pub lines: Vec<String>,
}

/// Why something is no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Garbled {
    /// A line does not begin with a code.
    NoCode,
    /// The lines of one reply have different codes.
    Mixed,
    /// A line is longer than 2048 bytes.
    LongLine,
    /// A reply has more than 100 lines.
    ManyLines,
}

impl fmt::Display for Garbled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Garbled::NoCode => "a line that no mail server sends",
            Garbled::Mixed => "a reply with more than one code",
            Garbled::LongLine => "a line without end",
            Garbled::ManyLines => "a reply without end",
        })
    }
}

impl Reply {
    /// Whether it grants what was asked (2xx).
    pub fn is_good(&self) -> bool {
        self.code / 100 == 2
    }

    /// Whether it asks to try later (4xx).
    pub fn is_transient(&self) -> bool {
        self.code / 100 == 4
    }

    /// The text of its lines, joined.
    pub fn text(&self) -> String {
        self.lines.join(" ")
    }

    /// Subject and detail of its enhanced status code (RFC 3463), such as (7, 8) of `5.7.8`.
    pub fn enhanced(&self) -> Option<(u16, u16)> {
        let mut parts = self.lines.first()?.split_whitespace().next()?.split('.');
        let class: u16 = parts.next()?.parse().ok()?;
        let (subject, detail) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        (class == self.code / 100 && parts.next().is_none()).then_some((subject, detail))
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text();
        let shown: String = text.chars().take(SHOWN).map(|it| if it.is_control() { ' ' } else { it }).collect();
        let more = if shown.len() < text.len() { "..." } else { "" };
        write!(f, "{} {shown}{more}", self.code)
    }
}

/// Cuts what comes from a server into lines and puts them together to replies.
#[derive(Default)]
pub struct Reader {
    waiting: Vec<u8>,
    code: Option<u16>,
    lines: Vec<String>,
}

impl Reader {
    /// Takes in what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    /// Whether the server said more than was asked for.
    pub fn has_more(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The next whole line without its end, as it came. A line feed alone ends one too, some servers send that.
    pub fn line(&mut self) -> Result<Option<String>, Garbled> {
        let end = self.waiting.iter().position(|it| *it == b'\n');
        if end.unwrap_or(self.waiting.len()) > LINE {
            return Err(Garbled::LongLine);
        }
        let Some(end) = end else { return Ok(None) };
        let line: Vec<u8> = self.waiting.drain(..=end).collect();
        let line = line.trim_ascii_end();
        Ok(Some(String::from_utf8_lossy(line).into_owned()))
    }

    /// Adds a line to the reply it belongs to; the reply if this was its last.
    pub fn add(&mut self, line: &str) -> Result<Option<Reply>, Garbled> {
        let (code, is_last, text) = split(line).ok_or(Garbled::NoCode)?;
        if self.code.is_some_and(|it| it != code) {
            return Err(Garbled::Mixed);
        }
        if self.lines.len() == LINES {
            return Err(Garbled::ManyLines);
        }
        self.code = Some(code);
        self.lines.push(text.into());
        if !is_last {
            return Ok(None);
        }
        self.code = None;
        Ok(Some(Reply { code, lines: std::mem::take(&mut self.lines) }))
    }
}

/// Code, whether it is the last line of its reply, and text of a line.
fn split(line: &str) -> Option<(u16, bool, &str)> {
    let digits = line.get(..3).filter(|it| it.bytes().all(|it| it.is_ascii_digit()))?;
    let code = digits.parse().ok().filter(|it| (200..=599).contains(it))?;
    match line.as_bytes().get(3) {
        None => Some((code, true, "")),
        Some(b' ') => Some((code, true, &line[4..])),
        Some(b'-') => Some((code, false, &line[4..])),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<Reply>, Garbled> {
        let mut reader = Reader::default();
        let mut res = Vec::new();
        // However it is cut, it is the same.
        for piece in bytes.chunks(3) {
            reader.push(piece);
            while let Some(line) = reader.line()? {
                res.extend(reader.add(&line)?);
            }
        }
        Ok(res)
    }

    #[track_caller]
    fn check(bytes: &[u8], expect: &str) {
        let got = match read(bytes) {
            Ok(replies) => replies.iter().map(Reply::to_string).collect::<Vec<_>>().join("|"),
            Err(err) => format!("{err:?}"),
        };
        assert_eq!(got, expect, "{}", String::from_utf8_lossy(bytes));
    }

    #[test]
    fn lines_become_replies() {
        check(b"220 mx ESMTP\r\n", "220 mx ESMTP");
        check(b"250-mx\r\n250-SIZE 100\r\n250 OK\r\n221 bye\r\n", "250 mx SIZE 100 OK|221 bye");
        check(b"250\r\n", "250 ");
        check(b"250-\r\n250 \r\n", "250  ");
        check(b"250 bare\n", "250 bare");
        check(b"250 \xff\r\n", "250 \u{fffd}");
        check(b"250 not yet", "");
    }

    #[test]
    fn what_is_no_reply_is_told_apart() {
        for bytes in
            [&b"HTTP/1.1 400 Bad Request\r\n"[..], b"\r\n", b"25\r\n", b"250_x\r\n", b"600 x\r\n", b"199 x\r\n"]
        {
            check(bytes, "NoCode");
        }
        check("é50 x\r\n".as_bytes(), "NoCode");
        check(b"250-a\r\n251 b\r\n", "Mixed");
        check(&b"x".repeat(LINE + 4), "LongLine");
        check(&[b"250 ", b"x".repeat(LINE).as_slice(), b"\r\n"].concat(), "LongLine");
        check(&b"220-x\r\n".repeat(LINES + 1), "ManyLines");
    }

    #[test]
    fn a_long_reply_is_repeated_in_part() {
        let text = Reply { code: 550, lines: vec!["no\tx".into(), "y".repeat(5000)] }.to_string();
        assert!(text.starts_with("550 no x yyy") && text.ends_with("y...") && text.len() < 400, "{text}");
    }

    #[test]
    fn an_enhanced_code_belongs_to_its_reply() {
        let enhanced = |code, text: &str| Reply { code, lines: vec![text.into()] }.enhanced();
        assert_eq!(enhanced(535, "5.7.8 Error"), Some((7, 8)));
        assert_eq!(enhanced(450, "4.2.0"), Some((2, 0)));
        assert_eq!(enhanced(450, "5.2.0 other class"), None);
        assert_eq!(enhanced(550, "5.7 short"), None);
        assert_eq!(enhanced(550, "5.7.1.2 long"), None);
        assert_eq!(enhanced(550, "no such user"), None);
        assert_eq!(enhanced(550, ""), None);
    }
}
