//! Replies, read from bytes as they are. It is strict (RFC 9112): what a careful client could misunderstand is told.

/// How the end of a reply's body was known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// The status or the method says that there is no body.
    None,
    /// Content-Length.
    Length,
    /// Transfer-Encoding: chunked.
    Chunked,
    /// The connection's end.
    Close,
}

/// A whole reply.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// `HTTP/1.1` or `HTTP/1.0`.
    pub version: String,
    /// The status code.
    pub status: u16,
    /// Names as they came, with values trimmed.
    pub headers: Vec<(String, String)>,
    /// The body with its framing taken off.
    pub body: Vec<u8>,
    /// How the body's end was known.
    pub framing: Framing,
    /// Interim replies (1xx) that came first.
    pub interim: usize,
    /// Bytes that came behind the reply on a connection that had nothing more to say.
    pub extra: Vec<u8>,
    /// Whether the meter closed the connection afterwards.
    pub closed: bool,
}

impl Reply {
    /// The first field of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|it| it.0.eq_ignore_ascii_case(name)).map(|it| it.1.as_str())
    }
}

/// What reading some bytes of a reply came to.
#[derive(Debug, PartialEq)]
pub enum Progress {
    /// A whole reply, which took so many bytes.
    Whole(Reply, usize),
    /// More bytes are needed; with `true` the end of the connection would do as well.
    More(bool),
}

/// Bytes of a head, and interim replies in front of it, that a client can be expected to read.
const LONGEST_HEAD: usize = 65536;
/// See [`LONGEST_HEAD`].
const MOST_INTERIM: usize = 16;

/// Reads one reply from the beginning of `bytes`; `head` says that it answers a HEAD. The error says what is wrong with it.
pub fn read(bytes: &[u8], head: bool) -> Result<Progress, String> {
    let Some((mut reply, body)) = final_head(bytes)? else { return Ok(Progress::More(false)) };
    let status = reply.status;
    if head || status == 204 || status == 304 {
        return Ok(Progress::Whole(reply, body));
    }
    let lengths: Vec<_> = reply.headers.iter().filter(|it| it.0.eq_ignore_ascii_case("content-length")).collect();
    let coded = reply.header("transfer-encoding").map(str::to_ascii_lowercase);
    match (coded.as_deref(), lengths.as_slice()) {
        (Some("chunked"), []) => match chunks(&bytes[body..])? {
            Some((data, used)) => {
                reply.body = data;
                reply.framing = Framing::Chunked;
                Ok(Progress::Whole(reply, body + used))
            }
            None => Ok(Progress::More(false)),
        },
        (Some(_), [_, ..]) => Err("the reply has both Content-Length and Transfer-Encoding".into()),
        (Some(other), _) => Err(format!("the reply has Transfer-Encoding: {other}, which was not asked for")),
        (None, [one]) => {
            let length = number(&one.1, 10).ok_or_else(|| format!("Content-Length: {} is no number", one.1))?;
            let end = body.checked_add(length);
            let Some(data) = end.and_then(|end| bytes.get(body..end)) else { return Ok(Progress::More(false)) };
            reply.body = data.to_vec();
            reply.framing = Framing::Length;
            Ok(Progress::Whole(reply, body + length))
        }
        (None, [_, ..]) => Err("the reply has more than one Content-Length".into()),
        (None, []) => Ok(Progress::More(true)),
    }
}

/// The reply whose body ends with the connection; what [`read`] said [`Progress::More`]`(true)` of.
pub fn read_closed(bytes: &[u8]) -> Option<Reply> {
    let (reply, body) = final_head(bytes).ok()??;
    Some(Reply { body: bytes[body..].to_vec(), framing: Framing::Close, closed: true, ..reply })
}

/// The reply behind all interim ones, without its body, and where that begins; `None` if the head is not whole.
fn final_head(bytes: &[u8]) -> Result<Option<(Reply, usize)>, String> {
    let mut at = 0;
    for interim in 0..=MOST_INTERIM {
        let rest = &bytes[at..];
        let Some(end) = rest.windows(4).take(LONGEST_HEAD).position(|it| it == b"\r\n\r\n") else {
            return match rest.len() <= LONGEST_HEAD {
                true => Ok(None),
                false => Err("the reply's head does not end within 64 KiB".into()),
            };
        };
        let text = std::str::from_utf8(&rest[..end]).map_err(|_| "the reply's head is not UTF-8")?;
        let mut lines = text.split("\r\n");
        let (version, status) = status_line(lines.next().unwrap_or_default())?;
        let headers = lines.map(field).collect::<Result<Vec<_>, _>>()?;
        at += end + 4;
        if !(100..200).contains(&status) {
            let (body, extra, framing, closed) = (Vec::new(), Vec::new(), Framing::None, false);
            return Ok(Some((Reply { version, status, headers, body, framing, interim, extra, closed }, at)));
        }
    }
    Err(format!("more than {MOST_INTERIM} interim replies came first"))
}

/// Digits and nothing else: not the signs that `parse` takes.
fn number(text: &str, radix: u32) -> Option<usize> {
    let digits = text.chars().all(|it| it.is_digit(radix));
    usize::from_str_radix(text, radix).ok().filter(|_| digits)
}

fn status_line(line: &str) -> Result<(String, u16), String> {
    let wrong = || format!("{line:?} is no status line");
    let (version, rest) = line.split_once(' ').ok_or_else(wrong)?;
    let code = rest.split(' ').next().unwrap_or_default();
    let digits = code.len() == 3 && code.bytes().all(|it| it.is_ascii_digit());
    if !digits || !matches!(version, "HTTP/1.1" | "HTTP/1.0") {
        return Err(wrong());
    }
    Ok((version.into(), code.parse().map_err(|_| wrong())?))
}

fn field(line: &str) -> Result<(String, String), String> {
    let token = |it: u8| it.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&it);
    match line.split_once(':') {
        Some((name, value)) if !name.is_empty() && name.bytes().all(token) => Ok((name.into(), value.trim().into())),
        _ => Err(format!("{line:?} is no header field")),
    }
}

/// The data of chunks and the bytes they took; `None` if the last one has not come yet.
fn chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, String> {
    let (mut data, mut at) = (Vec::new(), 0);
    loop {
        let Some(line) = bytes[at..].windows(2).position(|it| it == b"\r\n") else { return Ok(None) };
        let text = String::from_utf8_lossy(&bytes[at..at + line]).into_owned();
        let size = text.split(';').next().unwrap_or_default().trim();
        let size = number(size, 16).ok_or_else(|| format!("{text:?} is no chunk size"))?;
        at += line + 2;
        if size == 0 {
            // Trailers end like a head does.
            let Some(end) = bytes[at..].windows(2).position(|it| it == b"\r\n") else { return Ok(None) };
            if end == 0 {
                return Ok(Some((data, at + 2)));
            }
            let Some(end) = bytes[at..].windows(4).position(|it| it == b"\r\n\r\n") else { return Ok(None) };
            return Ok(Some((data, at + end + 4)));
        }
        let end = at.checked_add(size).and_then(|it| it.checked_add(2));
        let Some(chunk) = end.and_then(|end| bytes.get(at..end)) else { return Ok(None) };
        if &chunk[size..] != b"\r\n" {
            return Err("a chunk does not end where its size says".into());
        }
        data.extend_from_slice(&chunk[..size]);
        at += size + 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &str) -> (Reply, usize) {
        match read(bytes.as_bytes(), false) {
            Ok(Progress::Whole(reply, used)) => (reply, used),
            other => panic!("{bytes:?}: {other:?}"),
        }
    }

    #[test]
    fn every_framing_is_read_to_its_end_and_not_further() {
        let (reply, used) = whole("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1");
        assert_eq!((reply.body.as_slice(), used, reply.framing), (&b"{}"[..], 40, Framing::Length));
        let bytes = "HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\n{\r\n1\r\n}\r\n0\r\nA: b\r\n\r\n";
        let (reply, used) = whole(&format!("{bytes}rest"));
        assert_eq!((reply.body.as_slice(), used), (&b"{}"[..], bytes.len()));
        let (reply, _) = whole("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\n\r\n");
        assert_eq!((reply.status, reply.interim), (204, 1));
        assert_eq!(read(b"HTTP/1.1 200 OK\r\n\r\n{}", false), Ok(Progress::More(true)));
        assert_eq!(read_closed(b"HTTP/1.1 200 OK\r\n\r\n{}").unwrap().body, b"{}");
        let closed = read_closed(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n{}").unwrap();
        assert_eq!((closed.status, closed.interim, closed.body.as_slice()), (200, 1, &b"{}"[..]));
        assert_eq!(read(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{}", false), Ok(Progress::More(false)));
    }

    #[test]
    fn what_could_be_misunderstood_is_an_error() {
        for bytes in [
            "HTTP/2 200 OK\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n{",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{",
            "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n{",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n+1\r\n{\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n{",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
            "HTTP/1.1 200 OK\r\nno field\r\n\r\n",
            "HTTP/1.1 200 OK\r\nbad name: x\r\n\r\n",
        ] {
            assert!(read(bytes.as_bytes(), false).is_err(), "{bytes:?}");
        }
        assert!(read("HTTP/1.1 100 Continue\r\n\r\n".repeat(100_000).as_bytes(), false).is_err());
        assert!(read(&[b'x'; 70_000], false).is_err());
    }

    #[test]
    fn lengths_that_no_memory_holds_are_only_waited_for() {
        let most = usize::MAX;
        let length = format!("HTTP/1.1 200 OK\r\nContent-Length: {most}\r\n\r\n{{}}");
        assert_eq!(read(length.as_bytes(), false), Ok(Progress::More(false)));
        let chunk = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{most:x}\r\n{{}}");
        assert_eq!(read(chunk.as_bytes(), false), Ok(Progress::More(false)));
    }
}
