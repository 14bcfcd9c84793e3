//! Requests that are wrong, or that a careless server and the proxy in front of it would read differently. None may be
//! obeyed, none may hang, none may be answered twice. All of them ask for harmless resources.

use serde_json::Value;

use crate::catalogue::Area;
use crate::danger::Class;
use crate::evidence::Evidence;
use crate::http::{Fault, Request};
use crate::lab::{Lab, Stop};
use crate::transcript::Exchange;
use crate::verdict::{Finding, Rule};

/// See the module.
pub const AREA: Area = Area {
    name: "http/refusals",
    class: Class::Safe,
    touches: "sends requests that are malformed or ask for what is not there",
    params: &[],
    play,
    rules: RULES,
};

/// Bytes of a head that no client sends.
const HUGE: usize = 128 << 10;

fn play(lab: &mut Lab<'_>) -> Result<(), Stop> {
    let name = lab.random(16);
    lab.get("unknown/path", &format!("/{name}"))?;
    lab.get("unknown/below", &format!("/sys/{name}"))?;
    lab.send("unknown/anonymous", &Request::get(&format!("/{name}")).anonymous())?;
    lab.send("method/get-login", &Request::get("/auth/login").anonymous())?;
    lab.send("method/post-rights", &Request::post_bytes("/auth/rights", "{}"))?;
    lab.send("method/brew", &Request::new("BREW", "/auth/rights"))?;

    // All that follows asks for what a good token may have, so that whoever obeys is found out.
    let line = lab.head("GET", "/auth/rights", true)?;
    let base = line.split("\r\nHost:").next().unwrap_or_default().to_string();
    let rest = line[base.len() + 2..].to_string();
    let without_host: String = rest.split_inclusive("\r\n").skip(1).collect();
    let post = |framing: &str, body: &str| format!("{line}{framing}\r\n{body}");
    let second = line.clone() + "\r\n";
    let cases = [
        ("host/none", format!("{base}\r\n{without_host}\r\n")),
        ("host/two", format!("{line}Host: other\r\n\r\n")),
        ("length/two", post("Content-Length: 2\r\nContent-Length: 3\r\n", "{} ")),
        ("length/negative", post("Content-Length: -1\r\n", "")),
        ("length/words", post("Content-Length: two\r\n", "{}")),
        ("length/plus", post("Content-Length: +2\r\n", "{}")),
        (
            "both/length-first",
            post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", &format!("0\r\n\r\n{second}")),
        ),
        (
            "both/coding-first",
            post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", &format!("0\r\n\r\n{second}")),
        ),
        ("coding/unknown", post("Transfer-Encoding: lab\r\n", "{}")),
        ("coding/chunked-twice", post("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n")),
        ("chunk/words", post("Transfer-Encoding: chunked\r\n", "zz\r\n{}\r\n0\r\n\r\n")),
        ("chunk/endless", post("Transfer-Encoding: chunked\r\n", "ffffffffffffffffff\r\n{}\r\n0\r\n\r\n")),
        ("chunk/overrun", post("Transfer-Encoding: chunked\r\n", "1\r\n{}\r\n0\r\n\r\n")),
        ("field/space", format!("{line}X-Lab : 1\r\n\r\n")),
        ("field/folded", format!("{line}X-Lab: 1\r\n  2\r\n\r\n")),
        ("field/no-colon", format!("{line}X-Lab\r\n\r\n")),
        ("field/nul", format!("{line}X-Lab: a\0b\r\n\r\n")),
        ("line/one-word", format!("GET\r\n{rest}\r\n")),
        ("line/no-version", format!("{}\r\n{rest}\r\n", base.trim_end_matches(" HTTP/1.1"))),
        ("line/nonsense", "\u{16}\u{3}\u{1}\u{2}\r\n\r\n".to_string()),
        ("huge/field", format!("{line}X-Lab: {}\r\n\r\n", "a".repeat(HUGE))),
        ("huge/target", format!("GET /{} HTTP/1.1\r\n{rest}\r\n", "a".repeat(HUGE))),
    ];
    for (label, text) in cases {
        lab.send_bytes(label, text.into_bytes(), false)?;
    }
    lab.get("afterwards", "/auth/unauthorized")?;
    Ok(())
}

const RULES: &[Rule] = &[
    Rule::must(
        "http/refusals/01",
        "WebAPI §7 documented statuses",
        "A path that is not there is an error, never an answer.",
        |ev| {
            for it in ev.all("unknown/")? {
                let reply = it.reply()?;
                if reply.status == 401 {
                    // Without a login a meter need not tell what there is.
                    it.want(it.label == "unknown/anonymous", "with a good token this is no question of logging in")?;
                } else {
                    it.declined()?;
                }
            }
            Ok(Finding::Kept)
        },
    ),
    Rule::should(
        "http/refusals/02",
        "WebAPI §7 failure body",
        "That error is a JSON object with `error`, as all others are.",
        |ev| {
            for label in ["unknown/path", "unknown/below"] {
                ev.get(label)?.error()?;
            }
            Ok(Finding::Kept)
        },
    ),
    Rule::must(
        "http/refusals/03",
        "WebAPI: methods of each path",
        "A method that a resource does not have is refused.",
        |ev| {
            for it in ev.all("method/")? {
                it.declined()?;
            }
            Ok(Finding::Kept)
        },
    ),
    Rule::must("http/refusals/04", "RFC 9112 §3.2", "A request without Host, or with two, is a 400.", |ev| {
        each(ev, "host/", |it| {
            it.want(it.reply().is_ok_and(|it| it.status == 400), "status 400 is owed")?;
            refused(it)
        })
    }),
    Rule::must("http/refusals/05", "RFC 9112 §6.3", "A Content-Length that is not one number is refused.", |ev| {
        each(ev, "length/", refused)
    }),
    Rule::must(
        "http/refusals/06",
        "RFC 9112 §6.1, §11.2",
        "A request with Content-Length and Transfer-Encoding is refused, or is the connection's last one.",
        |ev| each(ev, "both/", single),
    ),
    Rule::should("http/refusals/07", "RFC 9112 §6.1", "A Transfer-Encoding that is not known is refused.", |ev| {
        each(ev, "coding/", refused)
    }),
    Rule::must("http/refusals/08", "RFC 9112 §7.1", "Chunks whose sizes cannot be right are refused.", |ev| {
        each(ev, "chunk/", refused)
    }),
    Rule::must("http/refusals/09", "RFC 9112 §5.1", "A blank before a field's colon is refused.", |ev| {
        refused(ev.get("field/space")?)
    }),
    Rule::choice(
        "http/refusals/10",
        "RFC 9112 §5, §5.2",
        "Fields that are folded, hold NUL or have no colon are refused.",
        |ev| {
            for label in ["field/folded", "field/nul", "field/no-colon"] {
                refused(ev.get(label)?)?;
            }
            Ok(Finding::Kept)
        },
    ),
    Rule::must("http/refusals/11", "RFC 9112 §3", "What has no request line is refused.", |ev| {
        each(ev, "line/", refused)
    }),
    Rule::should(
        "http/refusals/12",
        "RFC 9110 §15.5.15, RFC 6585 §5",
        "A head of 128 KiB is refused and not waited for.",
        |ev| each(ev, "huge/", refused),
    ),
    Rule::must("http/refusals/13", "RFC 9112 §9.3", "No wrong request gets two answers.", |ev| {
        for it in ev.all("")? {
            if let Ok(reply) = &it.answer {
                it.want(reply.extra.is_empty(), format!("{} more bytes came", reply.extra.len()))?;
            }
        }
        Ok(Finding::Kept)
    }),
    Rule::must("http/refusals/14", "WebAPI §7", "After all of this the meter answers as before.", |ev| {
        ev.get("afterwards")?.done()
    }),
];

fn each(ev: &Evidence<'_>, start: &str, judge: fn(&Exchange) -> Result<Finding, Finding>) -> Result<Finding, Finding> {
    for it in ev.all(start)? {
        judge(it)?;
    }
    Ok(Finding::Kept)
}

/// An error status, or the connection's end without a word. Silence is neither.
fn refused(it: &Exchange) -> Result<Finding, Finding> {
    match &it.answer {
        Ok(reply) => {
            let obeyed = it.object().is_ok_and(|it| it.contains_key("rights"));
            let error =
                400 <= reply.status || it.object().is_ok_and(|it| it.get("error").is_some_and(Value::is_string));
            it.want(!obeyed && error, "an error is owed, or the end of the connection")?;
            Ok(Finding::Kept)
        }
        Err(Fault::Closed(0)) => Ok(Finding::Kept),
        Err(fault) => Err(it.broken(format!("{fault}; an error is owed, or the end of the connection"))),
    }
}

/// Refused, or answered once and closed.
fn single(it: &Exchange) -> Result<Finding, Finding> {
    match &it.answer {
        Ok(reply) if reply.status < 400 => {
            it.want(reply.extra.is_empty(), "what followed the body was taken for another request")?;
            it.want(reply.closed, "the connection must be closed after this")?;
            Ok(Finding::Kept)
        }
        _ => refused(it),
    }
}

#[cfg(test)]
mod tests {
    use crate::evidence::testing::{broken, judge, judge_all, kept, transcript};
    use crate::http::Fault;
    use crate::transcript::Transcript;
    use crate::verdict::Finding;

    const RIGHTS: &str = r#"{"usr":"o","rights":["save"]}"#;

    #[test]
    fn a_wrong_request_is_refused_or_hung_up_on() {
        let answered = |status, body| judge("http/refusals/05", &[("length/two", status, body)]);
        kept(answered(400, "<html>Bad Request</html>"));
        broken(answered(200, RIGHTS));
        broken(answered(200, "{}"));
        let mut run = transcript("http/refusals", [("length/two", 400, "")]);
        run.exchanges[0].answer = Err(Fault::Closed(0));
        kept(judge_all("http/refusals/05", &run));
        run.exchanges[0].answer = Err(Fault::Silent(0));
        broken(judge_all("http/refusals/05", &run));
    }

    #[test]
    fn a_second_answer_is_found() {
        let mut run: Transcript = transcript("http/refusals", [("both/length-first", 200, RIGHTS)]);
        let judged = |run: &Transcript| judge_all("http/refusals/06", run);
        kept(judged(&run));
        let reply = |run: &mut Transcript, extra: &[u8], closed| {
            let reply = run.exchanges[0].answer.as_mut().unwrap();
            (reply.extra, reply.closed) = (extra.to_vec(), closed);
        };
        reply(&mut run, b"HTTP/1.1 200 OK\r\n", true);
        broken(judged(&run));
        broken(judge_all("http/refusals/13", &run));
        reply(&mut run, b"", false);
        broken(judged(&run));
    }

    #[test]
    fn an_unknown_path_is_an_error_of_some_kind() {
        let path =
            |status, body| -> Result<Finding, Finding> { judge("http/refusals/01", &[("unknown/path", status, body)]) };
        kept(path(404, "not here"));
        kept(path(200, r#"{"error":"x"}"#));
        broken(path(200, r#"{"result":{}}"#));
        broken(path(401, r#"{"rlm":"r","nnc":"n","error":"e"}"#));
        broken(path(500, ""));
    }
}
