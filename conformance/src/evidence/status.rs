//! What every long-running operation owes (WebAPI §2, /sys/status): one judge per member, for the polls of an area. Which
//! tags there are is in `tags`; it does not know what any operation does.

use serde_json::{Map, Value};

use super::tags::{ERRORS, INFO, is_tag};
use super::{Evidence, tokens};
use crate::lab::operation::{status_of, token_of};
use crate::transcript::Exchange;
use crate::verdict::Finding;

/// Members of a status that the documents know.
const MEMBERS: [&str; 7] = ["args", "done", "error", "info", "progress", "result", "ts"];

/// One look at an operation.
pub struct Poll<'a> {
    /// The label of the command that it belongs to.
    pub operation: &'a str,
    /// The whole exchange.
    pub exchange: &'a Exchange,
    /// The members of `result`.
    pub status: Map<String, Value>,
}

/// The polls of all operations of the area whose labels begin so, in order; at least one. Each must be a status.
pub fn polls<'a>(ev: &Evidence<'a>, start: &str) -> Result<Vec<Poll<'a>>, Finding> {
    let mut res = Vec::new();
    for exchange in ev.all(start)? {
        let Some((operation, _)) = exchange.label.split_once("/poll/") else { continue };
        exchange.result()?;
        let status = status_of(exchange).ok_or_else(|| exchange.broken("`result` must be an object"))?;
        res.push(Poll { operation, exchange, status });
    }
    if res.is_empty() {
        return Err(Finding::NoEvidence("no command gave a token to poll".into()));
    }
    Ok(res)
}

/// The last status of the operation `label`, which must have come to its end.
pub fn end<'a>(ev: &Evidence<'a>, label: &str) -> Result<(&'a Exchange, Map<String, Value>), Finding> {
    let all = polls(ev, &format!("{label}/poll/"))?;
    let last = all.into_iter().next_back().expect("there is at least one");
    last.exchange.want(last.status.get("done") == Some(&Value::Bool(true)), "the operation did not end in time")?;
    Ok((last.exchange, last.status))
}

/// The operation ended without an error.
pub fn succeeded(ev: &Evidence<'_>, label: &str) -> Result<Finding, Finding> {
    let (exchange, status) = end(ev, label)?;
    exchange.want(!status.contains_key("error"), "the operation was to end without `error`")?;
    Ok(Finding::Kept)
}

/// What a command that may take its time was to do is done: its reply has no error, and its operation, if it is one, ended
/// without.
pub fn carried_out(ev: &Evidence<'_>, label: &str) -> Result<Finding, Finding> {
    let reply = ev.get(label)?;
    let body = reply.success()?;
    if token_of(reply).is_some() {
        return succeeded(ev, label);
    }
    reply.want(body.get("status").is_some_and(Value::is_string), "`status` must be a string")?;
    Ok(Finding::Kept)
}

/// All tokens and statuses of the area have the form that clients need.
pub fn form(ev: &Evidence<'_>) -> Result<Finding, Finding> {
    tokens::form(ev)?;
    done(ev, "")?;
    stamp(ev, "")?;
    members(ev, "")?;
    args(ev, "")
}

/// The operation ended with one of these tags.
pub fn failed_with(ev: &Evidence<'_>, label: &str, tags: &[&str]) -> Result<Finding, Finding> {
    let (exchange, status) = end(ev, label)?;
    let tag = status.get("error").and_then(Value::as_str);
    exchange.want(tag.is_some_and(|it| tags.contains(&it)), format!("`error` must be {}", tags.join(" or ")))?;
    Ok(Finding::Kept)
}

/// Seconds after which what was cancelled must not have gone on to a good end.
const MOMENT: f64 = 3.0;

/// The operation was cancelled by the request `command`: it ended with the tag `CANCELED`. One that was through before is a
/// note.
pub fn canceled(ev: &Evidence<'_>, label: &str, command: &str) -> Result<Finding, Finding> {
    let (exchange, status) = end(ev, label)?;
    if !status.contains_key("error") {
        let went_on = exchange.at - ev.get(command)?.at;
        exchange.want(went_on < MOMENT, format!("it went on for {went_on:.0} s, and was not cancelled"))?;
        return Ok(Finding::Quirk("the operation was through before it could be cancelled".into()));
    }
    failed_with(ev, label, &["CANCELED"])
}

/// `done` is a boolean in every status, and once true stays so.
pub fn done(ev: &Evidence<'_>, start: &str) -> Result<Finding, Finding> {
    let mut ended: Option<&str> = None;
    for it in polls(ev, start)? {
        let Some(done) = it.status.get("done").and_then(Value::as_bool) else {
            return Err(it.exchange.broken("`done` must be true or false"));
        };
        it.exchange.want(done || ended != Some(it.operation), "what was done before must stay so")?;
        if done {
            ended = Some(it.operation);
        }
    }
    Ok(Finding::Kept)
}

/// `ts` is a decimal string, and the same as long as the operation is known: when its record was made.
pub fn stamp(ev: &Evidence<'_>, start: &str) -> Result<Finding, Finding> {
    let mut before: Option<(&str, String)> = None;
    let mut changed = false;
    for it in polls(ev, start)? {
        let Some(Value::String(ts)) = it.status.get("ts") else {
            return Err(it.exchange.broken("`ts` must be a string"));
        };
        it.exchange.want(is_decimal(ts), "`ts` must be a decimal string")?;
        changed |= before.as_ref().is_some_and(|(operation, old)| *operation == it.operation && old != ts);
        before = Some((it.operation, ts.clone()));
    }
    if changed {
        return Ok(Finding::Quirk("`ts` changes while the operation runs".into()));
    }
    Ok(Finding::Kept)
}

/// `progress`, where it is given, is written with a decimal point, from 0.0 to 1.0. A whole number stops a client.
pub fn progress(ev: &Evidence<'_>, start: &str) -> Result<Finding, Finding> {
    let mut seen = false;
    for it in polls(ev, start)? {
        let Some(progress) = it.status.get("progress") else { continue };
        it.exchange.want(progress.is_f64(), "`progress` must be a number with a decimal point")?;
        let value = progress.as_f64().unwrap_or(-1.0);
        it.exchange.want((0.0..=1.0).contains(&value), "`progress` must be from 0 to 1")?;
        seen = true;
    }
    if seen { Ok(Finding::Kept) } else { Err(Finding::NoEvidence("no status had `progress`".into())) }
}

/// `progress` never goes back while an operation runs.
pub fn rising(ev: &Evidence<'_>, start: &str) -> Result<Finding, Finding> {
    let (mut last, mut seen): (Option<(&str, f64)>, _) = (None, false);
    for it in polls(ev, start)? {
        let Some(value) = it.status.get("progress").and_then(Value::as_f64) else { continue };
        if let Some((operation, before)) = last
            && operation == it.operation
        {
            it.exchange.want(before <= value, format!("`progress` went back from {before}"))?;
        }
        last = Some((it.operation, value));
        seen = true;
    }
    if seen { Ok(Finding::Kept) } else { Err(Finding::NoEvidence("no status had `progress`".into())) }
}

/// `info`, where it is given, is one of these tags. One that the documents do not know is a note, prose is a fault.
pub fn info(ev: &Evidence<'_>, start: &str, own: &[&str]) -> Result<Finding, Finding> {
    let (mut seen, mut note) = (false, None);
    for it in polls(ev, start)? {
        let Some(info) = it.status.get("info") else { continue };
        let Some(tag) = info.as_str().filter(|it| is_tag(it)) else {
            return Err(it.exchange.broken("`info` must be a tag"));
        };
        if INFO.iter().any(|it| it.0 == tag) {
            it.exchange.want(own.contains(&tag), format!("{tag} is the tag of another command"))?;
        } else {
            note = Some(format!("`info` is {tag}, which the documents do not know"));
        }
        seen = true;
    }
    match note {
        Some(note) => Ok(Finding::Quirk(note)),
        None if seen => Ok(Finding::Kept),
        None => Err(Finding::NoEvidence("no status had `info`".into())),
    }
}

/// `error`, where it is given, is a tag that stands in the documents. Another one is a note, prose is a fault.
pub fn error(ev: &Evidence<'_>, start: &str) -> Result<Finding, Finding> {
    let (mut seen, mut note) = (false, None);
    for it in polls(ev, start)? {
        let Some(error) = it.status.get("error") else { continue };
        let Some(tag) = error.as_str().filter(|it| is_tag(it)) else {
            return Err(it.exchange.broken("`error` must be a tag, never a sentence"));
        };
        it.exchange.want(tag != "CANCELLED", "CANCELED has one L")?;
        it.exchange.want(tag != "INCOMPATIBLE", "the tag is spelt INCOMPATBILE")?;
        if !ERRORS.iter().any(|it| it.0 == tag) {
            note = Some(format!("`error` is {tag}, which the documents do not know"));
        }
        seen = true;
    }
    match note {
        Some(note) => Ok(Finding::Quirk(note)),
        None if seen => Ok(Finding::Kept),
        None => Err(Finding::NoEvidence("no operation ended with an error".into())),
    }
}

/// `args` is a list of strings, with at least as many as the tag needs: those of `error` first, else those of `info`.
pub fn args(ev: &Evidence<'_>, start: &str) -> Result<Finding, Finding> {
    for it in polls(ev, start)? {
        let count = match it.status.get("args") {
            None => 0,
            Some(Value::Array(args)) => {
                it.exchange.want(args.iter().all(Value::is_string), "`args` must hold strings")?;
                args.len()
            }
            Some(_) => return Err(it.exchange.broken("`args` must be a list of strings")),
        };
        let needs = |member: &str, list: &'static [(&'static str, usize)]| {
            let tag = it.status.get(member)?.as_str()?;
            list.iter().find(|it| it.0 == tag).copied()
        };
        if let Some((tag, needed)) = needs("error", ERRORS).or_else(|| needs("info", INFO)) {
            it.exchange.want(needed <= count, format!("{tag} needs {needed} in `args`"))?;
        }
    }
    Ok(Finding::Kept)
}

/// Members without a value are left out rather than null; members that the documents do not know are a note.
pub fn members(ev: &Evidence<'_>, start: &str) -> Result<Finding, Finding> {
    let mut note = None;
    for it in polls(ev, start)? {
        for (name, value) in &it.status {
            it.exchange.want(!value.is_null(), format!("`{name}` must be left out where it has no value"))?;
            if !MEMBERS.contains(&name.as_str()) {
                note = Some(format!("a status has a member `{name}`"));
            }
        }
    }
    Ok(note.map_or(Finding::Kept, Finding::Quirk))
}

/// The record is still there, and the same, at `label`, some time after the operation `operation` ended.
pub fn lasting(ev: &Evidence<'_>, operation: &str, label: &str) -> Result<Finding, Finding> {
    let (_, before) = end(ev, operation)?;
    let later = ev.get(label)?;
    later.result()?;
    for member in ["done", "error", "result", "ts"] {
        let now = status_of(later).and_then(|mut it| it.remove(member));
        later.want(now.as_ref() == before.get(member), format!("`{member}` must stay as it was at the end"))?;
    }
    Ok(Finding::Kept)
}

/// A decimal number without sign and exponent.
pub fn is_decimal(text: &str) -> bool {
    let digits = |it: &str| !it.is_empty() && it.bytes().all(|it| it.is_ascii_digit());
    match text.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => digits(text),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{broken, kept, quirk, transcript};
    use super::*;
    use crate::transcript::Transcript;

    type Judge = fn(&Evidence<'_>, &str) -> Result<Finding, Finding>;

    fn status(bodies: &[&str]) -> Transcript {
        let answers: Vec<_> = bodies.iter().map(|it| (200, format!("{{\"result\":{it}}}"))).collect();
        let labels: Vec<_> = (1..=bodies.len()).map(|it| format!("op/poll/{it}")).collect();
        transcript("a", labels.iter().zip(&answers).map(|(label, it)| (label.as_str(), it.0, it.1.as_str())))
    }

    #[track_caller]
    fn check(judge: Judge, bodies: &[&str], expect: fn(Result<Finding, Finding>)) {
        expect(judge(&Evidence::new(&status(bodies), "a"), ""));
    }

    #[test]
    fn done_is_a_boolean_that_stays() {
        check(done, &[r#"{"done":false}"#, r#"{"done":true}"#], kept);
        check(done, &[r#"{"done":1}"#], broken);
        check(done, &[r#"{}"#], broken);
        check(done, &[r#"{"done":true}"#, r#"{"done":false}"#], broken);
    }

    #[test]
    fn progress_has_a_point_a_range_and_a_direction() {
        check(progress, &[r#"{"progress":0.0}"#, r#"{"progress":1.0}"#], kept);
        check(progress, &[r#"{"progress":1}"#], broken);
        check(progress, &[r#"{"progress":"0.5"}"#], broken);
        check(progress, &[r#"{"progress":1.5}"#], broken);
        check(rising, &[r#"{"progress":0.1}"#, r#"{"progress":0.1}"#], kept);
        check(rising, &[r#"{"progress":0.5}"#, r#"{"progress":0.4}"#], broken);
    }

    #[test]
    fn tags_are_known_and_have_their_arguments() {
        let judge: Judge = |ev, start| info(ev, start, &["ZERO"]);
        check(judge, &[r#"{"info":"ZERO"}"#], kept);
        check(judge, &[r#"{"info":"FLASH"}"#], broken);
        check(judge, &[r#"{"info":"Zeroing"}"#], broken);
        check(judge, &[r#"{"info":"QUEUED"}"#], quirk);
        check(judge, &[r#"{"info":"QUEUED"}"#, r#"{"info":"Zeroing registers..."}"#], broken);
        check(judge, &[r#"{"info":"QUEUED"}"#, r#"{"info":"FLASH"}"#], broken);
        check(error, &[r#"{"error":"CANCELED"}"#], kept);
        check(error, &[r#"{"error":"CANCELLED"}"#], broken);
        check(error, &[r#"{"error":"Bad header in line 1"}"#], broken);
        check(error, &[r#"{"error":"INTERRUPTED"}"#], quirk);
        check(args, &[r#"{"error":"NOT_NEWER","args":["1","2"]}"#], kept);
        check(args, &[r#"{"error":"NOT_NEWER","args":["1"]}"#], broken);
        check(args, &[r#"{"error":"BADHDR"}"#], broken);
        check(args, &[r#"{"error":"OOM","args":null}"#], broken);
        check(args, &[r#"{"info":"FLASH","args":[3]}"#], broken);
    }

    #[test]
    fn stamps_are_strings_and_absent_members_absent() {
        check(stamp, &[r#"{"ts":"1.5"}"#, r#"{"ts":"1.5"}"#], kept);
        check(stamp, &[r#"{"ts":"1.5"}"#, r#"{"ts":"2.5"}"#], quirk);
        check(stamp, &[r#"{"ts":1.5}"#], broken);
        check(stamp, &[r#"{"ts":"1e5"}"#], broken);
        check(members, &[r#"{"done":false,"ts":"1"}"#], kept);
        check(members, &[r#"{"done":false,"error":null}"#], broken);
    }

    #[test]
    fn an_end_is_what_was_said_last() {
        let run = status(&[r#"{"done":false}"#, r#"{"done":true,"error":"BADHDR"}"#]);
        let ev = Evidence::new(&run, "a");
        kept(failed_with(&ev, "op", &["BADHDR"]));
        broken(succeeded(&ev, "op"));
        broken(canceled(&ev, "op", "cancel"));
        broken(succeeded(&Evidence::new(&status(&[r#"{"done":false}"#]), "a"), "op"));
    }

    #[test]
    fn what_goes_on_after_it_was_cancelled_was_not() {
        let (runs, fine) = (r#"{"result":{"done":false}}"#, r#"{"result":{"done":true}}"#);
        let check = |polls: usize, last: &str| {
            // A second each.
            let labels: Vec<_> = (1..=polls).map(|it| format!("op/poll/{it}")).collect();
            let looks = labels.iter().enumerate();
            let looks = looks.map(|(at, label)| (label.as_str(), 200, if at + 1 == polls { last } else { runs }));
            let run = transcript("a", [("cancel", 200, "{}")].into_iter().chain(looks));
            canceled(&Evidence::new(&run, "a"), "op", "cancel")
        };
        quirk(check(1, fine));
        broken(check(5, fine));
        kept(check(5, r#"{"result":{"done":true,"error":"CANCELED"}}"#));
    }
}
