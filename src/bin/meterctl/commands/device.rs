//! `set-time`, `clear` and `update`: the meter's own clock, caches and software.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::power;
use crate::args::{Clear, Update};
use crate::failure::{Failure, Kind};
use crate::interrupt;
use crate::moment::{Moment, shown};
use crate::session::{Liveness, Session};
use crate::watch;

/// How long a meter that needs a reboot after an update is given to begin one by itself.
const OWN_REBOOT: Duration = Duration::from_secs(5);

/// Seconds between the time that a clock is set to and this computer's that need no question.
const MAX_SHIFT: i64 = 86_400;

/// `set-time`
pub fn set_time(session: &mut Session, when: Option<&str>) -> Result<(), Failure> {
    let stamp = match when {
        None => None,
        Some("now") => {
            // Logs in if need be, so that as little as possible lies between reading the clock and the command.
            session.contact()?;
            Some(Moment::now())
        }
        Some(text) => {
            let stamp = Moment::parse(text).map_err(|why| Failure::new(Kind::Usage, format!("{text:?} is {why}.")))?;
            // Rows that a meter writes under a wrong time are not easily got rid of.
            if MAX_SHIFT < (stamp.seconds - Moment::now().seconds).abs() {
                let when = shown(stamp.seconds);
                let question = format!("Set the clock to {when}? That is more than a day from this computer's.");
                session.terminal.confirm(&question)?;
            }
            Some(stamp)
        }
    };
    let body = stamp.map_or(Value::Null, |it| json!(it.to_string()));
    let reply = session.command("set-time", &body)?;
    let words = match (watch::status_text(&reply), stamp) {
        (text, Some(stamp)) if text == "Done." => {
            format!("The clock is set to {}.", shown(stamp.seconds))
        }
        (text, None) if text == "Done." => "NTP and PTP are restarted.".into(),
        (text, _) => text,
    };
    session.terminal.result(&words, &reply)
}

/// `clear`
pub fn clear(session: &mut Session, what: Clear) -> Result<(), Failure> {
    let name = match what {
        Clear::WebCache => "web_cache",
        Clear::Excess => {
            session.terminal.confirm("Pay out the excess of all registers at once? Their rates will show a spike.")?;
            "excess"
        }
    };
    let reply = session.command("clear", &json!(name))?;
    session.terminal.result(&watch::status_text(&reply), &reply)
}

/// `update`
pub fn update(session: &mut Session, command: &Update) -> Result<(), Failure> {
    let (action, target, mut body) = match command {
        Update::List { target, branch } => ("list", target, members(branch, &None)),
        Update::Install { target, branch, version, .. } => ("install", target, members(branch, version)),
    };
    body.insert("action".into(), json!(action));
    body.insert("target".into(), json!(target.word()));
    let Update::Install { target, version, force, detach, .. } = command else {
        let reply = session.command("update", &Value::Object(body))?;
        return show_offer(session, &reply);
    };
    if *force {
        body.insert("force".into(), json!(true));
    }
    let what = version.as_deref().map_or("the newest version".into(), |it| format!("version {it}"));
    session
        .terminal
        .confirm(&format!("Install {what} of the {}? Do not cut the meter's power meanwhile.", target.word()))?;
    let before = (power::uptime(session), versions(session));
    let reply = session.command("update", &Value::Object(body))?;
    let status = watch::conclude(session, "update", &reply, detach.detach, |_, _| {})?;
    let Some(status) = status else { return Ok(()) };
    finish(session, &status.json, before)
}

fn members(branch: &Option<String>, version: &Option<String>) -> Map<String, Value> {
    let mut res = Map::new();
    for (name, value) in [("branch", branch), ("version", version)] {
        if let Some(value) = value {
            res.insert(name.into(), json!(value));
        }
    }
    res
}

/// Versions are strings by the definition, but the documentation's own example is a number.
fn show_offer(session: &mut Session, reply: &Value) -> Result<(), Failure> {
    let text = |name: &str| match reply.get(name) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => Some(other.to_string()),
    };
    let Some(version) = text("version") else {
        return Err(Failure::new(Kind::Lacking, format!("The meter's reply names no version: {reply}.")));
    };
    let minimum = text("minimum").map_or_else(String::new, |it| format!(", for meters that have at least {it}"));
    let status = text("status").map_or_else(String::new, |it| format!("\n{it}"));
    session.terminal.result(&format!("{version}{minimum}{status}"), reply)
}

/// A meter may start anew by itself now, or wait for somebody who says so.
fn finish(
    session: &mut Session,
    status: &Value,
    (uptime, versions_before): (Option<f64>, Value),
) -> Result<(), Failure> {
    let terminal = session.terminal;
    let mut object = json!({ "status": "OK", "operation": status });
    let mut words = String::from("Installed.");
    if goes_down(session)? {
        let course = power::down_and_up(session, uptime)?;
        words += &format!(" The meter went down and is back after {:.0} s.", course.up);
        object["up_after"] = json!(course.up);
    }
    if session.result("/sys/reboot").is_ok_and(|it| it == json!(true)) {
        words += " It takes effect with the next start: meterctl reboot --wait";
        object["reboot_needed"] = json!(true);
    }
    let versions = versions(session);
    if versions.is_object() && versions != versions_before {
        words += &format!("\nIt runs {versions} now.");
        object["versions"] = versions;
    }
    terminal.result(&words, &object)
}

/// Whether the meter begins to start anew by itself, within a few seconds.
fn goes_down(session: &mut Session) -> Result<bool, Failure> {
    for _ in 0..OWN_REBOOT.as_secs() * 2 {
        if session.liveness() != Liveness::Up {
            return Ok(true);
        }
        interrupt::sleep(Duration::from_millis(500)).map_err(|it| it.hint("The update is installed."))?;
    }
    Ok(false)
}

fn versions(session: &mut Session) -> Value {
    session.result("/sys/version").unwrap_or(Value::Null)
}
