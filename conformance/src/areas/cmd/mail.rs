//! /cmd/test-email: what it takes and what it refuses, and what its status says while a mail goes out, is refused or is
//! cancelled. What goes over the wire is looked at in `sent`.

mod message;
mod send;
pub mod sent;

use std::time::Duration;

use serde_json::{Value, json};

use crate::catalogue::{Area, Param};
use crate::companions::{
    self,
    smtp::{Mood, REFUSAL, Sink},
};
use crate::danger::Class;
use crate::evidence::{Evidence, status, tokens};
use crate::http::Request;
use crate::lab::operation::{status_of, token_of};
use crate::lab::{Lab, Stop};
use crate::refusals::{self, Bodies, MALFORMED};
use crate::verdict::{Finding, Rule};

/// See the module.
pub const AREA: Area = Area {
    name: "cmd/test-email",
    class: Class::Mail,
    touches: "asks for test mails to example.com by way of a mail server of this program",
    params: PARAMS,
    play,
    rules: RULES,
};

const PATH: &str = "/cmd/test-email";
const MAIL_PORT: &str = "companion.mail-port";
const SMARTHOST: &str = "mail.smarthost";
const PARAMS: &[Param] = &[
    companions::ADDRESS,
    companions::BIND,
    Param { name: MAIL_PORT, meaning: "the port where the mail server listens, such as 25 or 587 (any free one)." },
    Param { name: SMARTHOST, meaning: "what the meter is given as smarthost to get there (ADDRESS:PORT)." },
];

/// Nobody has mail there (RFC 6761, RFC 7505).
const TO: &str = "Meter.Test+1@example.com";
const FROM: &str = "meter@example.com";
/// A meter that obeys at once has connected by then.
const SOON: Duration = Duration::from_secs(1);

const NO_ADDRESS: Bodies = &[
    ("no-address", "{\"fromaddr\":\"meter@conformance.invalid\"}"),
    ("null-address", "{\"address\":null,\"fromaddr\":\"meter@conformance.invalid\"}"),
];
const WRONG_TYPES: Bodies = &[
    ("address-number", "{\"address\":7}"),
    ("address-list", "{\"address\":[\"test@conformance.invalid\"]}"),
    ("smarthost-number", "{\"address\":\"test@conformance.invalid\",\"smarthost\":25}"),
    ("fromaddr-object", "{\"address\":\"test@conformance.invalid\",\"fromaddr\":{}}"),
    (
        "mailuser-flag",
        "{\"address\":\"test@conformance.invalid\",\"smarthost\":\"conformance.invalid\",\"mailuser\":true}",
    ),
];
const NO_ADDRESSES: Bodies = &[
    ("empty-address", "{\"address\":\"\"}"),
    ("no-at", "{\"address\":\"test\"}"),
    ("no-domain", "{\"address\":\"test@\"}"),
    ("two-addresses", "{\"address\":\"a@conformance.invalid, b@conformance.invalid\"}"),
];

/// The sink as the meter is to call it.
fn smarthost(lab: &Lab<'_>, sink: &Sink) -> String {
    lab.param(SMARTHOST).map_or_else(|| sink.address().to_string(), str::to_string)
}

/// Tries whether the meter takes a host with a port for a smarthost, where the tester named no other. The documents do not
/// say so, and a meter that does not is no worse for mails that therefore cannot come.
fn probe(lab: &mut Lab<'_>, sink: &Sink, order: &Value) -> Result<(), Stop> {
    if lab.param(SMARTHOST).is_some() {
        return Ok(());
    }
    // Twice, since a meter may have another mail under way.
    for label in ["probe", "probe/again"] {
        sink.set(Mood::default());
        let reply = lab.post(label, PATH, order)?;
        let end = match token_of(&reply) {
            Some(token) => lab.follow(label, &token, lab.options.max_wait)?,
            None => None,
        };
        sink.left_within(lab.options.timeout);
        let failed = reply.error().is_ok() || end.is_some_and(|it| it.contains_key("error"));
        let visited = sink.visited_within(SOON);
        lab.fact("probe", sink.record());
        if visited || !failed {
            return Ok(());
        }
        lab.wait(3 * SOON);
    }
    let why = format!("the meter takes no port in `smarthost`: needs --with {SMARTHOST}=... and {MAIL_PORT}=...");
    Err(Stop::Skip(why))
}

fn play(lab: &mut Lab<'_>) -> Result<(), Stop> {
    let sink = Sink::open(lab, MAIL_PORT);
    let host = sink.as_ref().map_or("conformance.invalid".into(), |it| smarthost(lab, it));
    let order = json!({"address": TO, "smarthost": host, "fromaddr": FROM});
    refusals::door(lab, PATH, &order)?;
    if let Ok(sink) = &sink {
        lab.wait(SOON);
        lab.fact("uninvited", sink.connections());
    }
    let time = lab.options.max_wait;
    for bodies in [MALFORMED, NO_ADDRESS, WRONG_TYPES, NO_ADDRESSES] {
        refusals::bodies(lab, PATH, bodies, time)?;
    }
    lab.go_beyond(&["01", "02", "03", "04", "05", "06", "07", "08", "26"])?;
    let sink = sink?;
    probe(lab, &sink, &order)?;
    sink.set(Mood { pause: Duration::from_millis(500), ..Mood::default() });
    lab.operation("whole", &Request::post(PATH, &order), time)?;
    if let Some(token) = lab.transcript.exchanges.iter().rev().find(|it| it.label == "whole").and_then(token_of) {
        lab.poll("whole-later", &token)?;
    }
    sink.set(Mood { refuses: true, ..Mood::default() });
    lab.operation("refused", &Request::post(PATH, &order), time)?;
    lab.fact("refused-dialogue", sink.record());
    let nobody = companions::deserted(lab)?.to_string();
    let nobody = json!({"address": TO, "smarthost": nobody, "fromaddr": FROM});
    lab.operation("nobody", &Request::post(PATH, &nobody), time)?;
    cancel(lab, &sink, &order)
}

/// Cancels a mail while the server is silent.
fn cancel(lab: &mut Lab<'_>, sink: &Sink, order: &Value) -> Result<(), Stop> {
    let time = lab.options.max_wait;
    sink.set(Mood { silent: true, ..Mood::default() });
    let reply = lab.post("cancelled", PATH, order)?;
    let Some(token) = token_of(&reply) else { return Ok(()) };
    lab.fact("visited", sink.visited_within(time));
    lab.post("cancel", "/cmd/cancel", &json!({ "token": token }))?;
    lab.follow("cancelled", &token, time)?;
    lab.fact("left", sink.left_within(lab.options.timeout));
    Ok(())
}

/// The logs of an operation's statuses, in order, with the exchange of each.
fn log(ev: &Evidence<'_>, operation: &str) -> Result<Vec<String>, Finding> {
    let mut res: Vec<String> = Vec::new();
    for it in status::polls(ev, &format!("{operation}/poll/"))? {
        let Some(result) = it.status.get("result") else { continue };
        let Some(log) = result.get("log").and_then(Value::as_str) else {
            return Err(it.exchange.broken("`result.log` must be a string"));
        };
        let kept = res.last().is_none_or(|before| log.starts_with(before.trim_end()));
        it.exchange.want(kept, "the log must grow, and keep what it had")?;
        res.push(log.to_string());
    }
    Ok(res)
}

const CLAUSE: &str = "cmd-api: Test sending email";

const RULES: &[Rule] = &[
    Rule::must(
        "cmd/test-email/01",
        "WebAPI §1",
        "Without a valid login a test mail is answered with 401 and a challenge.",
        refusals::unauthorized,
    ),
    Rule::must(
        "cmd/test-email/02",
        "WebAPI §11, 9",
        "A request that is answered 401, and one of another method, connects to no mail server.",
        |ev| refusals::none(ev, "uninvited", "test mails without a login, and by GET and PUT"),
    ),
    Rule::must("cmd/test-email/03", "WebAPI §5", "Only POST sends a test mail; GET and PUT are refused.", |ev| {
        refusals::other_methods(ev)
    }),
    Rule::must("cmd/test-email/04", CLAUSE, "A body that is no JSON object is refused with `error`.", |ev| {
        refusals::all_refused(ev, MALFORMED)
    }),
    Rule::must("cmd/test-email/05", CLAUSE, "Without `address` the command is refused with `error`.", |ev| {
        refusals::all_refused(ev, NO_ADDRESS)
    }),
    Rule::must("cmd/test-email/06", CLAUSE, "A member that is not a string is refused with `error`.", |ev| {
        refusals::all_refused(ev, WRONG_TYPES)
    }),
    Rule::should(
        "cmd/test-email/07",
        "RFC 5321 §4.1.2",
        "An `address` that is no single mail address is refused with `error`.",
        |ev| refusals::all_refused(ev, NO_ADDRESSES),
    ),
    Rule::choice("cmd/test-email/08", CLAUSE, "The error of a bad body names the member at fault.", |ev| {
        let named = [("no-address", "address"), ("smarthost-number", "smarthost"), ("fromaddr-object", "fromaddr")];
        refusals::names_the_member(ev, &named)
    }),
    Rule::must("cmd/test-email/09", CLAUSE, "The reply to a test mail has a token, and no `error`.", |ev| {
        for label in ["whole", "refused", "nobody"] {
            let reply = ev.get(label)?;
            let body = reply.success()?;
            reply.want(body.get("token").is_some_and(Value::is_string), "`token` must be a string")?;
        }
        Ok(Finding::Kept)
    }),
    Rule::must("cmd/test-email/10", "WebAPI §2", "Its tokens are hexadecimal strings of at least 32 digits.", |ev| {
        tokens::form(ev)
    }),
    Rule::should(
        "cmd/test-email/11",
        CLAUSE,
        "The token comes before the mail has gone out: its first status is that of an operation that runs.",
        |ev| {
            let first = ev.get("whole/poll/1")?;
            first.result()?;
            let done = status_of(first).and_then(|it| it.get("done")?.as_bool());
            first.want(done == Some(false), "the mail server took seconds, so `done` must be false at first")?;
            Ok(Finding::Kept)
        },
    ),
    Rule::must(
        "cmd/test-email/12",
        "WebAPI §2",
        "`done` is a boolean in every status of it, and stays true once it is.",
        |ev| status::done(ev, ""),
    ),
    Rule::must("cmd/test-email/13", "WebAPI §2", "`ts` is a decimal string in every status of it.", |ev| {
        status::stamp(ev, "")
    }),
    Rule::must(
        "cmd/test-email/14",
        "WebAPI §2",
        "`progress`, where it is given, is written with a decimal point, from 0.0 to 1.0.",
        |ev| status::progress(ev, ""),
    ),
    Rule::must("cmd/test-email/15", "WebAPI §2", "Its `error` is a tag, and has as many `args` as that needs.", |ev| {
        status::args(ev, "")?;
        status::error(ev, "")
    }),
    Rule::must("cmd/test-email/16", "WebAPI §2", "Members of a status without a value are left out.", |ev| {
        status::members(ev, "")
    }),
    Rule::must("cmd/test-email/17", CLAUSE, "A mail that the server takes ends without `error`.", |ev| {
        status::succeeded(ev, "whole")
    }),
    Rule::must("cmd/test-email/18", "WebAPI §2 result", "At the end `result.log` is a text of several lines.", |ev| {
        let (exchange, _) = status::end(ev, "whole")?;
        let lines = log(ev, "whole")?.last().map_or(0, |it| it.lines().count());
        exchange.want(lines > 1, "`result.log` must hold the dialogue, a line each")?;
        Ok(Finding::Kept)
    }),
    Rule::must("cmd/test-email/19", "WebAPI §2 result", "`result.log` grows while the mail goes out.", |ev| {
        let mut seen = log(ev, "whole")?;
        seen.dedup();
        match seen.len() {
            0 => Err(status::end(ev, "whole")?.0.broken("`result.log` was never there")),
            1 => Ok(Finding::Quirk("the log was there at once or only at the end".into())),
            _ => Ok(Finding::Kept),
        }
    }),
    Rule::must("cmd/test-email/20", "WebAPI §2", "The status stays as it is once the operation is done.", |ev| {
        status::lasting(ev, "whole", "whole-later")
    }),
    Rule::must(
        "cmd/test-email/21",
        "WebAPI §2 error tags",
        "A recipient whom the server refuses ends the operation with MAIL_TX_ERR, and the address as its argument.",
        |ev| {
            let (exchange, end) = status::end(ev, "refused")?;
            status::failed_with(ev, "refused", &["MAIL_TX_ERR"])?;
            exchange.want(end.get("args").is_some_and(|it| it[0] == TO), format!("`args` must begin with {TO}"))?;
            Ok(Finding::Kept)
        },
    ),
    Rule::must(
        "cmd/test-email/22",
        "WebAPI §2 error tags",
        "A mail server that cannot be reached ends the operation with MAIL_TX_ERR.",
        |ev| status::failed_with(ev, "nobody", &["MAIL_TX_ERR"]),
    ),
    Rule::choice(
        "cmd/test-email/23",
        "WebAPI §2 result",
        "The log of a refusal has the server's own words, which say what is wrong.",
        |ev| {
            let (exchange, _) = status::end(ev, "refused")?;
            let last = log(ev, "refused")?.pop().unwrap_or_default();
            exchange.want(last.contains(REFUSAL), format!("the server said: 550 {REFUSAL}"))?;
            Ok(Finding::Kept)
        },
    ),
    Rule::must("cmd/test-email/24", "WebAPI §2 Cancel", "A mail that is cancelled ends with CANCELED.", |ev| {
        ev.get("cancel")?.done()?;
        status::canceled(ev, "cancelled", "cancel")
    }),
    Rule::choice("cmd/test-email/25", "WebAPI §2 Cancel", "A cancelled mail leaves the mail server alone.", |ev| {
        let (exchange, _) = status::end(ev, "cancelled")?;
        match (ev.fact("visited")?.as_bool(), ev.fact("left")?.as_bool()) {
            (Some(true), Some(true)) => Ok(Finding::Kept),
            (Some(true), _) => Err(exchange.broken("the connection to the mail server stayed open")),
            _ => Err(Finding::NoEvidence("the meter did not connect to the mail server".into())),
        }
    }),
    refusals::limited("cmd/test-email/26"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::testing::{broken, kept, quirk, transcript};

    fn rule(id: &str) -> crate::verdict::Judge {
        RULES.iter().find(|it| it.id == id).unwrap().judge
    }

    #[track_caller]
    fn check(id: &str, bodies: &[(&str, &str)], expect: fn(Result<Finding, Finding>)) {
        let run = transcript(AREA.name, bodies.iter().map(|it| (it.0, 200, it.1)));
        expect(rule(id)(&Evidence::new(&run, AREA.name)));
    }

    #[test]
    fn a_log_grows_and_forgets_nothing() {
        let poll = |number: u32, done: bool, log: &str| {
            (format!("whole/poll/{number}"), format!(r#"{{"result":{{"done":{done},"result":{{"log":"{log}"}}}}}}"#))
        };
        let grows = |logs: &[&str], expect: fn(Result<Finding, Finding>)| {
            let polls: Vec<_> = (0..).zip(logs).map(|(at, log)| poll(at, at as usize + 1 == logs.len(), log)).collect();
            let polls: Vec<_> = polls.iter().map(|it| (it.0.as_str(), it.1.as_str())).collect();
            check("cmd/test-email/19", &polls, expect);
        };
        grows(&["a\\n", "a\\nb\\n", "a\\nb\\nc"], kept);
        grows(&["a\\nb"], quirk);
        grows(&["a\\nb\\n", "b\\nc\\n"], broken);
        check("cmd/test-email/18", &[("whole/poll/1", r#"{"result":{"done":true,"result":{"log":7}}}"#)], broken);
        check("cmd/test-email/19", &[("whole/poll/1", r#"{"result":{"done":true}}"#)], broken);
    }

    #[test]
    fn a_refused_recipient_is_named() {
        let end = |error: &str, args: &str| format!(r#"{{"result":{{"done":true,"error":"{error}","args":{args}}}}}"#);
        let label = "refused/poll/1";
        check("cmd/test-email/21", &[(label, &end("MAIL_TX_ERR", r#"["Meter.Test+1@example.com"]"#))], kept);
        check("cmd/test-email/21", &[(label, &end("MAIL_TX_ERR", r#"["550 no"]"#))], broken);
        check("cmd/test-email/21", &[(label, &end("MAIL_TX_ERR", "[]"))], broken);
        check("cmd/test-email/21", &[(label, &end("SRV", r#"["Meter.Test+1@example.com"]"#))], broken);
    }
}
