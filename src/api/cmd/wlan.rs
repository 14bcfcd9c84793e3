//! `POST /cmd/wlan`: its members become a change of the WLAN. Which networks there are is looked at further down.

use std::io;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::device::{self, Errand};
use super::super::{App, failed};
use super::{BadMember, bad};
use crate::auth::Secret;
use crate::drivers::wlan::{self, Change, Key, Ssid};
use crate::http::{Answer, Request};
use crate::ops::{Launch, Outcome, Who};
use crate::platform::PlatformError;

/// The members as they came: what is wrong with one is said without serde, whose words would repeat a key.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Body {
    action: Option<Value>,
    hex: Option<Value>,
    hidden: Option<Value>,
    id: Option<Value>,
    key: Option<Value>,
    ssid: Option<Value>,
}

/// The change that a body asks for.
pub(super) fn parse(body: &[u8]) -> Result<Change, BadMember> {
    let body = members(body)?;
    let choice = "must be \"add\", \"select\" or \"forget\".";
    let action = match text("action", body.action)? {
        Some(action) => action,
        None => return bad("action", format!("missing; it {choice}")),
    };
    let hex = flag("hex", body.hex)?;
    let hidden = flag("hidden", body.hidden)?;
    let id = number("id", body.id)?;
    // Wiped as soon as the driver has its own form of it.
    let key = text("key", body.key)?.map(Secret::from);
    let ssid = text("ssid", body.ssid)?;
    match action.as_str() {
        "add" => {
            refuse_members("add", [("id", id.is_some())])?;
            let Some(ssid) = ssid else { return bad("ssid", "missing; add needs the name of the network.") };
            let ssid = Ssid::parse(&ssid).or_else(|reason| bad("ssid", reason))?;
            let key = match (key, hex.unwrap_or(false)) {
                (None, true) => return bad("hex", "only means something with key, which is missing."),
                (None, false) => Ok(Key::Open),
                (Some(key), true) => Key::hex(key.expose()),
                (Some(key), false) => Key::passphrase(key.expose()),
            };
            let key = key.or_else(|reason| bad("key", reason))?;
            Ok(Change::Add { ssid, key, hidden: hidden.unwrap_or(false) })
        }
        action @ ("select" | "forget") => {
            let strangers = [
                ("ssid", ssid.is_some()),
                ("key", key.is_some()),
                ("hex", hex.is_some()),
                ("hidden", hidden.is_some()),
            ];
            refuse_members(action, strangers)?;
            let Some(id) = id else {
                return bad("id", format!("missing; {action} needs a network_id of /sys/net/wlan."));
            };
            Ok(if action == "select" { Change::Select(id) } else { Change::Forget(id) })
        }
        _ => bad("action", choice),
    }
}

/// Makes the change as an operation: a network may take half a minute to prove that it works.
pub(in crate::api) fn run(app: &Arc<App>, request: &Request, who: Who) -> Answer {
    let change = match parse(&request.body) {
        Ok(change) => change,
        Err(err) => return Answer::Now(failed(&err.to_string())),
    };
    let Some(settings) = app.config.wlan.clone() else {
        return Answer::Now(failed(&PlatformError::Missing("wlan").to_string()));
    };
    let marker = wlan::marker(&app.config.state_dir);
    let action = match change {
        Change::Add { .. } => "add",
        Change::Select(_) => "select",
        Change::Forget(_) => "forget",
    };
    let launch = Launch { kind: "wlan", command: format!("wlan {action}"), who };
    let interface = settings.control.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let errand = Errand::new(launch, interface, request);
    let platform = Arc::clone(&app.platform);
    let saved = move || platform.open_networks().map_err(io::Error::other);
    device::run(app, errand, move |work| match wlan::change(&settings, &marker, &saved, &change, work) {
        Ok(id) => Outcome { fault: None, result: id.map(|id| json!({ "network_id": id })) },
        Err(err) => device::failure("WLAN", err.is_cancelled(), err.to_string()),
    })
}

fn members(body: &[u8]) -> Result<Body, BadMember> {
    match body.trim_ascii() {
        b"" | b"null" => Ok(Body::default()),
        [b'{', ..] => serde_json::from_slice(body).or_else(|err| bad("body", format!("{err}."))),
        // serde would take a list for the members in their order.
        _ => bad("body", "must be an object with the member action."),
    }
}

fn text(name: &'static str, value: Option<Value>) -> Result<Option<String>, BadMember> {
    match value {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => bad(name, "must be a string."),
    }
}

fn flag(name: &'static str, value: Option<Value>) -> Result<Option<bool>, BadMember> {
    match value {
        None => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(flag)),
        Some(_) => bad(name, "must be true or false."),
    }
}

fn number(name: &'static str, value: Option<Value>) -> Result<Option<u32>, BadMember> {
    match value.as_ref().map(|it| it.as_u64().and_then(|it| u32::try_from(it).ok())) {
        None => Ok(None),
        Some(Some(number)) => Ok(Some(number)),
        Some(None) => bad(name, "must be a whole number, not negative."),
    }
}

/// Refuses members that do not belong to an action: they show that something else was meant.
fn refuse_members<const N: usize>(action: &str, there: [(&'static str, bool); N]) -> Result<(), BadMember> {
    match there.iter().find(|(_, is_there)| *is_there) {
        Some((name, _)) => bad(name, format!("does not belong to {action}.")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, expect: &str) {
        let show = |key: &Key| match key {
            Key::Open => "open".to_string(),
            Key::Passphrase(key) => format!("passphrase {}", String::from_utf8_lossy(key.expose())),
            Key::Hex(key) => format!("hex {}", String::from_utf8_lossy(key.expose())),
        };
        let got = match parse(body.as_bytes()) {
            Ok(Change::Add { ssid, key, hidden }) => {
                format!("add {} {} {hidden}", String::from_utf8_lossy(ssid.bytes()), show(&key))
            }
            Ok(Change::Select(id)) => format!("select {id}"),
            Ok(Change::Forget(id)) => format!("forget {id}"),
            Err(err) => format!("error: {err}"),
        };
        assert!(got.starts_with(expect), "{body}\n{got}\nexpected {expect}");
    }

    #[test]
    fn members_become_a_change() {
        check(r#"{"action":"add","ssid":"Café \"1\" \\"}"#, r#"add Café "1" \ open false"#);
        check(
            r#"{"action":"add","ssid":"x","key":"correct horse","hidden":true}"#,
            "add x passphrase correct horse true",
        );
        check(
            r#"{"key":"12345678","hex":false,"ssid":"x","action":"add","id":null}"#,
            "add x passphrase 12345678 false",
        );
        let key = "0aF1".repeat(16);
        check(&format!(r#"{{"action":"add","ssid":"x","key":"{key}","hex":true}}"#), &format!("add x hex {key} false"));
        check(r#"{"action":"add","ssid":"x","key":null,"hex":false}"#, "add x open false");
        check(r#"{"action":"select","id":0}"#, "select 0");
        check(r#"{"action":"forget","id":4294967295,"ssid":null}"#, "forget 4294967295");
    }

    #[test]
    fn what_is_missing_is_named() {
        for body in ["", "{}", "null", r#"{"action":null}"#] {
            check(body, r#"error: action: missing; it must be "add", "select" or "forget"."#);
        }
        check(r#"{"action":"add"}"#, "error: ssid: missing; add needs");
        check(r#"{"action":"select"}"#, "error: id: missing; select needs");
        check(r#"{"action":"forget","id":null}"#, "error: id: missing; forget needs");
        check(r#"{"action":"add","ssid":"x","hex":true}"#, "error: hex: only means something with key");
    }

    #[test]
    fn what_is_wrong_is_named() {
        check(r#"{"action":"join"}"#, r#"error: action: must be "add", "select" or "forget"."#);
        check(r#"{"action":1}"#, "error: action: must be a string.");
        check(r#"{"action":"add","ssid":7}"#, "error: ssid: must be a string.");
        check(r#"{"action":"add","ssid":""}"#, "error: ssid: must be 1 to 32 bytes long as UTF-8; these are 0.");
        check(r#"{"action":"add","ssid":"a\nb"}"#, "error: ssid: must not contain a newline");
        check(r#"{"action":"add","ssid":"a\u0000b"}"#, "error: ssid: must not contain a newline or NUL.");
        check(r#"{"action":"add","ssid":"x","key":"short"}"#, "error: key: must be a passphrase of 8 to 63");
        check(r#"{"action":"add","ssid":"x","key":""}"#, "error: key: must be a passphrase of 8 to 63");
        check(r#"{"action":"add","ssid":"x","key":"12345678","hex":true}"#, "error: key: must be 64 hexadecimal");
        check(r#"{"action":"add","ssid":"x","key":"12345678","hex":"true"}"#, "error: hex: must be true or false.");
        check(r#"{"action":"add","ssid":"x","hidden":1}"#, "error: hidden: must be true or false.");
        for id in ["-1", "1.0", "\"1\"", "4294967296", "true"] {
            check(&format!(r#"{{"action":"select","id":{id}}}"#), "error: id: must be a whole number, not negative.");
        }
    }

    #[test]
    fn members_of_other_actions_are_refused() {
        check(r#"{"action":"add","ssid":"x","id":1}"#, "error: id: does not belong to add.");
        check(r#"{"action":"select","id":1,"ssid":"x"}"#, "error: ssid: does not belong to select.");
        check(r#"{"action":"select","id":1,"key":"12345678"}"#, "error: key: does not belong to select.");
        check(r#"{"action":"forget","id":1,"hex":false}"#, "error: hex: does not belong to forget.");
        check(r#"{"action":"forget","id":1,"hidden":true}"#, "error: hidden: does not belong to forget.");
        check(r#"{"action":"select","id":1,"network":2}"#, "error: body: unknown field `network`");
        check(r#"{"action":"select","id":1,"id":2}"#, "error: body: duplicate field `id`");
        check(r#"["add"]"#, "error: body: must be an object");
        check(r#"{"action":"add""#, "error: body: EOF");
    }

    #[test]
    fn no_error_repeats_a_key() {
        let bodies = [
            r#""swordfish""#,
            r#"{"key":"swordfish","#,
            r#"{"action":"add","ssid":"x","key":["swordfish"]}"#,
            r#"{"action":"add","ssid":"x","key":"swordfishé"}"#,
            r#"{"action":"add","ssid":"x","key":"swordfish","hex":true}"#,
            r#"{"action":"select","id":1,"key":"swordfish"}"#,
        ];
        for body in bodies {
            let err = parse(body.as_bytes()).err().unwrap().to_string();
            assert!(!err.contains("sword"), "{err}");
        }
    }
}
