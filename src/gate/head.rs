//! The strict parser of a request's head: bytes become a [`Head`], or the [`Refusal`] to answer with.
//! A pure function without sockets or time, so that it can be fuzzed; what is not understood is refused, never guessed,
//! because two readings of one head are how requests are smuggled.

use super::refusals::Refusal;
use crate::config::Limits;

/// Bytes of a method; the longest registered one has 17.
const METHOD_BYTES: usize = 24;

/// What the bytes so far amount to.
#[derive(Clone, PartialEq, Eq)]
pub enum Parsed {
    /// A head may still become of it.
    More,
    /// A whole head.
    Head(Head),
    /// Never a head that is served.
    Refused(Refusal),
}

/// A request's head, as far as anything behind the gate may depend on it. It has no Debug: it holds a token.
#[derive(Clone, PartialEq, Eq)]
pub struct Head {
    /// Bytes of the head, the empty line included.
    pub len: usize,
    /// The method, a token in the letters it was sent in.
    pub method: String,
    /// The target in origin form, undecoded.
    pub target: String,
    /// HTTP/1.1, as opposed to HTTP/1.0.
    pub http11: bool,
    /// The client wants the connection kept.
    pub keep_alive: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// How the body is delimited.
    pub framing: Framing,
    /// The token of `Authorization: Bearer`.
    pub bearer: Option<String>,
    /// `Prefer: respond-async` (RFC 7240): a long command is to answer as soon as it has begun.
    pub respond_async: bool,
    /// The last `X-Forwarded-For` line.
    pub forwarded_for: Option<String>,
    /// There is exactly one `X-Forwarded-Proto`, and it says `https`.
    pub forwarded_https: bool,
}

/// How a request's body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// By a length; no field at all is length 0.
    Length(u64),
    /// By the chunked coding.
    Chunked,
}

impl Head {
    /// The target's part before the query.
    pub fn path(&self) -> &str {
        self.target.split_once('?').map_or(&self.target, |(path, _)| path)
    }
}

/// Parses the head at the front of `input`. The result does not depend on how the bytes were cut: once it is not
/// [`Parsed::More`], further bytes do not change it.
pub fn parse(input: &[u8], limits: &Limits) -> Parsed {
    let view = &input[..input.len().min(limits.head_bytes)];
    match read_lines(view, limits) {
        Ok(Some(head)) => Parsed::Head(head),
        Ok(None) if view.len() == limits.head_bytes => Parsed::Refused(Refusal::HeadTooLarge),
        Ok(None) => Parsed::More,
        Err(refusal) => Parsed::Refused(refusal),
    }
}

fn read_lines(view: &[u8], limits: &Limits) -> Result<Option<Head>, Refusal> {
    let mut at = 0;
    let Some(line) = next_line(view, &mut at)? else { return Ok(None) };
    let request = request_line(line, limits)?;
    let mut fields = Fields::default();
    while let Some(line) = next_line(view, &mut at)? {
        if line.is_empty() {
            return fields.finish(request, at).map(Some);
        }
        if fields.count == limits.fields {
            return Err(Refusal::HeadTooLarge);
        }
        fields.add(line)?;
    }
    Ok(None)
}

/// The next line without its end, or `None` while it is not whole.
fn next_line<'a>(view: &'a [u8], at: &mut usize) -> Result<Option<&'a [u8]>, Refusal> {
    let rest = &view[*at..];
    let Some(end) = rest.iter().position(|&it| it == b'\n') else { return Ok(None) };
    *at += end + 1;
    match rest[..end].split_last() {
        Some((b'\r', line)) if !line.contains(&b'\r') => Ok(Some(line)),
        _ => Err(Refusal::BadRequest("A line of the head does not end with CR LF.")),
    }
}

struct RequestLine {
    method: String,
    target: String,
    http11: bool,
}

fn request_line(line: &[u8], limits: &Limits) -> Result<RequestLine, Refusal> {
    const MALFORMED: Refusal = Refusal::BadRequest("The request line is malformed.");
    let mut words = line.split(|&it| it == b' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(MALFORMED);
    };
    let http11 = match version {
        b"HTTP/1.1" => true,
        b"HTTP/1.0" => false,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            return Err(Refusal::Version);
        }
        _ => return Err(MALFORMED),
    };
    if target.len() > limits.target_bytes {
        return Err(Refusal::TargetTooLong);
    }
    // Braces, bars and the like are not URI characters, but a public client sends `?filter={hostname}`.
    let visible = target.iter().all(|it| it.is_ascii_graphic() && *it != b'#');
    let target = origin_form(target);
    if !is_token(method) || method.len() > METHOD_BYTES || target.first() != Some(&b'/') || !visible {
        return Err(MALFORMED);
    }
    Ok(RequestLine { method: text(method), target: text(target), http11 })
}

/// The target without scheme and authority, if it has them: RFC 9112 §3.2.2 has every server take that form too. Whom the
/// authority names is not looked at, just as with Host.
fn origin_form(target: &[u8]) -> &[u8] {
    match target.split_at_checked(7) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case(b"http://") => {
            let path = rest.iter().position(|it| b"/?#".contains(it));
            path.filter(|it| 0 < *it).map_or(target, |it| &rest[it..])
        }
        _ => target,
    }
}

#[derive(Default)]
struct Fields {
    count: usize,
    hosts: usize,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
    authorized: bool,
    bearer: Option<String>,
    respond_async: bool,
    forwarded_for: Option<String>,
    protos: usize,
    https: bool,
}

impl Fields {
    fn add(&mut self, line: &[u8]) -> Result<(), Refusal> {
        let colon = line.iter().position(|&it| it == b':');
        let Some((name, value)) = colon.map(|at| (&line[..at], &line[at + 1..])) else {
            return Err(Refusal::BadRequest("A field has no colon."));
        };
        // A folded line begins with a space, which no token contains.
        if !is_token(name) {
            return Err(Refusal::BadRequest("A field's name is malformed."));
        }
        if !value.iter().all(|it| matches!(it, b'\t' | 0x20..=0x7e)) {
            return Err(Refusal::BadRequest("A field's value is not plain ASCII."));
        }
        // Only now, for this trims control characters too.
        let value = value.trim_ascii();
        self.count += 1;
        let is = |it: &str| name.eq_ignore_ascii_case(it.as_bytes());
        if is("Host") {
            self.hosts += 1;
        } else if is("Content-Length") {
            self.add_length(value)?;
        } else if is("Transfer-Encoding") {
            if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Refusal::Coding);
            }
            self.chunked = true;
        } else if is("Connection") {
            for option in value.split(|&it| it == b',').map(<[u8]>::trim_ascii) {
                self.close |= option.eq_ignore_ascii_case(b"close");
                self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            }
        } else if is("Expect") {
            if !value.eq_ignore_ascii_case(b"100-continue") {
                return Err(Refusal::Expectation);
            }
            self.expects_continue = true;
        } else if is("Authorization") {
            if self.authorized {
                return Err(Refusal::BadRequest("There is more than one Authorization field."));
            }
            self.authorized = true;
            self.bearer = bearer(value);
        } else if is("Prefer") {
            let mut preferences = value.split(|&it| it == b',').map(<[u8]>::trim_ascii);
            self.respond_async |= preferences.any(|it| it.eq_ignore_ascii_case(b"respond-async"));
        } else if is("X-Forwarded-For") {
            self.forwarded_for = Some(text(value));
        } else if is("X-Forwarded-Proto") {
            self.protos += 1;
            self.https = value.eq_ignore_ascii_case(b"https");
        }
        Ok(())
    }

    fn add_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.length.is_some() {
            return Err(Refusal::BadRequest("There is more than one Content-Length field."));
        }
        if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            return Err(Refusal::BadRequest("Content-Length is not a number."));
        }
        // All digits, so the only way to fail is to be too large.
        self.length = Some(text(value).parse().map_err(|_| Refusal::TooLarge)?);
        Ok(())
    }

    fn finish(self, line: RequestLine, len: usize) -> Result<Head, Refusal> {
        if self.hosts > 1 || (line.http11 && self.hosts == 0) {
            return Err(Refusal::BadRequest("There must be exactly one Host field."));
        }
        if self.chunked && (self.length.is_some() || !line.http11) {
            return Err(Refusal::BadRequest("Transfer-Encoding goes with neither Content-Length nor HTTP/1.0."));
        }
        let RequestLine { method, target, http11 } = line;
        Ok(Head {
            len,
            method,
            target,
            http11,
            keep_alive: !self.close && (http11 || self.keep_alive),
            // HTTP/1.0 has no interim answers.
            expects_continue: self.expects_continue && http11,
            framing: if self.chunked { Framing::Chunked } else { Framing::Length(self.length.unwrap_or(0)) },
            bearer: self.bearer,
            respond_async: self.respond_async,
            forwarded_for: self.forwarded_for,
            forwarded_https: self.protos == 1 && self.https,
        })
    }
}

/// The token in `Bearer <token>`; any other scheme is as good as no field.
fn bearer(value: &[u8]) -> Option<String> {
    let (scheme, token) = value.split_at(value.iter().position(|&it| it == b' ')?);
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"Bearer") && token.iter().all(u8::is_ascii_graphic)).then(|| text(token))
}

fn is_token(word: &[u8]) -> bool {
    !word.is_empty() && word.iter().all(|it| it.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(it))
}

/// ASCII bytes, checked before, as a string.
fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|&it| char::from(it)).collect()
}

#[cfg(test)]
mod tests;
