//! What a login body may look like: what known clients send must be taken, what proves nothing must not.

use serde_json::{Value, json};

use crate::catalogue::Area;
use crate::danger::Class;
use crate::http::Request;
use crate::lab::{Lab, Stop};
use crate::refusals;
use crate::transcript::Exchange;
use crate::verdict::{Finding, Rule};

/// See the module.
pub const AREA: Area = Area {
    name: "auth/form",
    class: Class::Safe,
    touches: "logs in with bodies of different form, once with the password itself, in the clear if the way there is",
    params: &[],
    play,
    rules: RULES,
};

/// Client nonces as clients make them, and one that is hardly one.
const CLIENT_NONCES: [(&str, &str); 5] = [
    ("one", "c"),
    ("sixteen", "0123456789abcdef"),
    ("dashes", "6b2062d5-084c-4a5f-ac55-dd08bf930fcc"),
    ("capitals", "6B2062D5084C7A5F6C55DD08BF930FCC"),
    (
        "long",
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\
         0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    ),
];

fn play(lab: &mut Lab<'_>) -> Result<(), Stop> {
    let user = lab.options.credentials.clone().ok_or_else(|| Stop::Skip("needs --user".into()))?;
    let attempt = |lab: &mut Lab<'_>, label: &str, client: &str, change: &dyn Fn(&mut Value)| {
        let (realm, nonce) = lab.challenge(label)?;
        let mut body = user.answer(&realm, &nonce, client);
        change(&mut body);
        lab.send(&format!("{label}/answer"), &Request::post("/auth/login", &body).anonymous())
    };
    for (name, client) in CLIENT_NONCES {
        attempt(lab, &format!("client-nonce/{name}"), client, &|_| {})?;
    }
    let client = lab.random(32);
    attempt(lab, "more-members", &client, &|it| {
        it["remember"] = json!(true);
        it["client"] = json!({"name": "lab", "versions": [1, 2]});
    })?;
    attempt(lab, "capital-hash", &client, &|it| {
        it["hash"] = json!(it["hash"].as_str().unwrap_or_default().to_uppercase());
    })?;
    attempt(lab, "empty-hash", &client, &|it| it["hash"] = json!(""))?;
    let (realm, _) = lab.challenge("password")?;
    let password = json!({"rlm": realm, "usr": user.user, "pwd": user.password});
    lab.send("password/answer", &Request::post("/auth/login", &password).anonymous())?;
    for (label, body) in [
        ("bad/array", r#"["rlm","usr","pwd"]"#),
        ("bad/null", "null"),
        ("bad/numbers", r#"{"rlm":1,"usr":2,"nnc":3,"cnnc":4,"hash":5}"#),
        ("bad/empty", ""),
    ] {
        lab.send(label, &Request::post_bytes("/auth/login", body).anonymous())?;
    }
    let sent: Vec<_> = lab.transcript.exchanges.iter().filter(|it| it.area == AREA.name).flat_map(proofs).collect();
    refusals::look_for_secrets(lab, AREA.name, &sent.iter().map(String::as_str).collect::<Vec<_>>());
    Ok(())
}

/// What a login body proves who sent it by.
fn proofs(login: &Exchange) -> Vec<String> {
    let sent = String::from_utf8_lossy(&login.sent).into_owned();
    let body = sent.split_once("\r\n\r\n").and_then(|it| serde_json::from_str::<Value>(it.1).ok()).unwrap_or_default();
    let text = |name: &str| body[name].as_str().filter(|it| 4 < it.len()).map(str::to_string);
    ["hash", "pwd"].into_iter().filter_map(text).collect()
}

const RULES: &[Rule] = &[
    Rule::must(
        "auth/form/01",
        "WebAPI §1 client nonce",
        "Client nonces of 1 to 128 characters, with dashes or capitals, are taken.",
        |ev| {
            for (name, _) in CLIENT_NONCES {
                let login = ev.get(&format!("client-nonce/{name}/answer"))?;
                let body = login.success()?;
                login.want(body.get("jwt").is_some_and(Value::is_string), "`jwt` must be a string")?;
            }
            Ok(Finding::Kept)
        },
    ),
    Rule::must("auth/form/02", "WebAPI §1 login", "Members that the login does not know do not stop it.", |ev| {
        ev.get("more-members/answer")?.success()?;
        Ok(Finding::Kept)
    }),
    Rule::choice(
        "auth/form/03",
        "documents silent",
        "A hash in capital letters lets in like one in small ones, or is refused like a wrong one.",
        |ev| {
            let login = ev.get("capital-hash/answer")?;
            if login.object()?.contains_key("jwt") {
                return Ok(Finding::Kept);
            }
            login.error()?;
            Ok(Finding::Quirk("a hash in capital letters is refused".into()))
        },
    ),
    Rule::must("auth/form/04", "WebAPI /auth/login", "An empty hash lets nobody in.", |ev| {
        ev.get("empty-hash/answer")?.denied()
    }),
    Rule::must(
        "auth/form/05",
        "WebAPI /auth/login, PasswordObject",
        "A password that comes over plain HTTP is refused, though it is the right one.",
        |ev| ev.get("password/answer")?.denied(),
    ),
    Rule::must(
        "auth/form/06",
        "WebAPI /auth/login, 400",
        "A login that is no object of strings is answered with 400 and `error`.",
        |ev| {
            for login in ev.all("bad/")? {
                login.status(400)?;
                login.error()?;
            }
            Ok(Finding::Kept)
        },
    ),
    Rule::must("auth/form/07", "WebAPI /auth/login", "No reply repeats a password or a digest that was sent.", |ev| {
        refusals::keeps_secrets(ev)
    }),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::testing::{broken, exchange, judge, judge_all, kept, transcript};

    #[test]
    fn a_password_on_plain_http_is_refused() {
        let answer = |status, body| judge("auth/form/05", &[("password/answer", status, body)]);
        kept(answer(200, r#"{"error":"Only over https."}"#));
        kept(answer(400, r#"{"error":"Bad Request"}"#));
        broken(answer(200, r#"{"jwt":"a.b.c"}"#));
    }

    #[test]
    fn secrets_are_looked_for_in_what_was_sent() {
        let sent = b"POST /api/auth/login HTTP/1.1\r\n\r\n{\"usr\":\"owner\",\"hash\":\"0123456789\"}";
        assert_eq!(proofs(&exchange("auth/form", "x", 0.0, sent, 200, "{}")), ["0123456789"]);
        let with = |echoed: Value| {
            let mut run = transcript("auth/form", [("x", 200, "{}")]);
            run.facts.insert("auth/form/echoed".into(), echoed);
            judge_all("auth/form/07", &run)
        };
        kept(with(json!([])));
        broken(with(json!(["x"])));
    }
}
