//! The two harmless commands that are wrong: cancel, and clear for the web cache.

use serde_json::{Value, json};

use super::{Mutant, anonymous, before_401, failed, fine, obey, replace};
use crate::message::Message;
use crate::proxy::Meter;

pub static MUTANTS: &[Mutant] = &[
    Mutant::new("cancel/without-login", &["cmd/cancel/01"], |call, meter| {
        obey(call, meter, |it| anonymous(it) && it.path() == "/cmd/cancel")
    }),
    Mutant::new("cancel/executes-before-401", &["cmd/test-remote/34"], |call, meter| {
        before_401(call, meter, "/cmd/cancel")
    }),
    Mutant::new("cancel/body-before-login", &["cmd/cancel/01"], |call, meter| {
        let wrong = call.path() == "/cmd/cancel" && call.json().is_none() && anonymous(&call);
        if wrong { failed("The body is no JSON.") } else { meter.ask(&call) }
    }),
    Mutant::new("cancel/refused-without-a-word", &["cmd/cancel/02", "cmd/cancel/04"], |call, meter| {
        replace(
            &call,
            meter,
            |it| call.path() == "/cmd/cancel" && it.status() == 200,
            |_| Message::answer(200, &json!({})),
        )
    }),
    Mutant::new("cancel/numbers-are-tokens", &["cmd/cancel/04"], |call, meter| {
        accept(call, meter, |it| it["token"].is_number())
    }),
    Mutant::new("cancel/lists-are-bodies", &["cmd/cancel/05"], |call, meter| accept(call, meter, Value::is_array)),
    Mutant::new("cancel/half-a-body-does", &["cmd/cancel/06"], |call, meter| {
        let wrong = call.is("POST", "/cmd/cancel") && call.json().is_none() && !call.body.is_empty();
        if wrong && !anonymous(&call) { fine() } else { meter.ask(&call) }
    }),
    Mutant::new("cancel/does-not-name-the-member", &["cmd/cancel/07"], |call, meter| {
        replace(&call, meter, |it| call.path() == "/cmd/cancel" && it.status() == 200, |_| failed("Bad request."))
    }),
    Mutant::new("cancel/by-get-too", &["cmd/cancel/08"], |call, meter| {
        replace(&call, meter, |it| call.path() == "/cmd/cancel" && it.status() == 405, |_| fine())
    }),
    Mutant::new("clear/answers-in-prose", &["cmd/clear/web-cache/01"], |call, meter| {
        replace(
            &call,
            meter,
            |it| call.path() == "/cmd/clear" && it.status() == 200,
            |_| Message::answer(200, &json!({"result": "cleared"})),
        )
    }),
    Mutant::new("clear/second-time-fails", &["cmd/clear/web-cache/01"], |call, meter| {
        let answer = meter.ask(&call);
        let again = call.path() == "/cmd/clear" && answer.status() == 200 && 0 < meter.count("clears");
        if again { failed("There is nothing to clear.") } else { answer }
    }),
    Mutant::new("clear/without-login", &["cmd/clear/web-cache/02", "cmd/clear/01"], |call, meter| {
        obey(call, meter, |it| anonymous(it) && it.path() == "/cmd/clear")
    }),
    Mutant::new("clear/json-by-its-label-only", &["cmd/clear/web-cache/03"], |call, meter| {
        let labelled = call.field("Content-Type") == Some("application/json");
        match call.path() == "/cmd/clear" && !labelled && !anonymous(&call) {
            true => Message::answer(415, &json!({"error": "application/json only"})),
            false => meter.ask(&call),
        }
    }),
    Mutant::new("clear/any-word-does", &["cmd/clear/02"], |call, meter| {
        let word = call.is("POST", "/cmd/clear") && call.json().is_some_and(|it| it.is_string());
        if word && !anonymous(&call) { fine() } else { meter.ask(&call) }
    }),
    Mutant::new("clear/any-body-does", &["cmd/clear/03"], |call, meter| {
        let body = call.is("POST", "/cmd/clear") && call.json().is_none_or(|it| !it.is_string());
        if body && !anonymous(&call) { fine() } else { meter.ask(&call) }
    }),
    Mutant::new("clear/by-put-too", &["cmd/clear/05"], |call, meter| {
        replace(&call, meter, |it| call.path() == "/cmd/clear" && it.status() == 405, |_| fine())
    }),
    Mutant::new("clear/excess-only-once", &["cmd/clear/06"], |call, meter| {
        let excess = call.text() == "\"excess\"" && !anonymous(&call);
        if excess && 0 < meter.count("excess") { failed("No excess.") } else { meter.ask(&call) }
    }),
    Mutant::new("clear/does-not-say-what-there-is", &["cmd/clear/07"], |call, meter| {
        replace(
            &call,
            meter,
            |it| call.path() == "/cmd/clear" && super::has(it, "error"),
            |it| {
                if it.status() == 401 { it } else { failed("No.") }
            },
        )
    }),
];

/// Is content with a body of which `when` says so.
fn accept(call: Message, meter: &Meter, when: impl FnOnce(&Value) -> bool) -> Message {
    let good = call.is("POST", "/cmd/cancel") && !anonymous(&call) && call.json().is_some_and(|it| when(&it));
    if good { fine() } else { meter.ask(&call) }
}
