//! /cmd/set-time: the clock follows what is right, stands still at what is wrong, and shows the tester's time at the
//! end.

use std::time::Duration;

use serde_json::{Value, json};

use crate::catalogue::{Area, Param};
use crate::danger::Class;
use crate::evidence::{Evidence, refusal, status};
use crate::http::Request;
use crate::lab::{Lab, Stop, wall};
use crate::refusals;
use crate::transcript::Exchange;
use crate::verdict::{Finding, Rule};

/// See the module.
pub const AREA: Area = Area {
    name: "cmd/set-time",
    class: Class::Time,
    touches: "sets the clock ahead by time.offset, then to the tester's time; restarts NTP and PTP",
    params: &[Param {
        name: "time.offset",
        meaning: "Seconds that the clock may be set ahead for a moment (20); over 600 try the logins harder.",
    }],
    play,
    rules: RULES,
};

/// Seconds by which a clock may miss what it was set to, beside the time that the answer took.
const SLACK: f64 = 1.0;

fn play(lab: &mut Lab<'_>) -> Result<(), Stop> {
    let offset = lab.seconds("time.offset", 20.0)?;
    let first = lab.get("time/before", "/sys/time")?;
    let res = traffic(lab, offset);
    let back = lab.put_back(|lab| put_back(lab, &first));
    res.and(back)
}

/// Whatever became of it, the meter shows the tester's time, unless its clock was never moved. The logins are new: those
/// from before may have ended by the clock's new time.
fn put_back(lab: &mut Lab<'_>, first: &Exchange) -> Result<(), Stop> {
    lab.forget_login();
    let found = lab.get("time/found", "/sys/time");
    let steady = |it: &Exchange| Some((ahead(it).ok()? - ahead(first).ok()?).abs() <= SLACK + it.took);
    if lab.last("set").is_none() && found.is_ok_and(|it| steady(&it) == Some(true)) {
        return Ok(());
    }
    let mut set = |label: &str| {
        lab.forget_login();
        lab.post(label, PATH, &json!(stamp(wall()))).is_ok_and(|it| it.done().is_ok())
    };
    if !set("back") && !set("back/again") {
        lab.warn("the clock could not be set to the tester's time again");
    }
    lab.forget_login();
    lab.get("time/back", "/sys/time").map(drop)
}

const PATH: &str = "/cmd/set-time";

fn traffic(lab: &mut Lab<'_>, offset: Duration) -> Result<(), Stop> {
    // Two days ahead: nobody could take that for a clock that is a little off.
    let wrong = wall() + 2.0 * 86400.0;
    let good = json!(stamp(wrong));
    lab.send("anonymous", &Request::post(PATH, &good).anonymous())?;
    lab.send("bad-token", &Request::post(PATH, &good).token("e30.e30.AAAA"))?;
    refusals::as_limited(lab, &Request::post(PATH, &good))?;
    lab.get("time/after-unauthorized", "/sys/time")?;
    lab.send("get", &Request::get(PATH))?;
    lab.send("put", &Request::new("PUT", PATH).header("Content-Type", "application/json").body(good.to_string()))?;
    for (label, body) in [
        ("number", format!("{:.1}", wrong)),
        ("whole-number", format!("{}", wrong as u64)),
        ("exponent", format!("\"{}e0\"", wrong as u64)),
        ("words", "\"NaN\"".into()),
        ("negative", format!("\"-{}\"", wrong as u64)),
        ("comma", format!("\"{},5\"", wrong as u64)),
        ("nothing", "\"\"".into()),
        ("object", json!({"time": good}).to_string()),
        ("list", json!([good]).to_string()),
        ("boolean", "true".into()),
        ("cut", format!("\"{}", wrong as u64)),
    ] {
        lab.send(label, &Request::post_bytes(PATH, body))?;
    }
    lab.get("time/after-refused", "/sys/time")?;
    lab.go_beyond(&["01", "02", "03", "04", "05", "06", "07", "08", "14", "16", "17"])?;
    lab.post("null", PATH, &Value::Null)?;
    lab.send("empty", &Request::new("POST", PATH))?;
    lab.get("time/after-null", "/sys/time")?;
    let token = lab.login()?;
    lab.fact("offset", offset.as_secs_f64());
    lab.post("set", PATH, &json!(stamp(wall() + offset.as_secs_f64())))?;
    lab.send("time/set", &Request::get("/sys/time").token(&token))?;
    Ok(())
}

/// Unix time as a decimal string with nine digits behind the point.
fn stamp(time: f64) -> String {
    format!("{time:.9}")
}

const CLAUSE: &str = "cmd-api: Set date and time";

const RULES: &[Rule] = &[
    Rule::must(
        "cmd/set-time/01",
        CLAUSE,
        "Without a login, or with a false one, the answer is 401 with a challenge.",
        |ev| refusal::unauthorized(ev, &["anonymous", "bad-token"]),
    ),
    Rule::must("cmd/set-time/02", "WebAPI §11 no. 9", "What is answered with 401 does not move the clock.", |ev| {
        moved_by(ev, "time/before", "time/after-unauthorized")
    }),
    Rule::must("cmd/set-time/03", "WebAPI §5: only POST", "GET and PUT are refused.", |ev| {
        refusal::wrong_methods(ev, &["get", "put"])
    }),
    Rule::must("cmd/set-time/04", CLAUSE, "A number in place of the string is refused.", |ev| {
        refusal::refused(ev, &["number", "whole-number"])
    }),
    Rule::must(
        "cmd/set-time/05",
        CLAUSE,
        "A string that is no plain decimal number is refused: exponents, words, signs, commas, nothing.",
        |ev| refusal::refused(ev, &["exponent", "words", "negative", "comma", "nothing"]),
    ),
    Rule::must("cmd/set-time/06", CLAUSE, "A body that is neither a string nor null is refused.", |ev| {
        refusal::refused(ev, &["object", "list", "boolean"])
    }),
    Rule::must("cmd/set-time/07", CLAUSE, "A body that is no JSON is refused.", |ev| refusal::refused(ev, &["cut"])),
    Rule::must("cmd/set-time/08", CLAUSE, "What is refused does not move the clock.", |ev| {
        moved_by(ev, "time/after-unauthorized", "time/after-refused")
    }),
    Rule::must(
        "cmd/set-time/09",
        "WebAPI §3 /cmd/set-time",
        "`null` only restarts NTP and PTP, with `status`.",
        |ev| {
            ev.get("null")?.done()?;
            moved_by(ev, "time/after-refused", "time/after-null")
        },
    ),
    Rule::must("cmd/set-time/10", "WebAPI §3 /cmd/set-time", "An empty body is the same as `null`.", |ev| {
        ev.get("empty")?.done()?;
        moved_by(ev, "time/after-refused", "time/after-null")
    }),
    Rule::must(
        "cmd/set-time/11",
        CLAUSE,
        "A decimal string with nine digits behind the point is accepted, with `status`.",
        |ev| {
            ev.get("set")?.done()?;
            ev.get("back")?.done()
        },
    ),
    Rule::must("cmd/set-time/12", CLAUSE, "/sys/time then shows the time that was set, within a second.", |ev| {
        let offset = ev.fact("offset")?.as_f64().unwrap_or_default();
        let set = ev.get("time/set")?;
        close(set, ahead(set)?, offset)
    }),
    Rule::must("cmd/set-time/13", CLAUSE, "Set back, it shows the tester's time within a second.", |ev| {
        ev.get("back")?;
        let back = ev.get("time/back")?;
        close(back, ahead(back)?, 0.0)
    }),
    Rule::must("cmd/set-time/14", "WebAPI §3 /sys/time", "/sys/time is a decimal string.", |ev| {
        for it in ev.all("time/")? {
            let text = it.result()?;
            it.want(text.as_str().is_some_and(status::is_decimal), "a decimal string is owed")?;
        }
        Ok(Finding::Kept)
    }),
    Rule::choice("cmd/set-time/15", "WebAPI §1 token", "A login lives on when the clock is set.", |ev| {
        ev.get("time/set")?.status(200)?;
        Ok(Finding::Kept)
    }),
    Rule::choice("cmd/set-time/16", CLAUSE, "A refusal says more than that there is one.", |ev| {
        for label in ["number", "exponent", "object"] {
            let it = ev.get(label)?;
            it.want(it.error()?.contains(' '), "the error should say what is expected")?;
        }
        Ok(Finding::Kept)
    }),
    refusals::limited("cmd/set-time/17"),
];

/// Seconds by which the meter's clock is ahead of the tester's, as this look at /sys/time shows it.
fn ahead(exchange: &Exchange) -> Result<f64, Finding> {
    let time = exchange.result()?.as_str().and_then(|it| it.parse::<f64>().ok());
    let time = time.ok_or_else(|| exchange.broken("a decimal string is owed"))?;
    Ok(time - exchange.wall)
}

fn close(exchange: &Exchange, ahead: f64, owed: f64) -> Result<Finding, Finding> {
    let off = ahead - owed;
    let why = format!("the meter's clock is {ahead:.3} s ahead of the tester's, where {owed:.3} s is owed");
    exchange.want((-SLACK..=SLACK + exchange.took).contains(&off), why)?;
    Ok(Finding::Kept)
}

/// Between two looks the clock went on like the tester's.
fn moved_by(ev: &Evidence<'_>, before: &str, after: &str) -> Result<Finding, Finding> {
    let (before, after) = (ev.get(before)?, ev.get(after)?);
    let by = ahead(after)? - ahead(before)?;
    let slack = SLACK + before.took.max(after.took);
    after.want(by.abs() <= slack, format!("the clock was moved by {by:.3} s"))?;
    Ok(Finding::Kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::testing::{broken, exchange, kept};
    use crate::transcript::Transcript;

    fn looks(times: &[f64]) -> Transcript {
        let mut res = Transcript::default();
        for (number, ahead) in times.iter().enumerate() {
            let at = number as f64;
            let body = format!("{{\"result\":\"{:.6}\"}}", 1.7e9 + at + ahead);
            res.exchanges.push(exchange(AREA.name, &format!("time/{number}"), at, b"GET /sys/time", 200, &body));
        }
        res
    }

    #[test]
    fn a_clock_that_is_wrong_but_steady_was_not_moved() {
        let run = looks(&[-500.0, -500.2, 172_300.0]);
        let ev = Evidence::new(&run, AREA.name);
        kept(moved_by(&ev, "time/0", "time/1"));
        broken(moved_by(&ev, "time/1", "time/2"));
    }

    #[test]
    fn a_clock_follows_within_a_second() {
        let run = looks(&[20.4, 18.0, 0.0]);
        let ev = Evidence::new(&run, AREA.name);
        let check = |label: &str| ev.get(label).and_then(|it| close(it, ahead(it)?, 20.0));
        kept(check("time/0"));
        broken(check("time/1"));
        broken(check("time/2"));
    }
}
