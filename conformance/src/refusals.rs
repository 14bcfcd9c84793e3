//! What every command owes to requests that it must not obey: without a login, by another method, with a body that is
//! none or says nothing it can do. The traffic of an area, and the judges of it. What the command does otherwise is not
//! known here.

use std::time::Duration;

use serde_json::{Value, json};

use crate::catalogue::Param;
use crate::evidence::{Evidence, refusal, status};
use crate::http::Request;
use crate::lab::operation::{status_of, token_of};
use crate::lab::{Lab, Stop};
use crate::session::Credentials;
use crate::transcript::{Exchange, forms};
use crate::verdict::{Finding, Judge, Rule};

/// Bodies that a command must refuse: the name with which each is recorded, and its text.
pub type Bodies = &'static [(&'static str, &'static str)];

/// What is no JSON object, for every command whose body must be one.
pub const MALFORMED: Bodies =
    &[("empty", ""), ("cut-off", "{\"action\":"), ("array", "[]"), ("string", "\"x\""), ("two", "{}{}")];

/// Sends a body that would be obeyed without a login, with one that means nothing and with that of a user who may not, and
/// by two other methods.
pub fn door(lab: &mut Lab<'_>, path: &str, right: &Value) -> Result<(), Stop> {
    lab.send("anonymous", &Request::post(path, right).anonymous())?;
    lab.send("bad-token", &Request::post(path, right).token("bm8.bm8.bm8"))?;
    as_limited(lab, &Request::post(path, right))?;
    lab.send("method/get", &Request::get(path))?;
    let put = Request { method: "PUT".into(), ..Request::post(path, right) };
    lab.send("method/put", &put)?;
    Ok(())
}

/// Sends a request, as `no-right`, with the login of the user without the right to save, if the tester named one and the
/// area's rule about that was chosen.
pub fn as_limited(lab: &mut Lab<'_>, request: &Request) -> Result<Option<Exchange>, Stop> {
    let file = lab.param(LIMITED_PASSWORD.name).and(lab.param(LIMITED_USER.name));
    let (Some(user), true) = (file.map(str::to_string), lab.chooses(|it| it.owes == LIMITED_OWES)) else {
        return Ok(None);
    };
    let password = lab.secret(LIMITED_PASSWORD.name)?.unwrap_or_default();
    match lab.login_as(&Credentials { user, password }, "limited") {
        Ok(token) => lab.send("no-right", &request.clone().token(&token)).map(Some),
        // That user's login is the business of another area.
        Err(Stop::Skip(_)) => Ok(None),
        Err(stop) => Err(stop),
    }
}

/// Cancels a running operation without a login and with one that means nothing, and looks at it after `pause` as
/// `LABEL/still`.
pub fn cancel_uninvited(lab: &mut Lab<'_>, label: &str, token: &str, pause: Duration) -> Result<(), Stop> {
    let cancel = Request::post("/cmd/cancel", &json!({ "token": token }));
    lab.send(&format!("{label}/uninvited/anonymous"), &cancel.clone().anonymous())?;
    lab.send(&format!("{label}/uninvited/bad-token"), &cancel.token("bm8.bm8.bm8"))?;
    lab.wait(pause);
    lab.poll(&format!("{label}/still"), token).map(drop)
}

/// The rule about [`cancel_uninvited`].
pub const fn uninvited_cancel(id: &'static str, judge: Judge) -> Rule {
    Rule::must(id, "WebAPI §11 row 9", "A cancellation that is answered 401 ends nothing.", judge)
}

/// Its judge: the operation `label` runs on. One that was through before shows nothing.
pub fn goes_on(ev: &Evidence<'_>, label: &str) -> Result<Finding, Finding> {
    for it in ev.all(&format!("{label}/uninvited/"))? {
        it.unauthorized()?;
    }
    let still = ev.get(&format!("{label}/still"))?;
    let status = status_of(still).ok_or_else(|| still.broken("its status is owed"))?;
    still.want(status.get("error").and_then(Value::as_str) != Some("CANCELED"), "nobody who may cancelled it")?;
    if status.get("done") == Some(&Value::Bool(true)) {
        return Err(Finding::NoEvidence("it was through before anybody could cancel it".into()));
    }
    Ok(Finding::Kept)
}

/// The user whom every command that is tried has to refuse.
pub const LIMITED_USER: Param = Param {
    name: "auth.limited-user",
    meaning: "A user without the right to save; every command that is tried has to refuse this user, too.",
};
/// See [`LIMITED_USER`].
pub const LIMITED_PASSWORD: Param =
    Param { name: "auth.limited-password-file", meaning: "That user's password, the file's first line." };
const LIMITED_OWES: &str = "The command of a user who may not save is refused with 401, or with 403.";

/// The rule of a command's area about the user of [`as_limited`].
pub const fn limited(id: &'static str) -> Rule {
    Rule::must(id, "cmd-api: /cmd; WebAPI §11 row 15", LIMITED_OWES, |ev| match ev.get("no-right") {
        Err(_) if ev.get("anonymous").is_ok() => {
            Err(Finding::NoEvidence(format!("needs --with {}=... and its login", LIMITED_USER.name)))
        }
        _ => refusal::no_right(ev, "no-right"),
    })
}

/// Sends bodies, each as `bad/NAME`. One that is taken all the same is followed to its end within `time`.
pub fn bodies(lab: &mut Lab<'_>, path: &str, bodies: Bodies, time: Duration) -> Result<(), Stop> {
    for (name, text) in bodies {
        lab.operation(&format!("bad/{name}"), &Request::post_bytes(path, *text), time)?;
    }
    Ok(())
}

/// Keeps, as the fact `echoed`, which answers that the area `area` had so far hold one of these secrets. It has to be done
/// at once: the record has no secrets to compare with. What is long enough not to be found by chance is shown nowhere.
pub fn look_for_secrets(lab: &mut Lab<'_>, area: &str, secrets: &[&str]) {
    lab.transcript.secrets.extend(secrets.iter().filter(|it| 8 <= it.len()).map(|it| it.to_string()));
    let forms: Vec<_> = secrets.iter().flat_map(|it| forms(it)).collect();
    let holds = |it: &&Exchange| {
        let reply = it.answer.as_ref().ok();
        let body = reply.map(|it| String::from_utf8_lossy(&it.body).into_owned()).unwrap_or_default();
        it.area == area && forms.iter().any(|it| body.contains(it.as_str()))
    };
    let labels: Vec<_> = lab.transcript.exchanges.iter().filter(holds).map(|it| it.label.clone()).collect();
    lab.fact("echoed", json!(labels));
}

/// A request without a login, and one whose login means nothing, are answered with 401.
pub fn unauthorized(ev: &Evidence<'_>) -> Result<Finding, Finding> {
    refusal::unauthorized(ev, &["anonymous", "bad-token"])
}

/// GET and PUT do not do what POST does. With which status they are refused is open.
pub fn other_methods(ev: &Evidence<'_>) -> Result<Finding, Finding> {
    refusal::wrong_methods(ev, &["method/get", "method/put"])
}

/// Bodies that were sent by [`bodies`] were refused. One that was taken and then failed as an operation is a note.
pub fn refused(ev: &Evidence<'_>, names: &[&str]) -> Result<Finding, Finding> {
    let mut note = None;
    for name in names {
        let label = format!("bad/{name}");
        let reply = ev.get(&label)?;
        let taken = reply.object().is_ok_and(|it| !it.contains_key("error")) && token_of(reply).is_some();
        if taken {
            let (exchange, status) = status::end(ev, &label)?;
            exchange.want(status.contains_key("error"), format!("{} was done", reply.request_text()))?;
            note = Some(format!("{name} was taken, and failed only as an operation"));
        } else if let Finding::Quirk(text) = reply.refused()? {
            note = Some(text);
        }
    }
    Ok(note.map_or(Finding::Kept, Finding::Quirk))
}

/// All bodies of a list were refused.
pub fn all_refused(ev: &Evidence<'_>, bodies: Bodies) -> Result<Finding, Finding> {
    let names: Vec<_> = bodies.iter().map(|it| it.0).collect();
    refused(ev, &names)
}

/// The error for a bad body has the word that would help whoever sent it: the member at fault.
pub fn names_the_member(ev: &Evidence<'_>, bodies: &[(&str, &str)]) -> Result<Finding, Finding> {
    for (name, member) in bodies {
        refusal::names(ev, &[(&format!("bad/{name}"), member)])?;
    }
    Ok(Finding::Kept)
}

/// No answer of the area holds a secret that was sent to it.
pub fn keeps_secrets(ev: &Evidence<'_>) -> Result<Finding, Finding> {
    let echoed = ev.fact("echoed")?.as_array().cloned().unwrap_or_default();
    match echoed.first().and_then(Value::as_str) {
        None => Ok(Finding::Kept),
        Some(label) => Err(ev.get(label)?.broken("it holds a secret that was sent (masked here)")),
    }
}

/// A number that the area kept as a fact is nought: connections that were not to be made, changes that were not asked for.
pub fn none(ev: &Evidence<'_>, fact: &str, sent: &str) -> Result<Finding, Finding> {
    match ev.fact(fact)?.as_u64() {
        Some(0) => Ok(Finding::Kept),
        count => {
            let count = count.map_or("?".into(), |it| it.to_string());
            Err(Finding::Broken { sent: sent.into(), came: format!("{count} connections to the companion") })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::testing::{broken, kept, quirk, transcript, untested};
    use crate::transcript::Transcript;

    const CHALLENGE: &str = r#"{"rlm":"r","nnc":"n","error":"Authentication required."}"#;
    const TOKEN: &str = r#"{"token":"473c31462e62848b5352314dfc608669"}"#;

    fn check(
        answers: &[(&str, u16, &str)],
        judge: fn(&Evidence<'_>) -> Result<Finding, Finding>,
    ) -> Result<Finding, Finding> {
        judge(&Evidence::new(&transcript("a", answers.iter().copied()), "a"))
    }

    #[test]
    fn no_login_is_a_401_with_a_challenge() {
        kept(check(&[("anonymous", 401, CHALLENGE), ("bad-token", 401, CHALLENGE)], unauthorized));
        broken(check(&[("anonymous", 401, CHALLENGE), ("bad-token", 200, TOKEN)], unauthorized));
        broken(check(&[("anonymous", 401, r#"{"error":"no"}"#), ("bad-token", 401, CHALLENGE)], unauthorized));
    }

    #[test]
    fn a_bad_body_is_refused_at_once_or_at_least_fails() {
        let judge: fn(&Evidence<'_>) -> Result<Finding, Finding> = |ev| refused(ev, &["x"]);
        let (failed, done) = (r#"{"result":{"done":true,"error":"SRV"}}"#, r#"{"result":{"done":true}}"#);
        kept(check(&[("bad/x", 200, r#"{"error":"x: missing"}"#)], judge));
        quirk(check(&[("bad/x", 400, r#"{"error":"x: missing"}"#)], judge));
        quirk(check(&[("bad/x", 200, TOKEN), ("bad/x/poll/1", 200, failed)], judge));
        broken(check(&[("bad/x", 200, TOKEN), ("bad/x/poll/1", 200, done)], judge));
        broken(check(&[("bad/x", 200, r#"{"status":"OK"}"#)], judge));
        broken(check(&[("bad/x", 401, CHALLENGE)], judge));
        untested(check(&[], judge));
    }

    #[test]
    fn a_cancellation_by_nobody_ends_nothing() {
        let judge: fn(&Evidence<'_>) -> Result<Finding, Finding> = |ev| goes_on(ev, "op");
        let still = |uninvited: u16, status: &str| {
            let body = format!("{{\"result\":{status}}}");
            check(&[("op/uninvited/anonymous", uninvited, CHALLENGE), ("op/still", 200, &body)], judge)
        };
        kept(still(401, r#"{"done":false}"#));
        broken(still(401, r#"{"done":true,"error":"CANCELED"}"#));
        broken(still(200, r#"{"done":false}"#));
        untested(still(401, r#"{"done":true}"#));
    }

    #[test]
    fn the_user_who_may_not_is_refused_or_not_named() {
        let rule = limited("a/01");
        kept(check(&[("no-right", 401, CHALLENGE)], rule.judge));
        quirk(check(&[("no-right", 403, r#"{"error":"no"}"#)], rule.judge));
        broken(check(&[("no-right", 200, r#"{"status":"OK"}"#)], rule.judge));
        untested(check(&[("anonymous", 401, CHALLENGE)], rule.judge));
    }

    #[test]
    fn facts_are_nought_and_secrets_kept() {
        let mut run: Transcript = transcript("a", [("bad/x", 200, r#"{"error":"hunter2 is short"}"#)]);
        run.facts.insert("a/early".into(), json!(0));
        run.facts.insert("a/late".into(), json!(2));
        run.facts.insert("a/echoed".into(), json!(["bad/x"]));
        let ev = Evidence::new(&run, "a");
        kept(none(&ev, "early", "x"));
        broken(none(&ev, "late", "x"));
        broken(keeps_secrets(&ev));
        untested(keeps_secrets(&Evidence::new(&Transcript::default(), "a")));
    }
}
