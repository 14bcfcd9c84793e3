//! /cmd/test-remote: what it takes and what it refuses, and what it finds on a SunSpec device of this program, on one that
//! has nothing to say, where nobody listens, and where nobody answers.

mod play;

use serde_json::Value;

use play::{MISSING, NO_ADDRESSES, UNKNOWN, WRONG_TYPES};

use crate::catalogue::{Area, Param};
use crate::companions;
use crate::danger::Class;
use crate::evidence::{Evidence, status, tokens};
use crate::lab::operation::status_of;
use crate::refusals::{self, MALFORMED};
use crate::transcript::Exchange;
use crate::verdict::{Finding, Rule};

/// See the module.
pub const AREA: Area = Area {
    name: "cmd/test-remote",
    class: Class::Remote,
    touches: "asks for tests of remote devices: a Modbus device of this program, and addresses where there is none",
    params: &[
        companions::ADDRESS,
        companions::BIND,
        Param { name: MODBUS_PORT, meaning: "the port where the Modbus device listens (any free one)." },
    ],
    play: play::play,
    rules: RULES,
};

const MODBUS_PORT: &str = "companion.modbus-port";

/// The results of an operation's statuses, with the exchange of each; at least one is owed.
fn results<'a>(ev: &Evidence<'a>, operation: &str) -> Result<Vec<(&'a Exchange, Value)>, Finding> {
    let polls = status::polls(ev, &format!("{operation}/poll/"))?;
    let last = polls.last().map(|it| it.exchange);
    let res: Vec<_> = polls.into_iter().filter_map(|mut it| Some((it.exchange, it.status.remove("result")?))).collect();
    match last {
        Some(last) if res.is_empty() => Err(last.broken("`result` was never there")),
        _ => Ok(res),
    }
}

/// Both lists of every result are lists of objects with these members; `fits` says more of each value.
fn items(ev: &Evidence<'_>, list: &str, fits: fn(&Value) -> bool, why: &str) -> Result<Finding, Finding> {
    for operation in ["found", "blank", "nobody"] {
        for (exchange, result) in results(ev, operation)? {
            // What was not found yet may be missing; whether it may is another rule's business.
            let Some(items) = result.get(list) else { continue };
            let fine = items.as_array().is_some_and(|it| it.iter().all(fits));
            exchange.want(fine, format!("`result.{list}` must be a list of {why}"))?;
        }
    }
    Ok(Finding::Kept)
}

/// What a list was in the results of an operation, one after the other; each must begin with the one before.
fn growing(ev: &Evidence<'_>, operation: &str, list: &str) -> Result<Finding, Finding> {
    let mut before: Vec<Value> = Vec::new();
    let mut lengths = Vec::new();
    for (exchange, result) in results(ev, operation)? {
        let now = result.get(list).and_then(Value::as_array).cloned().unwrap_or_default();
        exchange.want(now.starts_with(&before), format!("`{list}` must keep what it had"))?;
        lengths.push(now.len());
        before = now;
    }
    lengths.dedup();
    match lengths.len() {
        0 | 1 => Ok(Finding::Quirk(format!("`{list}` was there at once or only at the end"))),
        _ => Ok(Finding::Kept),
    }
}

/// The type codes of what was found on the SunSpec device.
fn found<'a>(ev: &Evidence<'a>) -> Result<(&'a Exchange, Vec<String>), Finding> {
    let (exchange, end) = status::end(ev, "found")?;
    let regs = end.get("result").and_then(|it| it.get("regs")?.as_array());
    let types = regs.into_iter().flatten().filter_map(|it| it["type"].as_str().map(str::to_string));
    Ok((exchange, types.collect()))
}

/// The trace of an operation that found nothing says something, and its registers are none.
fn explained(ev: &Evidence<'_>, operation: &str) -> Result<Finding, Finding> {
    let (exchange, end) = status::end(ev, operation)?;
    let list = |name: &str| end.get("result").and_then(|it| it.get(name)?.as_array()).map_or(0, Vec::len);
    exchange.want(list("regs") == 0, "there are no registers to be found")?;
    exchange.want(list("trace") > 0, "the trace must say what was tried")?;
    Ok(Finding::Kept)
}

const CLAUSE: &str = "cmd-api: Test remote device";
const RESULT: &str = "WebAPI §2 result";

const RULES: &[Rule] = &[
    Rule::must(
        "cmd/test-remote/01",
        "WebAPI §1",
        "Without a valid login a test is answered with 401 and a challenge.",
        refusals::unauthorized,
    ),
    Rule::must(
        "cmd/test-remote/02",
        "WebAPI §11, 9",
        "A request that is answered 401, and one of another method, connects to no device.",
        |ev| refusals::none(ev, "uninvited", "tests of a device without a login, and by GET and PUT"),
    ),
    Rule::must("cmd/test-remote/03", "WebAPI §5", "Only POST tests a device; GET and PUT are refused.", |ev| {
        refusals::other_methods(ev)
    }),
    Rule::must("cmd/test-remote/04", CLAUSE, "A body that is no JSON object is refused with `error`.", |ev| {
        refusals::all_refused(ev, MALFORMED)
    }),
    Rule::must("cmd/test-remote/05", CLAUSE, "Without `linktype` or `address` it is refused with `error`.", |ev| {
        refusals::all_refused(ev, MISSING)
    }),
    Rule::must("cmd/test-remote/06", CLAUSE, "A member that is not a string is refused with `error`.", |ev| {
        refusals::all_refused(ev, WRONG_TYPES)
    }),
    Rule::must("cmd/test-remote/07", "WebAPI §8", "A `linktype` that there is not is refused with `error`.", |ev| {
        refusals::all_refused(ev, UNKNOWN)
    }),
    Rule::must(
        "cmd/test-remote/08",
        "WebAPI §8",
        "An `address` that has not the form of its link type is refused with `error`.",
        |ev| refusals::all_refused(ev, NO_ADDRESSES),
    ),
    Rule::choice("cmd/test-remote/09", CLAUSE, "The error of a bad body names the member at fault.", |ev| {
        let named = [("no-linktype", "linktype"), ("no-address", "address"), ("unknown-linktype", "linktype")];
        refusals::names_the_member(ev, &named)
    }),
    Rule::must("cmd/test-remote/10", CLAUSE, "The reply to a test has a token, and no `error`.", |ev| {
        for label in ["found", "blank", "nobody"] {
            let reply = ev.get(label)?;
            let body = reply.success()?;
            reply.want(body.get("token").is_some_and(Value::is_string), "`token` must be a string")?;
        }
        Ok(Finding::Kept)
    }),
    Rule::must("cmd/test-remote/11", "WebAPI §2", "Its tokens are hexadecimal strings of at least 32 digits.", |ev| {
        tokens::form(ev)
    }),
    Rule::should("cmd/test-remote/12", CLAUSE, "The token comes before the device is read.", |ev| {
        let first = ev.get("found/poll/1")?;
        first.result()?;
        let done = status_of(first).and_then(|it| it.get("done")?.as_bool());
        first.want(done == Some(false), "the device takes its time, so `done` must be false at first")?;
        Ok(Finding::Kept)
    }),
    Rule::must(
        "cmd/test-remote/13",
        "WebAPI §2",
        "`done` and `ts` of its statuses have the form that clients need.",
        |ev| {
            status::done(ev, "")?;
            status::stamp(ev, "")
        },
    ),
    Rule::must(
        "cmd/test-remote/14",
        "WebAPI §2",
        "`progress`, where it is given, is written with a decimal point, from 0.0 to 1.0.",
        |ev| status::progress(ev, ""),
    ),
    Rule::must("cmd/test-remote/15", "WebAPI §2", "`error` of a test is a tag, `args` a list of strings.", |ev| {
        status::args(ev, "")?;
        // No tag for a failed test is published, so any will do.
        match status::error(ev, "")? {
            Finding::Quirk(_) => Ok(Finding::Kept),
            finding => Ok(finding),
        }
    }),
    Rule::must("cmd/test-remote/16", "WebAPI §2", "Members of a status without a value are left out.", |ev| {
        status::members(ev, "")
    }),
    Rule::must("cmd/test-remote/17", RESULT, "Each step of `trace` has a number `dt` and a text `msg`.", |ev| {
        let fits: fn(&Value) -> bool =
            |it| it["dt"].as_f64().is_some_and(|it| it >= 0.0) && it["msg"].as_str().is_some_and(|it| !it.is_empty());
        items(ev, "trace", fits, "objects with `dt`, seconds since the beginning, and `msg`")
    }),
    Rule::must("cmd/test-remote/18", RESULT, "Each of `regs` has a text `name` and a text `type`.", |ev| {
        let text: fn(&Value) -> bool = |it| {
            let member = |name: &str| it[name].as_str().is_some_and(|it| !it.is_empty());
            member("name") && member("type")
        };
        items(ev, "regs", text, "objects with `name` and `type`")
    }),
    Rule::must("cmd/test-remote/19", RESULT, "`dt` never goes back within a trace.", |ev| {
        for (exchange, result) in results(ev, "found")? {
            let times: Vec<_> =
                result["trace"].as_array().into_iter().flatten().filter_map(|it| it["dt"].as_f64()).collect();
            exchange.want(times.is_sorted(), "the steps of the trace are out of order")?;
        }
        Ok(Finding::Kept)
    }),
    Rule::should("cmd/test-remote/20", RESULT, "`trace` grows while the device is tested.", |ev| {
        growing(ev, "found", "trace")
    }),
    Rule::should("cmd/test-remote/21", RESULT, "`regs` grows while the device is tested.", |ev| {
        growing(ev, "found", "regs")
    }),
    Rule::should(
        "cmd/test-remote/22",
        RESULT,
        "Every result has both `trace` and `regs`, empty as long as there is nothing.",
        |ev| {
            for operation in ["found", "nobody"] {
                for (exchange, result) in results(ev, operation)? {
                    let both = result["trace"].is_array() && result["regs"].is_array();
                    exchange.want(both, "both lists are required")?;
                }
            }
            Ok(Finding::Kept)
        },
    ),
    Rule::must(
        "cmd/test-remote/23",
        CLAUSE,
        "A device that answers is read without `error`, and has registers.",
        |ev| {
            status::succeeded(ev, "found")?;
            let (exchange, types) = found(ev)?;
            exchange.want(!types.is_empty(), "the device has some twenty points with values")?;
            Ok(Finding::Kept)
        },
    ),
    Rule::must(
        "cmd/test-remote/24",
        "WebAPI §6 type codes",
        "Powers, voltages, currents and the frequency of the device have the type codes P, V, I and F.",
        |ev| {
            let (exchange, types) = found(ev)?;
            for code in ["P", "V", "I", "F"] {
                exchange.want(types.iter().any(|it| it == code), format!("no register of type {code} is there"))?;
            }
            Ok(Finding::Kept)
        },
    ),
    Rule::must("cmd/test-remote/25", CLAUSE, "The names of the registers tell them apart.", |ev| {
        let (exchange, end) = status::end(ev, "found")?;
        let mut names: Vec<_> = end
            .get("result")
            .and_then(|it| it["regs"].as_array())
            .into_iter()
            .flatten()
            .map(|it| it["name"].to_string())
            .collect();
        let count = names.len();
        if count == 0 {
            return Err(Finding::NoEvidence("no registers were found".into()));
        }
        names.sort();
        names.dedup();
        exchange.want(names.len() == count, "two registers have the same name")?;
        Ok(Finding::Kept)
    }),
    Rule::choice(
        "cmd/test-remote/26",
        "SunSpec: Not Implemented",
        "What the device marks as not implemented is no register: it has no reactive power.",
        |ev| {
            let (exchange, types) = found(ev)?;
            exchange.want(!types.is_empty(), "no registers were found")?;
            let reactive = types.iter().any(|it| matches!(it.as_str(), "var" | "PQ" | "Q"));
            exchange.want(!reactive, "a register for reactive power, which the device does not have")?;
            Ok(Finding::Kept)
        },
    ),
    Rule::must("cmd/test-remote/27", CLAUSE, "The device is asked at the unit of the address, and only read.", |ev| {
        let asked = ev.fact("found")?.as_array().cloned().unwrap_or_default();
        if asked.is_empty() {
            return Err(ev.get("found")?.broken("the device was never asked"));
        }
        for it in &asked {
            let (unit, function) = (it[0].as_u64(), it[1].as_u64().unwrap_or_default());
            let fits = unit == Some(1) && !matches!(function, 5 | 6 | 8 | 15 | 16 | 21..=23);
            ev.get("found")?.want(fits, format!("the device was asked for [unit, function] {it}"))?;
        }
        Ok(Finding::Kept)
    }),
    Rule::must("cmd/test-remote/28", "WebAPI §2", "The status stays as it is once the operation is done.", |ev| {
        status::lasting(ev, "found", "found-later")
    }),
    Rule::must(
        "cmd/test-remote/29",
        RESULT,
        "Where nobody listens, the test is done all the same, with a trace that says so and without registers.",
        |ev| explained(ev, "nobody"),
    ),
    Rule::must("cmd/test-remote/30", RESULT, "A device that has no such registers is told from one that has.", |ev| {
        explained(ev, "blank")
    }),
    Rule::must("cmd/test-remote/31", "WebAPI §2 Cancel", "A test that is cancelled ends with CANCELED.", |ev| {
        ev.get("cancel")?.done()?;
        status::canceled(ev, "cancelled", "cancel")
    }),
    Rule::choice("cmd/test-remote/32", "WebAPI §2 Cancel", "A cancelled test leaves the device alone.", |ev| {
        let (exchange, _) = status::end(ev, "cancelled")?;
        match (ev.fact("visited")?.as_bool(), ev.fact("left")?.as_bool()) {
            (Some(true), Some(true)) => Ok(Finding::Kept),
            (Some(true), _) => Err(exchange.broken("the connection to the device stayed open")),
            _ => Err(Finding::NoEvidence("the meter did not connect to the device".into())),
        }
    }),
    refusals::limited("cmd/test-remote/33"),
    refusals::uninvited_cancel("cmd/test-remote/34", |ev| refusals::goes_on(ev, "cancelled")),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::testing::{broken, kept, quirk, transcript};

    #[track_caller]
    fn check(rule: &str, results: &[&str], expect: fn(Result<Finding, Finding>)) {
        let status = |at: usize, it: &&str| {
            let done = at + 1 == results.len();
            (format!("found/poll/{at}"), format!(r#"{{"result":{{"done":{done},"result":{it}}}}}"#))
        };
        let polls: Vec<_> = results.iter().enumerate().map(|(at, it)| status(at, it)).collect();
        let mut run = transcript(AREA.name, polls.iter().map(|it| (it.0.as_str(), 200, it.1.as_str())));
        let rest = transcript(
            AREA.name,
            ["blank", "nobody"].map(|it| match it {
                "blank" => ("blank/poll/1", 200, r#"{"result":{"done":true,"result":{"trace":[],"regs":[]}}}"#),
                _ => ("nobody/poll/1", 200, r#"{"result":{"done":true,"result":{"trace":[],"regs":[]}}}"#),
            }),
        );
        run.exchanges.extend(rest.exchanges);
        let rule = RULES.iter().find(|it| it.id.ends_with(rule)).unwrap();
        expect((rule.judge)(&Evidence::new(&run, AREA.name)));
    }

    #[test]
    fn traces_have_times_in_order_and_grow() {
        let (one, two) = (r#"{"dt":0,"msg":"a"}"#, r#"{"dt":1.5,"msg":"b"}"#);
        let trace = |items: &[&str]| format!(r#"{{"trace":[{}],"regs":[]}}"#, items.join(","));
        let (first, both, turned) = (trace(&[one]), trace(&[one, two]), trace(&[two, one]));
        check("/17", &[&both], kept);
        check("/17", &[r#"{"trace":[{"dt":"0","msg":"a"}],"regs":[]}"#], broken);
        check("/17", &[r#"{"trace":[{"msg":"a"}],"regs":[]}"#], broken);
        check("/19", &[&both], kept);
        check("/19", &[&turned], broken);
        check("/20", &[&first, &both], kept);
        check("/20", &[&both], quirk);
        check("/20", &[&both, &first], broken);
        check("/22", &[r#"{"trace":[]}"#], broken);
    }

    #[test]
    fn registers_have_names_and_the_codes_of_what_they_measure() {
        let regs = |types: &[&str]| {
            let items: Vec<_> =
                types.iter().enumerate().map(|(at, it)| format!(r#"{{"name":"r{at}","type":"{it}"}}"#)).collect();
            format!(r#"{{"trace":[],"regs":[{}]}}"#, items.join(","))
        };
        check("/24", &[&regs(&["P", "V", "I", "F"])], kept);
        check("/24", &[&regs(&["W", "V", "A", "Hz"])], broken);
        check("/23", &["null"], broken);
        check("/26", &[&regs(&["P", "var"])], broken);
        check("/25", &[r#"{"trace":[],"regs":[{"name":"a","type":"P"},{"name":"a","type":"V"}]}"#], broken);
        check("/18", &[r#"{"trace":[],"regs":[{"name":"a"}]}"#], broken);
        check("/18", &[r#"{"trace":[],"regs":["a"]}"#], broken);
    }
}
