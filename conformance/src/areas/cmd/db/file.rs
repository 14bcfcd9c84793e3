//! /cmd/db, action restore: files that are none. Each is made of the meter's own backup, so that one which is obeyed in
//! spite of its fault writes what is there anyway.

use base64::prelude::*;
use serde_json::{Value, json};

use super::window::{PARAMS, Window, unchanged};
use crate::catalogue::Area;
use crate::danger::Class;
use crate::evidence::{Evidence, refusal, status};
use crate::lab::{Lab, Stop, wall};
use crate::verdict::{Finding, Rule};

/// See the module.
pub const AREA: Area = Area {
    name: "cmd/db/file",
    class: Class::Db,
    touches: "sends damaged backups of db.regs between db.from and db.to",
    params: PARAMS,
    play: |lab| Window::give(lab, traffic),
    rules: RULES,
};

/// Characters of `data` that a meter must take.
const TAKEN: usize = 2 << 20;

fn traffic(lab: &mut Lab<'_>, window: &Window) -> Result<(), Stop> {
    let rows = window.inside(3);
    let lines: Vec<_> = rows.iter().map(|it| it.1.to_string()).collect();
    let header = window.original.header.join("\n");
    let last_header = window.original.header.last().cloned().unwrap_or_default();
    let file = |lines: &[String]| format!("{header}\n{}\n", lines.join("\n"));
    let with = |at: usize, line: String| {
        let mut lines = lines.clone();
        lines[at] = line;
        file(&lines)
    };
    let (ts, cells) = lines[2].split_once(',').unwrap_or_default();
    let name = window.original.columns.first().map_or("", |it| it.split(':').next().unwrap_or_default());
    let stranger = last_header.replacen(name, &format!("{name}-{}", lab.random(6)), 1);
    let later = wall() as u64 + 10 * 365 * 86400;
    let files = [
        ("no-header", lines.join("\n") + "\n"),
        ("bad-stamp", with(2, format!("yesterday,{cells}"))),
        ("no-comma", with(2, ts.to_string())),
        ("no-integer", with(2, format!("{ts},1.5{}", cells.find(',').map_or("", |at| &cells[at..])))),
        ("no-row", format!("{header}\n")),
        ("one-row", file(&lines[..1])),
        ("future", with(0, lines[0].replacen(lines[0].split(',').next().unwrap_or_default(), &later.to_string(), 1))),
    ];
    for (label, text) in files {
        window.run(lab, label, &window.restore_file(&text))?;
    }
    // Of all registers, since those that `regs` names would be missed first.
    let mut body = window.restore_file(&file(&lines).replacen(&last_header, &stranger, 1));
    body.as_object_mut().expect("it is made of members").remove("regs");
    window.run(lab, "stranger", &body)?;
    let mut body = window.restore(&rows);
    for (label, data) in [("bad-base64", "dGhpcyBpcyAqKio=***".into()), ("bad-gzip", bad_gzip())] {
        body["data"] = json!(data);
        window.run(lab, label, &body)?;
    }
    window.picture(lab, "after-damaged")?;
    // Rows that would be seen, and a last one that must spoil them.
    let spoilt = spoilt(window);
    lab.fact("spoilt", !spoilt.is_empty());
    window.run(lab, "spoilt", &window.restore_file(&format!("{header}\n{spoilt}{ts},x\n")))?;
    window.picture(lab, "after-spoilt")?;
    let mut long = file(&lines);
    while long.len() < TAKEN / 4 * 3 {
        long.push_str("no row at all\n");
    }
    long.truncate(TAKEN / 4 * 3);
    body["data"] = json!(BASE64_STANDARD.encode(&long));
    window.run(lab, "two-mib", &body)?;
    long.push_str(&"no row at all\n".repeat(100));
    body["data"] = json!(BASE64_STANDARD.encode(&long));
    window.run(lab, "more-than-two-mib", &body)?;
    window.picture(lab, "after-long")
}

/// The window's rows with other values: every counter grows by one more than it did, from row to row.
fn spoilt(window: &Window) -> String {
    let rows = window.inside(6);
    let mut res = String::new();
    for (number, (_, line)) in rows.iter().enumerate() {
        let mut cells: Vec<_> = line.split(',').map(str::to_string).collect();
        for cell in &mut cells[1..] {
            if let Ok(value) = cell.parse::<i64>() {
                *cell = value.wrapping_add((rows.len() - number) as i64).to_string();
            }
        }
        res.push_str(&format!("{}\n", cells.join(",")));
    }
    res
}

fn bad_gzip() -> Value {
    json!(BASE64_STANDARD.encode(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03this is no deflate stream"))
}

const CLAUSE: &str = "WebAPI §2 error tags, restore";

/// What a meter may say of a file that it cannot read at all.
const UNREADABLE: &[&str] = &["BADHDR", "NOVERS", "FILE_INVAL", "FILE_READ_ERR"];

const RULES: &[Rule] = &[
    Rule::must("cmd/db/file/01", "cmd-api: data, base64", "`data` that is no base64 is refused.", |ev| {
        answered(ev, "bad-base64")
    }),
    Rule::must("cmd/db/file/02", CLAUSE, "A file that begins like gzip and is none is refused.", |ev| {
        refusal::fails(ev, "bad-gzip", UNREADABLE)
    }),
    Rule::must("cmd/db/file/03", CLAUSE, "A file without its header fails with BADHDR or NOVERS.", |ev| {
        refusal::fails(ev, "no-header", UNREADABLE)
    }),
    Rule::must("cmd/db/file/04", CLAUSE, "A register that the meter does not have fails with BADREG.", |ev| {
        refusal::fails(ev, "stranger", &["BADREG"])
    }),
    Rule::must("cmd/db/file/05", CLAUSE, "A row without a stamp fails with BADTS.", |ev| {
        refusal::fails(ev, "bad-stamp", &["BADTS"])
    }),
    Rule::must("cmd/db/file/06", CLAUSE, "A row that ends after its stamp fails with NOCOMMA.", |ev| {
        refusal::fails(ev, "no-comma", &["NOCOMMA"])
    }),
    Rule::must("cmd/db/file/07", CLAUSE, "A value that is no whole number fails with INVAL_INT.", |ev| {
        refusal::fails(ev, "no-integer", &["INVAL_INT"])
    }),
    Rule::must("cmd/db/file/08", CLAUSE, "A file without rows fails with NO_FIRST_ROW.", |ev| {
        refusal::fails(ev, "no-row", &["NO_FIRST_ROW"])
    }),
    Rule::must("cmd/db/file/09", CLAUSE, "A file with a single row fails with NO_SECOND_ROW.", |ev| {
        refusal::fails(ev, "one-row", &["NO_SECOND_ROW"])
    }),
    Rule::must(
        "cmd/db/file/10",
        CLAUSE,
        "A file from the future fails with IN_FUTURE, or what lies beyond `to` is left out of it.",
        |ev| {
            if !ev.get("future")?.object()?.contains_key("error") && status::succeeded(ev, "future").is_ok() {
                return Ok(Finding::Quirk("a row of the future beyond `to` is left out".into()));
            }
            refusal::fails(ev, "future", &["IN_FUTURE"])
        },
    ),
    Rule::must("cmd/db/file/11", CLAUSE, "Files that fail change no data.", |ev| {
        unchanged(ev, "original", "after-damaged")
    }),
    Rule::choice(
        "cmd/db/file/12",
        CLAUSE,
        "A file that is only wrong at its end changes no data either: all or nothing.",
        |ev| {
            refusal::fails(ev, "spoilt", &["INVAL_INT"])?;
            unchanged(ev, "after-damaged", "after-spoilt")
        },
    ),
    Rule::must(
        "cmd/db/file/13",
        "cmd-api: data, 2 MiB",
        "2 MiB of `data` are read, not refused for their size.",
        |ev| {
            let long = ev.get("two-mib")?;
            let reply = long.reply()?;
            long.want(reply.status != 413, "2 MiB are not too large")?;
            answered(ev, "two-mib")
        },
    ),
    Rule::must(
        "cmd/db/file/14",
        "cmd-api: data, 2 MiB",
        "More than 2 MiB of `data` are refused with an answer.",
        |ev| {
            answered(ev, "more-than-two-mib")?;
            unchanged(ev, "after-spoilt", "after-long")
        },
    ),
    Rule::must("cmd/db/file/15", CLAUSE, "A tag has the arguments that its text needs.", |ev| status::args(ev, "")),
    Rule::must("cmd/db/file/16", CLAUSE, "`error` is a tag of the list.", |ev| status::error(ev, "")),
    Rule::must("cmd/db/file/17", CLAUSE, "At the end the data are as the tester gave them.", |ev| {
        unchanged(ev, "original", "final")
    }),
];

/// Refused at once, or by any tag of a file that cannot be read.
fn answered(ev: &Evidence<'_>, label: &str) -> Result<Finding, Finding> {
    let command = ev.get(label)?;
    let body = command.object()?;
    match (body.contains_key("error"), body.contains_key("token")) {
        (true, _) => command.refused(),
        (false, true) => {
            let (end, status) = status::end(ev, label)?;
            end.want(status.contains_key("error"), "a file with content that cannot be read must fail")?;
            Ok(Finding::Kept)
        }
        (false, false) => Err(command.broken("a file with content that cannot be read must fail")),
    }
}
