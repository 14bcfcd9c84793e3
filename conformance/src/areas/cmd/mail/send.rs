//! The mails whose way over the wire `sent` judges: what each asks for, and what the mail server is told to offer.

use base64::prelude::*;
use serde_json::{Value, json};

use super::sent::{AREA, DIRECT};
use super::{FROM, MAIL_PORT, PATH, TO, probe, smarthost};
use crate::companions::smtp::{Mood, Sink};
use crate::http::Request;
use crate::lab::{Lab, Stop};
use crate::refusals;

pub(super) fn play(lab: &mut Lab<'_>) -> Result<(), Stop> {
    let sink = Sink::open(lab, MAIL_PORT)?;
    let host = smarthost(lab, &sink);
    let (user, password) = ("meter-7", format!("pw-{}", lab.random(12)));
    let plain = json!({"address": TO, "smarthost": host, "fromaddr": FROM});
    probe(lab, &sink, &plain)?;
    let offers = Mood { login: Some((user.into(), password.clone())), ..Mood::default() };
    send(lab, &sink, Mood::default(), "mail", plain.clone())?;
    send(lab, &sink, Mood::default(), "no-sender", json!({"address": TO, "smarthost": host}))?;
    send(lab, &sink, offers.clone(), "no-login", plain.clone())?;
    let with = |members: Value| {
        let mut res = plain.clone();
        res.as_object_mut().expect("it is one").extend(members.as_object().cloned().unwrap_or_default());
        res
    };
    send(lab, &sink, offers.clone(), "half-login", with(json!({ "mailuser": user })))?;
    send(lab, &sink, offers.clone(), "login", with(json!({"mailuser": user, "mailpass": password})))?;
    for (name, member, value) in [
        ("inject/address", "address", format!("{TO}>\r\nRCPT TO:<injected@example.com")),
        ("inject/fromaddr", "fromaddr", format!("{FROM}>\r\nRCPT TO:<injected@example.com")),
        ("inject/header", "fromaddr", format!("{FROM}\r\nX-Injected: yes")),
        ("inject/smarthost", "smarthost", format!("{host}\r\nRCPT TO:<injected@example.com>")),
    ] {
        send(lab, &sink, Mood::default(), name, with(json!({ member: value })))?;
    }
    for member in ["mailuser", "mailpass"] {
        let mut body = with(json!({"mailuser": user, "mailpass": password}));
        body[member] = json!("x\r\nRCPT TO:<injected@example.com>");
        send(lab, &sink, offers.clone(), &format!("inject/{member}"), body)?;
    }
    if matches!(sink.address().port(), 25 | 587) {
        let host = sink.address().ip().to_string();
        send(lab, &sink, Mood::default(), "host-alone", with(json!({ "smarthost": host })))?;
    }
    if let Some(direct) = lab.param(DIRECT.name) {
        send(lab, &sink, Mood::default(), "direct", json!({"address": direct, "fromaddr": FROM}))?;
    }
    secrets(lab, user, &password);
    Ok(())
}

/// The password in all the forms in which a log may have it.
fn secrets(lab: &mut Lab<'_>, user: &str, password: &str) {
    let token = BASE64_STANDARD.encode(format!("\0{user}\0{password}"));
    let alone = BASE64_STANDARD.encode(password);
    refusals::look_for_secrets(lab, AREA.name, &[password, &token, &alone]);
}

/// One mail, and what the sink saw of it as the fact `LABEL`.
fn send(lab: &mut Lab<'_>, sink: &Sink, mood: Mood, label: &str, order: Value) -> Result<(), Stop> {
    sink.set(mood);
    lab.operation(label, &Request::post(PATH, &order), lab.options.max_wait)?;
    // The goodbye may come after the operation's end.
    sink.left_within(lab.options.timeout);
    lab.fact(label, sink.record());
    Ok(())
}
