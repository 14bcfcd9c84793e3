//! What reboot and factory-restore have in common: the reply first, a second in which the meter still answers, the time
//! in which it does not, and its coming back.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::evidence::{Evidence, status};
use crate::http::{Fault, Request};
use crate::lab::operation::{status_of, token_of};
use crate::lab::{Lab, Stop};
use crate::refusals;
use crate::transcript::Exchange;
use crate::verdict::Finding;

/// For one sign of life; clients give as much.
const PING: Duration = Duration::from_secs(1);
/// How long the meter is watched closely, and how long a meter that says OK may take to go down.
const CLOSELY: Duration = Duration::from_secs(6);
const GOING: Duration = Duration::from_secs(30);
/// Between two looks after that.
const PAUSE: Duration = Duration::from_millis(500);
/// The documents' second between the reply and the way down, less what a tester's scheduler may take of it.
const DELAY: f64 = 0.8;

/// Sends what must not be obeyed: the command without a login, with a false one, as a user who may not, and by two other
/// methods. Then looks four times, as `still/1` and so on, over two seconds in which a meter that obeyed goes down. One that
/// did is waited for, and commanded no more.
pub fn knock(lab: &mut Lab<'_>, path: &str, look: &Request, wait: Duration) -> Result<(), Stop> {
    lab.expect_down(true);
    let mut sent = vec![
        lab.send("anonymous", &Request::new("POST", path).anonymous())?,
        lab.send("bad-token", &Request::new("POST", path).token("e30.e30.AAAA"))?,
        lab.send("get", &Request::get(path))?,
        lab.send("put", &Request::new("PUT", path).body("{}"))?,
    ];
    sent.extend(refusals::as_limited(lab, &Request::new("POST", path))?);
    for number in 1..=4 {
        lab.wait(PAUSE);
        sent.push(lab.send(&format!("still/{number}"), look)?);
    }
    let obeyed = |it: &Exchange| !it.label.starts_with("still/") && it.success().is_ok();
    if sent.iter().any(|it| obeyed(it) || it.answer.is_err()) {
        wait_until_up(lab, wait)?;
        return Err(Stop::Skip("the meter obeyed what it had to refuse, so it was not commanded any more".into()));
    }
    lab.expect_down(false);
    Ok(())
}

/// Waits for a meter that may be away to answer again, with looks as `up/1` and so on; the login is made anew.
pub fn wait_until_up(lab: &mut Lab<'_>, wait: Duration) -> Result<(), Stop> {
    lab.expect_down(true);
    let begun = Instant::now();
    let up = Request::get("/auth/unauthorized").anonymous();
    for number in 1.. {
        if answers(&lab.send_within(&format!("up/{number}"), &up, PING)?) {
            break;
        }
        if wait < begun.elapsed() {
            return Err(Stop::Gone(format!("the meter was not back within {} s", wait.as_secs())));
        }
        lab.wait(PAUSE);
    }
    lab.forget_login();
    lab.expect_down(false);
    Ok(())
}

/// Sends the command as `down`, then looks for signs of life as `ping/1` and so on, until the meter was gone and is back,
/// or `wait` is over. Returns whether it is there.
pub fn go_down(lab: &mut Lab<'_>, request: &Request, wait: Duration) -> Result<bool, Stop> {
    let token = lab.login()?;
    lab.expect_down(true);
    let command = lab.send("down", request)?;
    if command.answer.is_ok() && command.success().is_err() {
        lab.expect_down(false);
        return Err(Stop::Skip(format!("the meter refused: {}", command.answer_text())));
    }
    let begun = Instant::now();
    let (mut gone, mut back) = (false, false);
    for number in 1.. {
        let ping = Request::get("/auth/unauthorized").anonymous();
        let ping = lab.send_within(&format!("ping/{number}"), &ping, PING)?;
        let answers = answers(&ping);
        back = gone && answers;
        gone |= !answers;
        let limit = if gone { wait } else { GOING.min(wait) };
        if back || limit < begun.elapsed() {
            break;
        }
        if CLOSELY < begun.elapsed() {
            lab.wait(PAUSE);
        }
    }
    lab.forget_login();
    lab.send("old-token", &Request::get("/auth/rights").token(&token))?;
    lab.expect_down(false);
    Ok(back || !gone)
}

/// Whether this sign of life is that of a meter which is up.
fn answers(ping: &Exchange) -> bool {
    matches!(&ping.answer, Ok(reply) if reply.status == 401 || reply.status == 200)
}

/// The reply says that it will go down, before it does.
pub fn replied(ev: &Evidence<'_>) -> Result<Finding, Finding> {
    ev.get("down")?.done()
}

/// For a second after the reply the meter is still there to be asked, if only to say that it goes down.
pub fn delayed(ev: &Evidence<'_>) -> Result<Finding, Finding> {
    let command = ev.get("down")?;
    command.reply()?;
    let replied = command.at + command.took;
    let mut seen = false;
    for ping in ev.all("ping/")?.into_iter().filter(|it| it.at < replied + DELAY) {
        let after = ping.at - replied;
        let there = !matches!(ping.answer, Err(Fault::Refused | Fault::Closed(_) | Fault::Unreachable(_)));
        ping.want(there, format!("gone {after:.2} s after the reply, where a second is owed"))?;
        seen = true;
    }
    if seen { Ok(Finding::Kept) } else { Err(Finding::NoEvidence("nothing was asked in the second after".into())) }
}

/// It does go down.
pub fn went(ev: &Evidence<'_>) -> Result<Finding, Finding> {
    let pings = ev.all("ping/")?;
    let last = pings[pings.len() - 1];
    last.want(pings.iter().any(|it| !answers(it)), "the meter went on answering as if nothing had been said")?;
    Ok(Finding::Kept)
}

/// While it is down there is no answer, or 503: anything else would be taken for a meter that is up or broken.
pub fn silent(ev: &Evidence<'_>) -> Result<Finding, Finding> {
    for ping in ev.all("ping/")? {
        if let Ok(reply) = &ping.answer {
            ping.want([200, 401, 503].contains(&reply.status), "503, or no answer, is owed while it is down")?;
        }
    }
    Ok(Finding::Kept)
}

/// It came back in time, and said so within a second.
pub fn back(ev: &Evidence<'_>) -> Result<Finding, Finding> {
    went(ev)?;
    let pings = ev.all("ping/")?;
    let last = pings[pings.len() - 1];
    let after = last.at - ev.get("down")?.at;
    last.want(answers(last), format!("{after:.0} s after the command it was not back"))?;
    Ok(Finding::Kept)
}

/// Back within a minute, after which the official client gives up.
pub fn soon(ev: &Evidence<'_>) -> Result<Finding, Finding> {
    back(ev)?;
    let pings = ev.all("ping/")?;
    let last = pings[pings.len() - 1];
    let after = last.at - ev.get("down")?.at;
    last.want(after <= 60.0, format!("it took {after:.0} s"))?;
    Ok(Finding::Kept)
}

/// A login from before is worth nothing afterwards.
pub fn revoked(ev: &Evidence<'_>) -> Result<Finding, Finding> {
    ev.get("old-token")?.unauthorized()
}

/// Something shows that it really was a start: less uptime, or another time of boot.
pub fn restarted(ev: &Evidence<'_>) -> Result<Finding, Finding> {
    let after = ev.get("uptime/after")?;
    let uptime = |it: &Exchange| it.result().ok()?.as_f64();
    let (before, now) = (uptime(ev.get("uptime/before")?), uptime(after));
    if before.is_some_and(|before| now.is_some_and(|now| now < before)) {
        return Ok(Finding::Kept);
    }
    let time = |label: &str| ev.get(label)?.result().map(|it| it["time"].clone());
    after.want(time("boot/before")? != time("boot/after")?, "neither /sys/uptime nor /sys/boot shows a reboot")?;
    Ok(Finding::Quirk("/sys/uptime goes on, but /sys/boot/time shows the reboot".into()))
}

/// /sys/boot names the software as the reason, and when.
pub fn reason(ev: &Evidence<'_>) -> Result<Finding, Finding> {
    let boot = ev.get("boot/after")?;
    let result = boot.result()?;
    boot.want(result["reason"] == "software reset", "`reason` should be \"software reset\"")?;
    boot.want(result["time"].as_str().is_some_and(status::is_decimal), "`time` should be a decimal string")?;
    Ok(Finding::Kept)
}

/// Looks once more at an operation of this run, as `operation`, if there was one.
pub fn look_at_operation(lab: &mut Lab<'_>) -> Result<(), Stop> {
    let posted = lab.transcript.exchanges.iter().rev().filter(|it| it.sent.starts_with(b"POST "));
    match posted.into_iter().find_map(token_of) {
        Some(token) => lab.poll("operation", &token).map(drop),
        None => Ok(()),
    }
}

/// An operation from before is known and done, or goes on, or is an error; never an empty answer, at which clients poll
/// on.
pub fn operation(ev: &Evidence<'_>) -> Result<Finding, Finding> {
    let Ok(look) = ev.get("operation") else {
        return Err(Finding::NoEvidence("no command of this run gave a token".into()));
    };
    if look.error().is_ok() {
        return Ok(Finding::Quirk("operations are forgotten at a reboot".into()));
    }
    let done = status_of(look).and_then(|it| it.get("done").and_then(Value::as_bool));
    look.want(done.is_some(), "a status with `done`, or an error, is owed")?;
    Ok(Finding::Kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::testing::{broken, exchange, kept};
    use crate::transcript::Transcript;

    /// The command is answered at 0.01 s; then pings at these times with these statuses, 0 for a refused connection.
    fn run(pings: &[(f64, u16)]) -> Transcript {
        let mut res = Transcript::default();
        res.exchanges.push(exchange("a", "down", 0.0, b"POST", 200, r#"{"status":"OK"}"#));
        for (number, (at, status)) in pings.iter().enumerate() {
            let mut ping = exchange("a", &format!("ping/{number}"), *at, b"GET", *status, "{}");
            if *status == 0 {
                ping.answer = Err(Fault::Refused);
            }
            res.exchanges.push(ping);
        }
        res
    }

    fn check(judge: fn(&Evidence<'_>) -> Result<Finding, Finding>, pings: &[(f64, u16)]) -> Result<Finding, Finding> {
        judge(&Evidence::new(&run(pings), "a"))
    }

    #[test]
    fn a_second_is_owed_between_the_reply_and_the_way_down() {
        kept(check(delayed, &[(0.1, 401), (0.7, 503), (1.2, 0), (20.0, 401)]));
        broken(check(delayed, &[(0.1, 401), (0.4, 0), (20.0, 401)]));
    }

    #[test]
    fn it_goes_and_comes_back() {
        kept(check(back, &[(0.1, 401), (1.2, 0), (20.0, 401)]));
        broken(check(back, &[(0.1, 401), (1.2, 0), (120.0, 0)]));
        broken(check(back, &[(0.1, 401), (1.2, 401), (30.0, 401)]));
        broken(check(soon, &[(1.2, 0), (75.0, 401)]));
        broken(check(silent, &[(1.2, 0), (5.0, 500), (20.0, 401)]));
        kept(check(silent, &[(0.5, 503), (1.2, 0), (20.0, 401)]));
    }
}
