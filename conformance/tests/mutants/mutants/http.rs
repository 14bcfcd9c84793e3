//! HTTP that is wrong where the requests are right.

use serde_json::{Value, json};

use super::{Mutant, at, fine, has, replace};
use crate::message::Message;

pub static MUTANTS: &[Mutant] = &[
    Mutant::new("http/json-by-its-label-only", &["http/requests/01"], |call, meter| match call.field("Content-Type") {
        Some("application/json") => meter.ask(&call),
        _ if call.method() == "POST" => Message::answer(415, &json!({"error": "application/json only"})),
        _ => meter.ask(&call),
    }),
    Mutant::new("http/no-chunked-bodies", &["http/requests/02"], |call, meter| match call.field("Transfer-Encoding") {
        Some(_) => Message::answer(501, &json!({"error": "Content-Length only"})),
        None => meter.ask(&call),
    }),
    Mutant::new("http/chunked-bodies-are-empty", &["http/requests/02"], |call, meter| {
        match call.field("Transfer-Encoding") {
            Some(_) => meter.ask(&call.with_body("")),
            None => meter.ask(&call),
        }
    }),
    Mutant::new("http/closes-after-each-reply", &["http/requests/03"], |call, meter| {
        meter.ask(&call).with_field("Connection", Some("close"))
    })
    .noted(),
    Mutant::new("http/hangs-up-without-a-word", &["http/requests/03"], |call, meter| meter.ask(&call).and_hang_up()),
    Mutant::strange("http/drops-the-second-of-two", &["http/requests/04"], |bytes, meter| {
        let text = std::str::from_utf8(bytes).ok()?;
        let second = text.rfind("GET /").filter(|it| 0 < *it)?;
        let first = crate::message::whole(&bytes[..second])?;
        Some(meter.ask(&first))
    }),
    Mutant::new("http/head-with-a-body", &["http/requests/05"], |call, meter| {
        let answer = meter.ask(&call);
        if call.method() == "HEAD" { answer.followed_by(b"{\"status\":\"OK\"}") } else { answer }
    }),
    Mutant::strange("http/answers-half-a-request", &["http/requests/06"], |bytes, _| {
        (!bytes.windows(4).any(|it| it == b"\r\n\r\n"))
            .then(|| Message::answer(408, &json!({"error": "too slow"})).with_field("Connection", Some("close")))
    }),
    Mutant::strange("http/leaves-those-who-wait-for-leave", &["http/requests/07"], |bytes, _| {
        String::from_utf8_lossy(bytes).contains("Expect: 100-continue").then(Message::nothing)
    }),
    Mutant::strange("http/waits-out-those-who-wait", &["http/requests/08"], |bytes, _| {
        if String::from_utf8_lossy(bytes).contains("Expect: 100-continue") {
            std::thread::sleep(std::time::Duration::from_millis(2500));
        }
        None
    }),
    Mutant::new("http/letters-of-names-count", &["http/requests/09"], |call, meter| {
        match call.lines.iter().any(|it| it.starts_with("aUTHORIZATION")) {
            true => meter.ask(&call.with_field("Authorization", None)),
            false => meter.ask(&call),
        }
    }),
    Mutant::new("http/paths-only", &["http/requests/10"], |call, meter| match call.lines[0].contains(" http://") {
        true => Message::answer(404, &json!({"error": "not found"})),
        false => meter.ask(&call),
    }),
    Mutant::new("http/refuses-fields-that-it-does-not-know", &["http/requests/11"], |call, meter| {
        match call.field("X-Lab") {
            Some(_) => Message::answer(400, &json!({"error": "Bad Request"})),
            None => meter.ask(&call),
        }
    }),
    Mutant::new("http/two-lengths", &["http/replies/01"], |call, meter| {
        replace(&call, meter, |_| call.is("GET", "/auth/rights"), |it| it.with_line("Content-Length: 1"))
    }),
    Mutant::new("http/fields-without-a-colon", &["http/replies/01"], |call, meter| {
        replace(&call, meter, |_| call.is("GET", "/auth/rights"), |it| it.with_line("Served by a meter"))
    }),
    Mutant::new("http/replies-in-a-list", &["http/replies/02"], |call, meter| {
        replace(&call, meter, |it| it.status() == 200 && !has(it, "jwt"), |it| it.edit(|it| *it = json!([it.clone()])))
    }),
    Mutant::new("http/html-by-its-label", &["http/replies/03"], |call, meter| {
        meter.ask(&call).with_field("Content-Type", Some("text/html"))
    }),
    Mutant::new("http/401-with-words-only", &["http/replies/04", "cmd/cancel/01"], |call, meter| {
        // The challenge alone is whole.
        let wrong = |it: &Message| it.status() == 401 && !call.is("GET", "/auth/unauthorized");
        replace(&call, meter, wrong, |_| Message::answer(401, &json!({"error": "Authentication required."})))
    }),
    Mutant::new("http/error-null-on-success", &["http/replies/05", "auth/rights/01"], |call, meter| {
        at(call, meter, "/auth/rights", |it| it["error"] = Value::Null)
    }),
    Mutant::new("http/error-as-a-number", &["http/replies/05"], |call, meter| {
        replace(
            &call,
            meter,
            |it| it.status() == 401,
            |it| {
                it.members(|it| {
                    it.insert("error".into(), json!(401));
                })
            },
        )
    }),
    Mutant::new("http/ok-and-error-at-once", &["http/replies/06"], |call, meter| {
        at(call, meter, "/auth/rights", |it| {
            it["status"] = json!("OK");
            it["error"] = json!("Something went wrong.");
        })
    }),
    Mutant::new("http/answers-twice", &["http/replies/07"], |call, meter| {
        let answer = meter.ask(&call);
        let again = answer.bytes();
        answer.followed_by(&again)
    }),
    Mutant::new("http/a-line-too-many", &["http/replies/07"], |call, meter| meter.ask(&call).followed_by(b"\r\n")),
    Mutant::new("http/server-error", &["http/replies/08"], |call, meter| {
        if call.is("GET", "/auth/rights") { fine().with_status(500) } else { meter.ask(&call) }
    }),
    Mutant::new("http/byte-order-mark", &["http/replies/09"], |call, meter| {
        replace(
            &call,
            meter,
            |it| it.status() == 200 && !has(it, "jwt"),
            |it| {
                let body = [b"\xef\xbb\xbf", it.body.as_slice()].concat();
                it.with_body(body)
            },
        )
    }),
    Mutant::new("http/accepted", &["http/replies/10"], |call, meter| {
        at(call, meter, "/auth/rights", |_| {}).with_status(202)
    })
    .noted(),
];
