//! `POST /cmd/homeplug`: `{"action": "setpwd", "password": "...", "targets": ["MAC/DEK", ...]}`.
//! Nothing of a password or a DEK gets into its errors.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::super::device::{self, Errand};
use super::super::{App, failed};
use super::{BadMember, bad};
use crate::drivers::homeplug::{MAX_TARGETS, Password, SetPassword, Target, set_password};
use crate::http::{Answer, Request};
use crate::ops::{Launch, Outcome, Who};
use crate::platform::PlatformError;
use crate::sys::packet::bridge_of;

/// Members without their types, because serde would quote a value of the wrong type, and that may be a secret.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    action: Option<Value>,
    password: Option<Value>,
    targets: Option<Value>,
}

/// The command of a body.
pub(super) fn parse(body: &[u8]) -> Result<SetPassword, BadMember> {
    let choice = "must be \"setpwd\".";
    let body = body.trim_ascii();
    // serde would take a list for the members in their order.
    if !body.is_empty() && body != b"null" && !body.starts_with(b"{") {
        return bad("body", "must be an object with the members action, password and targets.");
    }
    let body: Option<Body> = match serde_json::from_slice(if body.is_empty() { b"null" } else { body }) {
        Ok(body) => body,
        Err(err) => return bad("body", format!("{err}.")),
    };
    let Body { action, password, targets } = body.unwrap_or(Body { action: None, password: None, targets: None });
    match action {
        None => return bad("action", format!("missing; it {choice}")),
        Some(Value::String(text)) if text == "setpwd" => {}
        Some(_) => return bad("action", choice),
    }
    let password = match password {
        None => return bad("password", "missing."),
        Some(Value::String(text)) => match Password::parse(&text) {
            Ok(password) => password,
            Err(reason) => return bad("password", format!("{reason}.")),
        },
        Some(_) => return bad("password", "must be a string."),
    };
    match targets {
        None => bad("targets", "missing."),
        Some(Value::Array(list)) => Ok(SetPassword { password, targets: parse_targets(&list)? }),
        Some(_) => bad("targets", "must be an array of strings."),
    }
}

/// Sets the password as an operation: bridges may take seconds each.
pub(in crate::api) fn run(app: &Arc<App>, request: &Request, who: Who) -> Answer {
    let command = match parse(&request.body) {
        Ok(command) => command,
        Err(err) => return Answer::Now(failed(&err.to_string())),
    };
    let Some(settings) = app.config.homeplug.clone() else {
        return Answer::Now(failed(&PlatformError::Missing("homeplug.interface").to_string()));
    };
    let launch = Launch { kind: "homeplug", command: "homeplug setpwd".into(), who };
    let interface = bridge_of(&settings.interface).unwrap_or_else(|| settings.interface.clone());
    let errand = Errand::new(launch, interface, request);
    let platform = Arc::clone(&app.platform);
    device::run(app, errand, move |work| match set_password(&settings, &platform, &command, work) {
        Ok(result) => Outcome { fault: None, result: Some(result) },
        Err(err) => device::failure("HOMEPLUG", err.is_cancelled(), err.to_string()),
    })
}

/// All targets; one error names every one that is bad, by its place and as far as possible by its address.
fn parse_targets(list: &[Value]) -> Result<Vec<Target>, BadMember> {
    if list.is_empty() {
        return bad("targets", "must name at least one bridge.");
    }
    if MAX_TARGETS < list.len() {
        return bad("targets", format!("must not be more than {MAX_TARGETS}."));
    }
    let mut res: Vec<Target> = Vec::new();
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for (at, item) in list.iter().enumerate() {
        let reason = match item.as_str().map(Target::parse) {
            None => "must be a string".to_string(),
            Some(Err(reason)) => reason,
            Some(Ok(target)) if !seen.insert(target.mac) => format!("{} is named before", target.mac),
            Some(Ok(target)) => {
                res.push(target);
                continue;
            }
        };
        wrong.push(format!("{}{}: {reason}", at + 1, named(item)));
    }
    if wrong.is_empty() { Ok(res) } else { bad("targets", format!("{}.", wrong.join("; "))) }
}

/// How a bad target is called, if what stands before its slash may be shown: only what looks like an address is, because
/// somebody may have put the DEK first.
fn named(item: &Value) -> String {
    let address = item.as_str().and_then(|it| it.split_once('/')).map(|it| it.0.trim());
    match address.filter(|it| it.len() <= 17 && it.bytes().all(|it| it.is_ascii_hexdigit() || b":-.".contains(&it))) {
        Some(address) if address.contains(':') => format!(" ({address})"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEK: &str = "ABCD-EFGH-IJKL-MNOP";

    #[track_caller]
    fn check(body: &str, expect: &str) {
        let got = match parse(body.as_bytes()) {
            Ok(command) => command.targets.iter().map(|it| it.mac.to_string()).collect::<Vec<_>>().join(" "),
            Err(err) => format!("error: {err}"),
        };
        assert_eq!(got, expect);
    }

    fn targets(list: &[&str]) -> String {
        let list: Vec<_> = list.iter().map(|it| it.replace("DEK", DEK)).collect();
        serde_json::json!({"action": "setpwd", "password": "secret pass", "targets": list}).to_string()
    }

    #[test]
    fn the_order_of_targets_is_kept() {
        check(&targets(&["00:b0:52:00:00:02/DEK", "00:B0:52:00:00:0a/DEK"]), "00:b0:52:00:00:02 00:b0:52:00:00:0a");
    }

    #[test]
    fn every_bad_target_is_named_and_no_dek_is() {
        let good = "00:b0:52:00:00:02/DEK";
        check(
            &targets(&["00:b0:52:00:00/DEK", good, "DEK", "DEK/00:b0:52:00:00:03", "00:b0:52:00:00:04/DEKX", good]),
            "error: targets: 1 (00:b0:52:00:00): the MAC address must have the form xx:xx:xx:xx:xx:xx in hexadecimal \
             digits; 3: must be the bridge's MAC address, a slash and its DEK; 4: the MAC address must have the form \
             xx:xx:xx:xx:xx:xx in hexadecimal digits; 5 (00:b0:52:00:00:04): the DEK must be four groups of four letters \
             or digits, as on the bridge's label; 6 (00:b0:52:00:00:02): 00:b0:52:00:00:02 is named before.",
        );
        check(&targets(&[]), "error: targets: must name at least one bridge.");
        let many: Vec<_> = (0..65).map(|it| format!("02:00:00:00:00:{it:02x}/DEK")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        check(&targets(&many), "error: targets: must not be more than 64.");
        assert_eq!(parse(targets(&many[1..]).as_bytes()).unwrap().targets.len(), 64);
    }

    #[test]
    fn members_have_their_types_and_no_value_is_quoted() {
        let rest = r#""targets":["00:b0:52:00:00:02/ABCDEFGHIJKLMNOP"]}"#;
        for (body, expect) in [
            ("".to_string(), "action: missing; it must be \"setpwd\"."),
            ("null".into(), "action: missing; it must be \"setpwd\"."),
            ("{}".into(), "action: missing; it must be \"setpwd\"."),
            (r#"{"action":"join"}"#.into(), "action: must be \"setpwd\"."),
            (r#"{"action":7}"#.into(), "action: must be \"setpwd\"."),
            (format!(r#"{{"action":"setpwd","password":null,{rest}"#), "password: missing."),
            (format!(r#"{{"action":"setpwd","password":1234,{rest}"#), "password: must be a string."),
            (format!(r#"{{"action":"setpwd","password":"abc",{rest}"#), "password: must have 4 to 24 characters."),
            (
                format!(r#"{{"action":"setpwd","password":"ab\"cd",{rest}"#),
                "password: must not contain double quotes or control characters.",
            ),
            (r#"{"action":"setpwd","password":"abcd"}"#.into(), "targets: missing."),
            (r#"{"action":"setpwd","password":"abcd","targets":null}"#.into(), "targets: missing."),
            (r#"{"action":"setpwd","password":"abcd","targets":"x"}"#.into(), "targets: must be an array of strings."),
            (r#"{"action":"setpwd","password":"abcd","targets":[7]}"#.into(), "targets: 1: must be a string."),
        ] {
            check(&body, &format!("error: {expect}"));
        }
        let object = "error: body: must be an object with the members action, password and targets.";
        check(r#"["setpwd","abcd",[]]"#, object);
        check(r#""secret""#, object);
        check(
            &format!(r#"{{"pasword":"abcd",{rest}"#),
            "error: body: unknown field `pasword`, expected one of `action`, \
             `password`, `targets` at line 1 column 10.",
        );
        check(r#"{"password":"a","password":"b"}"#, "error: body: duplicate field `password` at line 1 column 26.");
    }
}
