//! Operations whose tokens or status are wrong, shown mostly with those of the database.

use serde_json::{Value, json};

use super::{Mutant, change, fine, has, replace, status};
use crate::message::Message;
use crate::proxy::Meter;

pub static MUTANTS: &[Mutant] = &[
    Mutant::new("status/tokens-of-sixteen-digits", &["cmd/db/status/02", "cmd/update/install/10"], |call, meter| {
        renamed(call, meter, |real, _| real[..16].to_string())
    }),
    Mutant::new("status/tokens-in-capitals", &["cmd/db/status/02"], |call, meter| {
        renamed(call, meter, |real, _| real.to_uppercase())
    })
    .noted(),
    Mutant::new("status/tokens-count-up", &["cmd/db/status/03"], |call, meter| {
        renamed(call, meter, |_, number| format!("{:032x}", 0x5e0a1e7d + number))
    }),
    Mutant::new("status/one-token-for-all", &["cmd/db/status/03"], |call, meter| {
        renamed(call, meter, |_, _| "5e0a1e7d4bf75c58374ca345cec8c022".into())
    }),
    Mutant::new("status/done-as-a-number", &["cmd/db/status/04"], |call, meter| {
        status(call, meter, |it| change(it, "done", |it| json!(u8::from(*it == true))))
    }),
    Mutant::new("status/without-done", &["cmd/db/status/04"], |call, meter| {
        status(call, meter, |it| {
            it.remove("done");
        })
    }),
    Mutant::new("status/stamp-as-a-number", &["cmd/db/status/05"], |call, meter| {
        status(call, meter, |it| change(it, "ts", |_| json!(1795369210.25)))
    }),
    Mutant::new("status/stamp-as-a-date", &["cmd/db/status/05"], |call, meter| {
        status(call, meter, |it| change(it, "ts", |_| json!("2026-11-22T22:45:53Z")))
    }),
    Mutant::new("status/progress-as-an-integer", &["cmd/db/status/06"], |call, meter| {
        status(call, meter, |it| {
            it.insert("progress".into(), json!(1));
        })
    }),
    Mutant::new("status/progress-in-percent", &["cmd/db/status/06"], |call, meter| {
        status(call, meter, |it| {
            it.insert("progress".into(), json!(100.0));
        })
    }),
    Mutant::new("status/info-in-prose", &["cmd/db/status/08", "cmd/db/zero/08"], |call, meter| {
        status(call, meter, |it| {
            it.insert("info".into(), json!("Zeroing the database"));
        })
    }),
    Mutant::new("status/info-of-another-command", &["cmd/db/status/08"], |call, meter| {
        status(call, meter, |it| {
            it.insert("info".into(), json!("FLASH"));
        })
    }),
    Mutant::new("status/error-in-prose", &["cmd/db/status/09"], |call, meter| {
        status(call, meter, |it| {
            if it.contains_key("error") {
                it["error"] = json!("The header is wrong.");
            }
        })
    }),
    Mutant::new("status/canceled-with-two-l", &["cmd/db/status/09", "cmd/db/status/14"], |call, meter| {
        if let Some(token) = call.json().as_ref().and_then(|it| it["token"].as_str()) {
            meter.keep(&format!("/sys/status/{token}"), true);
        }
        let cancelled = meter.recall(call.path()) == true;
        status(call, meter, |it| {
            if cancelled {
                it.insert("error".into(), json!("CANCELLED"));
            }
        })
    }),
    Mutant::new("status/tag-without-arguments", &["cmd/db/status/10", "cmd/db/file/15"], |call, meter| {
        status(call, meter, |it| {
            it.remove("args");
        })
    }),
    Mutant::new("status/arguments-as-numbers", &["cmd/db/status/10"], |call, meter| {
        status(call, meter, |it| {
            if it.contains_key("args") {
                it["args"] = json!([1]);
            }
        })
    }),
    Mutant::new("status/null-for-what-is-not-there", &["cmd/db/status/11"], |call, meter| {
        status(call, meter, |it| {
            it.entry("error").or_insert(Value::Null);
        })
    }),
    Mutant::new("status/forgets-what-is-done", &["cmd/db/status/12"], |call, meter| {
        if meter.recall(call.path()) == true {
            return super::failed("There is no such operation.");
        }
        let answer = meter.ask(&call);
        if answer.json().is_some_and(|it| it["result"]["done"] == true) {
            meter.keep(call.path(), true);
        }
        answer
    }),
    Mutant::new("status/cancel-is-not-confirmed", &["cmd/db/status/13"], |call, meter| {
        replace(
            &call,
            meter,
            |it| call.path() == "/cmd/cancel" && it.status() == 200,
            |_| Message::answer(200, &json!({})),
        )
    }),
    Mutant::new("status/cancels-everything", &["cmd/db/status/15"], |call, meter| {
        if call.path() == "/cmd/cancel" {
            meter.keep("cancelled", true);
        }
        status(call, meter, |it| {
            if meter.recall("cancelled") == true {
                it.insert("error".into(), json!("CANCELED"));
            }
        })
    }),
    Mutant::new("status/cancel-is-passed-over", &["cmd/db/status/14"], |call, meter| match call.path() {
        "/cmd/cancel" => fine(),
        _ => status(call, meter, |it| {
            // It runs for as long as anybody looks.
            change(it, "done", |_| json!(meter.count("looks") < 3));
        }),
    }),
    Mutant::new("status/ends-with-an-error", &["cmd/db/zero/01", "cmd/db/restore/01"], |call, meter| {
        status(call, meter, |it| {
            it.insert("error".into(), json!("OOM"));
        })
    }),
    Mutant::new("status/neither-status-nor-token", &["cmd/db/status/01"], |call, meter| {
        replace(
            &call,
            meter,
            |it| call.path() == "/cmd/db" && has(it, "token"),
            |_| Message::answer(200, &json!({"done": true})),
        )
    }),
];

/// Gives operations other tokens, which mean the same.
fn renamed(mut call: Message, meter: &Meter, name: impl FnOnce(&str, u64) -> String) -> Message {
    let path = call.path().to_string();
    if let Some(real) = path.strip_prefix("/sys/status/").and_then(|it| meter.recall(it).as_str().map(str::to_string)) {
        call.lines[0] = format!("GET /api/sys/status/{real} HTTP/1.1");
        call = call.with_field("X-Changed", Some("1"));
    }
    if path == "/cmd/cancel" {
        call = call.members(|it| {
            let real = meter.recall(it.get("token").and_then(Value::as_str).unwrap_or_default());
            it.insert("token".into(), real);
        });
    }
    replace(
        &call,
        meter,
        |it| path.starts_with("/cmd/") && has(it, "token"),
        |it| {
            it.members(|it| {
                let real = it["token"].as_str().unwrap_or_default().to_string();
                let token = name(&real, meter.count("tokens"));
                meter.keep(&token, real);
                it["token"] = json!(token);
            })
        },
    )
}
