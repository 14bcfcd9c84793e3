//! Commands for the database that refuse too little or change too much.

use serde_json::{Map, Value, json};

use super::{Mutant, anonymous, before_401, failed, fine, has, obey, replace};
use crate::message::Message;
use crate::proxy::Meter;

pub static MUTANTS: &[Mutant] = &[
    Mutant::new("db/without-login", &["cmd/db/01"], |call, meter| {
        obey(call, meter, |it| it.path() == "/cmd/db" && anonymous(it))
    }),
    Mutant::new("db/executes-before-401", &["cmd/db/02"], |call, meter| before_401(call, meter, "/cmd/db")),
    Mutant::new("db/by-get-too", &["cmd/db/03"], |call, meter| {
        replace(&call, meter, |it| call.path() == "/cmd/db" && it.status() == 405, |_| fine())
    }),
    Mutant::new("db/half-a-body-does", &["cmd/db/04"], |call, meter| {
        lax(call, meter, |it| it.json().is_none() && !it.body.is_empty())
    }),
    Mutant::new("db/any-action-does", &["cmd/db/05"], |call, meter| {
        const ACTIONS: [&str; 3] = ["zero", "restore", "split"];
        lax(call, meter, |it| !member(it, "action").as_str().is_some_and(|it| ACTIONS.contains(&it)))
    }),
    Mutant::new("db/refuses-and-does-it", &["cmd/db/06"], |call, meter| {
        let answer = meter.ask(&call);
        if call.is("POST", "/cmd/db") && answer.status() == 200 && has(&answer, "error") {
            meter.ask(&call.members(|it| {
                it.insert("action".into(), json!("zero"));
            }));
        }
        answer
    }),
    Mutant::new("db/stamps-may-be-numbers", &["cmd/db/07"], |call, meter| {
        lax(call, meter, |it| member(it, "from").is_number())
    }),
    Mutant::new("db/stamps-with-exponents", &["cmd/db/08"], |call, meter| {
        lax(call, meter, |it| member(it, "from").as_str().is_some_and(|it| it.contains('e')))
    }),
    Mutant::new("db/stamps-below-zero", &["cmd/db/08"], |call, meter| {
        lax(call, meter, |it| member(it, "from").as_str().is_some_and(|it| it.starts_with('-')))
    }),
    Mutant::new("db/empty-range-is-fine", &["cmd/db/09"], |call, meter| {
        let number = |it: &Message, name: &str| member(it, name).as_str().and_then(|it| it.parse::<f64>().ok());
        lax(call, meter, |it| number(it, "to").is_some() && number(it, "to") < number(it, "from"))
    }),
    Mutant::new("db/regs-of-any-type", &["cmd/db/10"], |call, meter| {
        lax(call, meter, |it| member(it, "regs").is_string())
    }),
    Mutant::new("db/passes-over-registers-below-zero", &["cmd/db/10"], |call, meter| {
        lax(call, meter, |it| member(it, "regs") == json!([-1]))
    }),
    Mutant::new("db/passes-over-registers-that-are-not-there", &["cmd/db/11"], |call, meter| {
        lax(call, meter, |it| member(it, "regs").as_array().is_some_and(|it| it.len() == 1))
    }),
    Mutant::new("db/restores-nothing", &["cmd/db/12"], |call, meter| {
        lax(call, meter, |it| member(it, "action") == "restore" && !member(it, "data").is_string())
    }),
    Mutant::new("db/flags-in-words", &["cmd/db/13"], |call, meter| {
        lax(call, meter, |it| member(it, "more_chunks").is_string())
    }),
    Mutant::new("db/does-not-name-the-member", &["cmd/db/14"], |call, meter| {
        replace(
            &call,
            meter,
            |it| call.path() == "/cmd/db" && it.status() == 200 && has(it, "error"),
            |_| failed("Bad request."),
        )
    }),
    Mutant::new("db/unknown-members-without-a-name", &["cmd/db/15"], |call, meter| {
        match call.is("POST", "/cmd/db") && call.text().contains("\"form\"") {
            true => failed("There is a member too many."),
            false => meter.ask(&call),
        }
    }),
    Mutant::new("db/unknown-members-are-passed-over", &["cmd/db/15"], |call, meter| {
        lax(call, meter, |it| it.text().contains("\"form\""))
    })
    .noted(),
    Mutant::new("zero/does-nothing", &["cmd/db/zero/02"], |call, meter| {
        if action(&call) == "zero" { fine() } else { meter.ask(&call) }
    }),
    Mutant::new("zero/beyond-its-window", &["cmd/db/zero/03"], |call, meter| {
        command(call, meter, "zero", |it| widen(it, 600))
    }),
    Mutant::new("zero/ignores-to", &["cmd/db/zero/03"], |call, meter| {
        command(call, meter, "zero", |it| {
            it.remove("to");
        })
    }),
    Mutant::new("zero/forgets-regs", &["cmd/db/zero/04"], |call, meter| {
        command(call, meter, "zero", |it| {
            it.remove("regs");
        })
    }),
    Mutant::new("zero/leaves-the-ends", &["cmd/db/zero/05"], |call, meter| {
        command(call, meter, "zero", |it| widen(it, -1))
    })
    .noted(),
    Mutant::new("zero/stamps-as-floats", &["cmd/db/zero/06"], |call, meter| {
        command(call, meter, "zero", |it| {
            for name in ["from", "to"] {
                let rounded = it[name].as_str().and_then(|it| it.parse::<f64>().ok());
                it[name] = json!(rounded.unwrap_or_default().to_string());
            }
        })
    }),
    Mutant::new("zero/grows-each-time", &["cmd/db/zero/07"], |call, meter| {
        let again = action(&call) == "zero"
            && member(&call, "regs")
                .as_array()
                .is_some_and(|it| it.last().and_then(Value::as_u64) < it.first().and_then(Value::as_u64));
        if again { command(call, meter, "zero", |it| widen(it, 300)) } else { meter.ask(&call) }
    }),
    Mutant::new("restore/loses-the-youngest-row", &["cmd/db/restore/02"], |call, meter| {
        // Not where all registers are put back: of what earlier rules lost, later ones would miss nothing.
        let some = call.json().is_some_and(|it| it.get("regs").is_some());
        restore(call, meter, |lines| {
            if some {
                lines.remove(2.min(lines.len() - 1));
            }
        })
    }),
    Mutant::new("restore/does-nothing", &["cmd/db/zero/09"], |call, meter| {
        if action(&call) == "restore" { fine() } else { meter.ask(&call) }
    }),
    Mutant::new("restore/forgets-regs", &["cmd/db/restore/03"], |call, meter| {
        command(call, meter, "restore", |it| {
            it.remove("regs");
        })
    }),
    Mutant::new("restore/ignores-from", &["cmd/db/restore/04"], |call, meter| {
        command(call, meter, "restore", |it| {
            it.remove("from");
        })
    }),
    Mutant::new("restore/ignores-to", &["cmd/db/restore/11"], |call, meter| {
        command(call, meter, "restore", |it| {
            it.remove("to");
        })
    }),
    Mutant::new("restore/spike-at-a-chunks-edge", &["cmd/db/restore/06", "cmd/db/restore/07"], |call, meter| {
        spiky(call, meter, |more| more.is_none())
    }),
    Mutant::new("restore/spike-after-the-last-chunk", &["cmd/db/restore/05"], |call, meter| {
        spiky(call, meter, |more| more == Some(false))
    }),
    Mutant::new("restore/spike-while-more-is-to-come", &["cmd/db/restore/08"], |call, meter| {
        spiky(call, meter, |more| more == Some(true))
    }),
    Mutant::new("split/does-nothing", &["cmd/db/split/02"], |call, meter| {
        if action(&call) == "split" { fine() } else { meter.ask(&call) }
    }),
    Mutant::new("split/flattens-the-net-register", &["cmd/db/split/03"], |call, meter| {
        let answer = meter.ask(&call);
        if action(&call) == "split" && !has(&answer, "error") {
            command(call, meter, "split", |it| it["action"] = json!("zero"));
        }
        answer
    }),
    Mutant::new("split/adds-each-time", &["cmd/db/split/04"], |call, meter| {
        let answer = meter.ask(&call);
        if action(&call) == "split" && !has(&answer, "error") && 0 < meter.count("splits") {
            command(call, meter, "split", |it| it["action"] = json!("zero"));
        }
        answer
    }),
];

/// A member of a body, or null.
fn member(call: &Message, name: &str) -> Value {
    call.json().and_then(|it| it.get(name).cloned()).unwrap_or_default()
}

/// What a command is to do to the database.
pub(super) fn action(call: &Message) -> String {
    let action = if call.is("POST", "/cmd/db") && !anonymous(call) { member(call, "action") } else { Value::Null };
    action.as_str().unwrap_or_default().to_string()
}

/// Says that all is well where the meter refuses, if `when` says so of the request.
pub(super) fn lax(call: Message, meter: &Meter, when: impl FnOnce(&Message) -> bool) -> Message {
    let refused = |it: &Message| call.is("POST", "/cmd/db") && it.status() == 200 && has(it, "error");
    replace(&call, meter, |it| refused(it) && when(&call), |_| fine())
}

/// Changes the command before the meter sees it, if its action is this one.
fn command(call: Message, meter: &Meter, name: &str, change: impl FnOnce(&mut Map<String, Value>)) -> Message {
    if action(&call) == name { meter.ask(&call.members(change)) } else { meter.ask(&call) }
}

/// Changes the lines of the file that a restore brings.
pub(super) fn restore(call: Message, meter: &Meter, change: impl FnOnce(&mut Vec<String>)) -> Message {
    use base64::prelude::*;
    command(call, meter, "restore", |it| {
        let data = BASE64_STANDARD.decode(it["data"].as_str().unwrap_or_default()).unwrap_or_default();
        let mut lines: Vec<_> = String::from_utf8_lossy(&data).lines().map(str::to_string).collect();
        if 3 < lines.len() {
            change(&mut lines);
            it["data"] = json!(BASE64_STANDARD.encode(lines.join("\n") + "\n"));
        }
    })
}

/// Makes a command's window wider by so many seconds at both ends.
fn widen(body: &mut Map<String, Value>, seconds: i64) {
    for (name, by) in [("from", -seconds), ("to", seconds)] {
        let stamp = body[name].as_str().and_then(|it| it.split('.').next()?.parse::<i64>().ok());
        body[name] = json!((stamp.unwrap_or_default() + by).to_string());
    }
}

/// Shows a spike in every backup that is taken after a chunk; `when` says after which, by its `more_chunks`.
fn spiky(call: Message, meter: &Meter, when: impl FnOnce(Option<bool>) -> bool) -> Message {
    if action(&call) == "restore" {
        let length = member(&call, "data").as_str().map_or(0, str::len) as u64;
        let longest = meter.recall("longest").as_u64().unwrap_or_default().max(length);
        meter.keep("longest", longest);
        meter.keep("spike", length < longest / 2 && when(member(&call, "more_chunks").as_bool()));
    }
    let backup = call.is("GET", "/register") && call.query().contains("backup");
    replace(
        &call,
        meter,
        |_| backup && meter.recall("spike") == true,
        |it| {
            let text = it.text();
            let lines: Vec<_> = text.lines().collect();
            let high = |(number, line): (usize, &&str)| match line.split(',').collect::<Vec<_>>().as_slice() {
                [ts, first, rest @ ..] if lines.len() / 2 < number => {
                    let counter = first.parse::<i64>().unwrap_or_default() - 1_000_000_000;
                    format!("{ts},{counter},{}\n", rest.join(","))
                }
                _ => format!("{line}\n"),
            };
            let spiked: String = lines.iter().enumerate().map(high).collect();
            it.with_body(spiked)
        },
    )
}
