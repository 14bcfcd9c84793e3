//! Challenges, logins and nonces that are wrong.

use serde_json::{Map, Value, json};

use super::{Mutant, failed, has, replace};
use crate::message::Message;
use crate::proxy::Meter;

pub static MUTANTS: &[Mutant] = &[
    Mutant::new("login/challenge-without-nonce", &["auth/login/01"], |call, meter| without(call, meter, "nnc")),
    Mutant::new("login/challenge-without-realm", &["auth/login/01"], |call, meter| without(call, meter, "rlm")),
    Mutant::new("login/challenge-without-error", &["auth/login/01"], |call, meter| without(call, meter, "error")),
    Mutant::new("login/challenge-with-403", &["auth/login/01"], |call, meter| {
        replace(&call, meter, |it| it.status() == 401, |it| it.with_status(403))
    }),
    Mutant::new("login/answers-201", &["auth/login/02"], |call, meter| {
        replace(&call, meter, |it| has(it, "jwt"), |it| it.with_status(201))
    }),
    Mutant::new("login/null-error-beside-the-token", &["auth/login/02"], |call, meter| {
        at_login(call, meter, |it| it.insert("error".into(), Value::Null))
    }),
    Mutant::new("login/token-without-lifetime", &["auth/login/03"], |call, meter| {
        // The payload is {"beg":0}.
        at_login(call, meter, |it| it.insert("jwt".into(), json!("e30.eyJiZWciOjB9.c2ln")))
    }),
    Mutant::new("login/wrong-password-with-401", &["auth/login/04"], |call, meter| {
        replace(&call, meter, |it| refused(&call, it), |it| it.with_status(401))
    }),
    Mutant::new("login/any-password-does", &["auth/login/04", "auth/form/04", "auth/nonces/03"], |call, meter| {
        replace(&call, meter, |it| refused(&call, it), |_| token(meter))
    }),
    Mutant::new("login/unknown-users-are-told", &["auth/login/13"], |call, meter| {
        replace(&call, meter, |it| refused(&call, it) && call.text().contains("\"no-"), |_| failed("No such user."))
    }),
    Mutant::new("login/malformed-with-200", &["auth/login/06", "auth/form/06"], |call, meter| {
        replace(&call, meter, |it| it.status() == 400, |it| it.with_status(200))
    }),
    Mutant::new("login/realm-of-the-hour", &["auth/login/08"], |call, meter| {
        replace(
            &call,
            meter,
            |it| it.status() == 401 && 2 < meter.count("challenges"),
            |it| {
                it.members(|it| {
                    it.insert("rlm".into(), json!("Another realm"));
                })
            },
        )
    }),
    Mutant::new("login/locks-out-after-five", &["auth/login/09"], |call, meter| {
        if call.is("POST", "/auth/login") && 5 < meter.count("logins") {
            return failed("Too many logins; wait a minute.");
        }
        meter.ask(&call)
    }),
    Mutant::new("login/ends-the-login-before", &["auth/login/10"], |call, meter| {
        let given = super::bearer(&call);
        if !given.is_empty() && meter.recall("last") != given {
            return meter.ask(&call.with_field("Authorization", None));
        }
        let answer = meter.ask(&call);
        if let Some(token) = answer.json().and_then(|it| it["jwt"].as_str().map(str::to_string)) {
            meter.keep("last", token);
        }
        answer
    }),
    Mutant::new("login/gives-one-token-to-all", &["auth/login/11"], |call, meter| {
        at_login(call, meter, |it| match meter.recall("first") {
            Value::Null => meter.keep("first", it["jwt"].clone()),
            first => it["jwt"] = first,
        })
    }),
    Mutant::new("login/takes-its-time-with-challenges", &["auth/login/12"], |call, meter| {
        if call.is("GET", "/auth/unauthorized") && (4..12).contains(&meter.count("challenges")) {
            std::thread::sleep(std::time::Duration::from_millis(1300));
        }
        meter.ask(&call)
    }),
    Mutant::new("login/short-client-nonces-only", &["auth/form/01"], |call, meter| {
        let long = |it: &Value| it["cnnc"].as_str().is_some_and(|it| 64 < it.len());
        if call.is("POST", "/auth/login") && call.json().is_some_and(|it| long(&it)) {
            return failed("cnnc is too long.");
        }
        meter.ask(&call)
    }),
    Mutant::new("login/refuses-members-that-it-does-not-know", &["auth/form/02"], |call, meter| {
        const KNOWN: [&str; 6] = ["rlm", "usr", "nnc", "cnnc", "hash", "pwd"];
        let strange = |it: &Value| it.as_object().is_some_and(|it| it.keys().any(|it| !KNOWN.contains(&it.as_str())));
        if call.is("POST", "/auth/login") && call.json().is_some_and(|it| strange(&it)) {
            return Message::answer(400, &json!({"error": "Bad Request"}));
        }
        meter.ask(&call)
    }),
    Mutant::new("login/passwords-over-plain-http", &["auth/form/05"], |call, meter| {
        if call.is("POST", "/auth/login") && call.text().contains("\"pwd\"") { token(meter) } else { meter.ask(&call) }
    }),
    Mutant::new("login/repeats-the-digest", &["auth/form/07"], |call, meter| {
        replace(
            &call,
            meter,
            |it| refused(&call, it),
            |it| {
                let sent = call.json().unwrap_or_default();
                let secret = [&sent["hash"], &sent["pwd"]].map(|it| it.as_str().unwrap_or_default()).concat();
                it.members(|it| {
                    it.insert("error".into(), json!(format!("{secret} is wrong.")));
                })
            },
        )
    }),
    Mutant::new("login/one-nonce-for-all", &["auth/nonces/01"], |call, meter| {
        replace(
            &call,
            meter,
            |it| it.status() == 401,
            |it| {
                it.members(|it| match meter.recall("nonce") {
                    Value::Null => meter.keep("nonce", it["nnc"].clone()),
                    nonce => it["nnc"] = nonce,
                })
            },
        )
    }),
    Mutant::new("login/accepts-a-used-nonce", &["auth/nonces/02"], |call, meter| {
        let answer = meter.ask(&call);
        let name = call.text();
        if has(&answer, "jwt") {
            meter.keep(&name, true);
        }
        if refused(&call, &answer) && meter.recall(&name) == true { token(meter) } else { answer }
    }),
    Mutant::new("login/accepts-nonces-of-others", &["auth/nonces/03"], |call, meter| {
        replace(&call, meter, |it| refused(&call, it), |_| token(meter))
    }),
    Mutant::new("login/does-not-hash-the-nonce", &["auth/nonces/04"], |call, meter| {
        // A nonce that it gave is enough, whatever the hash.
        let answer = meter.ask(&call);
        if let (401, Some(body)) = (answer.status(), answer.json()) {
            meter.keep(body["nnc"].as_str().unwrap_or_default(), true);
        }
        let nonce = call.json().unwrap_or_default()["nnc"].as_str().unwrap_or_default().to_string();
        if refused(&call, &answer) && meter.recall(&nonce) == true { token(meter) } else { answer }
    }),
    Mutant::new("login/forgets-nonces-at-once", &["auth/nonces/05"], |call, meter| {
        replace(&call, meter, |it| has(it, "jwt") && 0 < meter.count("logins"), |_| failed("Nonce expired."))
    })
    .slow(),
    Mutant::new("login/nonces-last-for-ever", &["auth/nonces/06"], |call, meter| {
        replace(&call, meter, |it| it.text().contains("Nonce expired."), |_| token(meter))
    })
    .slow(),
    Mutant::new("login/expired-in-other-words", &["auth/nonces/06"], |call, meter| {
        replace(&call, meter, |it| it.text().contains("Nonce expired."), |_| failed("Nonce expired"))
    })
    .slow(),
];

/// Whether a login was refused in the usual way.
fn refused(call: &Message, answer: &Message) -> bool {
    call.is("POST", "/auth/login") && answer.status() == 200 && has(answer, "error")
}

/// A token of the owner's, for whoever asks.
fn token(meter: &Meter) -> Message {
    Message::answer(200, &json!({"jwt": meter.owners_token()}))
}

/// Leaves a member out of every 401.
fn without(call: Message, meter: &Meter, member: &str) -> Message {
    replace(
        &call,
        meter,
        |it| it.status() == 401,
        |it| {
            it.members(|it| {
                it.remove(member);
            })
        },
    )
}

/// Changes the reply to a login that succeeded.
fn at_login<T>(call: Message, meter: &Meter, change: impl FnOnce(&mut Map<String, Value>) -> T) -> Message {
    replace(
        &call,
        meter,
        |it| has(it, "jwt"),
        |it| {
            it.members(|it| {
                change(it);
            })
        },
    )
}
