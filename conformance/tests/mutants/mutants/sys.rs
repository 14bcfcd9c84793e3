//! Resources under /sys and /providers that are wrong.

use serde_json::{Value, json};

use super::{Mutant, anonymous, at, obey, replace};
use crate::message::Message;
use crate::proxy::{Meter, request};

pub static MUTANTS: &[Mutant] = &[
    Mutant::new("sys/time-as-a-number", &["sys/resources/01"], |call, meter| {
        at(call, meter, "/sys/time", |it| it["result"] = json!(1795369200.25))
    }),
    Mutant::new("sys/time-stands-still", &["sys/resources/02"], |call, meter| {
        let number = meter.count("looks") as f64;
        at(call, meter, "/sys/time", |it| it["result"] = json!(format!("{}", 1795369200.0 - 60.0 * number)))
    }),
    Mutant::new("sys/uptime-goes-back", &["sys/resources/03"], |call, meter| {
        let number = meter.count("looks") as f64;
        at(call, meter, "/sys/uptime", |it| it["result"] = json!(9000.0 - number))
    }),
    Mutant::new("sys/boot-time-as-a-number", &["sys/resources/04"], |call, meter| {
        at(call, meter, "/sys/boot", |it| {
            if it["result"].is_object() {
                it["result"]["time"] = json!(1795369200);
            }
        })
    }),
    Mutant::new("sys/reboot-as-text", &["sys/resources/05"], |call, meter| {
        at(call, meter, "/sys/reboot", |it| it["result"] = json!("false"))
    }),
    Mutant::new("sys/version-as-a-number", &["sys/resources/06"], |call, meter| {
        at(call, meter, "/sys/version", |it| it["result"]["firmware"] = json!(4.6))
    }),
    Mutant::new("sys/serial-as-a-number", &["sys/resources/07"], |call, meter| {
        at(call, meter, "/sys/sn", |it| it["result"] = json!(1))
    }),
    Mutant::new("sys/levels-as-an-object", &["sys/resources/10"], |call, meter| {
        at(call, meter, "/sys/db", |it| {
            if it["result"].get("level").is_some() {
                it["result"]["level"] = json!({});
            }
        })
    }),
    Mutant::new("sys/members-are-the-whole", &["sys/resources/11"], |call, meter| match call.path() {
        "/sys/boot/reason" => meter.ask(&meter.as_owner(&request("GET", "/sys/boot", ""))),
        _ => meter.ask(&call),
    }),
    Mutant::new("sys/members-that-are-not-there-are-null", &["sys/resources/12"], |call, meter| match call.path() {
        "/sys/boot/no-such-member" => Message::answer(200, &json!({"result": null})),
        _ => meter.ask(&call),
    }),
    Mutant::new("sys/open-to-all", &["sys/resources/13", "sys/status/05"], |call, meter| {
        obey(call, meter, |it| anonymous(it) && it.path().starts_with("/sys/"))
    }),
    Mutant::new("sys/filter-is-passed-over", &["sys/query/01", "sys/query/02"], |call, meter| {
        queried(call, meter, |it| !it.starts_with("filter="))
    }),
    Mutant::new("sys/raw-braces-are-refused", &["sys/query/02"], |call, meter| match call.query().contains('{') {
        true => Message::answer(400, &json!({"error": "Bad Request"})),
        false => meter.ask(&call),
    }),
    Mutant::new("sys/filter-by-position-finds-all", &["sys/query/03"], |call, meter| {
        queried(call, meter, |it| !it.contains("level"))
    }),
    Mutant::new("sys/filter-for-nothing-finds-all", &["sys/query/04"], |call, meter| {
        queried(call, meter, |it| !it.contains("no-such-member"))
    }),
    Mutant::new("sys/depth-is-passed-over", &["sys/query/05", "sys/query/06"], |call, meter| {
        queried(call, meter, |it| !it.starts_with("max-depth="))
    }),
    Mutant::new("sys/broken-queries-are-passed-over", &["sys/query/07"], |call, meter| {
        queried(call, meter, |it| it != "filter=%7Bmax-registers" && it != "max-depth=0")
    }),
    Mutant::new("sys/options-are-passed-over", &["sys/query/08"], |call, meter| {
        queried(call, meter, |it| !it.starts_with("no-such-option"))
    })
    .noted(),
    Mutant::new("sys/lists-operations", &["sys/status/01"], |call, meter| match call.path() {
        "/sys/status" if !anonymous(&call) => {
            Message::answer(200, &json!({"result": {"0123456789abcdef0123456789abcdef": {"done": false}}}))
        }
        _ => meter.ask(&call),
    }),
    Mutant::new("sys/unknown-tokens-are-empty", &["sys/status/02"], |call, meter| {
        nothing_as(call, meter, json!({"result": {}}))
    }),
    Mutant::new("sys/unknown-tokens-are-null", &["sys/status/02", "sys/status/03"], |call, meter| {
        nothing_as(call, meter, json!({"result": null}))
    }),
    Mutant::new("sys/beginning-of-a-token-does", &["sys/status/04"], |call, meter| {
        match call.path().strip_prefix("/sys/status/").is_some_and(|it| it.len() < 16 && !it.contains('/')) {
            true if !anonymous(&call) => Message::answer(200, &json!({"result": {"done": true, "ts": "1795369200.0"}})),
            _ => meter.ask(&call),
        }
    }),
    Mutant::new("providers/alerts-without-wrapper", &["providers/01"], |call, meter| {
        at(call, meter, "/providers/alert", |it| *it = it["reply"].clone())
    }),
    Mutant::new("providers/push-as-names", &["providers/02"], |call, meter| {
        at(call, meter, "/providers/push", |it| it["reply"]["providers"] = json!(["Example"]))
    }),
    Mutant::new("providers/open-to-all", &["providers/03"], |call, meter| {
        obey(call, meter, |it| anonymous(it) && it.path().starts_with("/providers/"))
    }),
];

/// Asks with the options of the query for which `heeded` says so, and without the others.
fn queried(mut call: Message, meter: &Meter, heeded: impl Fn(&str) -> bool) -> Message {
    if !call.query().is_empty() && !call.query().split('&').all(heeded) {
        call.lines[0] = format!("GET /api{} HTTP/1.1", call.path());
        call = call.with_field("X-Changed", Some("1"));
    }
    meter.ask(&call)
}

/// Another answer where an operation is not known.
fn nothing_as(call: Message, meter: &Meter, body: Value) -> Message {
    let unknown = |it: &Message| call.is("GET", "/sys/status/") && (it.status() == 404 || super::has(it, "error"));
    replace(&call, meter, |it| it.status() != 401 && unknown(it), |_| Message::answer(200, &body))
}
