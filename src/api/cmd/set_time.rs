//! `POST /cmd/set-time`: a decimal string sets the clock; an empty body or `null` only restarts NTP and PTP.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;
use serde_json::{Value, json};

use super::super::{App, failed, note};
use super::{BadMember, bad};
use crate::drivers::clock::{Remark, set_time};
use crate::drivers::register_db::Stamp;
use crate::http::{Answer, Reply};
use crate::ops::Who;
use crate::sys::clock::boottime;

/// The first second of the year 2000. A meter that is set to an earlier time is set by mistake.
const EARLIEST: i64 = 946_684_800;
/// The last second that Linux takes: its nanoseconds must have room for thirty more years of running.
const LATEST: i64 = i64::MAX / 1_000_000_000 - 30 * 365 * 86_400 - 1;
/// Stack of the thread that sets the clock.
const STACK: usize = 128 * 1024;

/// The time since 1970, or nothing for "only restart NTP and PTP".
pub(super) fn parse(body: &[u8]) -> Result<Option<Duration>, BadMember> {
    if body.trim_ascii().is_empty() {
        return Ok(None);
    }
    let text = match serde_json::from_slice(body) {
        Ok(Value::Null) => return Ok(None),
        Ok(Value::String(text)) => text,
        Ok(Value::Number(_)) => {
            return bad("body", "must be a JSON string, such as \"1677523091.000900435\"; a number would lose digits.");
        }
        Ok(_) => return bad("body", "must be a JSON string of seconds since 1970, null, or empty."),
        Err(err) => return bad("body", format!("must be a JSON string, null, or empty ({err}).")),
    };
    let stamp = match Stamp::parse(&text) {
        Ok(stamp) => stamp,
        Err(err) => return bad("body", format!("{err}.")),
    };
    if stamp.floor() < EARLIEST {
        return bad("body", "before the year 2000; no meter's clock is set to that.");
    }
    if stamp.floor() > LATEST {
        return bad("body", "beyond what this meter's clock takes.");
    }
    Ok(Some(stamp.since_epoch()))
}

/// Sets the clock on a thread of its own: what NTP's scripts take is not bounded by a client's patience.
pub(in crate::api) fn run(app: &Arc<App>, body: &[u8], who: Who) -> Answer {
    let stamp = match parse(body) {
        Ok(stamp) => stamp,
        Err(err) => return Answer::Now(failed(&err.to_string())),
    };
    let app = Arc::clone(app);
    Answer::Detach(Box::new(move |exchange| {
        let Some(turn) = Turn::take(&app) else {
            return exchange.reply(failed("The time is being set already; try again in a few seconds."));
        };
        let received = exchange.received();
        let patience = (received + app.config.limits.reply_within()).saturating_sub(boottime());
        let (tx, outcome) = bounded(1);
        let body = move || drop(tx.send(set(&turn.0, stamp, received, &who)));
        if let Err(err) = thread::Builder::new().name("set-time".into()).stack_size(STACK).spawn(body) {
            log::error!("a thread to set the time: {err}");
        }
        exchange.reply(match outcome.recv_timeout(patience) {
            Ok(reply) => reply,
            Err(err) if err.is_timeout() => succeeded("in progress"),
            Err(_) => Reply::error(500, "An internal error occurred."),
        });
    }))
}

/// The right to set the clock, of which there is one; given back however its holder ends.
struct Turn(Arc<App>);

impl Turn {
    fn take(app: &Arc<App>) -> Option<Turn> {
        (!app.setting_time.swap(true, Ordering::AcqRel)).then(|| Turn(Arc::clone(app)))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.setting_time.store(false, Ordering::Release);
    }
}

fn set(app: &App, stamp: Option<Duration>, received: Duration, who: &Who) -> Reply {
    let (reply, outcome) = match set_time(&*app.platform, stamp, received) {
        Ok(Remark::Plain) => (succeeded("OK"), "OK".to_string()),
        Ok(Remark::Overridden(server)) => {
            let text = format!("OK, but the NTP server {server} is reachable and will set the clock again");
            (succeeded(&text), text)
        }
        Err(err) => (failed(&err.to_string()), err.to_string()),
    };
    note(app, who, "set-time", &outcome);
    reply
}

fn succeeded(status: &str) -> Reply {
    Reply::json(200, &json!({ "status": status }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, expect: &str) {
        let got = match parse(body.as_bytes()) {
            Ok(stamp) => format!("{stamp:?}"),
            Err(err) => format!("error: {err}"),
        };
        assert!(got.starts_with(expect), "{body}: {got}\nexpected {expect}");
    }

    #[test]
    fn stamps_are_exact_to_the_nanosecond() {
        check("\"1677523091.000900435\"", "Some(1677523091.000900435s)");
        check("\"1677523091.0009004359999999999999999999999999\"", "Some(1677523091.000900435s)");
        check(" \"1677523091\" ", "Some(1677523091s)");
        check("\"946684800\"", "Some(946684800s)");
        check("\"4294967296.5\"", "Some(4294967296.5s)");
        check("\"8277292035.9\"", "Some(8277292035.9s)");
    }

    #[test]
    fn nothing_only_restarts_the_time_services() {
        for body in ["", " ", "null", " null\n"] {
            check(body, "None");
        }
    }

    #[test]
    fn whatever_is_no_decimal_string_is_refused() {
        check("1677523091.5", "error: body: must be a JSON string, such as");
        for body in ["{}", "[]", "true", "[\"1677523091\"]", "{\"time\":\"1677523091\"}"] {
            check(body, "error: body: must be a JSON string of seconds");
        }
        for body in ["\"1677523091", "1677523091.", "x", "\"1677523091\"x"] {
            check(body, "error: body: must be a JSON string, null, or empty");
        }
        for text in
            ["", "NaN", "1e9", "-1", "+1677523091", " 1677523091", "1677523091 ", "1.2.3", ".5", "5.", "0x10", "inf"]
        {
            check(&format!("\"{text}\""), "error: body: not a decimal number of seconds since 1970");
        }
        check("\"946684799.999\"", "error: body: before the year 2000");
        check("\"8277292036\"", "error: body: beyond what");
        check(&format!("\"{}\"", "9".repeat(60_000)), "error: body: too large");
    }
}
