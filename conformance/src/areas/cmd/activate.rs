//! /cmd/activate and the lists of providers. The handshake is tried with a provider of this program, where the meter's own
//! list has it; what the meter says to it is judged, too. A service that was active before is never touched.

mod play;

use serde_json::{Map, Value, json};

use play::{MISSING, UNKNOWN, WRONG};

use crate::catalogue::{Area, Param};
use crate::companions;
use crate::danger::Class;
use crate::evidence::{Evidence, status, tokens};
use crate::refusals::{self, MALFORMED};
use crate::session::md5;
use crate::verdict::{Finding, Rule};

/// See the module.
pub const AREA: Area = Area {
    name: "cmd/activate",
    class: Class::Activate,
    touches: "activates a service with a provider of this program, and ends it again; leaves one that is active alone",
    params: &[
        companions::ADDRESS,
        companions::BIND,
        Param {
            name: PORT,
            meaning: "the port where the provider listens; the meter's list has it as http://ADDRESS:PORT/...",
        },
        Param { name: PROVIDER, meaning: "the name by which the meter's list knows that provider." },
        Param { name: SERVICE, meaning: "the service to activate: push or alert (push)." },
        Param { name: NONCE, meaning: "a challenge in hexadecimal digits that the meter's own key can decrypt." },
        Param { name: CLEAR, meaning: "what that challenge is when decrypted, in lower-case hexadecimal digits." },
    ],
    play: play::play,
    rules: RULES,
};

const PORT: &str = "companion.provider-port";
const PROVIDER: &str = "activate.provider";
const SERVICE: &str = "activate.service";
const NONCE: &str = "activate.nonce";
const CLEAR: &str = "activate.clear";
/// The number by which the provider knows its challenge again.
const RID: u64 = 4711;
const SIGNUP: &str = "http://provider.example/signup/7";
const REFUSAL: &str = "this meter is not wanted here";

/// The list in a reply of /providers.
fn providers(reply: &Map<String, Value>) -> Option<&Vec<Value>> {
    reply.get("reply")?.get("providers")?.as_array()
}

/// A failed activation: its tag is one of these three, which have one argument.
fn failed(ev: &Evidence<'_>, label: &str) -> Result<Finding, Finding> {
    status::failed_with(ev, label, &["SRV", "ALRT", "PUSH"])?;
    let (exchange, end) = status::end(ev, label)?;
    let text = end.get("args").and_then(|it| it[0].as_str()).unwrap_or_default();
    exchange.want(!text.is_empty(), "the tag's one argument must say what failed")?;
    Ok(Finding::Kept)
}

/// The first request that the provider got in a mood.
fn introduction<'a>(ev: &Evidence<'a>, label: &str) -> Result<&'a Value, Finding> {
    match ev.fact(label)?.as_array().and_then(|it| it.first()) {
        Some(first) => Ok(first),
        None => Err(ev.get(label)?.broken("the provider was never asked")),
    }
}

/// Goes on if `kept`; else the request that the provider got is shown.
fn want(kept: bool, request: &Value, why: &str) -> Result<(), Finding> {
    let sent = "an activation".to_string();
    if kept { Ok(()) } else { Err(Finding::Broken { sent, came: format!("the provider got {request} ({why})") }) }
}

const CLAUSE: &str = "cmd-api: Activate a service";
const PROTOCOL: &str = "WebAPI §4 activation protocol";

const RULES: &[Rule] = &[
    Rule::must(
        "cmd/activate/01",
        "WebAPI §1",
        "Without a valid login it is answered with 401 and a challenge.",
        refusals::unauthorized,
    ),
    Rule::must(
        "cmd/activate/02",
        "WebAPI §11, 9",
        "A request that is answered 401, and one of another method, does not reach the provider.",
        |ev| refusals::none(ev, "uninvited", "activations without a login, and by GET and PUT"),
    ),
    Rule::must("cmd/activate/03", "WebAPI §5", "Only POST activates; GET and PUT are refused.", |ev| {
        refusals::other_methods(ev)
    }),
    Rule::must("cmd/activate/04", CLAUSE, "A body that is no JSON object is refused with `error`.", |ev| {
        refusals::all_refused(ev, MALFORMED)
    }),
    Rule::must("cmd/activate/05", CLAUSE, "Without `service` or `provider` it is refused with `error`.", |ev| {
        refusals::all_refused(ev, MISSING)
    }),
    Rule::must("cmd/activate/06", CLAUSE, "A `service` other than alert and push is refused with `error`.", |ev| {
        refusals::all_refused(ev, WRONG)
    }),
    Rule::must("cmd/activate/07", CLAUSE, "A provider that the meter does not know is refused with `error`.", |ev| {
        refusals::all_refused(ev, UNKNOWN)
    }),
    Rule::choice("cmd/activate/08", CLAUSE, "The error of a bad body names the member at fault.", |ev| {
        let named = [("no-service", "service"), ("no-provider", "provider"), ("service-other", "service")];
        refusals::names_the_member(ev, &named)
    }),
    Rule::must(
        "cmd/activate/09",
        "WebAPI §4 /providers",
        "The lists of providers are in `reply.providers`, each with texts `name` and `control`.",
        |ev| {
            for it in ev.all("list/")? {
                let reply = it.success()?;
                let Some(list) = providers(&reply) else {
                    return Err(it.broken("`reply.providers` must be a list"));
                };
                for entry in list {
                    let texts = entry["name"].is_string() && entry["control"].is_string();
                    it.want(texts, "`name` and `control` must be strings")?;
                    let version = entry.get("version").is_none_or(Value::is_u64);
                    it.want(version, "`version` must be a whole number")?;
                }
            }
            Ok(Finding::Kept)
        },
    ),
    Rule::must("cmd/activate/10", CLAUSE, "The reply to an activation has a token, and no `error`.", |ev| {
        for label in ["refused", "granted"] {
            let reply = ev.get(label)?;
            let body = reply.success()?;
            reply.want(body.get("token").is_some_and(Value::is_string), "`token` must be a string")?;
        }
        tokens::form(ev)
    }),
    Rule::must("cmd/activate/11", "WebAPI §2", "Its statuses have the form that clients need.", |ev| {
        status::done(ev, "")?;
        status::stamp(ev, "")?;
        status::args(ev, "")?;
        status::members(ev, "")?;
        status::error(ev, "")
    }),
    Rule::must(
        "cmd/activate/12",
        "WebAPI §2",
        "`progress`, where it is given, is written with a decimal point, from 0.0 to 1.0.",
        |ev| status::progress(ev, ""),
    ),
    Rule::must(
        "cmd/activate/13",
        PROTOCOL,
        "A provider that refuses, with 200 and `error`, ends the activation with SRV, ALRT or PUSH and one argument.",
        |ev| failed(ev, "refused"),
    ),
    Rule::choice("cmd/activate/14", PROTOCOL, "The argument has the provider's own words.", |ev| {
        let (exchange, end) = status::end(ev, "refused")?;
        let text = end.get("args").and_then(|it| it[0].as_str()).unwrap_or_default();
        exchange.want(text.contains(REFUSAL), format!("the provider said: {REFUSAL}"))?;
        Ok(Finding::Kept)
    }),
    Rule::must(
        "cmd/activate/15",
        "WebAPI §2 error tags",
        "A provider that is out of order or talks nonsense ends the activation in the same way.",
        |ev| {
            failed(ev, "broken")?;
            failed(ev, "nonsense")
        },
    ),
    Rule::must(
        "cmd/activate/16",
        PROTOCOL,
        "The meter introduces itself by POST of a JSON object with texts `name` and `sn`.",
        |ev| {
            let request = introduction(ev, "granted")?;
            want(request["method"] == "POST", request, "POST is owed")?;
            let text = |name: &str| request["body"][name].as_str().is_some_and(|it| !it.is_empty());
            want(text("name") && text("sn"), request, "`name` and `sn` are owed")?;
            Ok(Finding::Kept)
        },
    ),
    Rule::must("cmd/activate/17", PROTOCOL, "`opts`, where the meter sends it, is a list of texts.", |ev| {
        let request = introduction(ev, "granted")?;
        let Some(opts) = request["body"].get("opts") else { return Ok(Finding::Kept) };
        want(opts.as_array().is_some_and(|it| it.iter().all(Value::is_string)), request, "`opts` is something else")?;
        Ok(Finding::Kept)
    }),
    Rule::must(
        "cmd/activate/18",
        PROTOCOL,
        "A challenge is answered at the same URL with `rid`, a `cnnc`, and the hash of what it decrypts to.",
        |ev| {
            let Ok(clear) = ev.fact("clear") else {
                let why = format!("needs --with {NONCE}=... and --with {CLEAR}=...");
                return Err(Finding::NoEvidence(why));
            };
            let all = ev.fact("challenged")?.as_array().cloned().unwrap_or_default();
            let first = introduction(ev, "challenged")?;
            let Some(proof) = all.get(1) else {
                return Err(status::end(ev, "challenged")?.0.broken("the challenge was not answered"));
            };
            want(first["path"] == proof["path"], proof, "the URL is another")?;
            let body = &proof["body"];
            want(body["rid"] == json!(RID), proof, "`rid` must come back")?;
            let nonce = body["cnnc"].as_str().unwrap_or_default();
            let hex = !nonce.is_empty() && nonce.bytes().all(|it| it.is_ascii_hexdigit());
            want(hex, proof, "`cnnc` must be hexadecimal digits")?;
            let hash = md5(&format!("{}:{nonce}", clear.as_str().unwrap_or_default()));
            want(body["hash"] == hash, proof, "`hash` must be MD5 of the clear text, a colon, and `cnnc`")?;
            Ok(Finding::Kept)
        },
    ),
    Rule::must("cmd/activate/19", "WebAPI §2 Cancel", "An activation that is cancelled ends with CANCELED.", |ev| {
        ev.get("cancel")?.done()?;
        status::canceled(ev, "cancelled", "cancel")
    }),
    Rule::must(
        "cmd/activate/20",
        "WebAPI §4 effect",
        "An activation that fails or is cancelled activates nothing.",
        |ev| {
            introduction(ev, "refused")?;
            let it = ev.get("still-none")?;
            it.want(it.result()? == "", "no service was granted, so the name must be empty")?;
            Ok(Finding::Kept)
        },
    ),
    Rule::must(
        "cmd/activate/21",
        "WebAPI §2 result",
        "A granted activation ends without `error` and with `activated` true; members it does not know change nothing.",
        |ev| {
            status::succeeded(ev, "granted")?;
            let (exchange, end) = status::end(ev, "granted")?;
            exchange.want(
                end.get("result").is_some_and(|it| it["activated"] == json!(true)),
                "`result.activated` must be true",
            )?;
            Ok(Finding::Kept)
        },
    ),
    Rule::must("cmd/activate/22", "WebAPI §2 result", "`result.signup` is the URL that the provider gave.", |ev| {
        status::succeeded(ev, "granted")?;
        let (exchange, end) = status::end(ev, "granted")?;
        exchange
            .want(end.get("result").is_some_and(|it| it["signup"] == SIGNUP), format!("the provider gave {SIGNUP}"))?;
        Ok(Finding::Kept)
    }),
    Rule::must(
        "cmd/activate/23",
        "WebAPI §4 effect",
        "After it the service's resource has the provider's name.",
        |ev| {
            let it = ev.get("active")?;
            let order = String::from_utf8_lossy(&ev.get("granted")?.sent).into_owned();
            let order = order.split_once("\r\n\r\n").and_then(|it| serde_json::from_str::<Value>(it.1).ok());
            let name = order.map_or(Value::Null, |it| it["provider"].clone());
            it.want(it.result()? == name, format!("{name} is owed"))?;
            Ok(Finding::Kept)
        },
    ),
    Rule::must(
        "cmd/activate/24",
        "WebAPI §4 effect",
        "DELETE of that resource ends the service; its name is empty then.",
        |ev| {
            if ev.get("active")?.result()? == "" {
                return Err(Finding::NoEvidence("no service was active".into()));
            }
            ev.get("end")?.success()?;
            let it = ev.get("ended")?;
            it.want(it.result()? == "", "the name must be empty")?;
            Ok(Finding::Kept)
        },
    ),
    Rule::choice(
        "cmd/activate/25",
        PROTOCOL,
        "The password that the provider gave is in no answer of the meter.",
        refusals::keeps_secrets,
    ),
    refusals::limited("cmd/activate/26"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::testing::{broken, kept, transcript, untested};

    #[track_caller]
    fn check(rule: &str, label: &str, body: &str, fact: Value, expect: fn(Result<Finding, Finding>)) {
        let mut run = transcript(AREA.name, [(label, 200, body)]);
        let name = label.split('/').next().unwrap();
        run.facts.insert(format!("{}/{name}", AREA.name), fact);
        run.facts.insert(format!("{}/clear", AREA.name), json!("00ff"));
        let rule = RULES.iter().find(|it| it.id.ends_with(rule)).unwrap();
        expect((rule.judge)(&Evidence::new(&run, AREA.name)));
    }

    #[test]
    fn failures_have_a_tag_and_a_reason() {
        let end = |tag: &str, args: &str| format!(r#"{{"result":{{"done":true,"error":"{tag}","args":{args}}}}}"#);
        check("/13", "refused/poll/1", &end("SRV", r#"["no"]"#), json!([]), kept);
        check("/13", "refused/poll/1", &end("SRV", "[]"), json!([]), broken);
        check("/13", "refused/poll/1", &end("Refused.", r#"["no"]"#), json!([]), broken);
        check("/13", "refused/poll/1", r#"{"result":{"done":true}}"#, json!([]), broken);
    }

    #[test]
    fn a_grant_says_that_it_is_one() {
        let label = "granted/poll/1";
        check("/21", label, r#"{"result":{"done":true,"result":{"activated":true}}}"#, json!([]), kept);
        check("/21", label, r#"{"result":{"done":true,"result":{"activated":"yes"}}}"#, json!([]), broken);
        check("/21", label, r#"{"result":{"done":true}}"#, json!([]), broken);
        check("/22", label, r#"{"result":{"done":true}}"#, json!([]), broken);
    }

    #[test]
    fn a_challenge_is_answered_with_the_right_hash() {
        let first = json!({"method": "POST", "path": "/a", "body": {"name": "m", "sn": "1"}});
        let proof = |hash: &str, rid: u64| json!([first, {"method": "POST", "path": "/a", "body": {"cnnc": "beef", "hash": hash, "rid": rid}}]);
        let body = r#"{"result":{"done":true,"error":"SRV","args":["no"]}}"#;
        let label = "challenged/poll/1";
        // printf %s 00ff:beef | md5sum
        check("/18", label, body, proof("a5588b2c3a4ba26a3aca26ea2544a7fc", RID), kept);
        check("/18", label, body, proof("a5588b2c3a4ba26a3aca26ea2544a7fd", RID), broken);
        check("/18", label, body, proof("a5588b2c3a4ba26a3aca26ea2544a7fc", 1), broken);
        check("/18", label, body, json!([first]), broken);
        check("/16", "granted", "{}", json!([first]), kept);
        check("/16", "granted", "{}", json!([{"method": "POST", "body": {"name": "m"}}]), broken);
        check("/16", "granted", "{}", json!([{"method": "GET", "body": ""}]), broken);
    }

    #[test]
    fn providers_are_wrapped_in_a_reply() {
        check(
            "/09",
            "list/push",
            r#"{"reply":{"providers":[{"name":"a","control":"b","version":1}]}}"#,
            json!(0),
            kept,
        );
        check("/09", "list/push", r#"{"result":{"providers":[]}}"#, json!(0), broken);
        check("/09", "list/push", r#"{"reply":{"providers":[{"name":"a"}]}}"#, json!(0), broken);
        check("/24", "list/push", "{}", json!(0), untested);
    }
}
