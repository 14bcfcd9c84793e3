//! Logging out: which token it ends, and that it stays ended.

use crate::catalogue::Area;
use crate::danger::Class;
use crate::http::Request;
use crate::lab::{Lab, Stop};
use crate::verdict::{Finding, Rule};

/// See the module.
pub const AREA: Area = Area {
    name: "auth/logout",
    class: Class::Safe,
    touches: "logs in twice and out once",
    params: &[],
    play,
    rules: RULES,
};

fn play(lab: &mut Lab<'_>) -> Result<(), Stop> {
    let user = lab.options.credentials.clone().ok_or_else(|| Stop::Skip("needs --user".into()))?;
    let ended = lab.login_as(&user, "ended")?;
    let other = lab.login_as(&user, "other")?;
    let get =
        |lab: &mut Lab<'_>, label: &str, path: &str, token: &str| lab.send(label, &Request::get(path).token(token));
    get(lab, "before", "/auth/unauthorized", &ended)?;
    get(lab, "logout", "/auth/logout", &ended)?;
    get(lab, "after/unauthorized", "/auth/unauthorized", &ended)?;
    get(lab, "after/rights", "/auth/rights", &ended)?;
    get(lab, "after/time", "/sys/time", &ended)?;
    let cancel = Request::post_bytes("/cmd/cancel", "{}").token(&ended);
    lab.send("after/cancel", &cancel)?;
    get(lab, "again", "/auth/logout", &ended)?;
    lab.send("anonymous", &Request::get("/auth/logout").anonymous())?;
    get(lab, "other", "/auth/unauthorized", &other)?;
    // What was logged in for this area is not left behind.
    get(lab, "tidy", "/auth/logout", &other)?;
    Ok(())
}

const RULES: &[Rule] = &[
    Rule::must(
        "auth/logout/01",
        "WebAPI /auth/logout",
        "GET /auth/logout answers a good token with 200 and `status`.",
        |ev| ev.get("logout")?.done(),
    ),
    Rule::must("auth/logout/02", "WebAPI /auth/logout", "The token that logged out is a 401 from then on.", |ev| {
        ev.get("before")?.done()?;
        ev.get("after/unauthorized")?.unauthorized()
    }),
    Rule::must("auth/logout/03", "WebAPI /auth/logout", "It is one on every resource, commands included.", |ev| {
        ev.get("before")?.done()?;
        for it in ev.all("after/")? {
            it.unauthorized()?;
        }
        Ok(Finding::Kept)
    }),
    Rule::must(
        "auth/logout/04",
        "WebAPI §1 logout",
        "Logging out ends that token only; another login of the user goes on.",
        |ev| {
            ev.get("logout")?.done()?;
            ev.get("other")?.done()
        },
    ),
    Rule::must(
        "auth/logout/05",
        "WebAPI /auth/logout, 400",
        "Logging out with a token that is ended already, or with none, is a 400 or 401 with `error`.",
        |ev| {
            for label in ["again", "anonymous"] {
                let it = ev.get(label)?;
                match it.reply()?.status {
                    401 => it.unauthorized()?,
                    _ => it.status(400).and_then(|_| it.error()).map(|_| Finding::Kept)?,
                };
            }
            Ok(Finding::Kept)
        },
    ),
];

#[cfg(test)]
mod tests {
    use crate::evidence::testing::{broken, judge, kept};

    const GONE: &str = r#"{"rlm":"r","nnc":"n","error":"e"}"#;
    const GOOD: &str = r#"{"status":"OK"}"#;

    #[test]
    fn an_ended_token_is_ended_everywhere() {
        let after = |unauthorized, cancel| {
            judge(
                "auth/logout/03",
                &[("before", 200, GOOD), ("after/x", 401, unauthorized), ("after/cancel", 401, cancel)],
            )
        };
        kept(after(GONE, GONE));
        broken(after(GONE, "{}"));
        broken(judge("auth/logout/02", &[("before", 200, GOOD), ("after/unauthorized", 200, GOOD)]));
    }

    #[test]
    fn logging_out_without_a_login_is_an_error() {
        let twice = |status, body| judge("auth/logout/05", &[("again", status, body), ("anonymous", 401, GONE)]);
        kept(twice(401, GONE));
        kept(twice(400, r#"{"error":"Bad Request"}"#));
        broken(twice(200, GOOD));
        broken(twice(401, r#"{"error":"e"}"#));
    }
}
