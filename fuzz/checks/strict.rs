//! A second reading of what the gate reads: of whole lines instead of a stream, by the letter of RFC 9112 and of the gate's
//! own limits. It shares no code with the gate and is in no hurry.

use meterd::config::Limits;
use meterd::gate::head::{Framing, Head};

/// What a head is, as far as it has come.
pub enum Verdict {
    More,
    Head(Box<Head>),
    Refused,
}

/// A request line.
struct Line {
    method: String,
    target: String,
    http11: bool,
}

/// Reads the head that `bytes` begin with.
pub fn head(bytes: &[u8], limits: &Limits) -> Verdict {
    let view = &bytes[..bytes.len().min(limits.head_bytes)];
    let ended: Vec<&[u8]> = view.split_inclusive(|it| *it == b'\n').filter(|it| it.ends_with(b"\n")).collect();
    let empty = ended.iter().position(|it| *it == b"\r\n");
    let lines = &ended[..empty.unwrap_or(ended.len())];
    let Some((first, fields)) = lines.split_first() else {
        return if empty.is_some() || view.len() == limits.head_bytes { Verdict::Refused } else { Verdict::More };
    };
    let Some(line) = text(first).and_then(|it| request_line(it, limits)) else { return Verdict::Refused };
    let fields: Option<Vec<(String, &str)>> = fields.iter().map(|it| field(text(it)?)).collect();
    let Some(fields) = fields.filter(|it| it.len() <= limits.fields && lines_agree(it)) else {
        return Verdict::Refused;
    };
    match empty {
        Some(_) => {
            let len = lines.iter().map(|it| it.len()).sum::<usize>() + 2;
            whole(line, &fields, len).map_or(Verdict::Refused, |it| Verdict::Head(Box::new(it)))
        }
        None if view.len() == limits.head_bytes => Verdict::Refused,
        None => Verdict::More,
    }
}

/// A line that ends as lines have to, without its end.
fn text(line: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(line).ok()?.strip_suffix("\r\n")?;
    (text.is_ascii() && !text.contains('\r')).then_some(text)
}

fn request_line(line: &str, limits: &Limits) -> Option<Line> {
    let words: Vec<&str> = line.split(' ').collect();
    let [method, target, version] = words[..] else { return None };
    let is_short = method.len() <= 24 && target.len() <= limits.target_bytes;
    // The absolute form has an authority in front of its path.
    let absolute = target.get(..7).filter(|it| it.eq_ignore_ascii_case("http://")).map(|_| &target[7..]);
    let path = match absolute.map(|it| it.find('/')) {
        None => target,
        Some(None | Some(0)) => return None,
        Some(Some(at)) if target[7..7 + at].contains('?') => return None,
        Some(Some(at)) => &target[7 + at..],
    };
    let is_visible = target.chars().all(|it| ('!'..='~').contains(&it) && it != '#');
    let good = is_short && is_name(method) && path.starts_with('/') && is_visible;
    let http11 = version == "HTTP/1.1";
    (good && (http11 || version == "HTTP/1.0")).then(|| Line { method: method.into(), target: path.into(), http11 })
}

fn field(line: &str) -> Option<(String, &str)> {
    let (name, value) = line.split_once(':')?;
    let is_plain = value.chars().all(|it| it == '\t' || (' '..='~').contains(&it));
    (is_name(name) && is_plain).then(|| (name.to_ascii_lowercase(), value.trim_matches([' ', '\t'])))
}

fn is_name(word: &str) -> bool {
    const SIGNS: &str = "!#$%&'*+-.^_`|~";
    !word.is_empty() && word.chars().all(|it| it.is_ascii_alphanumeric() || SIGNS.contains(it))
}

fn all<'a>(fields: &[(String, &'a str)], name: &str) -> Vec<&'a str> {
    fields.iter().filter(|it| it.0 == name).map(|it| it.1).collect()
}

fn has_option(values: &[&str], option: &str) -> bool {
    values.iter().flat_map(|it| it.split(',')).any(|it| it.trim_matches([' ', '\t']).eq_ignore_ascii_case(option))
}

/// Nothing that is wrong whatever lines are still to come.
fn lines_agree(fields: &[(String, &str)]) -> bool {
    let lengths = all(fields, "content-length");
    let codings = all(fields, "transfer-encoding");
    lengths.len() <= 1
        && lengths.iter().all(|it| length(it).is_some())
        && codings.len() <= 1
        && codings.iter().all(|it| it.eq_ignore_ascii_case("chunked"))
        && all(fields, "expect").iter().all(|it| it.eq_ignore_ascii_case("100-continue"))
        && all(fields, "authorization").len() <= 1
}

fn length(value: &str) -> Option<u64> {
    let is_number = !value.is_empty() && value.chars().all(|it| it.is_ascii_digit());
    value.parse().ok().filter(|_| is_number)
}

/// What a whole head says, unless its fields contradict each other.
fn whole(line: Line, fields: &[(String, &str)], len: usize) -> Option<Head> {
    let hosts = all(fields, "host").len();
    let lengths = all(fields, "content-length");
    let is_chunked = !all(fields, "transfer-encoding").is_empty();
    let framing = match lengths.first() {
        _ if 1 < hosts || (hosts == 0 && line.http11) => return None,
        Some(_) if is_chunked => return None,
        None if is_chunked => Some(Framing::Chunked).filter(|_| line.http11)?,
        Some(value) => Framing::Length(length(value)?),
        None => Framing::Length(0),
    };
    let connection = all(fields, "connection");
    let kept = line.http11 || has_option(&connection, "keep-alive");
    let protos = all(fields, "x-forwarded-proto");
    let bearer = all(fields, "authorization").first().and_then(|it| {
        let (scheme, token) = it.split_once(' ')?;
        let token = token.trim_matches([' ', '\t']);
        let is_one_word = token.chars().all(|it| ('!'..='~').contains(&it));
        (scheme.eq_ignore_ascii_case("bearer") && is_one_word).then(|| token.to_string())
    });
    Some(Head {
        len,
        keep_alive: kept && !has_option(&connection, "close"),
        expects_continue: line.http11 && !all(fields, "expect").is_empty(),
        framing,
        bearer,
        respond_async: has_option(&all(fields, "prefer"), "respond-async"),
        forwarded_for: all(fields, "x-forwarded-for").last().map(|it| it.to_string()),
        forwarded_https: protos.len() == 1 && protos[0].eq_ignore_ascii_case("https"),
        method: line.method,
        target: line.target,
        http11: line.http11,
    })
}

/// The data of the whole chunked body that `bytes` begin with, and how many of them it takes.
pub fn body(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut rest, mut data, mut extensions) = (bytes, Vec::new(), 0);
    loop {
        let (line, behind) = next_line(rest)?;
        let (size, extension) = line.split_once(';').unwrap_or((line, ""));
        extensions += extension.len();
        let is_size = (1..=16).contains(&size.len()) && size.chars().all(|it| it.is_ascii_hexdigit());
        if !is_size || 1024 < extensions {
            return None;
        }
        let size = usize::from_str_radix(size, 16).ok()?;
        rest = behind;
        if size == 0 {
            break;
        }
        let (chunk, behind) = rest.split_at_checked(size)?;
        data.extend_from_slice(chunk);
        rest = behind.strip_prefix(b"\r\n")?;
    }
    let mut trailers = 0;
    loop {
        let (line, behind) = next_line(rest)?;
        rest = behind;
        trailers += line.len();
        match line {
            _ if 1024 < trailers => return None,
            "" => return Some((data, bytes.len() - rest.len())),
            _ => {}
        }
    }
}

/// A line of plain text without its end, and what is behind it.
fn next_line(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (line, rest) = bytes.split_at(bytes.iter().position(|it| *it == b'\n')? + 1);
    let is_plain = |it: &&str| it.chars().all(|it| it == '\t' || (' '..='~').contains(&it));
    text(line).filter(is_plain).map(|it| (it, rest))
}
