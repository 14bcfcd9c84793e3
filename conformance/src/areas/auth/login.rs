//! The digest login: answers right and wrong, one after the other and side by side. What a login body may look like is in
//! `form`, how long a challenge lives in `nonces`.

use serde_json::{Value, json};

use super::tokens::number;
use crate::catalogue::Area;
use crate::danger::Class;
use crate::evidence::Evidence;
use crate::http::Request;
use crate::lab::{Lab, Stop};
use crate::session::{Credentials, payload};
use crate::transcript::Exchange;
use crate::verdict::{Finding, Rule};

/// See the module.
pub const AREA: Area = Area {
    name: "auth/login",
    class: Class::Safe,
    touches: "logs in a dozen times with the right password, twice with a wrong one",
    params: &[],
    play,
    rules: RULES,
};

/// Logins in quick succession that clients were measured to make.
const QUICK: usize = 10;
/// Seconds within which clients give up on a challenge.
const CHALLENGE: f64 = 1.0;

fn play(lab: &mut Lab<'_>) -> Result<(), Stop> {
    let user = lab.options.credentials.clone().ok_or_else(|| Stop::Skip("needs --user".into()))?;
    lab.login_as(&user, "first")?;
    let mut wrong = user.clone();
    wrong.password.push('x');
    // A refused login ends the helper, not the area.
    let _ = lab.login_as(&wrong, "wrong-password");
    let _ = lab.login_as(&Credentials { user: format!("no-{}", lab.random(8)), ..wrong }, "no-user");
    lab.send("malformed", &Request::post_bytes("/auth/login", "{\"rlm\":").anonymous())?;
    lab.send("missing-members", &Request::post("/auth/login", &json!({"usr": user.user})).anonymous())?;
    let mut tokens = Vec::new();
    for number in 1..=QUICK {
        // One that is refused is for the rule to tell, and there is no use in trying the others.
        match lab.login_as(&user, &format!("quick/{number}")) {
            Ok(token) => tokens.push(token),
            Err(Stop::Skip(_)) => break,
            Err(stop) => return Err(stop),
        }
    }
    for (number, token) in tokens.iter().enumerate().filter(|it| [0, QUICK / 2, QUICK - 1].contains(&it.0)) {
        lab.send(&format!("alive/{}", number + 1), &Request::get("/auth/unauthorized").token(token))?;
    }
    Ok(())
}

const RULES: &[Rule] = &[
    Rule::must(
        "auth/login/01",
        "WebAPI /auth/unauthorized",
        "Without a token the challenge is a 401 with `rlm`, `nnc` and `error`.",
        |ev| ev.get("first/challenge")?.unauthorized(),
    ),
    Rule::must(
        "auth/login/02",
        "WebAPI /auth/login",
        "The right digest is answered with 200 and a string `jwt`.",
        |ev| {
            let login = ev.get("first/answer")?;
            let body = login.success()?;
            login.want(body.get("jwt").is_some_and(Value::is_string), "`jwt` must be a string")?;
            Ok(Finding::Kept)
        },
    ),
    Rule::must("auth/login/03", "WebAPI /auth/login", "A token's payload has `beg` and `ltm`, as numbers.", |ev| {
        let login = ev.get("first/answer")?;
        let body = login.success()?;
        let Some(payload) = body.get("jwt").and_then(Value::as_str).and_then(payload) else {
            return Err(login.broken("the second segment of `jwt` must be a base64url JSON object"));
        };
        let numbers = ["beg", "ltm"].iter().all(|it| number(&payload[*it]).is_some());
        login.want(numbers, format!("the payload is {payload}"))?;
        Ok(Finding::Kept)
    }),
    Rule::must(
        "auth/login/04",
        "WebAPI /auth/login",
        "A wrong password is answered with 200 and `error`, not with a token.",
        |ev| denied(ev, "wrong-password/answer"),
    ),
    Rule::must(
        "auth/login/05",
        "WebAPI /auth/login",
        "An unknown user is answered with 200 and `error`, not with a token.",
        |ev| denied(ev, "no-user/answer"),
    ),
    Rule::must("auth/login/06", "WebAPI /auth/login", "A malformed login is answered with 400 and `error`.", |ev| {
        for label in ["malformed", "missing-members"] {
            let login = ev.get(label)?;
            login.status(400)?;
            login.error()?;
        }
        Ok(Finding::Kept)
    }),
    Rule::may("auth/login/07", "WebAPI /auth/login, 400", "The `error` of a malformed login is `Bad Request`.", |ev| {
        match ev.get("malformed")?.error()?.as_str() {
            "Bad Request" => Ok(Finding::Kept),
            other => Ok(Finding::Quirk(format!("the text is {other:?}, which no client reads"))),
        }
    }),
    Rule::must(
        "auth/login/08",
        "WebAPI §1 digest, realm",
        "The realm is the same in every 401: stored passwords hang on it.",
        |ev| {
            let realm = |it: &Exchange| Some(it.object().ok()?.get("rlm")?.as_str()?.to_string());
            let first = realm(ev.get("first/challenge")?);
            for it in ev.everything().iter().filter(|it| it.reply().is_ok_and(|it| it.status == 401)) {
                // One without a realm is judged elsewhere.
                it.want(realm(it).is_none_or(|it| Some(it) == first), "the first realm was another one")?;
            }
            Ok(Finding::Kept)
        },
    ),
    Rule::should(
        "auth/login/09",
        "WebAPI §11 row 19",
        "Ten logins in quick succession are all let in, also after two that failed.",
        |ev| {
            let answers: Vec<_> = ev.all("quick/")?.into_iter().filter(|it| it.label.ends_with("/answer")).collect();
            for it in &answers {
                it.success()?;
            }
            match answers.len() {
                QUICK => Ok(Finding::Kept),
                count => Err(ev.get(&format!("quick/{}/challenge", count + 1))?.broken("this login got no further")),
            }
        },
    ),
    Rule::must(
        "auth/login/10",
        "WebAPI §1 several tokens",
        "A new login leaves the tokens of earlier ones good.",
        |ev| {
            let alive = ev.all("alive/")?;
            if alive.len() < 2 {
                return Err(Finding::NoEvidence("there were no two logins".into()));
            }
            for it in alive {
                it.done()?;
            }
            Ok(Finding::Kept)
        },
    ),
    Rule::choice("auth/login/11", "documents silent", "Every login gives a token of its own.", |ev| {
        let mut seen = Vec::new();
        for it in ev.all("quick/")?.into_iter().filter(|it| it.label.ends_with("/answer")) {
            let token = it.success()?.get("jwt").cloned();
            it.want(!seen.contains(&token), "another login was given the same token")?;
            seen.push(token);
        }
        Ok(Finding::Kept)
    }),
    Rule::must(
        "auth/login/12",
        "WebAPI §7 liveness",
        "The challenge is answered within a second, or clients take the meter for dead.",
        |ev| {
            let all = ev.all("quick/")?;
            let challenges: Vec<_> = all.into_iter().filter(|it| it.label.ends_with("/challenge")).collect();
            // One slow answer is the network's; that most are slow is the meter's.
            let mut sorted = challenges.clone();
            sorted.sort_by(|a, b| a.took.total_cmp(&b.took));
            let Some(median) = sorted.get(sorted.len() / 2) else {
                return Err(Finding::NoEvidence("there was no challenge".into()));
            };
            median.want(median.took < CHALLENGE, format!("it took {:.2} s, and half of them longer", median.took))?;
            Ok(Finding::Kept)
        },
    ),
    Rule::choice("auth/login/13", "documents silent", "The texts do not tell which users there are.", |ev| {
        let (known, unknown) = (ev.get("wrong-password/answer")?, ev.get("no-user/answer")?);
        unknown.want(unknown.error()? == known.error()?, "a wrong password was answered in other words")?;
        Ok(Finding::Kept)
    }),
];

/// 200 with `error`, and no token.
fn denied(ev: &Evidence<'_>, label: &str) -> Result<Finding, Finding> {
    let login = ev.get(label)?;
    login.status(200)?;
    login.denied()
}

#[cfg(test)]
mod tests {
    use base64::prelude::*;

    use crate::evidence::testing::{broken, judge, kept, quirk};

    const CHALLENGED: &str = r#"{"rlm":"r","nnc":"n","error":"Authentication required."}"#;

    #[test]
    fn numbers_of_a_token_may_be_texts_as_clients_read_them() {
        let login = |payload: &str| {
            let token = format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(payload));
            judge("auth/login/03", &[("first/answer", 200, &format!("{{\"jwt\":\"{token}\"}}"))])
        };
        kept(login(r#"{"beg":1795369200,"ltm":600}"#));
        kept(login(r#"{"beg":"1795369200","ltm":"600"}"#));
        broken(login(r#"{"beg":"now","ltm":600}"#));
        broken(login(r#"{"beg":1795369200}"#));
    }

    #[test]
    fn a_refused_login_says_so_with_200_and_without_a_token() {
        let answer = |status, body| judge("auth/login/04", &[("wrong-password/answer", status, body)]);
        kept(answer(200, r#"{"error":"Wrong."}"#));
        broken(answer(401, CHALLENGED));
        broken(answer(200, r#"{"error":"Wrong.","jwt":"a.b.c"}"#));
        broken(answer(200, r#"{"jwt":"a.b.c"}"#));
    }

    #[test]
    fn users_cannot_be_told_by_the_text() {
        let unknown = |body| {
            judge(
                "auth/login/13",
                &[("wrong-password/answer", 200, r#"{"error":"No."}"#), ("no-user/answer", 200, body)],
            )
        };
        kept(unknown(r#"{"error":"No."}"#));
        broken(unknown(r#"{"error":"No such user."}"#));
        broken(judge("auth/login/05", &[("no-user/answer", 401, CHALLENGED)]));
    }

    #[test]
    fn realms_texts_and_older_tokens() {
        let second = |body| judge("auth/login/08", &[("first/challenge", 401, CHALLENGED), ("x", 401, body)]);
        kept(second(CHALLENGED));
        broken(second(r#"{"rlm":"R","nnc":"n","error":"x"}"#));
        kept(judge("auth/login/07", &[("malformed", 400, r#"{"error":"Bad Request"}"#)]));
        quirk(judge("auth/login/07", &[("malformed", 400, r#"{"error":"bad"}"#)]));
        let good = ("alive/10", 200, r#"{"status":"OK"}"#);
        kept(judge("auth/login/10", &[("alive/1", 200, r#"{"status":"OK"}"#), good]));
        broken(judge("auth/login/10", &[("alive/1", 401, CHALLENGED), good]));
    }
}
