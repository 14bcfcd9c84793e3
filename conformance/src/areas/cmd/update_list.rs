//! /cmd/update, action list: the version that there is, as strings.

use serde_json::{Value, json};

use crate::catalogue::{Area, Param};
use crate::companions::update::{PARAMS, start};
use crate::danger::Class;
use crate::evidence::{Evidence, refusal};
use crate::http::Request;
use crate::lab::{Lab, Stop};
use crate::refusals;
use crate::verdict::{Finding, Rule};

/// See the module.
pub const AREA: Area = Area {
    name: "cmd/update/list",
    class: Class::UpdateList,
    touches: "makes the meter ask its update server what there is",
    params: &[PARAMS[0], PARAMS[1], PARAMS[2], PARAMS[3], LATEST],
    play,
    rules: RULES,
};

const PATH: &str = "/cmd/update";
const LATEST: Param =
    Param { name: "update.latest-version", meaning: "The firmware's latest version in the branch that is installed." };

fn play(lab: &mut Lab<'_>) -> Result<(), Stop> {
    let server = start(lab)?;
    let list = json!({"action": "list", "target": "fw"});
    let with = |name: &str, value: Value| {
        let mut body = list.clone();
        body[name] = value;
        body
    };
    lab.send("anonymous", &Request::post(PATH, &list).anonymous())?;
    lab.send("bad-token", &Request::post(PATH, &list).token("e30.e30.AAAA"))?;
    refusals::as_limited(lab, &Request::post(PATH, &list))?;
    if let Some(server) = &server {
        lab.fact("asked-unauthorized", server.asked().len());
    }
    lab.post("fw", PATH, &list)?;
    lab.post("kernel", PATH, &with("target", json!("kernel")))?;
    lab.post("default-branch", PATH, &with("branch", json!("")))?;
    lab.post("unknown-branch", PATH, &with("branch", json!(format!("none-{}", lab.random(8)))))?;
    lab.post("unknown-target", PATH, &with("target", json!("skin")))?;
    lab.post("no-target", PATH, &with("target", Value::Null))?;
    lab.post("target-type", PATH, &with("target", json!(1)))?;
    lab.post("branch-type", PATH, &with("branch", json!(7)))?;
    lab.post("unknown-member", PATH, &with("brunch", json!("x")))?;
    if let Some(latest) = lab.param(LATEST.name) {
        lab.fact("latest", latest);
    }
    Ok(())
}

const CLAUSE: &str = "cmd-api: Update the meter, list";

const RULES: &[Rule] = &[
    Rule::must(
        "cmd/update/list/01",
        CLAUSE,
        "Without a login, or with a false one, the answer is 401 with a challenge.",
        |ev| refusal::unauthorized(ev, &["anonymous", "bad-token"]),
    ),
    Rule::must("cmd/update/list/02", "WebAPI §11 no. 9", "What is answered with 401 asks no server.", |ev| {
        let asked = ev.fact("asked-unauthorized")?.as_u64();
        ev.get("anonymous")?.want(asked == Some(0), "the update server was asked")?;
        Ok(Finding::Kept)
    }),
    Rule::must(
        "cmd/update/list/03",
        CLAUSE,
        "The answer has `version` on success, and `error` where the list cannot be had.",
        |ev| {
            for label in ["fw", "kernel"] {
                let list = ev.get(label)?;
                let body = list.object()?;
                let (version, error) = (body.contains_key("version"), body.contains_key("error"));
                list.want(version != error, "`version` or `error` is owed, one of them")?;
                if error {
                    list.error()?;
                }
            }
            Ok(Finding::Kept)
        },
    ),
    Rule::must("cmd/update/list/04", "WebAPI §11 no. 13", "`version` is a string.", |ev| text(ev, "version")),
    Rule::must("cmd/update/list/05", "WebAPI §11 no. 13", "`minimum`, where it is given, is a string.", |ev| {
        text(ev, "minimum")
    }),
    Rule::must("cmd/update/list/06", CLAUSE, "An empty `branch` is the default release branch.", |ev| {
        let list = ev.get("default-branch")?;
        let body = list.object()?;
        let either = body.contains_key("version") || body.contains_key("error");
        list.want(either, "`version` or `error` is owed")?;
        if body.contains_key("error") && ev.get("fw")?.object()?.contains_key("version") {
            return Ok(Finding::Quirk("the default release branch has no list, the installed one has".into()));
        }
        Ok(Finding::Kept)
    }),
    Rule::must("cmd/update/list/07", CLAUSE, "A branch that is not there is an error.", |ev| {
        refusal::refused(ev, &["unknown-branch"])
    }),
    Rule::must("cmd/update/list/08", CLAUSE, "`target` is required, fw or kernel.", |ev| {
        refusal::refused(ev, &["no-target", "unknown-target", "target-type"])
    }),
    Rule::must("cmd/update/list/09", CLAUSE, "`branch` is a string.", |ev| refusal::refused(ev, &["branch-type"])),
    Rule::choice("cmd/update/list/10", CLAUSE, "A refusal names the member at fault.", |ev| {
        refusal::names(ev, &[("no-target", "target"), ("unknown-target", "target"), ("branch-type", "branch")])
    }),
    Rule::choice(
        "cmd/update/list/11",
        CLAUSE,
        "A member that the command does not know is refused by its name.",
        |ev| refusal::unknown_member(ev, "unknown-member", "brunch"),
    ),
    Rule::must("cmd/update/list/12", CLAUSE, "A list gives no token: nothing is begun.", |ev| {
        for label in ["fw", "kernel", "default-branch"] {
            let list = ev.get(label)?;
            list.want(!list.object()?.contains_key("token"), "no token is owed")?;
        }
        Ok(Finding::Kept)
    }),
    Rule::must("cmd/update/list/13", CLAUSE, "`version` is the latest that there is.", |ev| {
        let list = ev.get("fw")?;
        let Ok(latest) = ev.fact("latest") else {
            return Err(Finding::NoEvidence(format!("needs --with {}=...", LATEST.name)));
        };
        let version = list.success()?.remove("version").unwrap_or_default();
        let text = version.as_str().map_or_else(|| version.to_string(), str::to_string);
        list.want(latest == &Value::from(text), format!("{latest} is the latest"))?;
        Ok(Finding::Kept)
    }),
    refusals::limited("cmd/update/list/14"),
];

/// The member is a string wherever there is one. A number is what the documents' own example shows, so it is a note.
fn text(ev: &Evidence<'_>, member: &str) -> Result<Finding, Finding> {
    let (mut seen, mut number) = (false, false);
    for label in ["fw", "kernel", "default-branch"] {
        let list = ev.get(label)?;
        let Some(value) = list.object()?.remove(member) else { continue };
        number |= value.is_number();
        let good = value.as_str().is_some_and(|it| !it.is_empty()) || value.is_number();
        list.want(good, format!("`{member}` must be a string"))?;
        seen = true;
    }
    match (seen, number) {
        (false, _) => Err(Finding::NoEvidence(format!("no list had `{member}`"))),
        (true, true) => Ok(Finding::Quirk(format!("`{member}` is a number, as in the documents' example"))),
        (true, false) => Ok(Finding::Kept),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::testing::{broken, kept, quirk, transcript, untested};

    #[test]
    fn a_version_is_a_string_and_a_number_a_note() {
        let check = |body| {
            let error = r#"{"error":"none"}"#;
            let run =
                transcript(AREA.name, [("fw", 200, body), ("kernel", 200, error), ("default-branch", 200, error)]);
            text(&Evidence::new(&run, AREA.name), "version")
        };
        kept(check(r#"{"version":"4.4"}"#));
        quirk(check(r#"{"version":4.4}"#));
        broken(check(r#"{"version":null}"#));
        untested(check(r#"{"error":"no server"}"#));
    }
}
