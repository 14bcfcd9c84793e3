//! `POST /cmd/test-remote`: `{"linktype": "...", "address": "..."}`. The reply has the token at once.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;

use super::super::{App, device, failed, note};
use super::{BadMember, bad};
use crate::config::Config;
use crate::drivers::remote::{BadTarget, Target, test};
use crate::http::{Answer, Reply};
use crate::ops::{Launch, Outcome, Who};

/// Characters of an address.
const MAX_ADDRESS: usize = 512;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    linktype: Option<String>,
    address: Option<String>,
}

/// The device of a body, and how the ledger calls it.
pub(super) fn parse(body: &[u8], config: &Config) -> Result<(Target, String), BadMember> {
    let body = body.trim_ascii();
    // serde would take a list for the members in their order.
    if !body.is_empty() && body != b"null" && !body.starts_with(b"{") {
        return bad("body", "must be an object with the members linktype and address.");
    }
    let body: Option<Body> = match serde_json::from_slice(if body.is_empty() { b"null" } else { body }) {
        Ok(body) => body,
        Err(err) => return bad("body", format!("{err}.")),
    };
    let Body { linktype, address } = body.unwrap_or(Body { linktype: None, address: None });
    let Some(linktype) = linktype else {
        return bad("linktype", "missing; this meter supports modbus, slowd and tcp.");
    };
    let Some(address) = address else { return bad("address", "missing.") };
    if MAX_ADDRESS < address.len() {
        return bad("address", format!("must have at most {MAX_ADDRESS} characters."));
    }
    match Target::parse(&linktype, &address, config) {
        Ok(target) => Ok((target, format!("test-remote {linktype} {address}"))),
        Err(BadTarget(name, reason)) => bad(name, reason),
    }
}

/// Begins the test as an operation and answers with its token.
pub(in crate::api) fn run(app: &Arc<App>, body: &[u8], who: Who) -> Answer {
    let (target, command) = match parse(body, &app.config) {
        Ok(parsed) => parsed,
        Err(err) => return Answer::Now(failed(&err.to_string())),
    };
    let app = Arc::clone(app);
    // Entering an operation waits for the disk.
    Answer::Detach(Box::new(move |exchange| {
        let launch = Launch { kind: "test-remote", command: command.clone(), who: who.clone() };
        let inner = Arc::clone(&app);
        let begun = app.store.launch(launch, move |work| match test(&target, &inner.config, work) {
            Ok(result) => Outcome { fault: None, result: Some(result) },
            Err(err) => device::failure("REMOTE", err.is_cancelled(), err.to_string()),
        });
        exchange.reply(match begun {
            Ok((_, token)) => Reply::json(200, &json!({ "token": token.as_str() })),
            Err(err) => {
                let text = err.to_string();
                note(&app, &who, &command, &text);
                failed(&text)
            }
        });
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, expect: &str) {
        let got = match parse(body.as_bytes(), &Config::default()) {
            Ok((_, command)) => command,
            Err(err) => format!("error: {err}"),
        };
        assert!(got.starts_with(expect), "{got}\nexpected {expect}");
    }

    #[test]
    fn both_members_are_needed() {
        let good = r#"{"linktype": "modbus", "address": "sunspec.1@inverter"}"#;
        check(good, "test-remote modbus sunspec.1@inverter");
        for body in ["", "null", "{}", r#"{"linktype": null}"#, r#"{"address": "x"}"#] {
            check(body, "error: linktype: missing");
        }
        check(r#"{"linktype": "modbus"}"#, "error: address: missing");
        check(r#"{"linktype": "modbus", "address": 7}"#, "error: body: invalid type");
        check(r#"{"linktype": "modbus", "adress": "x"}"#, "error: body: unknown field `adress`");
        check(r#"["modbus", "sunspec.1@h"]"#, "error: body: must be an object");
        check(r#"{"linktype": "a", "linktype": "b"}"#, "error: body: duplicate field `linktype`");
    }

    #[test]
    fn the_member_at_fault_is_named() {
        check(r#"{"linktype": "po", "address": "2@h"}"#, "error: linktype: \"po\" is not supported by this meter");
        check(r#"{"linktype": "foo", "address": "h"}"#, "error: linktype: unknown");
        check(r#"{"linktype": "modbus", "address": "h"}"#, "error: address: ");
        let long = format!(r#"{{"linktype": "tcp", "address": "{}"}}"#, "h".repeat(600));
        check(&long, "error: address: must have at most 512");
    }
}
