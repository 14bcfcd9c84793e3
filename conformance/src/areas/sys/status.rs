//! /sys/status without any operation: that it gives nothing away, and that a token which nobody was given is an error.
//! What a running operation's status owes is judged with the commands.

use crate::catalogue::Area;
use crate::danger::Class;
use crate::evidence::Evidence;
use crate::http::Request;
use crate::lab::{Lab, Stop};
use crate::transcript::Exchange;
use crate::verdict::{Finding, Rule};
use serde_json::json;

/// See the module.
pub const AREA: Area = Area {
    name: "sys/status",
    class: Class::Safe,
    touches: "asks for operations that there are none of",
    params: &[],
    play,
    rules: RULES,
};

/// Members of a status.
const MEMBERS: [&str; 8] = ["args", "args/0", "done", "error", "info", "progress", "result", "ts"];

fn play(lab: &mut Lab<'_>) -> Result<(), Stop> {
    lab.get("root", "/sys/status")?;
    lab.send("anonymous/root", &Request::get("/sys/status").anonymous())?;
    let unknown = lab.random(32);
    lab.get("unknown", &format!("/sys/status/{unknown}"))?;
    lab.send("anonymous/unknown", &Request::get(&format!("/sys/status/{unknown}")).anonymous())?;
    for member in MEMBERS {
        lab.get(&format!("member/{member}"), &format!("/sys/status/{unknown}/{member}"))?;
    }
    for (label, token) in
        [("empty", "".to_string()), ("short", lab.random(4)), ("words", "not-a-token".into()), ("wild", "*".into())]
    {
        lab.get(&format!("odd/{label}"), &format!("/sys/status/{token}"))?;
    }
    lab.get("long", &format!("/sys/status/{}", lab.random(512)))?;
    Ok(())
}

const RULES: &[Rule] = &[
    Rule::must(
        "sys/status/01",
        "WebAPI /sys/status",
        "/sys/status is an empty `result`: only who knows a token may look.",
        |ev| {
            let it = ev.get("root")?;
            it.want(it.result()? == json!({}), "`result` must be {}")?;
            Ok(Finding::Kept)
        },
    ),
    Rule::must(
        "sys/status/02",
        "WebAPI §11 row 12",
        "An unknown token is an `error`, or a 404, and never an empty result, on which a client waits for ever.",
        |ev| nothing(ev.get("unknown")?),
    ),
    Rule::must("sys/status/03", "WebAPI §11 row 12", "So is every member of an unknown token's status.", |ev| {
        for it in ev.all("member/")? {
            nothing(it)?;
        }
        Ok(Finding::Kept)
    }),
    Rule::must(
        "sys/status/04",
        "WebAPI /sys/status",
        "What is no token names no operation, not even the beginning of one.",
        |ev| {
            for it in ev.all("odd/")? {
                // A trailing slash may count as the list itself, which is empty.
                let empty_list = it.label == "odd/empty" && it.result().is_ok_and(|it| it == json!({}));
                if !empty_list {
                    nothing(it)?;
                }
            }
            nothing(ev.get("long")?)
        },
    ),
    Rule::must("sys/status/05", "WebAPI /sys, 401", "Without a login a status is a 401, known or not.", |ev| {
        anonymous(ev)
    }),
];

/// An error as 200 or 4xx, or a 404 with whatever body.
fn nothing(it: &Exchange) -> Result<Finding, Finding> {
    if it.reply()?.status != 404 {
        it.error()?;
    }
    Ok(Finding::Kept)
}

fn anonymous(ev: &Evidence<'_>) -> Result<Finding, Finding> {
    for it in ev.all("anonymous/")? {
        it.unauthorized()?;
    }
    Ok(Finding::Kept)
}

#[cfg(test)]
mod tests {
    use crate::evidence::testing::{broken, judge, kept};

    #[test]
    fn an_unknown_token_is_an_error_and_never_an_empty_result() {
        let unknown = |status, body| judge("sys/status/02", &[("unknown", status, body)]);
        kept(unknown(200, r#"{"error":"No such token."}"#));
        kept(unknown(404, "not found"));
        broken(unknown(200, r#"{"result":{}}"#));
        broken(unknown(200, "{}"));
        broken(unknown(200, r#"{"result":null}"#));
        broken(unknown(500, r#"{"error":"x"}"#));
    }

    #[test]
    fn the_root_lists_nothing() {
        kept(judge("sys/status/01", &[("root", 200, r#"{"result":{}}"#)]));
        broken(judge("sys/status/01", &[("root", 200, r#"{"result":{"473c":{}}}"#)]));
        broken(judge("sys/status/01", &[("root", 200, r#"{"result":[]}"#)]));
    }
}
