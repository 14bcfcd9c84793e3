//! Requests that are right, but not as every client sends them: other types, framings, speeds, several on a connection.
//! Each must be answered like the plain one.

use std::time::Duration;

use serde_json::Value;

use crate::catalogue::Area;
use crate::danger::Class;
use crate::evidence::Evidence;
use crate::http::{Framing, Request};
use crate::lab::{Lab, Stop, harmless};
use crate::transcript::Exchange;
use crate::verdict::{Finding, Rule};

/// See the module.
pub const AREA: Area = Area {
    name: "http/requests",
    class: Class::Safe,
    touches: "logs in a few times and reads a resource in unusual ways",
    params: &[],
    play,
    rules: RULES,
};

/// What is read over and over: small, and there on every meter, since clients take it for a sign of life.
const PATH: &str = "/auth/unauthorized";
/// Between the pieces of a slow request.
const PAUSE: Duration = Duration::from_millis(400);
/// How long a client waits for the leave to send its body.
const LEAVE: Duration = Duration::from_secs(2);

fn play(lab: &mut Lab<'_>) -> Result<(), Stop> {
    lab.get("plain", PATH)?;
    let types =
        [("text", "text/plain;charset=UTF-8"), ("form", "application/x-www-form-urlencoded"), ("nonsense", "x")];
    for (label, content_type) in types {
        let body = login_body(lab, &format!("type/{label}"))?;
        let login = Request::new("POST", "/auth/login").anonymous().header("Content-Type", content_type).body(body);
        lab.send(&format!("type/{label}/answer"), &login)?;
    }
    let body = login_body(lab, "type/none")?;
    lab.send("type/none/answer", &Request::new("POST", "/auth/login").anonymous().body(body))?;

    let body = login_body(lab, "chunked")?;
    let chunked = Request::new("POST", "/auth/login").anonymous().header("Transfer-Encoding", "chunked");
    lab.send("chunked/answer", &chunked.body(chunks(&body)))?;

    let kept = |path: &str| Request::get(path).header("Connection", "keep-alive");
    lab.send_in_a_row(&[("row/1", kept(PATH)), ("row/2", kept("/auth/rights")), ("row/3", Request::get(PATH))])?;
    lab.send_at_once(&[("once/1", kept(PATH)), ("once/2", Request::get("/auth/rights"))])?;

    lab.send("head", &Request::new("HEAD", PATH))?;

    let head = lab.head("GET", PATH, true)?;
    let (first, rest) = head.split_at(7);
    let (middle, last) = rest.split_at(rest.len() / 2);
    let end = format!("{last}Connection: close\r\n\r\n");
    lab.send_in_pieces("slow", &[first.as_bytes(), middle.as_bytes(), end.as_bytes()], PAUSE)?;

    let body = login_body(lab, "expect")?;
    let mut head = lab.head("POST", "/auth/login", false)?;
    head.push_str(&format!("Connection: close\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n", body.len()));
    lab.send_in_pieces("expect/answer", &[head.as_bytes(), body.as_bytes()], LEAVE)?;

    let token = lab.login()?;
    let odd = Request::get(PATH).anonymous().header("aUTHORIZATION", &format!("bearer {token}"));
    lab.send("letters", &odd)?;
    let target = &lab.options.target;
    let absolute = format!("http://{}{}{PATH}", target.host_field(), target.base);
    lab.get("absolute", &absolute)?;
    lab.send("more-fields", &Request::get(PATH).header("X-Lab", "1").header("Cookie", "a=b").header("Accept", "*/*"))?;
    Ok(())
}

fn login_body(lab: &mut Lab<'_>, label: &str) -> Result<String, Stop> {
    let user = lab.options.credentials.clone().ok_or_else(|| Stop::Skip("needs --user".into()))?;
    let (realm, nonce) = lab.challenge(label)?;
    // In chunks or in pieces nobody could tell it from a request.
    harmless(&realm).and(harmless(&nonce))?;
    Ok(user.answer(&realm, &nonce, &lab.random(32)).to_string())
}

/// The body in three chunks, one with an extension, and a trailer.
fn chunks(body: &str) -> String {
    let (one, rest) = body.split_at(1);
    let (two, three) = rest.split_at(rest.len() / 2);
    let chunk = |data: &str, extension: &str| format!("{:x}{extension}\r\n{data}\r\n", data.len());
    format!("{}{}{}0\r\nX-Lab: end\r\n\r\n", chunk(one, ";lab=1"), chunk(two, ""), chunk(three, ""))
}

const RULES: &[Rule] = &[
    Rule::must(
        "http/requests/01",
        "WebAPI §7 Content-Type",
        "A body is read by what is in it: another Content-Type, or none, changes nothing.",
        |ev| {
            for label in ["type/text", "type/form", "type/nonsense", "type/none"] {
                logged_in(ev, label)?;
            }
            Ok(Finding::Kept)
        },
    ),
    Rule::must("http/requests/02", "RFC 9112 §7.1", "A body in chunks is taken like one with a length.", |ev| {
        let it = ev.get("chunked/answer")?;
        if it.reply()?.status == 411 {
            return Ok(Finding::Quirk("the meter wants a length (RFC 9112 §6.3)".into()));
        }
        logged_in(ev, "chunked")
    }),
    Rule::should("http/requests/03", "RFC 9112 §9.3", "A connection that is kept open takes the next request.", |ev| {
        let all = [ev.get("row/1")?, ev.get("row/2")?, ev.get("row/3")?];
        all[0].done()?;
        if closes(all[0]) {
            return Ok(Finding::Quirk("the meter closes every connection, and says so".into()));
        }
        all[1].success()?;
        all[2].done()
    }),
    Rule::should(
        "http/requests/04",
        "RFC 9112 §9.3.2",
        "Two requests that come at once are answered one after the other.",
        |ev| {
            let (one, two) = (ev.get("once/1")?, ev.get("once/2")?);
            one.done()?;
            if closes(one) {
                return Ok(Finding::Quirk("the meter closes every connection, and says so".into()));
            }
            two.want(two.success()?.contains_key("rights"), "this is not the answer to the second request")?;
            Ok(Finding::Kept)
        },
    ),
    Rule::must("http/requests/05", "RFC 9110 §9.3.2", "HEAD is answered without a body.", |ev| {
        let it = ev.get("head")?;
        let reply = it.reply()?;
        it.want(reply.framing == Framing::None && reply.extra.is_empty(), "bytes follow the head")?;
        Ok(Finding::Kept)
    }),
    Rule::must(
        "http/requests/06",
        "RFC 9112 §2.2",
        "A request that comes in pieces, slowly, is answered when it is whole and not before.",
        |ev| {
            let it = ev.get("slow")?;
            it.done()?;
            it.want(ev.fact("slow/spoke")? == &Value::from(0), "the meter spoke before the request was whole")?;
            Ok(Finding::Kept)
        },
    ),
    Rule::must(
        "http/requests/07",
        "RFC 9110 §10.1.1",
        "A client that waits for leave to send its body gets a final answer.",
        |ev| logged_in(ev, "expect"),
    ),
    Rule::should(
        "http/requests/08",
        "RFC 9110 §10.1.1",
        "It gets that leave at once, as 100 Continue, not by waiting it out.",
        |ev| {
            let it = ev.get("expect/answer")?;
            let spoke = ev.fact("expect/answer/spoke")? == &Value::from(1);
            it.want(spoke && 0 < it.reply()?.interim, "no interim reply came before the body was sent")?;
            Ok(Finding::Kept)
        },
    ),
    Rule::should(
        "http/requests/09",
        "RFC 9110 §5.1, §11.1",
        "Names of fields and `Bearer` are the same in small letters.",
        |ev| ev.get("letters")?.done(),
    ),
    Rule::should(
        "http/requests/10",
        "RFC 9112 §3.2.2",
        "A target with scheme and host is taken like its path.",
        |ev| ev.get("absolute")?.done(),
    ),
    Rule::must("http/requests/11", "RFC 9110 §5.1", "Fields that a meter does not know are passed over.", |ev| {
        ev.get("more-fields")?.done()
    }),
];

fn logged_in(ev: &Evidence<'_>, label: &str) -> Result<Finding, Finding> {
    let it = ev.get(&format!("{label}/answer"))?;
    it.want(it.success()?.get("jwt").is_some_and(Value::is_string), "`jwt` must be a string")?;
    Ok(Finding::Kept)
}

/// Whether the meter said that this was the connection's last reply.
fn closes(it: &Exchange) -> bool {
    let field = |it: &Exchange| it.answer.as_ref().ok()?.header("connection").map(str::to_ascii_lowercase);
    field(it).is_some_and(|it| it.split(',').any(|it| it.trim() == "close"))
        || it.answer.as_ref().is_ok_and(|it| it.version == "HTTP/1.0" || it.framing == Framing::Close)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::testing::{broken, judge, judge_all, kept, quirk, transcript};
    use crate::http::Fault;

    const OK: &str = r#"{"status":"OK"}"#;
    const RIGHTS: &str = r#"{"usr":"o","rights":[]}"#;

    #[test]
    fn a_kept_connection_takes_more_or_says_that_it_will_not() {
        let answers = [("row/1", 200, OK), ("row/2", 200, RIGHTS), ("row/3", 200, OK)];
        let mut run = transcript("http/requests", answers);
        kept(judge_all("http/requests/03", &run));
        run.exchanges[1].answer = Err(Fault::Closed(0));
        broken(judge_all("http/requests/03", &run));
        if let Ok(reply) = &mut run.exchanges[0].answer {
            reply.headers.push(("Connection".into(), "Close".into()));
        }
        quirk(judge_all("http/requests/03", &run));
    }

    #[test]
    fn answers_come_in_the_order_of_the_requests_and_once_they_are_whole() {
        kept(judge("http/requests/04", &[("once/1", 200, OK), ("once/2", 200, RIGHTS)]));
        broken(judge("http/requests/04", &[("once/1", 200, OK), ("once/2", 200, OK)]));
        let mut run = transcript("http/requests", [("slow", 200, OK)]);
        run.facts.insert("http/requests/slow/spoke".into(), 0.into());
        kept(judge_all("http/requests/06", &run));
        run.facts.insert("http/requests/slow/spoke".into(), 1.into());
        broken(judge_all("http/requests/06", &run));
    }

    #[test]
    fn chunks_hold_the_body_and_a_meter_may_want_a_length_instead() {
        let text = chunks("{\"a\":1}");
        let answer = |status, body| judge("http/requests/02", &[("chunked/answer", status, body)]);
        kept(answer(200, r#"{"jwt":"a.b.c"}"#));
        quirk(answer(411, ""));
        broken(answer(400, ""));
        assert_eq!(text, "1;lab=1\r\n{\r\n3\r\n\"a\"\r\n3\r\n:1}\r\n0\r\nX-Lab: end\r\n\r\n");
    }
}
