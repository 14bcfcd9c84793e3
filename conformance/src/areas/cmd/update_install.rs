//! /cmd/update, action install: refused to whoever may not, cancelled, failing at every fault of a server, and at last
//! done.

use std::time::Duration;

use serde_json::{Value, json};

use super::down;
use crate::catalogue::{Area, Param};
use crate::companions::update::{FOLDER, Mode, PORT, Server, start};
use crate::companions::{ADDRESS, BIND};
use crate::danger::Class;
use crate::evidence::{Evidence, refusal, status, tokens};
use crate::http::Request;
use crate::lab::operation::token_of;
use crate::lab::{Lab, Stop};
use crate::refusals;
use crate::transcript::Exchange;
use crate::verdict::{Finding, Rule};

/// See the module.
pub const AREA: Area = Area {
    name: "cmd/update/install",
    class: Class::UpdateInstall,
    touches: "installs firmware of the version update.allow-version, and by force of update.installed-version before it",
    params: &[
        Param { name: "update.allow-version", meaning: "The firmware's version that may be installed." },
        Param {
            name: "update.installed-version",
            meaning: "The version that is installed, if the server offers it too.",
        },
        Param { name: "update.wait", meaning: "Seconds that an installation may take (900)." },
        FOLDER,
        ADDRESS,
        BIND,
        PORT,
    ],
    play,
    rules: RULES,
};

const PATH: &str = "/cmd/update";

/// Numbers of rules that need no installation to be begun, and of those that need only such as have to fail.
const DOOR: &[&str] = &["01", "02", "03", "04", "05", "06", "07", "08", "28"];
const FAILURES: &[&str] = &["21", "22", "23", "24", "27"];
/// How long a meter may take from the end of an installation until it goes down for it.
const MOMENT: Duration = Duration::from_secs(2);

/// The body of an installation with another value for a member.
type With<'a> = dyn Fn(&str, Value) -> Value + 'a;

fn play(lab: &mut Lab<'_>) -> Result<(), Stop> {
    let version = lab.need("update.allow-version")?;
    let wait = lab.seconds("update.wait", 900.0)?;
    let server = start(lab)?;
    let install = json!({"action": "install", "target": "fw", "version": version});
    let with: &With<'_> = &|name, value| {
        let mut body = install.clone();
        body[name] = value;
        body
    };
    lab.send("anonymous", &Request::post(PATH, &install).anonymous())?;
    lab.send("bad-token", &Request::post(PATH, &install).token("e30.e30.AAAA"))?;
    refusals::as_limited(lab, &Request::post(PATH, &install))?;
    lab.send("get", &Request::get(PATH))?;
    let put = Request::new("PUT", PATH).header("Content-Type", "application/json").body(install.to_string());
    lab.send("put", &put)?;
    let cut = install.to_string();
    lab.send("cut", &Request::post_bytes(PATH, &cut[..cut.len() - 1]))?;
    lab.send("empty", &Request::new("POST", PATH))?;
    for (label, name, value) in [
        ("no-action", "action", Value::Null),
        ("unknown-action", "action", json!("remove")),
        ("no-target", "target", Value::Null),
        ("unknown-target", "target", json!("skin")),
        ("force-type", "force", json!("yes")),
        ("version-type", "version", json!([version])),
    ] {
        lab.post(label, PATH, &with(name, value))?;
    }
    if let Some(server) = &server {
        lab.fact("asked-refused", server.asked().len());
    }
    let uninvited = ["anonymous", "bad-token", "no-right", "get", "put"].map(|it| lab.last_token(it));
    if let Some(token) = uninvited.into_iter().flatten().next() {
        lab.expect_down(true);
        lab.follow("uninvited", &token, wait)?;
        down::wait_until_up(lab, wait)?;
        return Err(Stop::Skip("the meter obeyed what it had to refuse, so nothing else was installed".into()));
    }
    lab.go_beyond(DOOR)?;
    failures(lab, server.as_ref(), with, wait)?;
    lab.go_beyond(&[DOOR, FAILURES].concat())?;
    deeds(lab, server.as_ref(), with, wait)
}

/// Installations that have to fail, each for its own reason.
fn failures(lab: &mut Lab<'_>, server: Option<&Server>, with: &With<'_>, wait: Duration) -> Result<(), Stop> {
    let missing = format!("0.0.{}", lab.transcript.begun);
    lab.operation("missing", &Request::post(PATH, &with("version", json!(missing))), wait)?;
    let none = format!("none-{}", lab.random(8));
    lab.operation("no-branch", &Request::post(PATH, &with("branch", json!(none))), wait)?;
    if let Some(installed) = lab.param("update.installed-version") {
        lab.operation("not-newer", &Request::post(PATH, &with("version", json!(installed))), wait)?;
    }
    if let Some(server) = server {
        let install = Request::post(PATH, &with("target", json!("fw")));
        server.set(Mode::Gone);
        lab.operation("gone", &install, wait)?;
        server.set(Mode::Damaged);
        lab.operation("damaged", &install, wait)?;
    }
    Ok(())
}

/// Installations that do something: one that is cancelled, one by force, and the one that the tester allowed.
fn deeds(lab: &mut Lab<'_>, server: Option<&Server>, with: &With<'_>, wait: Duration) -> Result<(), Stop> {
    let install = with("target", json!("fw"));
    lab.get("version/before", "/sys/version")?;
    if let Some(server) = server {
        server.set(Mode::Slow);
    }
    let begun = lab.post("cancel", PATH, &install)?;
    if let Some(token) = token_of(&begun) {
        if server.is_some() {
            lab.wait(Duration::from_secs(1));
            lab.poll("cancel/poll/0", &token)?;
        }
        lab.post("cancel/command", "/cmd/cancel", &json!({"token": token}))?;
        lab.follow("cancel", &token, wait)?;
    }
    if let Some(server) = server {
        server.set(Mode::Fine);
    }
    if let Some(installed) = lab.param("update.installed-version") {
        let mut again = with("version", json!(installed));
        again["force"] = json!(true);
        run(lab, "forced", &again, wait)?;
    }
    run(lab, "install", &install, wait)?;
    lab.get("version/after", "/sys/version")?;
    if let Some(token) = lab.last_token("install") {
        lab.wait(Duration::from_secs(1));
        lab.poll("later", &token)?;
    }
    Ok(())
}

/// An installation after which the meter may start anew of its own accord.
fn run(lab: &mut Lab<'_>, label: &str, body: &Value, wait: Duration) -> Result<(), Stop> {
    lab.expect_down(true);
    lab.operation(label, &Request::post(PATH, body), wait)?;
    // One that does so goes down a moment after it said that all is done.
    lab.wait(MOMENT);
    down::wait_until_up(lab, wait)
}

const CLAUSE: &str = "cmd-api: Update the meter, install";

/// Tags of `info` that an update has.
const INFO: &[&str] = &[
    "CHKSIG",
    "FW_DOWNLOAD",
    "KERNEL_DOWNLOAD",
    "SKIN_DOWNLOAD",
    "EXTRACT",
    "FLASH",
    "INSTALL",
    "VALIDATE",
    "FINALIZE",
];

const RULES: &[Rule] = &[
    Rule::must(
        "cmd/update/install/01",
        CLAUSE,
        "Without a login, or with a false one, the answer is 401 with a challenge.",
        |ev| refusal::unauthorized(ev, &["anonymous", "bad-token"]),
    ),
    Rule::must(
        "cmd/update/install/02",
        "WebAPI §11 no. 9",
        "What is answered with 401 or refused asks no server.",
        |ev| {
            let asked = ev.fact("asked-refused")?.as_u64();
            ev.get("anonymous")?.want(asked == Some(0), "the update server was asked")?;
            Ok(Finding::Kept)
        },
    ),
    Rule::must("cmd/update/install/03", "WebAPI §5: only POST", "GET and PUT are refused.", |ev| {
        refusal::wrong_methods(ev, &["get", "put"])
    }),
    Rule::must("cmd/update/install/04", CLAUSE, "A body that is no whole JSON object is refused.", |ev| {
        refusal::refused(ev, &["cut", "empty"])
    }),
    Rule::must("cmd/update/install/05", CLAUSE, "`action` is required, list or install.", |ev| {
        refusal::refused(ev, &["no-action", "unknown-action"])
    }),
    Rule::must("cmd/update/install/06", CLAUSE, "`target` is required, fw or kernel.", |ev| {
        refusal::refused(ev, &["no-target", "unknown-target"])
    }),
    Rule::must("cmd/update/install/07", CLAUSE, "`force` is true or false, `version` a string.", |ev| {
        refusal::refused(ev, &["force-type", "version-type"])
    }),
    Rule::choice("cmd/update/install/08", CLAUSE, "A refusal names the member at fault.", |ev| {
        refusal::names(
            ev,
            &[("no-action", "action"), ("no-target", "target"), ("force-type", "force"), ("version-type", "version")],
        )
    }),
    Rule::must("cmd/update/install/09", CLAUSE, "The reply to an installation is its token.", |ev| {
        let reply = ev.get("install")?;
        let token = reply.success()?.remove("token");
        reply.want(token.is_some_and(|it| it.is_string()), "`token` must be a string")?;
        Ok(Finding::Kept)
    }),
    Rule::must(
        "cmd/update/install/10",
        "WebAPI §2 token",
        "A token is a hexadecimal string of at least 32 digits.",
        tokens::form,
    ),
    Rule::must("cmd/update/install/11", CLAUSE, "The version that was asked for is installed.", installed),
    Rule::must("cmd/update/install/12", "WebAPI §2", "The end of the installation can still be looked at.", |ev| {
        forgotten(ev)?;
        status::lasting(ev, "install", "later")
    }),
    Rule::must("cmd/update/install/13", "WebAPI §2 done", "`done` is a boolean, and stays true.", |ev| {
        status::done(ev, "")
    }),
    Rule::must("cmd/update/install/14", "WebAPI §2 ts", "`ts` is a decimal string.", |ev| status::stamp(ev, "")),
    Rule::must(
        "cmd/update/install/15",
        "WebAPI §2 progress, §11 no. 11",
        "`progress` is written with a decimal point, from 0.0 to 1.0.",
        |ev| status::progress(ev, ""),
    ),
    Rule::must("cmd/update/install/16", "WebAPI §2 progress", "`progress` never goes back.", |ev| {
        status::rising(ev, "")
    }),
    Rule::must("cmd/update/install/17", "WebAPI §2 info tags", "`info` is a tag of the list for updates.", |ev| {
        status::info(ev, "", INFO)
    }),
    Rule::must("cmd/update/install/18", "WebAPI §2 error", "`error` is a tag of the list, spelt as there.", |ev| {
        status::error(ev, "")
    }),
    Rule::must(
        "cmd/update/install/19",
        "WebAPI §2 args",
        "`args` is a list of strings, as many as the tag needs.",
        |ev| status::args(ev, ""),
    ),
    Rule::must("cmd/update/install/20", "WebAPI §2", "Members without a value are left out, not null.", |ev| {
        status::members(ev, "")
    }),
    Rule::must(
        "cmd/update/install/21",
        "cmd-api: Update the meter, force",
        "Without `force`, a version that is not newer fails with NOT_NEWER.",
        |ev| refusal::fails(ev, "not-newer", &["NOT_NEWER"]),
    ),
    Rule::must("cmd/update/install/22", CLAUSE, "A version that there is not fails.", |ev| {
        refusal::fails(ev, "missing", &["NO_IMAGE", "NOT_NEWER", "DOWNLOAD_FAILED", "NOT_SUPPORTED", "INCOMPATBILE"])
    }),
    Rule::must("cmd/update/install/23", "WebAPI §2 error tags", "A server without the files makes it fail.", |ev| {
        refusal::fails(ev, "gone", &["DOWNLOAD_FAILED", "NO_IMAGE"])
    }),
    Rule::must("cmd/update/install/24", "WebAPI §2 error tags", "An image that is damaged is not installed.", |ev| {
        refusal::fails(ev, "damaged", DAMAGED)
    }),
    Rule::must("cmd/update/install/25", "cmd-api: Cancel pending operation", "It can be cancelled: CANCELED.", |ev| {
        cancelled(ev)
    }),
    Rule::must(
        "cmd/update/install/26",
        "cmd-api: Update the meter, force",
        "With `force` true, a version that is not newer is installed all the same.",
        |ev| {
            if ev.get("install").is_ok() && ev.get("forced").is_err() {
                return Err(Finding::NoEvidence("needs --with update.installed-version=...".into()));
            }
            ev.get("forced")?.success()?;
            status::succeeded(ev, "forced")
        },
    ),
    Rule::must("cmd/update/install/27", CLAUSE, "From a `branch` that is not there nothing is installed.", |ev| {
        refusal::fails(ev, "no-branch", &["DOWNLOAD_FAILED", "NO_IMAGE", "NOT_SUPPORTED"])
    }),
    refusals::limited("cmd/update/install/28"),
];

/// What a meter may say of an image that is not what it should be.
const DAMAGED: &[&str] = &["BADSIG", "INVALID_IMAGE", "DOWNLOAD_FAILED", "EXTRACT_FAILED"];

/// The operation ended well, and /sys/version shows it. A meter that starts the new version only later shows the old one,
/// and one that starts anew by itself may have no more to say of the operation.
fn installed(ev: &Evidence<'_>) -> Result<Finding, Finding> {
    let (asked, before) = (version_of(ev.get("install")?), firmware(ev.get("version/before")?));
    let shown = firmware(ev.get("version/after")?);
    let ended = status::succeeded(ev, "install");
    if asked.is_some() && shown == asked {
        return if before == asked { ended } else { Ok(Finding::Kept) };
    }
    if shown.is_none() {
        forgotten(ev)?;
    }
    ended?;
    Ok(Finding::Quirk(match shown {
        Some(shown) => format!("/sys/version shows {shown} until the meter starts anew"),
        None => "/sys/version does not show which firmware runs".into(),
    }))
}

/// Goes on unless the meter started anew by itself and knows nothing of the installation any more, which it need not.
fn forgotten(ev: &Evidence<'_>) -> Result<(), Finding> {
    match ev.all("install/away/").is_ok() && status::end(ev, "install").is_err() {
        true => Err(Finding::NoEvidence("the meter started anew by itself, and forgot the operation".into())),
        false => Ok(()),
    }
}

/// The version that an installation asks for.
pub fn version_of(install: &Exchange) -> Option<String> {
    let text = String::from_utf8_lossy(&install.sent);
    let body: Value = serde_json::from_str(text.split_once("\r\n\r\n")?.1).ok()?;
    body["version"].as_str().map(str::to_string)
}

/// The firmware that /sys/version names.
pub fn firmware(look: &Exchange) -> Option<String> {
    look.result().ok()?["firmware"].as_str().map(str::to_string)
}

fn cancelled(ev: &Evidence<'_>) -> Result<Finding, Finding> {
    let command = ev.get("cancel/command")?;
    if command.object()?.contains_key("error") && status::succeeded(ev, "cancel").is_ok() {
        return Ok(Finding::Quirk("the installation was through before it could be cancelled".into()));
    }
    command.done()?;
    status::canceled(ev, "cancel", "cancel/command")
}
