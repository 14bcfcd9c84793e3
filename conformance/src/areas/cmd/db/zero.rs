//! /cmd/db, action zero: flat in the window, untouched outside.

use super::window::{PARAMS, Scene, Window, accepted, differs, picture, unchanged};
use crate::catalogue::Area;
use crate::danger::Class;
use crate::evidence::backup::stamp_text;
use crate::evidence::{Evidence, status};
use crate::lab::{Lab, Stop};
use crate::verdict::{Finding, Rule};
use serde_json::json;

/// See the module.
pub const AREA: Area = Area {
    name: "cmd/db/zero",
    class: Class::Db,
    touches: "makes db.regs flat between db.from and db.to, and puts them back",
    params: PARAMS,
    play: |lab| Window::give(lab, traffic),
    rules: RULES,
};

fn traffic(lab: &mut Lab<'_>, window: &Window) -> Result<(), Stop> {
    // A nanosecond inside of two rows, which a double-precision number cannot tell from the rows themselves.
    let rows = window.rows();
    let (young, old) = (rows[rows.len() / 4].0, rows[rows.len() * 3 / 4].0);
    lab.fact("exact/young", stamp_text(young));
    lab.fact("exact/old", stamp_text(old));
    let mut exact = window.zero(&window.regs);
    exact["from"] = json!(stamp_text(old + 1));
    exact["to"] = json!(stamp_text(young - 1));
    window.run(lab, "exact", &exact)?;
    window.picture(lab, "exact")?;
    window.run(lab, "one", &window.zero(&window.regs[..1]))?;
    window.picture(lab, "one")?;
    window.run(lab, "zero", &window.zero(&window.regs))?;
    window.picture(lab, "zero")?;
    let mut again = window.zero(&window.regs);
    again["regs"] = window.regs.iter().rev().copied().collect();
    window.run(lab, "again", &again)?;
    window.picture(lab, "again")
}

const CLAUSE: &str = "cmd-api: Manipulate database, zero";

const RULES: &[Rule] = &[
    Rule::must(
        "cmd/db/zero/01",
        CLAUSE,
        "The reply has `status` or a token, and the operation ends without an error.",
        |ev| accepted(ev, "zero"),
    ),
    Rule::must("cmd/db/zero/02", CLAUSE, "Between `from` and `to` the registers of `regs` do not grow.", |ev| {
        differs(ev, "original", "zero", |scene, register, stamp, old| match scene.inside(stamp) {
            true if scene.given(register) => [0; 2],
            true => [old; 2],
            false => [0, old],
        })
    }),
    Rule::must(
        "cmd/db/zero/03",
        CLAUSE,
        "Outside of `from` and `to` every step is what it was: no spike, no shift.",
        |ev| {
            differs(ev, "original", "zero", |scene, _, stamp, old| {
                let inside = scene.inside(stamp) || scene.at_end(stamp);
                if inside { [0, old] } else { [old; 2] }
            })
        },
    ),
    Rule::must("cmd/db/zero/04", CLAUSE, "Registers that are not in `regs` are left alone.", |ev| {
        let scene = Scene::of(ev)?;
        if scene.registers.iter().all(|it| it.did == scene.regs[0]) {
            return Err(Finding::NoEvidence("the meter has one register only".into()));
        }
        let first = scene.regs[0];
        differs(ev, "exact", "one", move |_, register, _, old| if register.did == first { [0, old] } else { [old; 2] })
    }),
    Rule::must(
        "cmd/db/zero/05",
        "cmd-api: from and to, not older and not younger",
        "Rows at `from` and `to` themselves belong to the window.",
        ends,
    ),
    Rule::must(
        "cmd/db/zero/06",
        "WebAPI §11 no. 16",
        "`from` and `to` are kept to the nanosecond: a row that is older or younger by one is left alone.",
        |ev| {
            let bound = |name: &str| Ok(ev.fact(name)?.as_str().and_then(crate::evidence::backup::stamp).unwrap_or(0));
            let (young, old) = (bound("exact/young")?, bound("exact/old")?);
            accepted(ev, "exact")?;
            differs(ev, "original", "exact", move |scene, register, stamp, step| {
                if old < stamp && stamp < young && scene.given(register) { [0; 2] } else { [step; 2] }
            })
        },
    ),
    Rule::choice("cmd/db/zero/07", CLAUSE, "What is flat stays as it is when it is made flat again.", |ev| {
        unchanged(ev, "zero", "again")
    }),
    Rule::must("cmd/db/zero/08", "WebAPI §2 info tags", "`info` is a tag of the list for the database.", |ev| {
        status::info(ev, "", super::status::INFO)
    }),
    Rule::must("cmd/db/zero/09", CLAUSE, "The backup that was taken before puts everything back.", |ev| {
        accepted(ev, "put-back")?;
        unchanged(ev, "original", "final")
    }),
];

/// Rows at the very ends are flat. Left alone, they are a note: the documents do not say what a row's stamp stands for.
fn ends(ev: &Evidence<'_>) -> Result<Finding, Finding> {
    let scene = Scene::of(ev)?;
    let (_, before) = picture(ev, "original")?;
    let (exchange, after) = picture(ev, "zero")?;
    let (mut seen, mut left) = (false, false);
    for register in scene.registers.iter().filter(|it| scene.given(it)) {
        let (old, new) = (before.steps(register), after.steps(register));
        for end in [scene.from, scene.to] {
            let Some(step) = old.get(&end).filter(|it| **it != 0) else { continue };
            let now = new.get(&end).copied().unwrap_or_default();
            seen = true;
            left |= now == *step;
            exchange
                .want(now == 0 || now == *step, format!("{} grows by {now} at {}", register.name, stamp_text(end)))?;
        }
    }
    match (seen, left) {
        (false, _) => Err(Finding::NoEvidence("no row with a step stands at db.from or db.to".into())),
        (true, true) => Ok(Finding::Quirk("a row at `from` or `to` is left alone".into())),
        (true, false) => Ok(Finding::Kept),
    }
}
