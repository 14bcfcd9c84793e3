//! Every reply of the run, whatever it was for: framing, types, what an object may hold. It makes hardly any traffic.

use serde_json::Value;

use crate::catalogue::Area;
use crate::danger::Class;
use crate::evidence::Evidence;
use crate::http::Fault;
use crate::lab::{Lab, Stop};
use crate::transcript::Exchange;
use crate::verdict::{Finding, Rule};

/// See the module.
pub const AREA: Area = Area {
    name: "http/replies",
    class: Class::Safe,
    touches: "reads one resource; judges the replies to everything else",
    params: &[],
    play,
    rules: RULES,
};

/// Requests there that are wrong on purpose; what a server in front says to them is not the API's.
const WRONG: &str = "http/refusals";
/// Statuses that stand in the documents.
const DOCUMENTED: [u16; 3] = [200, 400, 401];

fn play(lab: &mut Lab<'_>) -> Result<(), Stop> {
    lab.get("rights", "/auth/rights")?;
    Ok(())
}

const RULES: &[Rule] = &[
    Rule::must("http/replies/01", "RFC 9112 §2", "Every reply can be read: its head, its framing, its end.", |ev| {
        for it in ev.everything() {
            if let Err(Fault::Malformed(why)) = &it.answer {
                return Err(it.broken(why));
            }
        }
        some(ev.everything().len())
    }),
    Rule::must(
        "http/replies/02",
        "WebAPI §7 reply must be an object",
        "Every 200 and every 401 of the API is a JSON object.",
        |ev| each(ev, |it| it.object().map(|_| ())),
    ),
    Rule::must("http/replies/03", "WebAPI §7 charset", "These replies say Content-Type application/json.", |ev| {
        each(ev, |it| {
            let value = it.reply()?.header("content-type").unwrap_or_default().to_ascii_lowercase();
            let kind = value.split(';').next().unwrap_or_default().trim();
            it.want(kind == "application/json", format!("Content-Type is {value:?}"))
        })
    }),
    Rule::must(
        "http/replies/04",
        "WebAPI §11 row 2",
        "Every 401 carries `rlm`, `nnc` and `error`, or a client stops for good.",
        |ev| each(ev, |it| if it.reply()?.status == 401 { it.unauthorized().map(|_| ()) } else { Ok(()) }),
    ),
    Rule::must(
        "http/replies/05",
        "WebAPI §7 failure body",
        "`error` is a string that says something, or it is absent.",
        |ev| {
            each(ev, |it| match it.object()?.get("error") {
                Some(Value::String(text)) => it.want(!text.is_empty(), "`error` says nothing"),
                Some(_) => Err(it.broken("`error` must be a string")),
                None => Ok(()),
            })
        },
    ),
    Rule::must("http/replies/06", "WebAPI §11 row 7", "A reply does not tell of success and failure at once.", |ev| {
        each(ev, |it| {
            let body = it.object()?;
            let success = body.get("status").and_then(Value::as_str) == Some("OK") || body.contains_key("result");
            it.want(!(success && body.contains_key("error")), "`error` stands beside what only a success has")
        })
    }),
    Rule::must("http/replies/07", "RFC 9112 §9.3", "Every request gets one answer and nothing after it.", |ev| {
        each(ev, |it| it.want(it.reply()?.extra.is_empty(), "more bytes came behind the reply"))
    }),
    Rule::must(
        "http/replies/08",
        "WebAPI §7 documented statuses",
        "A right request is never answered with a server's error.",
        |ev| {
            let mut count = 0;
            for it in right(ev) {
                let Ok(reply) = &it.answer else { continue };
                // While it goes down for a reboot a meter may say so.
                it.want(reply.status < 500 || [501, 503].contains(&reply.status), "a server's error")?;
                count += 1;
            }
            some(count)
        },
    ),
    Rule::should("http/replies/09", "WebAPI §7 charset", "JSON replies are UTF-8 without a byte order mark.", |ev| {
        each(ev, |it| {
            let body = &it.reply()?.body;
            let fits = std::str::from_utf8(body).is_ok() && !body.starts_with(b"\xef\xbb\xbf");
            it.want(fits, "the body is not plain UTF-8")
        })
    }),
    Rule::may(
        "http/replies/10",
        "WebAPI §7 documented statuses",
        "Right requests are answered with 200, 400 or 401 only.",
        |ev| {
            let mut others: Vec<u16> = right(ev).filter_map(|it| it.answer.as_ref().ok()).map(|it| it.status).collect();
            others.retain(|it| !DOCUMENTED.contains(it));
            others.sort_unstable();
            others.dedup();
            // A path or a method that is not there has no status in the documents.
            others.retain(|it| ![404, 405, 501].contains(it));
            if others.is_empty() {
                return Ok(Finding::Kept);
            }
            Ok(Finding::Quirk(format!("statuses that the documents do not know: {others:?}")))
        },
    ),
];

/// All but those that are wrong on purpose.
fn right<'a>(ev: &Evidence<'a>) -> impl Iterator<Item = &'a Exchange> {
    ev.everything().iter().filter(|it| it.area != WRONG)
}

/// Judges the JSON replies to right requests. Backups and lists of values are text.
fn each(ev: &Evidence<'_>, judge: fn(&Exchange) -> Result<(), Finding>) -> Result<Finding, Finding> {
    let mut count = 0;
    for it in right(ev) {
        let Ok(reply) = &it.answer else { continue };
        let line = it.sent.split(|it| *it == b'\r').next().unwrap_or_default();
        let text = String::from_utf8_lossy(line).contains("format=");
        let head = it.sent.starts_with(b"HEAD ");
        if [200, 401].contains(&reply.status) && !head && !(text && reply.status == 200) {
            judge(it)?;
            count += 1;
        }
    }
    some(count)
}

fn some(count: usize) -> Result<Finding, Finding> {
    if count == 0 { Err(Finding::NoEvidence("there was no reply".into())) } else { Ok(Finding::Kept) }
}

#[cfg(test)]
mod tests {
    use crate::evidence::testing::{broken, judge, judge_all, kept, transcript, untested};
    use crate::http::Fault;

    #[track_caller]
    fn check(id: &str, status: u16, body: &str, good: bool) {
        let found = judge(id, &[("x", status, body)]);
        if good { kept(found) } else { broken(found) }
    }

    #[test]
    fn bodies_are_objects_whose_error_is_a_string_or_absent() {
        check("http/replies/02", 200, "{}", true);
        check("http/replies/02", 200, "[]", false);
        check("http/replies/02", 401, "Unauthorized", false);
        check("http/replies/04", 401, r#"{"rlm":"r","nnc":"n","error":"e"}"#, true);
        check("http/replies/04", 401, r#"{"rlm":"r","error":"e"}"#, false);
        check("http/replies/05", 200, r#"{"error":"e"}"#, true);
        check("http/replies/05", 200, r#"{"error":null}"#, false);
        check("http/replies/05", 200, r#"{"error":""}"#, false);
        check("http/replies/06", 200, r#"{"error":"e","token":"t"}"#, true);
        check("http/replies/06", 200, r#"{"status":"OK","error":"e"}"#, false);
        check("http/replies/08", 500, "", false);
        check("http/replies/08", 503, "", true);
    }

    #[test]
    fn types_and_framing_are_judged_wherever_they_were_seen() {
        let mut run = transcript("cmd/other", [("x", 200, "{}")]);
        broken(judge_all("http/replies/03", &run));
        if let Ok(reply) = &mut run.exchanges[0].answer {
            reply.headers.push(("Content-Type".into(), "application/json; charset=utf-8".into()));
        }
        kept(judge_all("http/replies/03", &run));
        run.exchanges[0].answer = Err(Fault::Long);
        kept(judge_all("http/replies/01", &run));
        run.exchanges[0].answer = Err(Fault::Malformed("two lengths".into()));
        broken(judge_all("http/replies/01", &run));
        untested(judge_all("http/replies/03", &run));
    }
}
