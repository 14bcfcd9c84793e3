//! The login's tokens: their form, and that none but those which the meter made are let in. It reads a token's payload,
//! as clients do, and knows nothing of how a meter signs.

use std::time::Duration;

use base64::prelude::*;
use serde_json::{Value, json};

use crate::catalogue::Area;
use crate::danger::Class;
use crate::evidence::Evidence;
use crate::http::Request;
use crate::lab::{Lab, Stop};
use crate::session::payload;
use crate::transcript::Exchange;
use crate::verdict::{Finding, Rule};

/// See the module.
pub const AREA: Area = Area {
    name: "auth/tokens",
    class: Class::Safe,
    touches: "shows tokens that were forged",
    params: &[],
    play,
    rules: RULES,
};

/// A client that logs in every 540 s must always have a good token.
const SHORTEST: f64 = 540.0;
/// A client refuses tokens that live longer.
const LONGEST: f64 = 86400.0;
/// How much later than its end a token is tried.
const GRACE: f64 = 5.0;

fn play(lab: &mut Lab<'_>) -> Result<(), Stop> {
    let user = lab.options.credentials.clone().ok_or_else(|| Stop::Skip("needs --user".into()))?;
    let token = lab.login_as(&user, "own")?;
    let show =
        |lab: &mut Lab<'_>, label: &str, token: &str| lab.send(label, &Request::get("/auth/unauthorized").token(token));
    show(lab, "good", &token)?;
    let field = |value: &str| Request::get("/auth/unauthorized").anonymous().header("Authorization", value);
    lab.send("none/empty", &field("Bearer "))?;
    lab.send("none/basic", &field("Basic b3duZXI6cGFzcw=="))?;
    lab.send("none/bare", &field(&token))?;
    for (name, forged) in forgeries(&token) {
        show(lab, &format!("forged/{name}"), &forged)?;
    }
    show(lab, "good-after", &token)?;
    let lifetime = payload(&token).and_then(|it| number(&it["ltm"])).unwrap_or(600.0);
    lab.sit_out(Duration::from_secs_f64(lifetime.clamp(0.0, LONGEST) + GRACE))?;
    show(lab, "ended", &token)?;
    Ok(())
}

/// Tokens that only a meter that does not look would take.
fn forgeries(token: &str) -> Vec<(&'static str, String)> {
    let parts: Vec<&str> = token.split('.').collect();
    let [head, body, signature] = parts.as_slice() else { return Vec::new() };
    let Some(mut claims) = payload(token) else { return Vec::new() };
    let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    claims["ltm"] = json!(LONGEST);
    let longer = encode(&claims);
    let none = encode(&json!({"alg": "none", "typ": "JWT"}));
    // A character in the middle carries whole bits of the signature, the last one may not.
    let middle = signature.len() / 2;
    let other = if signature.as_bytes().get(middle) == Some(&b'A') { 'B' } else { 'A' };
    let changed: String = signature.chars().enumerate().map(|(at, it)| if at == middle { other } else { it }).collect();
    let half = &signature[..middle];
    vec![
        ("payload", format!("{head}.{longer}.{signature}")),
        ("signature", format!("{head}.{body}.{changed}")),
        ("short-signature", format!("{head}.{body}.{half}")),
        ("no-signature", format!("{head}.{body}.")),
        ("two-segments", format!("{head}.{body}")),
        ("alg-none", format!("{none}.{body}.")),
        ("alg-none-signed", format!("{none}.{body}.{signature}")),
    ]
}

const RULES: &[Rule] = &[
    Rule::must(
        "auth/tokens/01",
        "WebAPI §1 JWT",
        "A token has three segments, the first two of them base64url JSON objects.",
        |ev| {
            let (login, token) = own(ev)?;
            let segments: Vec<_> = token.split('.').collect();
            let object = |text: &str| {
                let bytes = BASE64_URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()?;
                serde_json::from_slice::<Value>(&bytes).ok().filter(Value::is_object)
            };
            let fits = segments.len() == 3 && segments[..2].iter().all(|it| object(it).is_some());
            login.want(fits, "`jwt` must be three segments")?;
            Ok(Finding::Kept)
        },
    ),
    Rule::must(
        "auth/tokens/02",
        "WebAPI §1 JWT payload",
        "`ltm` is above 540, because a client renews its login that often, and at most 86400.",
        |ev| {
            let (login, claims) = claims(ev)?;
            let lifetime = number(&claims["ltm"]).ok_or_else(|| login.broken("`ltm` must be a number"))?;
            login.want(SHORTEST < lifetime && lifetime <= LONGEST, format!("`ltm` is {lifetime}"))?;
            Ok(Finding::Kept)
        },
    ),
    Rule::must(
        "auth/tokens/03",
        "WebAPI §1 JWT payload",
        "`beg` and `ltm` put a token's end into the client's future: both clocks must be right for that.",
        |ev| {
            let (login, claims) = claims(ev)?;
            let (begin, lifetime) = (number(&claims["beg"]), number(&claims["ltm"]));
            let Some((begin, lifetime)) = begin.zip(lifetime) else {
                return Err(login.broken("`beg` and `ltm` must be numbers"));
            };
            let ahead = begin + lifetime - login.wall;
            login.want(0.0 < ahead, format!("by the tester's clock it ended {:.0} s ago", -ahead))?;
            Ok(Finding::Kept)
        },
    ),
    Rule::must(
        "auth/tokens/04",
        "WebAPI §1 JWT payload",
        "Where a payload has `exp`, which one client reads, it lies in the client's future.",
        |ev| {
            let (login, claims) = claims(ev)?;
            let Some(end) = claims.get("exp") else { return Ok(Finding::Kept) };
            let end = number(end).ok_or_else(|| login.broken("`exp` must be a number"))?;
            login.want(login.wall < end, "`exp` is past by the tester's clock")?;
            Ok(Finding::Quirk("the payload has `exp`, which no known meter sends".into()))
        },
    ),
    Rule::must(
        "auth/tokens/05",
        "WebAPI /auth/unauthorized",
        "With a good token /auth/unauthorized answers 200 with `status`.",
        |ev| ev.get("good")?.done(),
    ),
    Rule::must(
        "auth/tokens/06",
        "WebAPI /auth, 401",
        "No bearer token at all is a 401, whatever else the field says.",
        |ev| {
            for it in ev.all("none/")? {
                it.unauthorized()?;
            }
            Ok(Finding::Kept)
        },
    ),
    Rule::must("auth/tokens/07", "WebAPI /auth, 401", "A token whose payload was changed is a 401.", |ev| {
        ev.get("forged/payload")?.unauthorized()
    }),
    Rule::must("auth/tokens/08", "WebAPI /auth, 401", "A token with another signature is a 401.", |ev| {
        ev.get("forged/signature")?.unauthorized()
    }),
    Rule::must("auth/tokens/09", "WebAPI /auth, 401", "A token that was cut short is a 401.", |ev| {
        for label in ["forged/short-signature", "forged/no-signature", "forged/two-segments"] {
            ev.get(label)?.unauthorized()?;
        }
        Ok(Finding::Kept)
    }),
    Rule::must(
        "auth/tokens/10",
        "WebAPI /auth, 401; RFC 8725 §3.1",
        "A token that says `alg`: `none` is a 401.",
        |ev| {
            ev.get("forged/alg-none")?.unauthorized()?;
            ev.get("forged/alg-none-signed")?.unauthorized()
        },
    ),
    Rule::must("auth/tokens/11", "WebAPI /auth", "Forged tokens do not end the one that they were made from.", |ev| {
        ev.get("good-after")?.done()
    }),
    Rule::must("auth/tokens/12", "WebAPI §1 token", "A token is a 401 after the end that its payload names.", |ev| {
        ev.get("ended")?.unauthorized()
    }),
];

fn own<'a>(ev: &Evidence<'a>) -> Result<(&'a Exchange, String), Finding> {
    let login = ev.get("own/answer")?;
    match login.success()?.get("jwt").and_then(Value::as_str) {
        Some(token) => Ok((login, token.to_string())),
        None => Err(login.broken("`jwt` must be a string")),
    }
}

fn claims<'a>(ev: &Evidence<'a>) -> Result<(&'a Exchange, Value), Finding> {
    let (login, token) = own(ev)?;
    let claims = payload(&token).ok_or_else(|| login.broken("the second segment must be a base64url JSON object"))?;
    Ok((login, claims))
}

/// A number, or a string of one: clients take both.
pub fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok()).filter(|it: &f64| it.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::testing::{broken, judge, kept, quirk};

    fn login(claims: Value) -> String {
        let encode = |it: Value| BASE64_URL_SAFE_NO_PAD.encode(it.to_string());
        json!({"jwt": format!("{}.{}.c2ln", encode(json!({"alg": "HS256"})), encode(claims))}).to_string()
    }

    #[track_caller]
    fn check(id: &str, claims: Value, expect: fn(Result<Finding, Finding>)) {
        expect(judge(id, &[("own/answer", 200, &login(claims))]));
    }

    #[test]
    fn lifetimes_and_ends_are_those_that_clients_can_live_with() {
        check("auth/tokens/02", json!({"beg": 1, "ltm": 600}), kept);
        check("auth/tokens/02", json!({"beg": 1, "ltm": "600"}), kept);
        check("auth/tokens/02", json!({"beg": 1, "ltm": 540}), broken);
        check("auth/tokens/02", json!({"beg": 1, "ltm": 90000}), broken);
        // The tester's clock stands at 1.7e9 in these transcripts.
        check("auth/tokens/03", json!({"beg": 1.7e9 - 10.0, "ltm": 600}), kept);
        check("auth/tokens/03", json!({"beg": 1.7e9 - 700.0, "ltm": 600}), broken);
        check("auth/tokens/04", json!({"beg": 1}), kept);
        check("auth/tokens/04", json!({"exp": 1.6e9}), broken);
        check("auth/tokens/04", json!({"exp": 1.8e9}), quirk);
    }

    #[test]
    fn a_token_has_three_segments() {
        check("auth/tokens/01", json!({}), kept);
        broken(judge("auth/tokens/01", &[("own/answer", 200, r#"{"jwt":"e30.e30"}"#)]));
        broken(judge("auth/tokens/01", &[("own/answer", 200, r#"{"jwt":"abc.def.ghi"}"#)]));
    }

    #[test]
    fn every_forgery_differs_from_the_token_and_is_owed_a_whole_401() {
        let token = json!(serde_json::from_str::<Value>(&login(json!({"ltm": 600}))).unwrap()["jwt"]);
        let token = token.as_str().unwrap();
        let all = forgeries(token);
        assert!(all.len() == 7 && all.iter().all(|it| it.1 != token));
        let good = r#"{"rlm":"r","nnc":"n","error":"e"}"#;
        kept(judge("auth/tokens/08", &[("forged/signature", 401, good)]));
        broken(judge("auth/tokens/08", &[("forged/signature", 401, r#"{"error":"e"}"#)]));
        broken(judge("auth/tokens/08", &[("forged/signature", 200, r#"{"status":"OK"}"#)]));
    }
}
