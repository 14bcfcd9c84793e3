//! Logins, tokens and rights that are wrong.

use serde_json::{Value, json};

use super::Mutant;
use crate::message::Message;
use crate::proxy::Meter;

pub static MUTANTS: &[Mutant] = &[
    Mutant::new("auth/challenge-without-nonce", &["auth/login/01"], |call, meter| without(call, meter, "nnc")),
    Mutant::new("auth/challenge-without-realm", &["auth/login/01"], |call, meter| without(call, meter, "rlm")),
    Mutant::new("auth/challenge-without-error", &["auth/login/01"], |call, meter| without(call, meter, "error")),
    Mutant::new("auth/challenge-with-403", &["auth/login/01"], |call, meter| {
        let answer = meter.ask(&call);
        if answer.status() == 401 { answer.with_status(403) } else { answer }
    }),
    Mutant::new("auth/login-answers-201", &["auth/login/02"], |call, meter| {
        let answer = meter.ask(&call);
        if call.is("POST", "/auth/login") && has(&answer, "jwt") { answer.with_status(201) } else { answer }
    }),
    Mutant::new("auth/login-with-a-null-error", &["auth/login/02"], |call, meter| {
        at_login(call, meter, |it| it.insert("error".into(), Value::Null))
    }),
    Mutant::new("auth/token-without-lifetime", &["auth/login/03"], |call, meter| {
        let answer = meter.ask(&call);
        if !has(&answer, "jwt") {
            return answer;
        }
        // The payload is {"beg":0}.
        answer.members(|it| {
            it.insert("jwt".into(), json!("e30.eyJiZWciOjB9.c2ln"));
        })
    }),
    Mutant::new("auth/wrong-password-with-401", &["auth/login/04"], |call, meter| {
        let answer = meter.ask(&call);
        if call.is("POST", "/auth/login") && answer.status() == 200 && has(&answer, "error") {
            return answer.with_status(401);
        }
        answer
    }),
    Mutant::new("auth/any-password-does", &["auth/login/04"], |call, meter| {
        let answer = meter.ask(&call);
        if call.is("POST", "/auth/login") && answer.status() == 200 && has(&answer, "error") {
            let token = meter.as_owner(&call).field("Authorization").unwrap_or_default()[7..].to_string();
            return Message::answer(200, &json!({"jwt": token}));
        }
        answer
    }),
    Mutant::new("auth/unknown-users-are-told", &["auth/login/05"], |call, meter| {
        let answer = meter.ask(&call);
        if call.is("POST", "/auth/login") && has(&answer, "error") && call.text().contains("\"no-") {
            return Message::answer(200, &json!({"error": "There is no such user."}));
        }
        answer
    }),
    Mutant::new("auth/malformed-login-with-200", &["auth/login/06"], |call, meter| {
        let answer = meter.ask(&call);
        if answer.status() == 400 { answer.with_status(200) } else { answer }
    }),
];

fn has(answer: &Message, member: &str) -> bool {
    answer.json().is_some_and(|it| it.get(member).is_some())
}

/// Leaves a member out of every 401.
fn without(call: Message, meter: &Meter, member: &str) -> Message {
    let answer = meter.ask(&call);
    if answer.status() != 401 {
        return answer;
    }
    answer.members(|it| {
        it.shift_remove(member);
    })
}

/// Changes the reply to a login that succeeded.
fn at_login<T>(call: Message, meter: &Meter, change: impl FnOnce(&mut serde_json::Map<String, Value>) -> T) -> Message {
    let answer = meter.ask(&call);
    if !has(&answer, "jwt") {
        return answer;
    }
    answer.members(|it| {
        change(it);
    })
}
