//! The digest login: challenges, answers right and wrong, what clients were measured to need.

use serde_json::{Value, json};

use crate::catalogue::Area;
use crate::danger::Class;
use crate::http::Request;
use crate::lab::{Lab, Stop};
use crate::session::payload;
use crate::verdict::{Finding, Rule};

/// See the module.
pub const AREA: Area = Area {
    name: "auth/login",
    class: Class::Safe,
    touches: "logs in with right and wrong passwords",
    params: &[],
    play,
    rules: RULES,
};

fn play(lab: &mut Lab<'_>) -> Result<(), Stop> {
    let user = lab.options.credentials.clone().ok_or_else(|| Stop::Skip("needs --user".into()))?;
    lab.login_as(&user, "first")?;
    let mut wrong = user.clone();
    wrong.password.push('x');
    // A refused login ends the helper, not the area.
    let _ = lab.login_as(&wrong, "wrong-password");
    let _ = lab.login_as(&crate::session::Credentials { user: format!("no-{}", lab.random(8)), ..wrong }, "no-user");
    lab.send("malformed", &Request::post_bytes("/auth/login", "{\"rlm\":").anonymous())?;
    lab.send("missing-members", &Request::post("/auth/login", &json!({"usr": user.user})).anonymous())?;
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
    Rule::must("auth/login/03", "WebAPI /auth/login", "A token's payload carries numbers `beg` and `ltm`.", |ev| {
        let login = ev.get("first/answer")?;
        let body = login.success()?;
        let Some(payload) = body.get("jwt").and_then(Value::as_str).and_then(payload) else {
            return Err(login.broken("the second segment of `jwt` must be a base64url JSON object"));
        };
        login.want(payload["beg"].is_number() && payload["ltm"].is_number(), format!("the payload is {payload}"))?;
        Ok(Finding::Kept)
    }),
    Rule::must(
        "auth/login/04",
        "WebAPI /auth/login",
        "A wrong password is answered with 200 and `error`, not with a token.",
        |ev| {
            let login = ev.get("wrong-password/answer")?;
            login.status(200)?;
            login.error()?;
            login.want(!login.object()?.contains_key("jwt"), "no token is owed")?;
            Ok(Finding::Kept)
        },
    ),
    Rule::must("auth/login/05", "WebAPI /auth/login", "An unknown user is answered like a wrong password.", |ev| {
        let (known, unknown) = (ev.get("wrong-password/answer")?, ev.get("no-user/answer")?);
        unknown.want(unknown.error()? == known.error()?, "the texts must not tell which users there are")?;
        Ok(Finding::Kept)
    }),
    Rule::must("auth/login/06", "WebAPI /auth/login", "A malformed login is answered with 400 and `error`.", |ev| {
        for label in ["malformed", "missing-members"] {
            let login = ev.get(label)?;
            login.status(400)?;
            login.error()?;
        }
        Ok(Finding::Kept)
    }),
];
