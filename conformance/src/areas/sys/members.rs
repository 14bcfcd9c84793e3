//! The status of an operation that there is, looked at in parts: its members by path, `filter`, `max-depth`. The operation
//! is a test of a remote device where there is none, which ends by itself and leaves nothing behind.

use std::time::Duration;

use serde_json::{Value, json};

use crate::catalogue::Area;
use crate::companions::ADDRESS;
use crate::danger::Class;
use crate::evidence::status::end;
use crate::http::Request;
use crate::lab::operation::token_of;
use crate::lab::{Lab, Stop};
use crate::transcript::Exchange;
use crate::verdict::{Finding, Rule};

/// See the module.
pub const AREA: Area = Area {
    name: "sys/status/members",
    class: Class::Remote,
    touches: "lets the meter look for a device on port 9 of companion.address, where there is none",
    params: &[ADDRESS],
    play,
    rules: RULES,
};

/// How long a device that is not there may be looked for.
const PATIENCE: Duration = Duration::from_secs(120);
const MEMBERS: [&str; 7] = ["args", "done", "error", "info", "progress", "result", "ts"];

fn play(lab: &mut Lab<'_>) -> Result<(), Stop> {
    let address = format!("sunspec.1@{}:9", lab.need(ADDRESS.name)?);
    let command = Request::post("/cmd/test-remote", &json!({"linktype": "modbus", "address": address}));
    let reply = lab.send("op", &command)?;
    let token = token_of(&reply).ok_or_else(|| Stop::Skip(format!("no token: {}", reply.answer_text())))?;
    lab.get("root", "/sys/status")?;
    if lab.follow("op", &token, PATIENCE.min(lab.options.max_wait))?.is_none() {
        return Err(Stop::Skip("the operation did not end in time".into()));
    }
    let path = format!("/sys/status/{token}");
    for member in MEMBERS {
        lab.get(&format!("member/{member}"), &format!("{path}/{member}"))?;
    }
    lab.get("nothing", &format!("{path}/no-such-member"))?;
    lab.get("filter", &format!("{path}?filter=%7Bdone,ts%7D"))?;
    lab.get("raw-braces", &format!("{path}?filter={{done}}"))?;
    lab.get("depth", &format!("{path}?max-depth=1"))?;
    lab.send("anonymous/whole", &Request::get(&path).anonymous())?;
    lab.send("anonymous/done", &Request::get(&format!("{path}/done")).anonymous())?;
    Ok(())
}

const RULES: &[Rule] = &[
    Rule::must(
        "sys/status/members/01",
        "WebAPI §2 sub-resources",
        "Each member has a path that answers `result` with its value.",
        |ev| {
            let (_, status) = end(ev, "op")?;
            for (name, value) in status.iter().filter(|it| MEMBERS.contains(&it.0.as_str())) {
                same(ev.get(&format!("member/{name}"))?, value)?;
            }
            Ok(Finding::Kept)
        },
    ),
    Rule::choice(
        "sys/status/members/02",
        "documents silent",
        "The path of a member that is left out is an error, or a 404.",
        |ev| {
            let (_, status) = end(ev, "op")?;
            for name in MEMBERS.iter().filter(|it| !status.contains_key(**it)) {
                ev.get(&format!("member/{name}"))?.declined()?;
            }
            ev.get("nothing")?.declined()
        },
    ),
    Rule::should(
        "sys/status/members/03",
        "WebAPI §11 row 21",
        "A `filter` picks members of a status, its braces encoded or not.",
        |ev| {
            let (_, status) = end(ev, "op")?;
            same(ev.get("filter")?, &json!({"done": status["done"], "ts": status["ts"]}))?;
            same(ev.get("raw-braces")?, &json!({"done": status["done"]}))
        },
    ),
    Rule::should(
        "sys/status/members/04",
        "WebAPI §11 row 21",
        "At `max-depth` 1 a status is the list of its members.",
        |ev| {
            let (_, status) = end(ev, "op")?;
            let it = ev.get("depth")?;
            let mut names: Vec<Value> = it.result()?.as_array().cloned().unwrap_or_default();
            let mut expect: Vec<Value> = status.keys().map(|it| json!(it)).collect();
            names.sort_by_key(Value::to_string);
            expect.sort_by_key(Value::to_string);
            it.want(names == expect, format!("{} is owed", json!(expect)))?;
            Ok(Finding::Kept)
        },
    ),
    Rule::must(
        "sys/status/members/05",
        "WebAPI /sys/status",
        "/sys/status shows nothing of an operation that there is.",
        |ev| {
            token_of(ev.get("op")?).ok_or_else(|| Finding::NoEvidence("there was no operation".into()))?;
            same(ev.get("root")?, &json!({}))
        },
    ),
    Rule::must("sys/status/members/06", "WebAPI /sys, 401", "Without a login a token that is known is a 401.", |ev| {
        for it in ev.all("anonymous/")? {
            it.unauthorized()?;
        }
        Ok(Finding::Kept)
    }),
];

fn same(it: &Exchange, expect: &Value) -> Result<Finding, Finding> {
    it.want(&it.result()? == expect, format!("{expect} is owed"))?;
    Ok(Finding::Kept)
}

#[cfg(test)]
mod tests {
    use crate::evidence::testing::{broken, judge, kept, untested};

    const END: (&str, u16, &str) = ("op/poll/1", 200, r#"{"result":{"done":true,"ts":"1.5"}}"#);

    #[test]
    fn parts_are_those_of_the_whole() {
        let with = |id, label, body| judge(id, &[END, ("member/ts", 200, r#"{"result":"1.5"}"#), (label, 200, body)]);
        kept(with("sys/status/members/01", "member/done", r#"{"result":true}"#));
        broken(with("sys/status/members/01", "member/done", r#"{"done":true}"#));
        broken(with("sys/status/members/01", "member/done", r#"{"result":"true"}"#));
        kept(with("sys/status/members/04", "depth", r#"{"result":["ts","done"]}"#));
        broken(with("sys/status/members/04", "depth", r#"{"result":2}"#));
        untested(judge("sys/status/members/01", &[]));
        let root = |body| judge("sys/status/members/05", &[("op", 200, r#"{"token":"t"}"#), ("root", 200, body)]);
        kept(root(r#"{"result":{}}"#));
        broken(root(r#"{"result":{"t":{}}}"#));
    }
}
