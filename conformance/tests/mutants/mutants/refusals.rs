//! Requests that are wrong, and obeyed or answered wrongly.

use serde_json::json;

use super::{Mutant, replace};
use crate::message::Message;
use crate::proxy::{Meter, request};

pub static MUTANTS: &[Mutant] = &[
    Mutant::new("refusals/unknown-paths-are-fine", &["http/refusals/01"], |call, meter| {
        replace(&call, meter, |it| it.status() == 404, |_| Message::answer(200, &json!({})))
    }),
    Mutant::new("refusals/not-found-as-html", &["http/refusals/02"], |call, meter| {
        replace(
            &call,
            meter,
            |it| it.status() == 404,
            |_| Message::plain(404, b"<h1>404</h1>").with_field("Content-Type", Some("text/html")),
        )
    }),
    Mutant::new("refusals/any-method-reads", &["http/refusals/03"], |call, meter| {
        replace(&call, meter, |it| it.status() == 405, |_| rights(meter))
    }),
    Mutant::strange("refusals/needs-no-host", &["http/refusals/04"], |bytes, meter| obey(bytes, meter, no_host)),
    Mutant::strange("refusals/takes-the-first-host", &["http/refusals/04"], |bytes, meter| {
        obey(bytes, meter, |it| it.matches("\r\nHost:").count() == 2)
    }),
    Mutant::strange("refusals/takes-the-first-length", &["http/refusals/05"], |bytes, meter| {
        obey(bytes, meter, |it| it.matches("\r\nContent-Length:").count() == 2)
    }),
    Mutant::strange("refusals/length-with-a-sign", &["http/refusals/05"], |bytes, meter| {
        obey(bytes, meter, |it| it.contains("Content-Length: +2"))
    }),
    Mutant::strange("refusals/length-as-a-word-is-none", &["http/refusals/05"], |bytes, meter| {
        obey(bytes, meter, |it| it.contains("Content-Length: two"))
    }),
    Mutant::strange("refusals/smuggles-behind-a-length", &["http/refusals/06"], |bytes, meter| {
        let text = String::from_utf8_lossy(bytes);
        let both = text.contains("\r\nContent-Length: 5") && text.contains("\r\nTransfer-Encoding: chunked");
        let first = both.then(|| rights(meter))?;
        let second = rights(meter).with_field("Connection", Some("close")).bytes();
        Some(first.with_field("Connection", Some("keep-alive")).followed_by(&second))
    }),
    Mutant::strange("refusals/passes-over-codings", &["http/refusals/07"], |bytes, meter| {
        obey(bytes, meter, |it| it.contains("Transfer-Encoding: lab"))
    }),
    Mutant::strange("refusals/chunk-size-as-a-word", &["http/refusals/08"], |bytes, meter| {
        obey(bytes, meter, |it| it.contains("\r\nzz\r\n"))
    }),
    Mutant::strange("refusals/chunk-size-overflows", &["http/refusals/08"], |bytes, meter| {
        obey(bytes, meter, |it| it.contains("\r\nffffffffffffffffff\r\n"))
    }),
    Mutant::new("refusals/blank-before-the-colon", &["http/refusals/09"], |call, meter| {
        without(call, meter, |it| it.contains("X-Lab :"))
    }),
    Mutant::new("refusals/folded-fields", &["http/refusals/10"], |call, meter| {
        without(call, meter, |it| it.starts_with(' '))
    }),
    Mutant::new("refusals/fields-with-nul", &["http/refusals/10"], |call, meter| {
        without(call, meter, |it| it.contains('\0'))
    }),
    Mutant::strange("refusals/line-without-version", &["http/refusals/11"], |bytes, meter| {
        obey(bytes, meter, |it| it.lines().next().is_some_and(|it| it.starts_with("GET ") && !it.ends_with("HTTP/1.1")))
    }),
    Mutant::new("refusals/heads-of-any-length", &["http/refusals/12"], |call, meter| {
        without(call, meter, |it| 65536 < it.len())
    }),
    Mutant::strange("refusals/says-it-twice", &["http/refusals/13"], |bytes, _| {
        let text = String::from_utf8_lossy(bytes);
        let refusal = Message::answer(400, &json!({"error": "Bad Request"})).bytes();
        text.contains("Content-Length: two").then(|| Message::plain(400, b"{\"error\":\"no\"}").followed_by(&refusal))
    }),
    Mutant::new("refusals/never-the-same-again", &["http/refusals/14"], |call, meter| {
        if call.lines.iter().any(|it| it.starts_with("X-Lab")) {
            meter.keep("hurt", true);
        }
        match meter.recall("hurt") == true && call.is("GET", "/auth/unauthorized") {
            true => Message::answer(503, &json!({"error": "out of memory"})),
            false => meter.ask(&call),
        }
    }),
];

/// What the requests of that area ask for.
fn rights(meter: &Meter) -> Message {
    meter.ask(&meter.as_owner(&request("GET", "/auth/rights", "")))
}

/// Answers as if all were right, where `when` says so of the bytes.
fn obey(bytes: &[u8], meter: &Meter, when: impl FnOnce(&str) -> bool) -> Option<Message> {
    when(&String::from_utf8_lossy(bytes)).then(|| rights(meter).with_field("Connection", Some("close")))
}

fn no_host(text: &str) -> bool {
    text.contains("\r\n\r\n") && text.starts_with("GET ") && !text.contains("\r\nHost:")
}

/// Passes over the lines of a head of which `wrong` says so.
fn without(mut call: Message, meter: &Meter, wrong: impl Fn(&str) -> bool) -> Message {
    let count = call.lines.len();
    call.lines.retain(|it| !wrong(it));
    let changed = call.lines.len() < count;
    meter.ask(&if changed && !call.lines.is_empty() { call.with_field("X-Changed", Some("1")) } else { call })
}
