//! Challenges: that each is new, for how long one can be answered, and what is said when it is too late. Played last of
//! the harmless areas, since it waits more than a minute.

use serde_json::{Value, json};

use crate::catalogue::{Area, Param};
use crate::danger::Class;
use crate::http::Request;
use crate::lab::{Lab, Stop};
use crate::verdict::{Finding, Rule};

/// See the module.
pub const AREA: Area = Area {
    name: "auth/nonces",
    class: Class::Safe,
    touches: "answers challenges late, twice and wrongly; waits more than a minute",
    params: &[Param {
        name: "auth.nonce-lifetime",
        meaning: "Seconds that a challenge lives on this meter, where it is not about 60 as in the documents.",
    }],
    play,
    rules: RULES,
};

fn play(lab: &mut Lab<'_>) -> Result<(), Stop> {
    let user = lab.options.credentials.clone().ok_or_else(|| Stop::Skip("needs --user".into()))?;
    let lifetime = lab.seconds("auth.nonce-lifetime", 60.0)?;
    let late = lab.challenge("late")?;
    let expired = lab.challenge("expired")?;
    let answer = |lab: &mut Lab<'_>, label: &str, body: &Value| {
        lab.send(&format!("{label}/answer"), &Request::post("/auth/login", body).anonymous())
    };

    let (realm, nonce) = lab.challenge("twice")?;
    let body = user.answer(&realm, &nonce, &lab.random(32));
    answer(lab, "twice/first", &body)?;
    answer(lab, "twice/second", &body)?;

    let made_up = user.answer(&realm, &lab.random(64), &lab.random(32));
    answer(lab, "made-up", &made_up)?;

    // The proof is that of one challenge, the nonce that of another.
    let (_, first) = lab.challenge("swapped/one")?;
    let (_, second) = lab.challenge("swapped/two")?;
    let mut swapped = user.answer(&realm, &first, &lab.random(32));
    swapped["nnc"] = json!(second);
    answer(lab, "swapped", &swapped)?;

    // "About a minute" is at least three quarters of one, and one and a quarter are too late.
    lab.sit_out(lifetime.mul_f64(0.75))?;
    let body = user.answer(&late.0, &late.1, &lab.random(32));
    answer(lab, "late", &body)?;
    lab.sit_out(lifetime.mul_f64(0.5))?;
    let body = user.answer(&expired.0, &expired.1, &lab.random(32));
    answer(lab, "expired", &body)?;
    Ok(())
}

const RULES: &[Rule] = &[
    Rule::choice("auth/nonces/01", "documents silent", "No two challenges have the same nonce.", |ev| {
        let mut seen = Vec::new();
        for it in ev.everything().iter().filter(|it| it.label.ends_with("/challenge")) {
            let Some(nonce) = it.object().ok().and_then(|it| Some(it.get("nnc")?.as_str()?.to_string())) else {
                continue;
            };
            it.want(!seen.contains(&nonce), "an earlier challenge had the same nonce")?;
            seen.push(nonce);
        }
        if seen.len() < 2 { Err(Finding::NoEvidence("there were no two challenges".into())) } else { Ok(Finding::Kept) }
    }),
    Rule::choice("auth/nonces/02", "documents silent", "A nonce that a login has used lets nobody in again.", |ev| {
        ev.get("twice/first/answer")?.success()?;
        ev.get("twice/second/answer")?.denied()
    }),
    Rule::must(
        "auth/nonces/03",
        "WebAPI /auth/login, nnc",
        "A nonce that the meter never gave lets nobody in.",
        |ev| ev.get("made-up/answer")?.denied(),
    ),
    Rule::must("auth/nonces/04", "WebAPI /auth/login, hash", "A hash over another nonce lets nobody in.", |ev| {
        ev.get("swapped/answer")?.denied()
    }),
    Rule::must(
        "auth/nonces/05",
        "WebAPI /auth/login, nnc",
        "A challenge can be answered for about a minute: after three quarters of it a login still succeeds.",
        |ev| {
            ev.get("late/answer")?.success()?;
            Ok(Finding::Kept)
        },
    ),
    Rule::must(
        "auth/nonces/06",
        "WebAPI §1 magic text",
        "An expired nonce is answered with 200 and exactly `Nonce expired.`, full stop included.",
        |ev| {
            let login = ev.get("expired/answer")?;
            login.status(200)?;
            login.want(login.error()? == "Nonce expired.", "clients compare the text, with its full stop")?;
            ev.get("expired/answer")?.denied()
        },
    ),
];

#[cfg(test)]
mod tests {
    use crate::evidence::testing::{broken, judge, kept, untested};

    #[test]
    fn the_text_is_compared_to_the_letter() {
        let answer = |status, body| judge("auth/nonces/06", &[("expired/answer", status, body)]);
        kept(answer(200, r#"{"error":"Nonce expired."}"#));
        broken(answer(200, r#"{"error":"Nonce expired"}"#));
        broken(answer(400, r#"{"error":"Nonce expired."}"#));
        broken(answer(200, r#"{"jwt":"a.b.c"}"#));
        untested(judge("auth/nonces/06", &[]));
    }

    #[test]
    fn nonces_differ() {
        let pair = |one, two| judge("auth/nonces/01", &[("a/challenge", 401, one), ("b/challenge", 401, two)]);
        kept(pair(r#"{"nnc":"1"}"#, r#"{"nnc":"2"}"#));
        broken(pair(r#"{"nnc":"1"}"#, r#"{"nnc":"1"}"#));
        untested(pair(r#"{"nnc":"1"}"#, "{}"));
    }
}
