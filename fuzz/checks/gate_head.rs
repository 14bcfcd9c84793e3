//! Whatever bytes a client sends, in whatever pieces: the head parser and the chunked decoder do not depend on the pieces;
//! they take and refuse what a second, strict reading of the whole takes and refuses; and what they take httparse reads alike.

#[path = "strict.rs"]
mod strict;

use meterd::api::query::Query;
use meterd::api::route;
use meterd::config::Limits;
use meterd::gate::head::{Framing, Head, Parsed, parse};
use meterd::http::chunked::Decoder;

use strict::Verdict;

/// See the module.
pub fn check(data: &[u8]) {
    // The first byte says how the rest is cut.
    let Some((&cut, bytes)) = data.split_first() else { return };
    heads(usize::from(cut), bytes);
    bodies(usize::from(cut), bytes);
}

fn heads(cut: usize, bytes: &[u8]) {
    // Small limits, so that their edges are found.
    let limits = Limits { head_bytes: 1024, fields: 8, target_bytes: 64, ..Limits::default() };
    let whole = parse(bytes, &limits);
    let step = cut % 64 + 1;
    let mut at = 0;
    let piecewise = loop {
        let res = parse(&bytes[..at], &limits);
        if !matches!(res, Parsed::More) || at == bytes.len() {
            break res;
        }
        at = (at + step).min(bytes.len());
    };
    assert!(whole == piecewise, "the outcome depends on the cut");
    match (whole, strict::head(bytes, &limits)) {
        (Parsed::Head(head), Verdict::Head(other)) => {
            assert!(head == *other, "the two readings differ");
            promises(&head, &bytes[..head.len], &limits);
            leads(&head);
        }
        (Parsed::Refused(_), Verdict::Refused) | (Parsed::More, Verdict::More) => {}
        (Parsed::Head(_), _) => panic!("only the gate takes it"),
        (Parsed::Refused(it), _) => panic!("only the gate refuses it, with {}", it.status()),
        (Parsed::More, _) => panic!("only the gate waits for more"),
    }
}

fn promises(head: &Head, bytes: &[u8], limits: &Limits) {
    assert!(bytes.len() <= limits.head_bytes && bytes.ends_with(b"\r\n\r\n"));
    assert!(bytes.is_ascii() && bytes.windows(2).all(|it| (it[0] == b'\r') == (it[1] == b'\n')));
    assert!(head.target.starts_with('/') && head.target.len() <= limits.target_bytes);
    for text in [Some(&head.method), Some(&head.target), head.bearer.as_ref()].into_iter().flatten() {
        assert!(text.bytes().all(|it| it.is_ascii_graphic()), "{text:?}");
    }

    let mut fields = [httparse::EMPTY_HEADER; 16];
    let mut other = httparse::Request::new(&mut fields);
    match other.parse(bytes) {
        Ok(httparse::Status::Complete(len)) => assert_eq!(len, head.len),
        // Its idea of a target is narrower than what real clients send.
        Err(httparse::Error::Token) => return,
        res => panic!("httparse says {res:?}"),
    }
    assert_eq!(other.method, Some(head.method.as_str()));
    // It leaves scheme and authority where they are.
    assert!(other.path.is_some_and(|it| it.ends_with(&head.target)), "{:?}", other.path);
    assert_eq!(other.version, Some(u8::from(head.http11)));
    assert!(other.headers.len() <= limits.fields);
    let named = |name: &str| other.headers.iter().filter(|it| it.name.eq_ignore_ascii_case(name)).collect::<Vec<_>>();
    let (lengths, codings, hosts) = (named("Content-Length"), named("Transfer-Encoding"), named("Host"));
    assert!(hosts.len() <= 1 && (hosts.len() == 1 || !head.http11));
    match head.framing {
        Framing::Chunked => {
            assert!(codings.len() == 1 && lengths.is_empty() && head.http11);
            assert!(codings[0].value.trim_ascii().eq_ignore_ascii_case(b"chunked"));
        }
        Framing::Length(n) => {
            assert!(codings.is_empty() && lengths.len() <= 1);
            let said = lengths.first().map_or("0", |it| std::str::from_utf8(it.value).unwrap().trim());
            assert!(said.bytes().all(|it| it.is_ascii_digit()) && said.parse() == Ok(n));
        }
    }
    assert!(!head.expects_continue || !named("Expect").is_empty());
    assert!(head.bearer.is_none() || named("Authorization").len() == 1);
    assert!(!head.forwarded_https || named("X-Forwarded-Proto").len() == 1);
}

/// Without a login too a target is looked up and its query taken apart.
fn leads(head: &Head) {
    let path = head.path();
    if let Some(found) = route::find(path) {
        assert!(found.need_of(&head.method).is_some() == found.methods.split(", ").any(|it| it == head.method));
        assert!(found.rest.iter().all(|it| path.contains(it)));
        assert!(route::find(path.strip_prefix("/api").unwrap_or(path)).is_some());
    }
    if let Some((_, query)) = head.target.split_once('?')
        && let Err(err) = Query::parse(query)
    {
        assert!(!err.to_string().is_empty());
    }
}

fn bodies(cut: usize, bytes: &[u8]) {
    let whole = decode(bytes.chunks(bytes.len().max(1)));
    assert_eq!(whole, decode(bytes.chunks(cut % 16 + 1)), "the outcome depends on the cut");
    let ended = whole.as_ref().filter(|it| it.1).map(|it| (it.0.clone(), it.2));
    assert_eq!(ended, strict::body(bytes), "the two readings differ");
    let Some((data, done, used)) = whole else { return };
    assert!(data.len() < used.max(1));
    assert!(!done || bytes[..used].ends_with(b"\r\n\r\n"));
    if let Ok(httparse::Status::Complete((_, size))) = httparse::parse_chunk_size(bytes) {
        assert!(size as usize <= data.len() || !done, "the first chunk is not whole");
    }
}

/// The data, whether the end was seen, and how many bytes the body took; `None` is a refusal.
fn decode<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Option<(Vec<u8>, bool, usize)> {
    let (mut decoder, mut data, mut used) = (Decoder::default(), Vec::new(), 0);
    for mut piece in pieces {
        while !piece.is_empty() && !decoder.done() {
            let (n, found) = decoder.push(piece).ok()?;
            assert!(n > 0, "no progress");
            data.extend_from_slice(found);
            piece = &piece[n..];
            used += n;
        }
    }
    Some((data, decoder.done(), used))
}
