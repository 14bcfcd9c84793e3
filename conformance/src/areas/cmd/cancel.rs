//! `cancel` where there is nothing to cancel: what it refuses and how. That it ends a running operation is judged with the
//! commands that run for long.

use serde_json::json;

use crate::catalogue::Area;
use crate::danger::Class;
use crate::evidence::{Evidence, refusal};
use crate::http::Request;
use crate::lab::{Lab, Stop};
use crate::verdict::{Finding, Rule};

/// See the module.
pub const AREA: Area = Area {
    name: "cmd/cancel",
    class: Class::Safe,
    touches: "cancels operations that there are none of",
    params: &[],
    play,
    rules: RULES,
};

fn play(lab: &mut Lab<'_>) -> Result<(), Stop> {
    let path = "/cmd/cancel";
    let known = json!({"token": lab.random(32)});
    lab.send("anonymous", &Request::post(path, &known).anonymous())?;
    lab.send("anonymous-malformed", &Request::post_bytes(path, "{").anonymous())?;
    lab.post("unknown", path, &known)?;
    lab.post("again", path, &known)?;
    lab.post("absent", path, &json!({}))?;
    lab.send("no-body", &Request::new("POST", path))?;
    for (label, token) in
        [("number", json!(7)), ("array", json!(["x"])), ("object", json!({})), ("boolean", json!(true))]
    {
        lab.post(&format!("type/{label}"), path, &json!({"token": token}))?;
    }
    lab.post("shape/string", path, &known["token"])?;
    lab.post("shape/array", path, &json!([known["token"]]))?;
    lab.post("empty-token", path, &json!({"token": ""}))?;
    for (label, body) in [("cut", "{\"token\":"), ("words", "token"), ("bytes", "{\"token\":\"\u{0}\"}")] {
        lab.send(&format!("malformed/{label}"), &Request::post_bytes(path, body))?;
    }
    lab.send("method/get", &Request::get(path))?;
    lab.send("method/put", &Request::new("PUT", path).body(known.to_string()))?;
    lab.send("method/delete", &Request::new("DELETE", path))?;
    Ok(())
}

const RULES: &[Rule] = &[
    Rule::must("cmd/cancel/01", "cmd-api: Cancel, 401", "Without a login it is a 401, whatever the body.", |ev| {
        ev.get("anonymous")?.unauthorized()?;
        ev.get("anonymous-malformed")?.unauthorized()
    }),
    Rule::choice(
        "cmd/cancel/02",
        "documents silent",
        "Cancelling a token that was never given is an error, the second time too.",
        |ev| refused_or_ok(ev, &["unknown", "again"]),
    ),
    Rule::choice(
        "cmd/cancel/03",
        "documents silent",
        "Cancelling without a token is an error: no body, no member, an empty one.",
        |ev| refused_or_ok(ev, &["absent", "no-body", "empty-token"]),
    ),
    Rule::must("cmd/cancel/04", "cmd-api: Cancel, token", "A token that is no string is refused.", |ev| {
        refusal::each(ev, "type/")
    }),
    Rule::must("cmd/cancel/05", "cmd-api: Cancel", "A body that is no object is refused.", |ev| {
        refusal::each(ev, "shape/")
    }),
    Rule::must("cmd/cancel/06", "cmd-api: Cancel", "A body that is no JSON is refused.", |ev| {
        refusal::each(ev, "malformed/")
    }),
    Rule::choice("cmd/cancel/07", "documents silent", "The error for a missing token names the member.", |ev| {
        let it = ev.get("absent")?;
        if it.success().is_ok() {
            return Ok(Finding::Quirk("cancelling without a token is OK".into()));
        }
        it.want(it.error()?.to_lowercase().contains("token"), "the text does not say what is missing")?;
        Ok(Finding::Kept)
    }),
    Rule::must("cmd/cancel/08", "cmd-api: post /cmd/cancel", "Only POST cancels.", |ev| {
        for it in ev.all("method/")? {
            it.declined()?;
        }
        Ok(Finding::Kept)
    }),
];

fn refused_or_ok(ev: &Evidence<'_>, labels: &[&str]) -> Result<Finding, Finding> {
    let mut res = Finding::Kept;
    for label in labels {
        let it = ev.get(label)?;
        if it.done().is_ok() {
            res = Finding::Quirk(format!("cancelling nothing ({label}) is OK"));
        } else if let quirk @ Finding::Quirk(_) = it.refused()? {
            res = quirk;
        }
    }
    Ok(res)
}

#[cfg(test)]
mod tests {
    use crate::evidence::testing::{broken, judge, kept, quirk};

    #[test]
    fn cancelling_nothing_is_an_error_or_a_note() {
        let unknown = |status, body| judge("cmd/cancel/02", &[("unknown", status, body), ("again", status, body)]);
        kept(unknown(200, r#"{"error":"token: unknown"}"#));
        quirk(unknown(404, r#"{"error":"token: unknown"}"#));
        quirk(unknown(200, r#"{"status":"OK"}"#));
        broken(unknown(200, "{}"));
        broken(unknown(500, r#"{"error":"x"}"#));
    }

    #[test]
    fn wrong_types_and_methods_are_refused() {
        kept(judge("cmd/cancel/04", &[("type/number", 200, r#"{"error":"token: not a string"}"#)]));
        broken(judge("cmd/cancel/04", &[("type/number", 200, r#"{"status":"OK"}"#)]));
        kept(judge("cmd/cancel/08", &[("method/get", 405, "")]));
        kept(judge("cmd/cancel/08", &[("method/get", 200, r#"{"error":"POST only"}"#)]));
        broken(judge("cmd/cancel/08", &[("method/get", 200, r#"{"status":"OK"}"#)]));
    }
}
