//! /cmd/factory-restore: the last thing that is tried. What the tester changed is gone afterwards, the label's login is
//! back.

use super::down;
use crate::catalogue::{Area, Param};
use crate::danger::Class;
use crate::evidence::backup::Backup;
use crate::evidence::{Evidence, refusal};
use crate::http::Request;
use crate::lab::{Lab, Stop};
use crate::refusals;
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
        Param {
            name: DATA,
            meaning: "Two Unix times, FROM,TO, between which the meter has data that do not come from the factory.",
        },
    ],
    play,
    rules: RULES,
};

const PATH: &str = "/cmd/factory-restore";
const DATA: &str = "factory.data";

fn play(lab: &mut Lab<'_>) -> Result<(), Stop> {
    let wait = lab.seconds("factory.wait", 300.0)?;
    let label = match (lab.param("factory.user"), lab.secret("factory.password-file")?) {
        (Some(user), Some(password)) => Some(Credentials { user: user.into(), password }),
        _ => None,
    };
    let data = match lab.param(DATA).map(|it| it.split_once(',')) {
        None => None,
        Some(Some((from, to))) => Some(format!("/register?format=backup&from={from}&to={to}")),
        Some(None) => return Err(Stop::Skip(format!("--with {DATA}: FROM,TO is expected"))),
    };
    if let Some(data) = &data {
        lab.get("data/before", data)?;
    }
    lab.get("uptime/before", "/sys/uptime")?;
    lab.get("boot/before", "/sys/boot")?;
    down::knock(lab, PATH, &Request::get("/auth/rights"), wait)?;
    lab.go_beyond(&["01", "02", "03", "14"])?;
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
    if let Some(data) = &data {
        lab.send("data/after", &Request::get(data).token(&token))?;
    }
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
        ev.get("old-login/answer")?.denied()
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
    Rule::must("cmd/factory-restore/13", CLAUSE, "Of the data that were recorded before, none are left.", wiped),
    refusals::limited("cmd/factory-restore/14"),
];

/// No row of the tester's data is there as it was. A meter that has no registers any more may well answer with an error.
fn wiped(ev: &Evidence<'_>) -> Result<Finding, Finding> {
    let Ok(before) = ev.get("data/before").and_then(Backup::read) else {
        return Err(Finding::NoEvidence(format!("needs --with {DATA}=... and a backup of what is between")));
    };
    if before.lines.is_empty() {
        return Err(Finding::NoEvidence("there were no data between these times".into()));
    }
    let exchange = ev.get("data/after")?;
    exchange.reply()?;
    let after = Backup::read(exchange).map(|it| it.lines).unwrap_or_default();
    let left = before.lines.iter().filter(|(stamp, line)| after.get(stamp) == Some(*line)).count();
    exchange.want(left == 0, format!("{left} rows are as they were"))?;
    Ok(Finding::Kept)
}

#[cfg(test)]
mod tests {
    use crate::evidence::testing::{broken, judge, kept, untested};

    #[test]
    fn rows_that_are_left_are_found() {
        let rows = "backup\nts,A:P\n120,7\n60,5\n";
        let with = |after: (u16, &str)| {
            judge("cmd/factory-restore/13", &[("data/before", 200, rows), ("data/after", after.0, after.1)])
        };
        kept(with((200, "backup\nts,A:P\n180,1\n")));
        kept(with((200, r#"{"error":"there are no registers"}"#)));
        broken(with((200, rows)));
        broken(with((200, "backup\nts,A:P\n180,1\n60,5\n")));
        untested(judge("cmd/factory-restore/13", &[("data/after", 200, rows)]));
        untested(judge("cmd/factory-restore/13", &[("data/before", 200, rows)]));
    }
}
