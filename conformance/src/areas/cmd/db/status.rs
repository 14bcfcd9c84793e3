//! /cmd/db as an operation: its token, what can be seen of it while it runs and afterwards, and its cancellation.

use std::time::Duration;

use serde_json::json;

use super::window::{PARAMS, Window, accepted, unchanged};
use crate::catalogue::Area;
use crate::danger::Class;
use crate::evidence::{status, tokens};
use crate::http::Request;
use crate::lab::{Lab, Stop};
use crate::refusals;
use crate::verdict::{Finding, Rule};

/// See the module.
pub const AREA: Area = Area {
    name: "cmd/db/status",
    class: Class::Db,
    touches: "restores db.regs between db.from and db.to, and cancels that",
    params: PARAMS,
    play: |lab| Window::give(lab, traffic),
    rules: RULES,
};

/// Tags of `info` that the database has.
pub const INFO: &[&str] = &["ADJUST", "RESTORE", "SKIP", "SPLIT", "ZERO"];

fn traffic(lab: &mut Lab<'_>, window: &Window) -> Result<(), Stop> {
    window.run_aside(lab, "zero", &window.zero(&window.regs))?;
    let rows = window.rows();
    window.run_aside(lab, "restore", &window.restore(&rows))?;
    if let Some(token) = lab.last_token("restore") {
        lab.wait(Duration::from_secs(1));
        lab.poll("later", &token)?;
    }
    let mut damaged = window.restore_file("no backup\n");
    damaged["more_chunks"] = json!(true);
    window.run_aside(lab, "damaged", &damaged)?;
    // Several, so that the last one may still wait for its turn when it is cancelled.
    for label in ["busy/1", "busy/2", "cancel"] {
        let body = window.zero(&window.regs);
        lab.send(label, &Request::post("/cmd/db", &body).header("Prefer", "respond-async"))?;
    }
    if let Some(token) = lab.last_token("cancel") {
        // Without a pause: it may be through all too soon.
        refusals::cancel_uninvited(lab, "cancel", &token, Duration::ZERO)?;
        lab.post("cancel/command", "/cmd/cancel", &json!({"token": token}))?;
        lab.follow("cancel", &token, lab.options.max_wait)?;
    }
    for label in ["busy/1", "busy/2"] {
        if let Some(token) = lab.last_token(label) {
            lab.follow(label, &token, lab.options.max_wait)?;
        }
    }
    Ok(())
}

const RULES: &[Rule] = &[
    refusals::uninvited_cancel("cmd/db/status/17", |ev| refusals::goes_on(ev, "cancel")),
    Rule::should(
        "cmd/db/status/01",
        "WebAPI §2, §11 no. 18",
        "The reply has both `status` and a token, which suits either reading of the documents.",
        |ev| {
            let command = ev.get("put-back")?;
            let body = command.success()?;
            match (body.contains_key("status"), body.contains_key("token")) {
                (true, true) => Ok(Finding::Kept),
                (true, false) => Ok(Finding::Quirk("a `status` without a token".into())),
                (false, true) => Ok(Finding::Quirk("a token without `status`".into())),
                (false, false) => Err(command.broken("`status` or `token` is owed")),
            }
        },
    ),
    Rule::must(
        "cmd/db/status/02",
        "WebAPI §2, §11 no. 10",
        "A token is a hexadecimal string of at least 32 digits.",
        tokens::form,
    ),
    Rule::must(
        "cmd/db/status/03",
        "WebAPI §11 no. 10",
        "Tokens cannot be guessed: those of a run have nothing in common.",
        tokens::unguessable,
    ),
    Rule::must("cmd/db/status/04", "WebAPI §2 done", "`done` is a boolean, and stays true.", |ev| {
        status::done(ev, "")
    }),
    Rule::must("cmd/db/status/05", "WebAPI §2 ts", "`ts` is a decimal string, that of the record's beginning.", |ev| {
        status::stamp(ev, "")
    }),
    Rule::must(
        "cmd/db/status/06",
        "WebAPI §2 progress, §11 no. 11",
        "`progress` is written with a decimal point, from 0.0 to 1.0.",
        |ev| status::progress(ev, ""),
    ),
    Rule::must("cmd/db/status/07", "WebAPI §2 progress", "`progress` never goes back.", |ev| status::rising(ev, "")),
    Rule::must("cmd/db/status/08", "WebAPI §2 info tags", "`info` is a tag of the list for the database.", |ev| {
        status::info(ev, "", INFO)
    }),
    Rule::must("cmd/db/status/09", "WebAPI §2 error", "`error` is a tag of the list, never a sentence.", |ev| {
        status::error(ev, "")
    }),
    Rule::must("cmd/db/status/10", "WebAPI §2 args", "`args` is a list of strings, as many as the tag needs.", |ev| {
        status::args(ev, "")
    }),
    Rule::must("cmd/db/status/11", "WebAPI §2", "Members without a value are left out, not null.", |ev| {
        status::members(ev, "")
    }),
    Rule::must("cmd/db/status/12", "WebAPI §2", "An operation that ended can still be looked at.", |ev| {
        status::lasting(ev, "restore", "later")
    }),
    Rule::must(
        "cmd/db/status/13",
        "cmd-api: Cancel pending operation",
        "A cancellation is answered with `status`.",
        |ev| {
            let cancel = ev.get("cancel/command")?;
            // What ended before may be told so.
            if cancel.object()?.contains_key("error") && status::succeeded(ev, "cancel").is_ok() {
                return Ok(Finding::Quirk("the operation was through before it could be cancelled".into()));
            }
            cancel.done()
        },
    ),
    Rule::must("cmd/db/status/14", "WebAPI §2 Cancel", "What is cancelled ends done, with the tag CANCELED.", |ev| {
        status::canceled(ev, "cancel", "cancel/command")
    }),
    Rule::must(
        "cmd/db/status/15",
        "cmd-api: Cancel pending operation",
        "A cancellation ends no other operation.",
        |ev| {
            status::succeeded(ev, "busy/1")?;
            status::succeeded(ev, "busy/2")
        },
    ),
    Rule::must(
        "cmd/db/status/16",
        "cmd-api: Manipulate database",
        "At the end the data are as the tester gave them.",
        |ev| {
            accepted(ev, "put-back")?;
            unchanged(ev, "original", "final")
        },
    ),
];
