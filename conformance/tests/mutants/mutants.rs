//! Ways in which a meter may be wrong, as data: a name, the rules that have to notice, and what is done to the traffic.

mod auth;
mod cancel;
mod clock;
mod db;
mod file;
mod http;
mod login;
mod outward;
mod power;
mod refusals;
mod rights;
mod status;
mod sys;
mod update;

use serde_json::{Map, Value, json};

use crate::message::Message;
use crate::proxy::Meter;

/// An answer to bytes that are no whole request, if the mutant has one of its own.
type Strange = fn(&[u8], &Meter) -> Option<Message>;

/// One way to be wrong.
pub struct Mutant {
    /// Its name, which says what it does.
    pub name: &'static str,
    /// The rules each of which has to catch it.
    pub rules: &'static [&'static str],
    /// Answers a request, mostly by asking the meter.
    pub breaks: fn(Message, &Meter) -> Message,
    /// Answers what is no whole request; nothing leaves it to the meter.
    pub strange: Option<Strange>,
    /// Whether its rules wait for something to expire, which is left to the full matrix.
    pub slow: bool,
    /// Whether it does what the documents leave open: caught by a note that the healthy meter does not get.
    pub noted: bool,
    /// Why no rule can catch it.
    pub survives: Option<&'static str>,
}

impl Mutant {
    const fn new(name: &'static str, rules: &'static [&'static str], breaks: fn(Message, &Meter) -> Message) -> Mutant {
        Mutant { name, rules, breaks, strange: None, slow: false, noted: false, survives: None }
    }

    /// One that only does wrong with bytes that are no whole request.
    const fn strange(name: &'static str, rules: &'static [&'static str], answer: Strange) -> Mutant {
        Mutant { strange: Some(answer), ..Mutant::new(name, rules, |call, meter| meter.ask(&call)) }
    }

    const fn noted(self) -> Mutant {
        Mutant { noted: true, ..self }
    }

    const fn slow(self) -> Mutant {
        Mutant { slow: true, ..self }
    }
}

/// Breaks nothing.
pub static NONE: Mutant = Mutant::new("none", &[], |call, meter| meter.ask(&call));

/// All of them.
pub fn all() -> Vec<&'static Mutant> {
    let files = [
        // The longest first, since several are tried at a time.
        power::MUTANTS,
        login::MUTANTS,
        auth::MUTANTS,
        http::MUTANTS,
        refusals::MUTANTS,
        sys::MUTANTS,
        cancel::MUTANTS,
        status::MUTANTS,
        db::MUTANTS,
        file::MUTANTS,
        clock::MUTANTS,
        rights::MUTANTS,
        outward::MUTANTS,
        update::MUTANTS,
    ];
    files.into_iter().flatten().collect()
}

/// Whether a reply's object has that member.
fn has(answer: &Message, member: &str) -> bool {
    answer.json().is_some_and(|it| it.get(member).is_some())
}

/// The meter's answer, another one where `when` says so of the answer.
fn replace(
    call: &Message,
    meter: &Meter,
    when: impl FnOnce(&Message) -> bool,
    with: impl FnOnce(Message) -> Message,
) -> Message {
    let answer = meter.ask(call);
    if when(&answer) { with(answer) } else { answer }
}

/// The answer to GET of a path that begins so, changed in its JSON.
fn at(call: Message, meter: &Meter, path: &str, change: impl FnOnce(&mut Value)) -> Message {
    replace(&call, meter, |it| call.is("GET", path) && it.status() == 200, |it| it.edit(change))
}

/// Obeys, and then asks for a login.
fn before_401(call: Message, meter: &Meter, path: &str) -> Message {
    let answer = meter.ask(&call);
    if call.is("POST", path) && answer.status() == 401 {
        meter.ask(&meter.as_owner(&call));
    }
    answer
}

/// Says that all is well where the meter refuses a body of which `when` says so.
fn lax(call: Message, meter: &Meter, path: &str, when: impl FnOnce(&Map<String, Value>) -> bool) -> Message {
    let refused = |it: &Message| call.is("POST", path) && it.status() == 200 && has(it, "error");
    let body = call.json().and_then(|it| it.as_object().cloned());
    replace(&call, meter, |it| refused(it) && body.is_some_and(|it| when(&it)), |_| fine())
}

/// Changes a command before the meter sees it.
fn ordered(call: Message, meter: &Meter, path: &str, change: impl FnOnce(&mut Map<String, Value>)) -> Message {
    let good = call.is("POST", path) && !anonymous(&call);
    if good { meter.ask(&call.members(change)) } else { meter.ask(&call) }
}

/// Changes a member, where there is one.
fn change(members: &mut Map<String, Value>, name: &str, to: impl FnOnce(&Value) -> Value) {
    if let Some(value) = members.get_mut(name) {
        *value = to(value);
    }
}

/// Changes the members of every operation's status.
fn status(call: Message, meter: &Meter, change: impl FnOnce(&mut Map<String, Value>)) -> Message {
    at(call, meter, "/sys/status/", |it| {
        if let Some(members) = it["result"].as_object_mut() {
            change(members);
        }
    })
}

/// Obeys as if the owner had asked, where `when` says so of the request.
fn obey(call: Message, meter: &Meter, when: impl FnOnce(&Message) -> bool) -> Message {
    if when(&call) { meter.ask(&meter.as_owner(&call)) } else { meter.ask(&call) }
}

/// Whether a request comes without any login.
fn anonymous(call: &Message) -> bool {
    call.field("Authorization").is_none()
}

/// The bearer's token of a request, or nothing.
fn bearer(call: &Message) -> &str {
    call.field("Authorization").and_then(|it| it.strip_prefix("Bearer ")).unwrap_or_default()
}

/// A success as a command has it.
fn fine() -> Message {
    Message::answer(200, &json!({"status": "OK"}))
}

/// An error as the API has it.
fn failed(why: &str) -> Message {
    Message::answer(200, &json!({"error": why}))
}
