//! Updates that are listed wrongly, or installed when they must not be, or not installed.

use serde_json::{Map, Value, json};

use super::{Mutant, anonymous, before_401, change, fine, has, lax, obey, ordered, replace, status};
use crate::message::Message;
use crate::proxy::Meter;

const UPDATE: &str = "/cmd/update";

pub static MUTANTS: &[Mutant] = &[
    Mutant::new("update/list-without-login", &["cmd/update/list/01"], |call, meter| {
        obey(call, meter, |it| it.path() == UPDATE && anonymous(it))
    }),
    Mutant::new("update/list-says-nothing", &["cmd/update/list/03"], |call, meter| {
        replace(&call, meter, |it| call.path() == UPDATE && it.status() == 200, |_| Message::answer(200, &json!({})))
    }),
    Mutant::new("update/any-target-does", &["cmd/update/list/08", "cmd/update/install/06"], |call, meter| {
        lax(call, meter, UPDATE, |it| it.get("target").is_none_or(|it| it != "fw" && it != "kernel"))
    }),
    Mutant::new("update/list-begins-something", &["cmd/update/list/12"], |call, meter| {
        replace(
            &call,
            meter,
            |it| call.path() == UPDATE && it.status() == 200,
            |it| {
                it.members(|it| {
                    it.insert("token".into(), json!("5e0a1e7d4bf75c58374ca345cec8c022"));
                })
            },
        )
    }),
    Mutant::new("update/lists-an-older-version", &["cmd/update/list/13"], |call, meter| {
        replace(
            &call,
            meter,
            |it| call.path() == UPDATE && has(it, "version"),
            |it| {
                it.members(|it| {
                    it.insert("version".into(), json!("1.0"));
                })
            },
        )
    }),
    Mutant::new("update/install-without-login", &["cmd/update/install/01", "cmd/update/install/02"], |call, meter| {
        obey(call, meter, |it| it.path() == UPDATE && anonymous(it))
    }),
    Mutant::new("update/installs-before-401", &["cmd/update/install/02"], |call, meter| {
        before_401(call, meter, UPDATE)
    }),
    Mutant::new("update/by-get-too", &["cmd/update/install/03"], |call, meter| {
        replace(&call, meter, |it| call.path() == UPDATE && it.status() == 405, |_| fine())
    }),
    Mutant::new("update/half-a-body-does", &["cmd/update/install/04"], |call, meter| {
        let half = call.is("POST", UPDATE) && call.json().is_none();
        replace(&call, meter, |it| half && has(it, "error"), |_| fine())
    }),
    Mutant::new("update/any-action-does", &["cmd/update/install/05"], |call, meter| {
        lax(call, meter, UPDATE, |it| it.get("action").is_none_or(|it| it != "list" && it != "install"))
    }),
    Mutant::new("update/force-of-any-type", &["cmd/update/install/07"], |call, meter| {
        lax(call, meter, UPDATE, |it| it.get("force").is_some_and(Value::is_string))
    }),
    Mutant::new("update/does-not-name-the-member", &["cmd/update/install/08", "cmd/update/list/10"], |call, meter| {
        replace(&call, meter, |it| call.path() == UPDATE && has(it, "error"), |_| super::failed("This is wrong."))
    }),
    Mutant::new("update/without-token", &["cmd/update/install/09"], |call, meter| {
        replace(&call, meter, |it| call.path() == UPDATE && has(it, "token"), |_| fine())
    }),
    Mutant::new("update/never-installs", &["cmd/update/install/11"], |call, meter| {
        at_end(call, meter, |it| {
            it.entry("error").or_insert(json!("INSTALL_FAILED"));
            it.entry("args").or_insert(json!(["disk"]));
        })
    }),
    Mutant::new("update/forgets-what-is-done", &["cmd/update/install/12"], |call, meter| {
        if meter.recall(call.path()) == true {
            return super::failed("There is no such operation.");
        }
        let answer = meter.ask(&call);
        if answer.json().is_some_and(|it| it["result"]["done"] == true) {
            meter.keep(call.path(), true);
        }
        answer
    }),
    Mutant::new("update/done-as-a-number", &["cmd/update/install/13"], |call, meter| {
        status(call, meter, |it| change(it, "done", |it| json!(u8::from(*it == true))))
    }),
    Mutant::new("update/stamp-as-a-number", &["cmd/update/install/14"], |call, meter| {
        status(call, meter, |it| change(it, "ts", |_| json!(1795369210.25)))
    }),
    Mutant::new("update/progress-as-an-integer", &["cmd/update/install/15"], |call, meter| {
        status(call, meter, |it| {
            it.insert("progress".into(), json!(1));
        })
    }),
    Mutant::new("update/progress-goes-back", &["cmd/update/install/16"], |call, meter| {
        let looks = meter.count(call.path());
        status(call, meter, |it| {
            it.insert("progress".into(), json!(1.0 / (1.0 + looks as f64)));
        })
    }),
    Mutant::new("update/info-of-another-command", &["cmd/update/install/17"], |call, meter| {
        status(call, meter, |it| {
            it.insert("info".into(), json!("RESTORE"));
        })
    }),
    Mutant::new("update/error-in-prose", &["cmd/update/install/18"], |call, meter| {
        at_end(call, meter, |it| {
            if it.contains_key("error") {
                it["error"] = json!("The download failed.");
            }
        })
    }),
    Mutant::new("update/tag-without-arguments", &["cmd/update/install/19"], |call, meter| {
        status(call, meter, |it| {
            it.remove("args");
        })
    }),
    Mutant::new("update/null-for-what-is-not-there", &["cmd/update/install/20"], |call, meter| {
        status(call, meter, |it| {
            it.entry("error").or_insert(Value::Null);
        })
    }),
    Mutant::new("update/installs-what-is-not-newer", &["cmd/update/install/21"], |call, meter| {
        forgives(call, meter, &["NOT_NEWER"])
    }),
    Mutant::new("update/installs-what-there-is-not", &["cmd/update/install/22"], |call, meter| {
        forgives(call, meter, &["NO_IMAGE"])
    }),
    Mutant::new("update/needs-no-server", &["cmd/update/install/23", "cmd/update/install/27"], |call, meter| {
        forgives(call, meter, &["DOWNLOAD_FAILED"])
    }),
    Mutant::new("update/installs-damaged-images", &["cmd/update/install/24"], |call, meter| {
        forgives(call, meter, &["BADSIG", "INVALID_IMAGE"])
    }),
    Mutant::new("update/cancel-is-passed-over", &["cmd/update/install/25"], |call, meter| match call.path() {
        "/cmd/cancel" => fine(),
        _ => meter.ask(&call),
    }),
    Mutant::new("update/cancelled-under-another-tag", &["cmd/update/install/25"], |call, meter| {
        at_end(call, meter, |it| {
            if it.get("error") == Some(&json!("CANCELED")) {
                it["error"] = json!("OOM");
            }
        })
    }),
    Mutant::new("update/force-is-passed-over", &["cmd/update/install/26"], |call, meter| {
        ordered(call, meter, UPDATE, |it| {
            it.remove("force");
        })
    }),
    Mutant::new("update/any-branch-does", &["cmd/update/install/27", "cmd/update/list/07"], |call, meter| {
        ordered(call, meter, UPDATE, |it| {
            it.remove("branch");
        })
    }),
];

/// Changes the status of every operation that is done.
fn at_end(call: Message, meter: &Meter, change: impl FnOnce(&mut Map<String, Value>)) -> Message {
    status(call, meter, |it| {
        if it.get("done") == Some(&json!(true)) {
            change(it);
        }
    })
}

/// Takes these failures for successes.
fn forgives(call: Message, meter: &Meter, tags: &[&str]) -> Message {
    at_end(call, meter, |it| {
        if it.get("error").and_then(Value::as_str).is_some_and(|it| tags.contains(&it)) {
            it.remove("error");
            it.remove("args");
        }
    })
}
