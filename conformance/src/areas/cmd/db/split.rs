//! /cmd/db, action split: a net register's positive steps go to its positive-only register.

use serde_json::json;

use super::window::{PARAMS, Scene, Window, accepted, differs, picture, unchanged};
use crate::catalogue::{Area, Param};
use crate::danger::Class;
use crate::evidence::backup::Register;
use crate::evidence::{Evidence, refusal, status};
use crate::lab::{Lab, Stop};
use crate::verdict::{Finding, Rule};

/// See the module.
pub const AREA: Area = Area {
    name: "cmd/db/split",
    class: Class::Db,
    touches: "makes the positive-only register of db.net-register flat between db.from and db.to, and splits",
    params: SPLIT_PARAMS,
    play,
    rules: RULES,
};

const SPLIT_PARAMS: &[Param] = &[
    PARAMS[0],
    PARAMS[1],
    PARAMS[2],
    PARAMS[3],
    Param {
        name: "db.net-register",
        meaning: "The did of a net power register whose positive-only register may be changed.",
    },
];

fn play(lab: &mut Lab<'_>) -> Result<(), Stop> {
    let net = lab.need("db.net-register")?;
    let window = Window::open(lab)?;
    let net = window.registers.iter().find(|it| it.did.to_string() == net).cloned();
    let net = net.ok_or_else(|| Stop::Skip("--with db.net-register: the meter has no such register".into()))?;
    let partner = partner(&window.registers, &net).cloned();
    let partner = partner.ok_or_else(|| Stop::Skip(format!("the meter has no register {}+", net.name)))?;
    lab.fact("net", net.did);
    lab.fact("partner", partner.did);
    let res = traffic(lab, &window, &net, &partner);
    res.and(window.close(lab))
}

fn traffic(lab: &mut Lab<'_>, window: &Window, net: &Register, partner: &Register) -> Result<(), Stop> {
    window.run(lab, "zero", &window.zero(&[partner.did]))?;
    window.picture(lab, "zero")?;
    let mut split = window.zero(&[net.did]);
    split["action"] = json!("split");
    for label in ["split", "again"] {
        window.run(lab, label, &split)?;
        window.picture(lab, label)?;
    }
    split["regs"] = json!([partner.did]);
    window.run(lab, "no-net", &split)?;
    let lonely = window.registers.iter().find(|it| is_net(it) && self::partner(&window.registers, it).is_none());
    if let Some(lonely) = lonely {
        split["regs"] = json!([lonely.did]);
        window.run(lab, "lonely", &split)?;
    }
    window.picture(lab, "after-refused")
}

/// The register of the positive steps of `net`.
fn partner<'a>(registers: &'a [Register], net: &Register) -> Option<&'a Register> {
    let name = format!("{}+", net.name);
    registers.iter().find(|it| it.name == name && it.kind == net.kind)
}

/// Whether it is a power register that is no part of another one.
fn is_net(register: &Register) -> bool {
    register.kind == "P" && !register.name.ends_with(['+', '-', '|', '*'])
}

const CLAUSE: &str = "cmd-api: Manipulate database, split";

const RULES: &[Rule] = &[
    Rule::must(
        "cmd/db/split/01",
        CLAUSE,
        "The reply has `status` or a token, and the operation ends without an error.",
        |ev| accepted(ev, "split"),
    ),
    Rule::must(
        "cmd/db/split/02",
        CLAUSE,
        "The positive-only register gets the positive steps of the net register, and none where it is negative.",
        |ev| {
            let scene = Scene::of(ev)?;
            let (net, partner) = (did(ev, "net")?, did(ev, "partner")?);
            let register = scene.registers.iter().find(|it| it.did == net);
            let (_, original) = picture(ev, "original")?;
            let steps = register.map(|it| original.steps(it)).unwrap_or_default();
            if !steps.iter().any(|(stamp, step)| scene.inside(*stamp) && 0 < *step) {
                return Err(Finding::NoEvidence("the net register does not grow between db.from and db.to".into()));
            }
            differs(ev, "zero", "split", move |scene, register, stamp, old| {
                let positive = steps.get(&stamp).map_or(0, |it| (*it).max(0));
                match register.did == partner {
                    true if scene.inside(stamp) => [positive; 2],
                    true if scene.at_end(stamp) => [positive, old],
                    _ => [old; 2],
                }
            })
        },
    ),
    Rule::must("cmd/db/split/03", CLAUSE, "The net register itself and all others stay as they are.", |ev| {
        let partner = did(ev, "partner")?;
        let scene = Scene::of(ev)?;
        let others: Vec<_> = scene.registers.into_iter().filter(|it| it.did != partner).collect();
        let ((_, before), (exchange, after)) = (picture(ev, "zero")?, picture(ev, "split")?);
        crate::evidence::backup::compare(&others, &before, (&after, exchange), |_, _, old| [old; 2])
    }),
    Rule::choice("cmd/db/split/04", CLAUSE, "Splitting again changes nothing.", |ev| unchanged(ev, "split", "again")),
    Rule::must(
        "cmd/db/split/05",
        "WebAPI §2 error tags",
        "A register that is not a net one fails with NOT_NET_REG.",
        |ev| refusal::fails(ev, "no-net", &["NOT_NET_REG"]),
    ),
    Rule::must(
        "cmd/db/split/06",
        "WebAPI §2 error tags",
        "A net register without a positive-only one fails with NO_POS_REG.",
        |ev| match ev.get("lonely") {
            Ok(_) => refusal::fails(ev, "lonely", &["NO_POS_REG"]),
            Err(missing) if ev.get("no-net").is_err() => Err(missing),
            Err(_) => Err(Finding::NoEvidence("every net register of the meter has a positive-only one".into())),
        },
    ),
    Rule::must("cmd/db/split/07", CLAUSE, "A split that fails changes no data.", |ev| {
        unchanged(ev, "again", "after-refused")
    }),
    Rule::must("cmd/db/split/08", "WebAPI §2 info tags", "`info` is a tag of the list for the database.", |ev| {
        status::info(ev, "", super::status::INFO)
    }),
    Rule::must("cmd/db/split/09", CLAUSE, "At the end the data are as the tester gave them.", |ev| {
        accepted(ev, "put-back")?;
        unchanged(ev, "original", "final")
    }),
];

fn did(ev: &Evidence<'_>, name: &str) -> Result<u64, Finding> {
    Ok(ev.fact(name)?.as_u64().unwrap_or_default())
}
