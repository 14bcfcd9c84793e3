//! Rights: what a user's list says, and that commands go by it. A user without the right to save, or one who has it only
//! at home, is the tester's to name.

use serde_json::{Value, json};

use crate::catalogue::{Area, Param};
use crate::danger::Class;
use crate::evidence::refusal::no_right;
use crate::http::Request;
use crate::lab::{Lab, Stop};
use crate::refusals::{LIMITED_PASSWORD, LIMITED_USER};
use crate::session::Credentials;
use crate::transcript::Exchange;
use crate::verdict::{Finding, Rule};

/// See the module.
pub const AREA: Area = Area {
    name: "auth/rights",
    class: Class::Safe,
    touches: "asks for rights; cancels nothing and clears the web cache as a user who may not",
    params: &[
        LIMITED_USER,
        LIMITED_PASSWORD,
        Param { name: "auth.local-user", meaning: "A user who may save from the meter's own subnet only." },
        Param { name: "auth.local-password-file", meaning: "That user's password, the file's first line." },
        Param { name: "auth.local-here", meaning: "yes if the suite runs in the meter's own subnet, else no." },
    ],
    play,
    rules: RULES,
};

fn play(lab: &mut Lab<'_>) -> Result<(), Stop> {
    lab.send("anonymous", &Request::get("/auth/rights").anonymous())?;
    if let Some(user) = &lab.options.credentials {
        let user = user.user.clone();
        lab.fact("user", user);
    }
    lab.get("full", "/auth/rights")?;

    if lab.param("auth.local-user").is_some() {
        let local = named(lab, "auth.local-user", "auth.local-password-file")?;
        let here = lab.need("auth.local-here")?;
        lab.fact("local-here", here == "yes");
        let token = lab.login_as(&local, "local")?;
        lab.send("local/rights", &Request::get("/auth/rights").token(&token))?;
        lab.send("local/cancel", &cancel().token(&token))?;
    }

    let limited = named(lab, LIMITED_USER.name, LIMITED_PASSWORD.name)?;
    let token = lab.login_as(&limited, "limited")?;
    lab.send("limited/rights", &Request::get("/auth/rights").token(&token))?;
    lab.send("limited/cancel", &cancel().token(&token))?;
    lab.send("limited/clear", &Request::post("/cmd/clear", &json!("web_cache")).token(&token))?;
    lab.send("limited/login", &Request::get("/auth/unauthorized").token(&token))?;
    Ok(())
}

fn named(lab: &mut Lab<'_>, user: &str, file: &str) -> Result<Credentials, Stop> {
    let user = lab.need(user)?.to_string();
    lab.need(file)?;
    Ok(Credentials { user, password: lab.secret(file)?.unwrap_or_default() })
}

/// A command that changes nothing where it is obeyed, since there is no such operation.
fn cancel() -> Request {
    Request::post("/cmd/cancel", &json!({"token": "00000000000000000000000000000000"}))
}

const RULES: &[Rule] = &[
    Rule::must(
        "auth/rights/01",
        "WebAPI /auth/rights",
        "The list is at the top level: a string `usr` and an array of strings `rights`.",
        |ev| {
            for label in ["full", "limited/rights", "local/rights"] {
                // The last two need users whom the tester names.
                let Ok(it) = ev.get(label) else { continue };
                let body = it.success()?;
                it.want(body.get("usr").is_some_and(Value::is_string), "`usr` must be a string")?;
                rights(it)?;
            }
            ev.get("full").map(|_| Finding::Kept)
        },
    ),
    Rule::must("auth/rights/02", "WebAPI /auth/rights", "`rights` holds `save` and `ctrl`, and nothing else.", |ev| {
        let it = ev.get("full")?;
        let strange: Vec<_> = rights(it)?.into_iter().filter(|it| it != "save" && it != "ctrl").collect();
        it.want(strange.is_empty(), format!("{} is no right of the documents", strange.join(", ")))?;
        Ok(Finding::Kept)
    }),
    Rule::must("auth/rights/03", "WebAPI /auth/rights", "A user who may save has `save` in the list.", |ev| {
        let it = ev.get("full")?;
        it.want(rights(it)?.iter().any(|it| it == "save"), "`save` is missing; is this a user with all rights?")?;
        Ok(Finding::Kept)
    }),
    Rule::must("auth/rights/04", "WebAPI /auth/rights", "`usr` is the user who logged in.", |ev| {
        let it = ev.get("full")?;
        it.want(it.success()?.get("usr") == Some(ev.fact("user")?), "this is another user")?;
        Ok(Finding::Kept)
    }),
    Rule::must(
        "auth/rights/05",
        "WebAPI /auth/rights, 401",
        "Without a login there are no rights to see: 401.",
        |ev| ev.get("anonymous")?.unauthorized(),
    ),
    Rule::must("auth/rights/06", "WebAPI /auth/rights", "A user who may not save has no `save` in the list.", |ev| {
        let it = ev.get("limited/rights")?;
        it.want(!rights(it)?.iter().any(|it| it == "save"), "`save` is there")?;
        Ok(Finding::Kept)
    }),
    Rule::must(
        "auth/rights/07",
        "cmd-api: /cmd; WebAPI §11 row 15",
        "A command of a user who may not save is refused with 401, or with 403.",
        |ev| {
            let cancel = no_right(ev, "limited/cancel")?;
            no_right(ev, "limited/clear")?;
            Ok(cancel)
        },
    ),
    Rule::should(
        "auth/rights/08",
        "WebAPI §11 row 19",
        "The refusal for a missing right says something else than the one for a missing login.",
        |ev| {
            let text = |it: &Exchange| it.object().ok().and_then(|it| it.get("error").cloned());
            let (limited, anonymous) = (ev.get("limited/cancel")?, ev.get("anonymous")?);
            limited.want(text(limited) != text(anonymous), "a user who reads it would log in again and again")?;
            Ok(Finding::Kept)
        },
    ),
    Rule::must("auth/rights/09", "WebAPI §1", "A refused command does not end the login.", |ev| {
        ev.get("limited/cancel")?;
        ev.get("limited/login")?.done()
    }),
    Rule::must(
        "auth/rights/10",
        "WebAPI §11 row 15, local_save",
        "A user who may save at home only has `save`, and may command, exactly from the meter's own subnet.",
        |ev| {
            let here = ev.fact("local-here")? == &Value::Bool(true);
            let it = ev.get("local/rights")?;
            it.want(rights(it)?.iter().any(|it| it == "save") == here, "`save` must be there at home only")?;
            if here {
                let command = ev.get("local/cancel")?;
                let refused = [401, 403].contains(&command.reply()?.status);
                command.want(!refused, "at home this user may command")?;
                return Ok(Finding::Kept);
            }
            no_right(ev, "local/cancel")
        },
    ),
];

fn rights(it: &Exchange) -> Result<Vec<String>, Finding> {
    let list = it.success()?.get("rights").and_then(Value::as_array).cloned();
    let strings = list.and_then(|it| it.iter().map(|it| it.as_str().map(str::to_string)).collect::<Option<Vec<_>>>());
    strings.ok_or_else(|| it.broken("`rights` must be an array of strings"))
}

#[cfg(test)]
mod tests {
    use crate::evidence::testing::{broken, judge, kept, quirk, untested};

    #[test]
    fn a_missing_right_is_a_401_or_a_403() {
        let refused = |status, body| {
            judge("auth/rights/07", &[("limited/cancel", status, body), ("limited/clear", status, body)])
        };
        kept(refused(401, r#"{"rlm":"r","nnc":"n","error":"No right."}"#));
        quirk(refused(403, r#"{"error":"No right."}"#));
        broken(refused(401, r#"{"error":"No right."}"#));
        broken(refused(200, r#"{"status":"OK"}"#));
        broken(refused(200, r#"{"error":"unknown token"}"#));
        untested(judge("auth/rights/07", &[]));
    }

    #[test]
    fn rights_are_a_list_of_two_names_at_the_top() {
        let shape = |body| judge("auth/rights/01", &[("full", 200, body)]);
        kept(shape(r#"{"usr":"o","rights":["save"]}"#));
        kept(shape(r#"{"usr":"o","rights":[]}"#));
        broken(shape(r#"{"result":{"usr":"o","rights":[]}}"#));
        broken(shape(r#"{"usr":"o","rights":"save"}"#));
        broken(judge("auth/rights/02", &[("full", 200, r#"{"usr":"o","rights":["save","admin"]}"#)]));
        broken(judge("auth/rights/03", &[("full", 200, r#"{"usr":"o","rights":["ctrl"]}"#)]));
    }
}
