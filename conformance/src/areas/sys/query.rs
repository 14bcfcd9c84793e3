//! `filter` and `max-depth`, tried on one small resource. It compares with the whole answer; which members a meter has
//! does not matter.

use serde_json::{Value, json};

use crate::catalogue::Area;
use crate::danger::Class;
use crate::evidence::Evidence;
use crate::lab::{Lab, Stop};
use crate::transcript::Exchange;
use crate::verdict::{Finding, Rule};

/// See the module.
pub const AREA: Area = Area {
    name: "sys/query",
    class: Class::Safe,
    touches: "reads /sys/db with filters",
    params: &[],
    play,
    rules: RULES,
};

const QUERIES: [(&str, &str); 8] = [
    ("filter", "filter=%7Bmax-registers%7D"),
    ("raw-braces", "filter={max-registers}"),
    ("nested", "filter=%7Blevel%5B0%7Binterval%7D%5D%7D"),
    ("no-such-member", "filter=%7Bno-such-member%7D"),
    ("depth-1", "max-depth=1"),
    ("depth-2", "max-depth=2"),
    ("broken/filter", "filter=%7Bmax-registers"),
    ("broken/depth", "max-depth=0"),
];

fn play(lab: &mut Lab<'_>) -> Result<(), Stop> {
    lab.get("whole", "/sys/db")?;
    for (label, query) in QUERIES {
        lab.get(label, &format!("/sys/db?{query}"))?;
    }
    lab.get("option", "/sys/db?no-such-option=1")?;
    Ok(())
}

const RULES: &[Rule] = &[
    Rule::should(
        "sys/query/01",
        "WebAPI glossary, Filter-Spec",
        "A `filter` picks the members that it names, and no others.",
        |ev| {
            let expect = json!({"max-registers": whole(ev)?["max-registers"]});
            same(ev.get("filter")?, &expect)
        },
    ),
    Rule::should(
        "sys/query/02",
        "WebAPI §7 filter",
        "Braces in a query mean the same when they are not percent-encoded: a client sends them so.",
        |ev| {
            let expect = json!({"max-registers": whole(ev)?["max-registers"]});
            same(ev.get("raw-braces")?, &expect)
        },
    ),
    Rule::should("sys/query/03", "WebAPI glossary, Filter-Spec", "A `filter` reaches into arrays by position.", |ev| {
        let whole = whole(ev)?;
        let Some(interval) = whole.pointer("/level/0/interval") else {
            return Err(Finding::NoEvidence("/sys/db lists no level".into()));
        };
        same(ev.get("nested")?, &json!({"level": [{"interval": interval}]}))
    }),
    Rule::may(
        "sys/query/04",
        "WebAPI glossary, Filter-Spec",
        "A `filter` for a member that is not there finds nothing.",
        |ev| {
            whole(ev)?;
            let it = ev.get("no-such-member")?;
            if it.success().is_err() {
                it.declined()?;
                return Ok(Finding::Quirk("a filter for a member that is not there is an error".into()));
            }
            same(it, &json!({}))
        },
    ),
    Rule::should(
        "sys/query/05",
        "WebAPI glossary, Max-Depth",
        "At `max-depth` 1 an object is the list of its members.",
        |ev| {
            let whole = whole(ev)?;
            let it = ev.get("depth-1")?;
            let value = it.result()?;
            let mut names: Vec<_> = value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let mut expect: Vec<_> = whole.as_object().into_iter().flatten().map(|it| it.0.as_str()).collect();
            names.sort_unstable();
            expect.sort_unstable();
            it.want(names == expect, format!("{} are owed", expect.join(", ")))?;
            Ok(Finding::Kept)
        },
    ),
    Rule::should("sys/query/06", "WebAPI glossary, Max-Depth", "At the depth's limit an array is its length.", |ev| {
        let whole = whole(ev)?;
        let Some(levels) = whole["level"].as_array() else {
            return Err(Finding::NoEvidence("/sys/db has no array to cut off".into()));
        };
        let it = ev.get("depth-2")?;
        it.want(it.result()?["level"] == json!(levels.len()), format!("`level` is owed as {}", levels.len()))?;
        Ok(Finding::Kept)
    }),
    Rule::choice(
        "sys/query/07",
        "documents silent",
        "A filter or depth that cannot be read is an error, not ignored.",
        |ev| {
            whole(ev)?;
            for it in ev.all("broken/")? {
                it.declined()?;
            }
            Ok(Finding::Kept)
        },
    ),
    Rule::choice(
        "sys/query/08",
        "documents silent",
        "A query option that is not known is an error, not ignored.",
        |ev| {
            whole(ev)?;
            let it = ev.get("option")?;
            if it.success().is_ok() {
                return Ok(Finding::Quirk("query options that are not known are ignored".into()));
            }
            it.declined()
        },
    ),
];

fn whole(ev: &Evidence<'_>) -> Result<Value, Finding> {
    let none = |_| Finding::NoEvidence("/sys/db is not served, and filters are tried on it".into());
    ev.get("whole")?.result().map_err(none)
}

fn same(it: &Exchange, expect: &Value) -> Result<Finding, Finding> {
    it.want(&it.result()? == expect, format!("{expect} is owed"))?;
    Ok(Finding::Kept)
}

#[cfg(test)]
mod tests {
    use crate::evidence::testing::{broken, judge, kept, untested};

    const WHOLE: (&str, u16, &str) = ("whole", 200, r#"{"result":{"level":[{"interval":60}],"max-registers":64}}"#);

    #[test]
    fn less_is_exactly_what_was_asked_for() {
        let with = |id, label, body| judge(id, &[WHOLE, (label, 200, body)]);
        kept(with("sys/query/01", "filter", r#"{"result":{"max-registers":64}}"#));
        broken(with("sys/query/01", "filter", WHOLE.2));
        kept(with("sys/query/05", "depth-1", r#"{"result":["max-registers","level"]}"#));
        broken(with("sys/query/05", "depth-1", r#"{"result":["level"]}"#));
        kept(with("sys/query/06", "depth-2", r#"{"result":{"level":1,"max-registers":64}}"#));
        broken(with("sys/query/06", "depth-2", WHOLE.2));
        broken(with("sys/query/07", "broken/x", WHOLE.2));
        untested(judge("sys/query/01", &[("whole", 404, "")]));
    }
}
