//! Tokens, rights and logouts that are wrong.

use base64::prelude::*;
use serde_json::{Value, json};

use super::{Mutant, anonymous, at, bearer, fine, has, obey, replace};
use crate::message::Message;
use crate::proxy::Meter;

pub static MUTANTS: &[Mutant] = &[
    Mutant::new("auth/token-without-signature", &["auth/tokens/01"], |call, meter| {
        disguised(call, meter, |it| it.rsplit_once('.').map_or(it, |it| it.0).to_string())
    }),
    Mutant::new("auth/tokens-of-five-minutes", &["auth/tokens/02"], |call, meter| {
        with_payload(call, meter, |it| it["ltm"] = json!(300))
    }),
    Mutant::new("auth/tokens-of-a-week", &["auth/tokens/02"], |call, meter| {
        with_payload(call, meter, |it| it["ltm"] = json!(7 * 86400))
    }),
    Mutant::new("auth/token-begins-in-1970", &["auth/tokens/03"], |call, meter| {
        with_payload(call, meter, |it| it["beg"] = json!(0))
    }),
    Mutant::new("auth/token-has-expired-for-one-client", &["auth/tokens/04"], |call, meter| {
        with_payload(call, meter, |it| it["exp"] = json!(600))
    }),
    Mutant::new("auth/unauthorized-whatever-comes", &["auth/tokens/05"], |call, meter| match call.path() {
        "/auth/unauthorized" => meter.ask(&call.with_field("Authorization", None)),
        _ => meter.ask(&call),
    }),
    Mutant::new("auth/any-authorization-does", &["auth/tokens/06"], |call, meter| {
        obey(call, meter, |it| !anonymous(it) && bearer(it).is_empty())
    }),
    Mutant::new("auth/payload-is-not-signed", &["auth/tokens/07"], |call, meter| {
        forged(call, meter, |given, real| parts(given).2 == parts(real).2)
    }),
    Mutant::new("auth/signature-is-not-checked", &["auth/tokens/08", "auth/tokens/07"], |call, meter| {
        forged(call, meter, |given, _| parts(given).2.len() > 10)
    }),
    Mutant::new("auth/beginning-of-a-token-does", &["auth/tokens/09"], |call, meter| {
        forged(call, meter, |given, real| 10 < given.len() && real.starts_with(given))
    }),
    Mutant::new("auth/alg-none-does", &["auth/tokens/10"], |call, meter| {
        let none = |given: &str| {
            let head = BASE64_URL_SAFE_NO_PAD.decode(parts(given).0).unwrap_or_default();
            String::from_utf8_lossy(&head).to_lowercase().contains("\"none\"")
        };
        forged(call, meter, |given, _| none(given))
    }),
    Mutant::new("auth/forgeries-end-the-original", &["auth/tokens/11"], |call, meter| {
        if meter.recall("ended") == true {
            return meter.ask(&call.with_field("Authorization", None));
        }
        let answer = meter.ask(&call);
        if answer.status() == 401 && !bearer(&call).is_empty() {
            meter.keep("ended", true);
        }
        answer
    }),
    Mutant::new("auth/rights-in-a-result", &["auth/rights/01"], |call, meter| {
        at(call, meter, "/auth/rights", |it| *it = json!({"result": it.clone()}))
    }),
    Mutant::new("auth/rights-as-text", &["auth/rights/01"], |call, meter| {
        at(call, meter, "/auth/rights", |it| it["rights"] = json!("save,ctrl"))
    }),
    Mutant::new("auth/a-third-right", &["auth/rights/02"], |call, meter| {
        at(call, meter, "/auth/rights", |it| it["rights"] = json!(["save", "ctrl", "root"]))
    }),
    Mutant::new("auth/rights-without-save", &["auth/rights/03"], |call, meter| {
        at(call, meter, "/auth/rights", |it| it["rights"] = json!(["ctrl"]))
    }),
    Mutant::new("auth/rights-of-somebody-else", &["auth/rights/04"], |call, meter| {
        at(call, meter, "/auth/rights", |it| it["usr"] = json!("admin"))
    }),
    Mutant::new("auth/rights-without-login", &["auth/rights/05"], |call, meter| {
        obey(call, meter, |it| anonymous(it) && it.path() == "/auth/rights")
    }),
    Mutant::new("auth/everybody-may-save", &["auth/rights/06"], |call, meter| {
        at(call, meter, "/auth/rights", |it| it["rights"] = json!(["save"]))
    }),
    Mutant::new("auth/commands-for-everybody", &["auth/rights/07"], |call, meter| {
        obey(call, meter, |it| it.path().starts_with("/cmd/") && !bearer(it).is_empty())
    }),
    Mutant::new("auth/missing-right-is-a-missing-login", &["auth/rights/08"], |call, meter| {
        replace(
            &call,
            meter,
            |it| it.status() == 401,
            |it| {
                it.members(|it| {
                    it.insert("error".into(), json!("Authentication required."));
                })
            },
        )
    }),
    Mutant::new("auth/refusal-ends-the-login", &["auth/rights/09"], |call, meter| {
        if meter.recall(bearer(&call)) == true {
            return meter.ask(&call.with_field("Authorization", None));
        }
        let answer = meter.ask(&call);
        if call.path().starts_with("/cmd/") && answer.status() == 401 {
            meter.keep(bearer(&call), !bearer(&call).is_empty());
        }
        answer
    }),
    Mutant::new("auth/no-logout-by-get", &["auth/logout/01"], |call, meter| match call.path() {
        "/auth/logout" => Message::answer(405, &json!({"error": "POST only"})),
        _ => meter.ask(&call),
    }),
    Mutant::new("auth/forgets-revocation", &["auth/logout/02"], |call, meter| match call.path() {
        "/auth/logout" if !bearer(&call).is_empty() => fine(),
        _ => meter.ask(&call),
    }),
    Mutant::new("auth/logout-leaves-commands", &["auth/logout/03"], |call, meter| {
        if call.is("GET", "/auth/logout") {
            meter.keep(bearer(&call), true);
        }
        obey(call, meter, |it| !it.path().starts_with("/auth/") && meter.recall(bearer(it)) == true)
    }),
    Mutant::new("auth/logout-ends-every-login", &["auth/logout/04"], |call, meter| {
        if meter.recall("ended") == true {
            return meter.ask(&call.with_field("Authorization", None));
        }
        let answer = meter.ask(&call);
        if call.is("GET", "/auth/logout") && answer.status() == 200 {
            meter.keep("ended", true);
        }
        answer
    }),
    Mutant::new("auth/logout-for-nobody", &["auth/logout/05"], |call, meter| {
        replace(&call, meter, |it| call.is("GET", "/auth/logout") && it.status() != 200, |_| fine())
    }),
];

/// The three segments of a token.
fn parts(token: &str) -> (&str, &str, &str) {
    let mut parts = token.split('.');
    let mut next = || parts.next().unwrap_or_default();
    (next(), next(), next())
}

/// Obeys a token that the meter refuses, if `good` says so of it and of the last real one.
fn forged(call: Message, meter: &Meter, good: impl FnOnce(&str, &str) -> bool) -> Message {
    let answer = meter.ask(&call);
    let given = bearer(&call);
    if answer.status() == 200 && !given.is_empty() {
        meter.keep("real", given);
    }
    let real = meter.recall("real");
    let trusted = answer.status() == 401 && !given.is_empty() && good(given, real.as_str().unwrap_or_default());
    if trusted { meter.ask(&meter.as_owner(&call)) } else { answer }
}

/// Gives tokens that look otherwise than the meter's own and mean the same.
fn disguised(call: Message, meter: &Meter, look: impl FnOnce(&str) -> String) -> Message {
    let real = meter.recall(bearer(&call));
    let call = match real.as_str() {
        Some(real) => call.with_field("Authorization", Some(&format!("Bearer {real}"))),
        None => call,
    };
    replace(
        &call,
        meter,
        |it| has(it, "jwt"),
        |it| {
            it.members(|it| {
                let real = it["jwt"].as_str().unwrap_or_default().to_string();
                let token = look(&real);
                meter.keep(&token, real);
                it.insert("jwt".into(), json!(token));
            })
        },
    )
}

fn with_payload(call: Message, meter: &Meter, change: impl FnOnce(&mut Value)) -> Message {
    disguised(call, meter, |real| {
        let (head, payload, signature) = parts(real);
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap_or_default();
        let mut payload: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        change(&mut payload);
        format!("{head}.{}.{signature}", BASE64_URL_SAFE_NO_PAD.encode(payload.to_string()))
    })
}
