//! /cmd/db: what it refuses. Whatever a lax meter could make of these requests stays in the tester's window.

pub mod file;
pub mod restore;
pub mod split;
pub mod status;
mod window;
pub mod zero;

use serde_json::{Value, json};

use crate::catalogue::Area;
use crate::danger::Class;
use crate::evidence::refusal;
use crate::http::Request;
use crate::lab::{Lab, Stop};
use crate::refusals;
use crate::verdict::Rule;
use window::{PARAMS, Window, unchanged};

/// See the module.
pub const AREA: Area = Area {
    name: "cmd/db",
    class: Class::Db,
    touches: "sends bad commands for the data of db.regs between db.from and db.to",
    params: PARAMS,
    play: |lab| Window::give(lab, traffic),
    rules: RULES,
};

fn traffic(lab: &mut Lab<'_>, window: &Window) -> Result<(), Stop> {
    let path = "/cmd/db";
    let zero = window.zero(&window.regs);
    lab.send("anonymous", &Request::post(path, &zero).anonymous())?;
    lab.send("bad-token", &Request::post(path, &zero).token("e30.e30.AAAA"))?;
    refusals::as_limited(lab, &Request::post(path, &zero))?;
    window.picture(lab, "after-unauthorized")?;
    lab.send("get", &Request::get(path))?;
    lab.send("put", &Request::new("PUT", path).header("Content-Type", "application/json").body(zero.to_string()))?;
    let cut = zero.to_string();
    lab.send("cut", &Request::post_bytes(path, &cut[..cut.len() - 1]))?;
    lab.send("list", &Request::post(path, &json!(["zero"])))?;
    lab.send("empty", &Request::new("POST", path))?;
    let changed = |name: &str, value: Value| {
        let mut body = zero.clone();
        body[name] = value;
        body
    };
    for (label, value) in
        [("no-action", Value::Null), ("unknown-action", json!("erase")), ("action-type", json!(["zero"]))]
    {
        lab.post(label, path, &changed("action", value))?;
    }
    window.picture(lab, "after-refused")?;
    // Who does not look at these members would touch more than the window, were it not a restore of what is there.
    let same = window.restore(&window.inside(2));
    let changed = |name: &str, value: Value| {
        let mut body = same.clone();
        body[name] = value;
        body
    };
    let from = same["from"].as_str().unwrap_or_default().to_string();
    for (label, name, value) in [
        ("from-number", "from", json!(from.parse::<f64>().unwrap_or_default())),
        ("from-exponent", "from", json!("1.7e9")),
        ("from-negative", "from", json!("-1")),
        ("from-words", "from", json!("NaN")),
        ("to-type", "to", json!([same["to"]])),
        ("to-words", "to", json!("tomorrow")),
        ("regs-type", "regs", json!("0")),
        ("regs-negative", "regs", json!([-1])),
        ("regs-fraction", "regs", json!([0.5])),
        ("regs-unknown", "regs", json!([window.unknown_did()])),
        ("no-data", "data", Value::Null),
        ("data-type", "data", json!(7)),
        ("more-chunks-type", "more_chunks", json!("yes")),
        ("unknown-member", "form", json!("1")),
    ] {
        lab.post(label, path, &changed(name, value))?;
    }
    let mut reversed = same.clone();
    (reversed["from"], reversed["to"]) = (same["to"].clone(), same["from"].clone());
    lab.post("reversed", path, &reversed)?;
    Ok(())
}

const CLAUSE: &str = "cmd-api: Manipulate database";

const RULES: &[Rule] = &[
    Rule::must(
        "cmd/db/01",
        CLAUSE,
        "Without a login, or with a false one, the answer is 401 with a challenge.",
        |ev| refusal::unauthorized(ev, &["anonymous", "bad-token"]),
    ),
    Rule::must("cmd/db/02", "WebAPI §11 no. 9", "What is answered with 401 changes no data.", |ev| {
        unchanged(ev, "original", "after-unauthorized")
    }),
    Rule::must("cmd/db/03", "WebAPI §5: only POST", "GET and PUT are refused.", |ev| {
        refusal::wrong_methods(ev, &["get", "put"])
    }),
    Rule::must("cmd/db/04", CLAUSE, "A body that is no whole JSON object is refused.", |ev| {
        refusal::refused(ev, &["cut", "list"])
    }),
    Rule::must("cmd/db/05", CLAUSE, "`action` is required, one of restore, zero and split.", |ev| {
        refusal::refused(ev, &["empty", "no-action", "unknown-action", "action-type"])
    }),
    Rule::must("cmd/db/06", CLAUSE, "What is refused changes no data.", |ev| {
        unchanged(ev, "original", "after-refused")
    }),
    Rule::must(
        "cmd/db/07",
        "WebAPI §6 ForeverStamp",
        "`from` and `to` are strings; numbers and lists are refused.",
        |ev| refusal::refused(ev, &["from-number", "to-type"]),
    ),
    Rule::must(
        "cmd/db/08",
        "WebAPI §6 ForeverStamp",
        "`from` and `to` are plain decimal numbers, without exponent, sign or words.",
        |ev| refusal::refused(ev, &["from-exponent", "from-negative", "from-words", "to-words"]),
    ),
    Rule::choice("cmd/db/09", CLAUSE, "`from` later than `to` is refused.", |ev| refusal::refused(ev, &["reversed"])),
    Rule::must("cmd/db/10", CLAUSE, "`regs` is a list of whole numbers from 0.", |ev| {
        refusal::refused(ev, &["regs-type", "regs-negative", "regs-fraction"])
    }),
    Rule::choice("cmd/db/11", CLAUSE, "`regs` with a register that is not there is refused.", |ev| {
        refusal::refused(ev, &["regs-unknown"])
    }),
    Rule::must("cmd/db/12", CLAUSE, "Restore without `data`, or with a number as such, is refused.", |ev| {
        refusal::refused(ev, &["no-data", "data-type"])
    }),
    Rule::must("cmd/db/13", CLAUSE, "`more_chunks` is true or false.", |ev| {
        refusal::refused(ev, &["more-chunks-type"])
    }),
    Rule::choice("cmd/db/14", CLAUSE, "A refusal names the member at fault.", |ev| {
        refusal::names(
            ev,
            &[
                ("no-action", "action"),
                ("unknown-action", "action"),
                ("from-exponent", "from"),
                ("to-words", "to"),
                ("regs-negative", "regs"),
                ("no-data", "data"),
                ("more-chunks-type", "more_chunks"),
            ],
        )
    }),
    Rule::choice("cmd/db/15", CLAUSE, "A member that the command does not know is refused by its name.", |ev| {
        refusal::unknown_member(ev, "unknown-member", "form")
    }),
    Rule::must("cmd/db/16", CLAUSE, "After all of it the data are as they were.", |ev| {
        unchanged(ev, "original", "final")
    }),
    refusals::limited("cmd/db/17"),
];
