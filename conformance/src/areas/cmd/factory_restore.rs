//! /cmd/factory-restore: the last thing that is tried. What the tester changed is gone afterwards, the label's login is
//! back.

use std::fs;

use super::down;
use crate::catalogue::{Area, Param};
use crate::danger::Class;
use crate::evidence::refusal;
use crate::http::Request;
use crate::lab::{Lab, Stop};
use crate::session::Credentials;
use crate::verdict::{Finding, Rule};

/// See the module.
pub const AREA: Area = Area {
    name: "cmd/factory-restore",
    class: Class::FactoryRestore,
    touches: "loses all data and settings of the meter, for good",
    params: &[
        Param { name: "factory.wait", meaning: "Seconds within which the meter must be back (300)." },
        Param { name: "factory.user", meaning: "The user on the meter's label." },
        Param { name: "factory.password-file", meaning: "The file with the label's password in its first line." },
    ],
    play,
    rules: RULES,
};

const PATH: &str = "/cmd/factory-restore";

fn play(lab: &mut Lab<'_>) -> Result<(), Stop> {
    let wait = lab.seconds("factory.wait", 300.0)?;
    let label = match (lab.param("factory.user"), lab.param("factory.password-file")) {
        (Some(user), Some(path)) => {
            let text = fs::read_to_string(path).map_err(|err| Stop::Skip(format!("{path}: {err}")))?;
            let password = text.lines().next().unwrap_or_default().to_string();
            Some(Credentials { user: user.into(), password })
        }
        _ => None,
    };
    lab.get("uptime/before", "/sys/uptime")?;
    lab.get("boot/before", "/sys/boot")?;
    lab.expect_down(true);
    lab.send("anonymous", &Request::new("POST", PATH).anonymous())?;
    lab.send("bad-token", &Request::new("POST", PATH).token("e30.e30.AAAA"))?;
    lab.send("get", &Request::get(PATH))?;
    lab.send("put", &Request::new("PUT", PATH).body("{}"))?;
    for number in 1..=4 {
        lab.wait(std::time::Duration::from_millis(500));
        lab.send(&format!("still/{number}"), &Request::get("/auth/rights"))?;
    }
    lab.expect_down(false);
    if !down::go_down(lab, &Request::post_bytes(PATH, "{}"), wait)? {
        return Err(Stop::Gone(format!("the meter was not back within {} s", wait.as_secs())));
    }
    if let Some(old) = lab.options.credentials.clone() {
        let same = label.as_ref().is_some_and(|it| it.user == old.user && it.password == old.password);
        lab.fact("same-login", same);
        // Refused, this ends the helper, not the area.
        let _ = lab.login_as(&old, "old-login");
    }
    let Some(label) = label else {
        return Err(Stop::Skip("needs --with factory.user=... and factory.password-file=...".into()));
    };
    let token = lab.login_as(&label, "label-login")?;
    lab.send("boot/after", &Request::get("/sys/boot").token(&token))?;
    lab.send("uptime/after", &Request::get("/sys/uptime").token(&token))?;
    lab.send("rights/after", &Request::get("/auth/rights").token(&token))?;
    Ok(())
}

const CLAUSE: &str = "cmd-api: Restore factory settings";

const RULES: &[Rule] = &[
    Rule::must(
        "cmd/factory-restore/01",
        CLAUSE,
        "Without a login, or with a false one, the answer is 401 with a challenge.",
        |ev| refusal::unauthorized(ev, &["anonymous", "bad-token"]),
    ),
    Rule::must("cmd/factory-restore/02", "WebAPI §11 no. 9", "What is answered with 401 restores nothing.", |ev| {
        for look in ev.all("still/")? {
            look.status(200)?;
        }
        Ok(Finding::Kept)
    }),
    Rule::must("cmd/factory-restore/03", "WebAPI §5: only POST", "GET and PUT are refused.", |ev| {
        refusal::wrong_methods(ev, &["get", "put"])
    }),
    Rule::must("cmd/factory-restore/04", CLAUSE, "The reply comes before the meter goes down, with `status`.", |ev| {
        down::replied(ev)
    }),
    Rule::choice(
        "cmd/factory-restore/05",
        CLAUSE,
        "The meter goes down a second after the reply, not before, as for a reboot.",
        down::delayed,
    ),
    Rule::must("cmd/factory-restore/06", CLAUSE, "It does reboot.", down::went),
    Rule::must("cmd/factory-restore/07", "WebAPI §7 liveness", "While it is down there is no answer, or 503.", |ev| {
        down::silent(ev)
    }),
    Rule::must("cmd/factory-restore/08", CLAUSE, "It is back within the time that the tester gives.", down::back),
    Rule::must("cmd/factory-restore/09", "WebAPI §11 no. 5", "Logins from before are revoked.", down::revoked),
    Rule::must("cmd/factory-restore/10", CLAUSE, "The password from before is a setting, and lost.", |ev| {
        if ev.fact("same-login")?.as_bool() == Some(true) {
            return Err(Finding::NoEvidence("the tester's login is that of the label".into()));
        }
        let login = ev.get("old-login/answer")?;
        login.error()?;
        login.want(!login.object()?.contains_key("jwt"), "no token is owed")?;
        Ok(Finding::Kept)
    }),
    Rule::must(
        "cmd/factory-restore/11",
        CLAUSE,
        "The login on the label is good again, with the right to save.",
        |ev| {
            ev.get("label-login/answer")?.success()?;
            let rights = ev.get("rights/after")?;
            let body = rights.success()?;
            let save = body.get("rights").and_then(|it| it.as_array()).is_some_and(|it| it.contains(&"save".into()));
            rights.want(save, "`rights` must hold save")?;
            Ok(Finding::Kept)
        },
    ),
    Rule::must("cmd/factory-restore/12", CLAUSE, "/sys/uptime or /sys/boot shows that it was a reboot.", |ev| {
        down::restarted(ev)
    }),
];
