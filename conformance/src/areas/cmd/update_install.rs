//! /cmd/update, action install: refused to whoever may not, cancelled, failing at every fault of a server, and at last
//! done.

use std::time::Duration;

use serde_json::{Value, json};

use crate::catalogue::{Area, Param};
use crate::companions::update::{FOLDER, Mode, PORT, start};
use crate::companions::{ADDRESS, BIND};
use crate::danger::Class;
use crate::evidence::{Evidence, refusal, status, tokens};
use crate::http::Request;
use crate::lab::operation::token_of;
use crate::lab::{Lab, Stop};
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

fn play(lab: &mut Lab<'_>) -> Result<(), Stop> {
    let version = lab.need("update.allow-version")?;
    let wait = lab.seconds("update.wait", 900.0)?;
    let server = start(lab)?;
    let install = json!({"action": "install", "target": "fw", "version": version});
    let with = |name: &str, value: Value| {
        let mut body = install.clone();
        body[name] = value;
        body
    };
    lab.send("anonymous", &Request::post(PATH, &install).anonymous())?;
    lab.send("bad-token", &Request::post(PATH, &install).token("e30.e30.AAAA"))?;
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
    let missing = format!("0.0.{}", lab.transcript.begun);
    lab.operation("missing", &Request::post(PATH, &with("version", json!(missing))), wait)?;
    let none = format!("none-{}", lab.random(8));
    lab.operation("no-branch", &Request::post(PATH, &with("branch", json!(none))), wait)?;
    if let Some(installed) = lab.param("update.installed-version") {
        let mut again = with("version", json!(installed));
        lab.operation("not-newer", &Request::post(PATH, &again), wait)?;
        again["force"] = json!(true);
        lab.operation("forced", &Request::post(PATH, &again), wait)?;
    }
    if let Some(server) = &server {
        server.set(Mode::Gone);
        lab.operation("gone", &Request::post(PATH, &install), wait)?;
        server.set(Mode::Damaged);
        lab.operation("damaged", &Request::post(PATH, &install), wait)?;
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
    if let Some(server) = &server {
        server.set(Mode::Fine);
    }
    let end = lab.operation("install", &Request::post(PATH, &install), wait)?;
    if let (Some(_), Some(token)) = (end, lab.last_token("install")) {
        lab.wait(Duration::from_secs(1));
        lab.poll("later", &token)?;
    }
    Ok(())
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
    Rule::must("cmd/update/install/11", CLAUSE, "The version that was asked for is installed.", |ev| {
        status::succeeded(ev, "install")
    }),
    Rule::must("cmd/update/install/12", "WebAPI §2", "The end of the installation can still be looked at.", |ev| {
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
];

/// What a meter may say of an image that is not what it should be.
const DAMAGED: &[&str] = &["BADSIG", "INVALID_IMAGE", "DOWNLOAD_FAILED", "EXTRACT_FAILED"];

fn cancelled(ev: &Evidence<'_>) -> Result<Finding, Finding> {
    let command = ev.get("cancel/command")?;
    if command.object()?.contains_key("error") && status::succeeded(ev, "cancel").is_ok() {
        return Ok(Finding::Quirk("the installation was through before it could be cancelled".into()));
    }
    command.done()?;
    status::canceled(ev, "cancel", "cancel/command")
}
