//! /cmd/reboot: once, after it was refused to whoever may not.

use super::{down, update_install};
use crate::catalogue::{Area, Param};
use crate::danger::Class;
use crate::evidence::{Evidence, refusal};
use crate::http::Request;
use crate::lab::{Lab, Stop};
use crate::refusals;
use crate::verdict::{Finding, Rule};

/// See the module.
pub const AREA: Area = Area {
    name: "cmd/reboot",
    class: Class::Reboot,
    touches: "reboots the meter once",
    params: &[
        Param { name: "reboot.wait", meaning: "Seconds within which the meter must be back (120)." },
        Param { name: BENCH, meaning: "yes if the meter only pretends to install updates, as one on a bench does." },
    ],
    play,
    rules: RULES,
};

const PATH: &str = "/cmd/reboot";
const BENCH: &str = "update.bench";

fn play(lab: &mut Lab<'_>) -> Result<(), Stop> {
    let wait = lab.seconds("reboot.wait", 120.0)?;
    lab.get("uptime/before", "/sys/uptime")?;
    lab.get("boot/before", "/sys/boot")?;
    down::knock(lab, PATH, &Request::get("/auth/unauthorized").anonymous(), wait)?;
    lab.get("uptime/refused", "/sys/uptime")?;
    lab.go_beyond(&["01", "02", "03", "14"])?;
    // Clients send nothing, {} or {} as text; one of them, so that all have their turn.
    let (form, request) = match lab.transcript.begun % 3 {
        0 => ("no body", Request::new("POST", PATH)),
        1 => ("{}", Request::post_bytes(PATH, "{}")),
        _ => ("{} as text/plain", Request::new("POST", PATH).header("Content-Type", "text/plain").body("{}")),
    };
    lab.fact("form", form);
    if !down::go_down(lab, &request, wait)? {
        return Err(Stop::Gone(format!("the meter was not back within {} s", wait.as_secs())));
    }
    lab.get("uptime/after", "/sys/uptime")?;
    lab.get("boot/after", "/sys/boot")?;
    lab.fact("pretends", lab.param(BENCH) == Some("yes"));
    lab.get("version/after", "/sys/version")?;
    down::look_at_operation(lab)
}

const CLAUSE: &str = "cmd-api: Reboot the meter";

const RULES: &[Rule] = &[
    Rule::must(
        "cmd/reboot/01",
        CLAUSE,
        "Without a login, or with a false one, the answer is 401 with a challenge.",
        |ev| refusal::unauthorized(ev, &["anonymous", "bad-token"]),
    ),
    Rule::must("cmd/reboot/02", "WebAPI §11 no. 9", "What is answered with 401 reboots nothing.", stays),
    Rule::must("cmd/reboot/03", "WebAPI §5: only POST", "GET and PUT are refused.", |ev| {
        refusal::wrong_methods(ev, &["get", "put"])
    }),
    Rule::must(
        "cmd/reboot/04",
        CLAUSE,
        "The reply comes before the meter goes down, with `status`, whatever form of no body was sent.",
        down::replied,
    ),
    Rule::must("cmd/reboot/05", CLAUSE, "The meter goes down a second after the reply, not before.", down::delayed),
    Rule::must("cmd/reboot/06", CLAUSE, "It does go down.", down::went),
    Rule::must("cmd/reboot/07", "WebAPI §7 liveness", "While it is down there is no answer, or 503.", down::silent),
    Rule::must("cmd/reboot/08", CLAUSE, "It is back within the time that the tester gives.", down::back),
    Rule::should("cmd/reboot/09", "WebAPI §11 no. 14", "It is back within a minute.", down::soon),
    Rule::must("cmd/reboot/10", "WebAPI §11 no. 5", "Logins from before the reboot are revoked.", down::revoked),
    Rule::must("cmd/reboot/11", CLAUSE, "/sys/uptime or /sys/boot shows that it was a reboot.", down::restarted),
    Rule::should("cmd/reboot/12", "WebAPI §11 no. 24", "/sys/boot has the reason and the time.", down::reason),
    Rule::must(
        "cmd/reboot/13",
        "WebAPI §11 no. 12",
        "An operation from before has a status or is an error, never an empty answer.",
        down::operation,
    ),
    refusals::limited("cmd/reboot/14"),
    Rule::must(
        "cmd/reboot/15",
        "cmd-api: Update the meter, install",
        "A version that was installed in this run is the one that runs after the reboot.",
        updated,
    ),
];

/// /sys/version names the firmware that the last installation brought.
fn updated(ev: &Evidence<'_>) -> Result<Finding, Finding> {
    let after = ev.get("version/after")?;
    if ev.fact("pretends")?.as_bool() == Some(true) {
        return Err(Finding::NoEvidence(format!(
            "the tester says, by {BENCH}, that the meter only pretends to install"
        )));
    }
    let mut installs =
        ev.everything().iter().filter(|it| it.area == update_install::AREA.name && it.label == "install");
    let install = installs.next_back().filter(|it| it.success().is_ok());
    let Some(asked) = install.and_then(update_install::version_of) else {
        return Err(Finding::NoEvidence("nothing was installed in this run".into()));
    };
    let Some(runs) = update_install::firmware(after) else {
        return Err(Finding::NoEvidence("/sys/version does not show which firmware runs".into()));
    };
    after.want(runs == asked, format!("{asked} was installed"))?;
    Ok(Finding::Kept)
}

/// Two seconds after what was refused the meter is there and its uptime goes on.
fn stays(ev: &Evidence<'_>) -> Result<Finding, Finding> {
    for look in ev.all("still/")? {
        let status = look.reply()?.status;
        look.want(status == 401, "the meter was to go on answering")?;
    }
    let (before, after) = (ev.get("uptime/before")?, ev.get("uptime/refused")?);
    let uptime = |it: &crate::transcript::Exchange| Ok::<_, Finding>(it.result()?.as_f64().unwrap_or_default());
    after.want(uptime(before)? <= uptime(after)?, "/sys/uptime began anew")?;
    Ok(Finding::Kept)
}

#[cfg(test)]
mod tests {
    use crate::evidence::testing::{broken, exchange, judge_all, kept, transcript, untested};

    #[test]
    fn what_was_installed_is_what_runs() {
        let after = |installed: bool, pretends: bool, runs: &str| {
            let mut run = transcript("cmd/reboot", [("version/after", 200, runs)]);
            run.facts.insert("cmd/reboot/pretends".into(), pretends.into());
            let sent = b"POST /api/cmd/update HTTP/1.1\r\n\r\n{\"action\":\"install\",\"version\":\"1.1\"}";
            if installed {
                run.exchanges.push(exchange("cmd/update/install", "install", 0.0, sent, 200, r#"{"token":"t"}"#));
            }
            judge_all("cmd/reboot/15", &run)
        };
        let (old, new) = (r#"{"result":{"firmware":"1.0"}}"#, r#"{"result":{"firmware":"1.1"}}"#);
        kept(after(true, false, new));
        broken(after(true, false, old));
        untested(after(true, true, old));
        untested(after(false, false, old));
        untested(after(true, false, r#"{"result":{}}"#));
    }
}
