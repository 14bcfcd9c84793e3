//! `clear`: the web server's cache, which is harmless and tried always, and all else of the command, which a careless
//! meter could take for "clear the excess" and thereby change what was recorded.

use serde_json::json;

use crate::areas::number;
use crate::catalogue::{Area, Param};
use crate::danger::Class;
use crate::evidence::{Evidence, refusal};
use crate::http::Request;
use crate::lab::{Lab, Stop};
use crate::refusals;
use crate::transcript::Exchange;
use crate::verdict::{Finding, Rule};

/// `"web_cache"`, to the byte.
pub const WEB_CACHE: Area = Area {
    name: "cmd/clear/web-cache",
    class: Class::Safe,
    touches: "clears the web server's cache of compressed files",
    params: &[],
    play: play_web_cache,
    rules: WEB_CACHE_RULES,
};

/// All else.
pub const AREA: Area = Area {
    name: "cmd/clear",
    class: Class::Db,
    touches: "sends `clear` bodies that must be refused; clears the excess of remote registers if clear.excess is yes",
    params: &[Param {
        name: "clear.excess",
        meaning: "yes if the excess of remote registers may be paid out at once: graphs show a spike for good.",
    }],
    play,
    rules: RULES,
};

const PATH: &str = "/cmd/clear";
/// Where a meter with remote registers shows their excess.
const TEAM: &str = "/sys/team/reg";

fn play_web_cache(lab: &mut Lab<'_>) -> Result<(), Stop> {
    let body = json!("web_cache");
    lab.send("anonymous", &Request::post(PATH, &body).anonymous())?;
    lab.post("first", PATH, &body)?;
    lab.post("second", PATH, &body)?;
    lab.send("text-plain", &Request::new("POST", PATH).header("Content-Type", "text/plain").body(body.to_string()))?;
    Ok(())
}

fn play(lab: &mut Lab<'_>) -> Result<(), Stop> {
    lab.send("anonymous", &Request::post(PATH, &json!("excess")).anonymous())?;
    refusals::as_limited(lab, &Request::post(PATH, &json!("excess")))?;
    for (label, body) in [
        ("word/other", "\"excesses\""),
        ("word/capitals", "\"EXCESS\""),
        ("word/empty", "\"\""),
        ("shape/object", "{\"data\":\"excess\"}"),
        ("shape/array", "[\"excess\"]"),
        ("shape/number", "1"),
        ("shape/null", "null"),
        ("shape/none", ""),
        ("malformed/bare", "excess"),
        ("malformed/cut", "\"excess"),
        ("malformed/twice", "\"excess\" \"excess\""),
    ] {
        lab.send(label, &Request::post_bytes(PATH, body))?;
    }
    lab.send("method/get", &Request::get(PATH))?;
    lab.send("method/put", &Request::new("PUT", PATH).body("\"excess\""))?;
    lab.go_beyond(&["01", "02", "03", "04", "05", "07", "08"])?;
    if lab.need("clear.excess")? != "yes" {
        return Err(Stop::Skip("clear.excess is not yes".into()));
    }
    lab.get("team/before", TEAM)?;
    lab.post("excess/first", PATH, &json!("excess"))?;
    lab.get("team/after", TEAM)?;
    lab.post("excess/second", PATH, &json!("excess"))?;
    Ok(())
}

const WEB_CACHE_RULES: &[Rule] = &[
    Rule::must(
        "cmd/clear/web-cache/01",
        "cmd-api: Clear, web_cache",
        "`\"web_cache\"` is answered with `status`, each time.",
        |ev| {
            let (first, second) = (ev.get("first")?, ev.get("second")?);
            // A meter may well have no web server of its own, and then says the same each time.
            if let (Ok(why), Ok(again)) = (first.error(), second.error())
                && why == again
            {
                return Err(Finding::NoEvidence(format!("the meter does not have it: {why}")));
            }
            first.done()?;
            second.done()
        },
    ),
    Rule::must("cmd/clear/web-cache/02", "cmd-api: Clear, 401", "Without a login it is a 401.", |ev| {
        ev.get("anonymous")?.unauthorized()
    }),
    Rule::must("cmd/clear/web-cache/03", "WebAPI §7 Content-Type", "The body counts, not its Content-Type.", |ev| {
        let (plain, json) = (ev.get("text-plain")?, ev.get("first")?);
        plain.want(plain.object()? == json.object()?, "as application/json the answer was another one")?;
        Ok(Finding::Kept)
    }),
];

const RULES: &[Rule] = &[
    Rule::must("cmd/clear/01", "cmd-api: Clear, 401", "Without a login nothing is cleared: 401.", |ev| {
        ev.get("anonymous")?.unauthorized()
    }),
    Rule::must("cmd/clear/02", "cmd-api: Clear, enum", "Words but `excess` and `web_cache` are refused.", |ev| {
        refusal::each(ev, "word/")
    }),
    Rule::must("cmd/clear/03", "cmd-api: Clear, body", "A body that is no string is refused, and so is none.", |ev| {
        refusal::each(ev, "shape/")
    }),
    Rule::must("cmd/clear/04", "cmd-api: Clear, body", "A body that is no JSON is refused.", |ev| {
        refusal::each(ev, "malformed/")
    }),
    Rule::must("cmd/clear/05", "cmd-api: post /cmd/clear", "Only POST clears.", |ev| {
        for it in ev.all("method/")? {
            it.declined()?;
        }
        Ok(Finding::Kept)
    }),
    Rule::must(
        "cmd/clear/06",
        "cmd-api: Clear, excess",
        "`\"excess\"` is answered with `status`, also when nothing is owed any more.",
        |ev| {
            ev.get("excess/first")?.done()?;
            ev.get("excess/second")?.done()
        },
    ),
    Rule::choice("cmd/clear/07", "documents silent", "The error for another word names what may be cleared.", |ev| {
        let it = ev.get("word/other")?;
        let text = it.error()?;
        it.want(text.contains("excess") && text.contains("web_cache"), "the text does not say what there is")?;
        Ok(Finding::Kept)
    }),
    refusals::limited("cmd/clear/08"),
    Rule::must("cmd/clear/09", "cmd-api: Clear, excess", "After it the excess of every register is zero.", cleared),
];

/// What was in excess before is so no more. What came up since is less than that, and a note.
fn cleared(ev: &Evidence<'_>) -> Result<Finding, Finding> {
    let excess = |it: &Exchange, name: &str| Some(number(&it.result().ok()?[name]["excess"])?.abs());
    let (before, after) = (ev.get("team/before")?, ev.get("team/after")?);
    let registers = before.result().ok().and_then(|it| it.as_object().cloned()).unwrap_or_default();
    let owed = registers.keys().filter_map(|it| Some((it, excess(before, it).filter(|it| *it != 0.0)?)));
    let (mut seen, mut note) = (false, None);
    for (name, old) in owed {
        let Some(left) = excess(after, name) else {
            return Err(after.broken(format!("register {name} had an excess, and shows none")));
        };
        after.want(left < old, format!("the excess of {name} was {old}, and is {left}"))?;
        if left != 0.0 {
            note = Some(format!("{name} has an excess of {left} again"));
        }
        seen = true;
    }
    match seen {
        true => Ok(note.map_or(Finding::Kept, Finding::Quirk)),
        false => Err(Finding::NoEvidence(format!("no register showed an excess at {TEAM}"))),
    }
}

#[cfg(test)]
mod tests {
    use crate::evidence::testing::{broken, judge, kept, quirk, untested};

    #[test]
    fn the_cache_is_cleared_and_all_else_refused() {
        let ok = r#"{"status":"OK"}"#;
        kept(judge("cmd/clear/web-cache/01", &[("first", 200, ok), ("second", 200, ok)]));
        broken(judge("cmd/clear/web-cache/01", &[("first", 200, ok), ("second", 200, r#"{"error":"busy"}"#)]));
        let none = r#"{"error":"this meter has no web cache"}"#;
        untested(judge("cmd/clear/web-cache/01", &[("first", 200, none), ("second", 200, none)]));
        broken(judge("cmd/clear/web-cache/01", &[("first", 200, none), ("second", 200, "busy")]));
        kept(judge("cmd/clear/02", &[("word/other", 200, r#"{"error":"x"}"#)]));
        quirk(judge("cmd/clear/02", &[("word/other", 422, r#"{"error":"x"}"#)]));
        broken(judge("cmd/clear/02", &[("word/other", 200, ok)]));
        untested(judge("cmd/clear/06", &[("word/other", 200, ok)]));
        let excess = |before, after| judge("cmd/clear/09", &[("team/before", 200, before), ("team/after", 200, after)]);
        let (much, none) = (r#"{"result":{"PV":{"excess":"500"}}}"#, r#"{"result":{"PV":{"excess":"0"}}}"#);
        kept(excess(much, none));
        broken(excess(much, much));
        quirk(excess(much, r#"{"result":{"PV":{"excess":"2"}}}"#));
        untested(excess(none, none));
        untested(excess(r#"{"error":"not there"}"#, r#"{"error":"not there"}"#));
    }
}
