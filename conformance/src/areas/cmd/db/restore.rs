//! /cmd/db, action restore: what was made flat comes back, whole or in chunks, for the registers and the time asked
//! for.

use serde_json::json;

use super::window::{PARAMS, Scene, Window, accepted, differs, unchanged};
use crate::catalogue::Area;
use crate::danger::Class;
use crate::evidence::backup::{stamp, stamp_text};
use crate::evidence::{Evidence, status};
use crate::lab::{Lab, Stop};
use crate::verdict::{Finding, Rule};

/// See the module.
pub const AREA: Area = Area {
    name: "cmd/db/restore",
    class: Class::Db,
    touches: "makes db.regs flat between db.from and db.to, and restores them whole and in chunks",
    params: PARAMS,
    play: |lab| Window::give(lab, traffic),
    rules: RULES,
};

/// Pieces that the window's backup is cut into.
const CHUNKS: usize = 3;

fn traffic(lab: &mut Lab<'_>, window: &Window) -> Result<(), Stop> {
    let rows = window.rows();
    let zero = window.zero(&window.regs);
    window.run(lab, "zero", &zero)?;
    window.picture(lab, "zero")?;
    if 1 < window.regs.len() {
        let mut one = window.restore(&rows);
        one["regs"] = json!(window.regs[..1]);
        window.run(lab, "regs", &one)?;
        window.picture(lab, "regs")?;
        window.run(lab, "regs/zero", &zero)?;
    }
    let middle = rows[rows.len() / 2].0;
    lab.fact("middle", stamp_text(middle));
    let mut half = window.restore(&rows);
    half["from"] = json!(stamp_text(middle));
    window.run(lab, "half", &half)?;
    window.picture(lab, "half")?;
    window.run(lab, "early/zero", &zero)?;
    let mut early = window.restore(&rows);
    early["to"] = json!(stamp_text(middle));
    window.run(lab, "early", &early)?;
    window.picture(lab, "early")?;
    window.run(lab, "whole", &window.restore(&rows))?;
    window.picture(lab, "whole")?;
    for (label, flag) in [("chain", true), ("loose", false)] {
        window.run(lab, &format!("{label}/zero"), &zero)?;
        for (number, chunk) in rows.chunks(rows.len().div_ceil(CHUNKS)).enumerate() {
            let mut body = window.restore(chunk);
            if flag {
                body["more_chunks"] = json!(number + 1 < CHUNKS);
            }
            window.run(lab, &format!("{label}/{number}"), &body)?;
            window.picture(lab, &format!("{label}/{number}"))?;
        }
    }
    Ok(())
}

const CLAUSE: &str = "cmd-api: Manipulate database, restore";

const RULES: &[Rule] = &[
    Rule::must(
        "cmd/db/restore/01",
        CLAUSE,
        "The reply has `status` or a token, and the operation ends without an error.",
        |ev| accepted(ev, "whole"),
    ),
    Rule::must("cmd/db/restore/02", CLAUSE, "A backup that is restored gives back every step.", |ev| {
        unchanged(ev, "original", "whole")
    }),
    Rule::must("cmd/db/restore/03", "cmd-api: regs", "Registers that are not in `regs` are not restored.", |ev| {
        let scene = Scene::of(ev)?;
        if scene.regs.len() < 2 {
            return Err(Finding::NoEvidence("needs two registers in --with db.regs=...".into()));
        }
        accepted(ev, "regs")?;
        regs_only(ev, scene.regs[0])
    }),
    Rule::must(
        "cmd/db/restore/04",
        "cmd-api: from and to",
        "Rows of the file that are older than `from` are not restored.",
        |ev| one_side(ev, "half", |stamp, middle| middle < stamp),
    ),
    Rule::must(
        "cmd/db/restore/05",
        "cmd-api: more_chunks",
        "Chunks that follow each other with `more_chunks` give back every step: no spike where they meet.",
        |ev| {
            accepted(ev, "chain/0")?;
            accepted(ev, "chain/2")?;
            unchanged(ev, "original", "chain/2")
        },
    ),
    Rule::must(
        "cmd/db/restore/06",
        "cmd-api: more_chunks",
        "The same chunks without `more_chunks` do so too: the flag is not required.",
        |ev| {
            accepted(ev, "loose/2")?;
            unchanged(ev, "original", "loose/2")
        },
    ),
    Rule::must(
        "cmd/db/restore/07",
        "cmd-api: more_chunks",
        "Without the flag no step is ever more than what was recorded, between two chunks neither.",
        |ev| between(ev, "loose"),
    ),
    Rule::choice(
        "cmd/db/restore/08",
        "cmd-api: more_chunks",
        "With the flag there is no spike between two chunks either, though the documents would allow it.",
        |ev| between(ev, "chain"),
    ),
    Rule::must("cmd/db/restore/09", "WebAPI §2 info tags", "`info` is a tag of the list for the database.", |ev| {
        status::info(ev, "", super::status::INFO)
    }),
    Rule::must(
        "cmd/db/restore/11",
        "cmd-api: from and to",
        "Rows of the file that are younger than `to` are not restored.",
        |ev| one_side(ev, "early", |stamp, middle| stamp < middle),
    ),
    Rule::must("cmd/db/restore/10", CLAUSE, "At the end the data are as the tester gave them.", |ev| {
        accepted(ev, "put-back")?;
        unchanged(ev, "original", "final")
    }),
];

/// What was set to zero came back on one side of the middle alone; the row in the middle may be on either.
fn one_side(ev: &Evidence<'_>, operation: &str, comes_back: fn(i128, i128) -> bool) -> Result<Finding, Finding> {
    let middle = ev.fact("middle")?.as_str().and_then(stamp).unwrap_or_default();
    let (_, zero) = super::window::picture(ev, "zero")?;
    accepted(ev, operation)?;
    differs(ev, "original", operation, move |_, register, stamp, old| {
        let flat = zero.steps(register).get(&stamp).copied().unwrap_or_default();
        match stamp {
            it if it == middle => [flat, old],
            it if comes_back(it, middle) => [old; 2],
            _ => [flat; 2],
        }
    })
}

/// Only the first register is as it was; the others are as flat as before.
fn regs_only(ev: &Evidence<'_>, first: u64) -> Result<Finding, Finding> {
    let (_, zero) = super::window::picture(ev, "zero")?;
    differs(ev, "original", "regs", move |_, register, stamp, old| {
        if register.did == first {
            [old; 2]
        } else {
            [zero.steps(register).get(&stamp).copied().unwrap_or_default(); 2]
        }
    })
}

/// While chunks are still to come, each step is what it was or what was made of it.
fn between(ev: &Evidence<'_>, label: &str) -> Result<Finding, Finding> {
    let (_, zero) = super::window::picture(ev, "zero")?;
    for number in 0..CHUNKS - 1 {
        differs(ev, "original", &format!("{label}/{number}"), |_, register, stamp, old| {
            [old, zero.steps(register).get(&stamp).copied().unwrap_or_default()]
        })?;
    }
    Ok(Finding::Kept)
}
