//! Restores of files that are wrong: accepted, half accepted, or refused with the wrong tag.

use base64::prelude::*;
use serde_json::{Value, json};

use super::db::{action, lax, restore};
use super::{Mutant, at, has};
use crate::message::Message;
use crate::proxy::Meter;

pub static MUTANTS: &[Mutant] = &[
    Mutant::new("file/base64-of-any-kind", &["cmd/db/file/01"], |call, meter| {
        accepted(call, meter, |it| it.contains("***"))
    }),
    Mutant::new("file/gzip-of-any-kind", &["cmd/db/file/02"], |call, meter| {
        accepted(call, meter, |it| it.starts_with("H4s"))
    }),
    Mutant::new("file/needs-no-header", &["cmd/db/file/03"], |call, meter| otherwise(call, meter, "BADHDR", "OOM")),
    Mutant::new("file/passes-over-strange-registers", &["cmd/db/file/04"], |call, meter| {
        accepted(call, meter, |it| {
            let bytes = BASE64_STANDARD.decode(it).unwrap_or_default();
            String::from_utf8_lossy(&bytes).lines().nth(1).is_some_and(|it| it.contains('-'))
        })
    }),
    Mutant::new("file/no-tag-for-stamps", &["cmd/db/file/05"], |call, meter| {
        otherwise(call, meter, "BADTS", "FILE_INVAL")
    }),
    Mutant::new("file/no-tag-for-commas", &["cmd/db/file/06"], |call, meter| {
        otherwise(call, meter, "NOCOMMA", "BADTS")
    }),
    Mutant::new("file/no-tag-for-values", &["cmd/db/file/07"], |call, meter| {
        otherwise(call, meter, "INVAL_INT", "BADTS")
    }),
    Mutant::new("file/needs-no-row", &["cmd/db/file/08"], |call, meter| {
        otherwise(call, meter, "NO_FIRST_ROW", "NO_SECOND_ROW")
    }),
    Mutant::new("file/needs-no-second-row", &["cmd/db/file/09"], |call, meter| {
        otherwise(call, meter, "NO_SECOND_ROW", "NO_FIRST_ROW")
    }),
    Mutant::new("file/refuses-and-changes", &["cmd/db/file/11"], |call, meter| {
        let answer = meter.ask(&call);
        if action(&call) == "restore" && has(&answer, "error") {
            meter.ask(&call.members(|it| {
                it["action"] = json!("zero");
                it.remove("data");
            }));
        }
        answer
    }),
    Mutant::new("file/applies-what-comes-before-the-fault", &["cmd/db/file/12"], |call, meter| {
        let answer = meter.ask(&call);
        if action(&call) == "restore" && has(&answer, "error") {
            restore(call, meter, |lines| {
                lines.pop();
            });
        }
        answer
    }),
    Mutant::new("file/one-mib-is-enough", &["cmd/db/file/13"], |call, meter| match 1 << 20 < call.body.len() {
        true => Message::answer(413, &json!({"error": "too large"})),
        false => meter.ask(&call),
    }),
    Mutant::new("file/hangs-up-on-large-ones", &["cmd/db/file/14"], |call, meter| {
        match (2 << 20) + 1024 < call.body.len() {
            true => Message::nothing(),
            false => meter.ask(&call),
        }
    }),
    Mutant::new("split/any-register-is-net", &["cmd/db/split/05"], |call, meter| {
        otherwise(call, meter, "NOT_NET_REG", "OOM")
    }),
];

/// Accepts a file of whose data `when` says so.
fn accepted(call: Message, meter: &Meter, when: impl FnOnce(&str) -> bool) -> Message {
    lax(call, meter, |it| {
        let data = it.json().unwrap_or_default()["data"].as_str().map(str::to_string);
        data.is_some_and(|it| when(&it))
    })
}

/// Ends with another tag than the meter.
fn otherwise(call: Message, meter: &Meter, tag: &str, other: &str) -> Message {
    at(call, meter, "/sys/status/", |it| {
        if it["result"].get("error") == Some(&Value::from(tag)) {
            it["result"]["error"] = json!(other);
        }
    })
}
