//! What a test mail is on the wire: the dialogue with the mail server (RFC 5321) and the mail itself (RFC 5322), as a
//! server of this program saw them.

use serde_json::{Map, Value, json};

use super::message::{Message, address, is_date};
use super::{CLAUSE, FROM, PARAMS, TO, send};
use crate::catalogue::{Area, Param};
use crate::danger::Class;
use crate::evidence::{Evidence, status};
use crate::refusals;
use crate::transcript::Exchange;
use crate::verdict::{Finding, Rule};

/// See the module.
pub const AREA: Area = Area {
    name: "cmd/test-email/sent",
    class: Class::Mail,
    touches: "sends some ten test mails to a mail server of this program",
    params: &[PARAMS[0], PARAMS[1], PARAMS[2], PARAMS[3], DIRECT],
    play: send::play,
    rules: RULES,
};

pub(super) const DIRECT: Param = Param {
    name: "mail.direct",
    meaning: "an address to which the meter is to deliver a test mail without a smarthost; it really gets one.",
};

/// What the sink saw of the connections for one mail.
fn sessions<'a>(ev: &Evidence<'a>, label: &str) -> Result<&'a Vec<Value>, Finding> {
    ev.fact(label)?.as_array().ok_or_else(|| Finding::NoEvidence(format!("{label} was not recorded")))
}

/// The connection over which the mail went, and its content; exactly one is owed.
fn delivered<'a>(ev: &Evidence<'a>, label: &str) -> Result<(&'a Map<String, Value>, &'a str), Finding> {
    let exchange = ev.get(label)?;
    let all: Vec<_> = sessions(ev, label)?.iter().filter_map(|it| it.as_object()).collect();
    let with: Vec<_> = all.iter().filter_map(|it| Some((*it, it["message"].as_str()?))).collect();
    match with[..] {
        [one] => Ok(one),
        _ => Err(seen(
            exchange,
            &all.iter().map(|it| it["lines"].clone()).collect(),
            format!("{} mails came", with.len()),
        )),
    }
}

/// The finding that the dialogue is not what it should be.
fn seen(exchange: &Exchange, lines: &Value, why: impl Into<String>) -> Finding {
    Finding::Broken { sent: exchange.request_text(), came: format!("the mail server saw {lines} ({})", why.into()) }
}

fn lines(session: &Map<String, Value>) -> Vec<&str> {
    session["lines"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Goes on if `kept`; else the dialogue is shown.
fn want(ev: &Evidence<'_>, label: &str, kept: bool, why: &str) -> Result<(), Finding> {
    if kept { Ok(()) } else { Err(seen(ev.get(label)?, ev.fact(label)?, why)) }
}

/// The path of MAIL or RCPT, without its angle brackets and parameters.
fn paths<'a>(session: &'a Map<String, Value>, verb: &str) -> Vec<&'a str> {
    let of = |line: &&'a str| line.get(..verb.len()).is_some_and(|it| it.eq_ignore_ascii_case(verb));
    let path = |line: &'a str| line.split_once('<')?.1.split_once('>').map(|it| it.0);
    lines(session).into_iter().filter(of).map(|it| path(it).unwrap_or(it)).collect()
}

/// A judge of the mail's header.
fn field(ev: &Evidence<'_>, name: &str, fits: fn(&str) -> bool) -> Result<Finding, Finding> {
    let (_, message) = delivered(ev, "mail")?;
    let broken =
        |why: String| Finding::Broken { sent: format!("a test mail to {TO}"), came: format!("{message:?} ({why})") };
    let parsed = Message::parse(message).map_err(broken)?;
    let value = parsed.one(name).map_err(broken)?;
    if fits(value) { Ok(Finding::Kept) } else { Err(broken(format!("{name}: {value} is not what it must be"))) }
}

/// Nothing of an injected line got anywhere; a refusal at once is best.
fn not_injected(ev: &Evidence<'_>, label: &str) -> Result<Finding, Finding> {
    let reply = ev.get(label)?;
    for it in sessions(ev, label)?.iter().filter_map(Value::as_object) {
        let spoilt = lines(it).iter().any(|it| it.starts_with("RCPT TO:<injected"));
        let header = it["message"].as_str().is_some_and(|it| it.contains("\nX-Injected:"));
        want(ev, label, !spoilt && !header, "a line break got into the dialogue")?;
    }
    match reply.error() {
        Ok(_) => reply.refused(),
        Err(_) => Ok(Finding::Quirk("line breaks in members are taken, and do no harm".into())),
    }
}

/// No login was tried, and the mail was sent.
fn without_login(ev: &Evidence<'_>, label: &str) -> Result<Finding, Finding> {
    let (session, _) = delivered(ev, label)?;
    let tried = lines(session).iter().any(|it| it.to_ascii_uppercase().starts_with("AUTH"));
    want(ev, label, !tried, "a login was tried that nobody asked for")?;
    status::succeeded(ev, label)
}

const RULES: &[Rule] = &[
    Rule::must("cmd/test-email/sent/01", CLAUSE, "The mail goes to the smarthost, once.", |ev| {
        delivered(ev, "mail")?;
        status::succeeded(ev, "mail")
    }),
    Rule::must(
        "cmd/test-email/sent/02",
        CLAUSE,
        "The recipient in the envelope is `address`, and nobody else.",
        |ev| {
            let (session, _) = delivered(ev, "mail")?;
            want(ev, "mail", paths(session, "RCPT TO") == [TO], &format!("RCPT TO must be {TO}"))?;
            Ok(Finding::Kept)
        },
    ),
    Rule::must("cmd/test-email/sent/03", CLAUSE, "The sender in the envelope is `fromaddr`.", |ev| {
        let (session, _) = delivered(ev, "mail")?;
        want(ev, "mail", paths(session, "MAIL FROM") == [FROM], &format!("MAIL FROM must be {FROM}"))?;
        Ok(Finding::Kept)
    }),
    Rule::should("cmd/test-email/sent/04", CLAUSE, "Without `fromaddr` there is some sender's address.", |ev| {
        let (session, message) = delivered(ev, "no-sender")?;
        let sender = paths(session, "MAIL FROM");
        want(
            ev,
            "no-sender",
            matches!(sender[..], [one] if one.is_empty() || one.contains('@')),
            "MAIL FROM needs one",
        )?;
        let from = Message::parse(message).ok().and_then(|it| it.one("From").ok().map(|it| address(it).contains('@')));
        want(ev, "no-sender", from == Some(true), "From needs an address")?;
        Ok(Finding::Kept)
    }),
    Rule::must("cmd/test-email/sent/05", "RFC 5321 §4.1.4", "The dialogue begins with EHLO or HELO.", |ev| {
        let (session, _) = delivered(ev, "mail")?;
        let first = lines(session).first().map_or(String::new(), |it| it.to_ascii_uppercase());
        want(ev, "mail", first.starts_with("EHLO ") || first.starts_with("HELO "), "a greeting must be first")?;
        Ok(Finding::Kept)
    }),
    Rule::should(
        "cmd/test-email/sent/06",
        "RFC 5321 §4.1.4",
        "The meter calls itself by a whole domain name or by its address in brackets.",
        |ev| {
            let (session, _) = delivered(ev, "mail")?;
            let name = lines(session).first().and_then(|it| it.split(' ').nth(1)).unwrap_or_default();
            let fits = name.bytes().all(|it| it.is_ascii_alphanumeric() || b"-.:[]".contains(&it)) && !name.is_empty();
            want(ev, "mail", fits, "this is neither a name nor an address")?;
            match name.contains('.') || name.starts_with('[') {
                true => Ok(Finding::Kept),
                false => Ok(Finding::Quirk(format!("the meter calls itself {name}, which is no whole name"))),
            }
        },
    ),
    Rule::should("cmd/test-email/sent/07", "RFC 5321 §4.1.1.10", "The dialogue ends with QUIT.", |ev| {
        let (session, _) = delivered(ev, "mail")?;
        let last = lines(session).last().copied().unwrap_or_default();
        want(ev, "mail", last.eq_ignore_ascii_case("QUIT"), "QUIT must be last")?;
        Ok(Finding::Kept)
    }),
    Rule::must("cmd/test-email/sent/08", "RFC 5321 §2.3.8", "Every line ends with CR LF; neither comes alone.", |ev| {
        let (session, _) = delivered(ev, "mail")?;
        want(ev, "mail", session["bare"] == json!(false), "a CR or LF came alone")?;
        Ok(Finding::Kept)
    }),
    Rule::must(
        "cmd/test-email/sent/09",
        "RFC 5322 §2.1.1, RFC 5321 §4.5.3.1",
        "No line of the mail is longer than 998 characters, no command longer than 510.",
        |ev| {
            let (session, message) = delivered(ev, "mail")?;
            let fits =
                message.split("\r\n").all(|it| it.len() <= 998) && lines(session).iter().all(|it| it.len() <= 510);
            want(ev, "mail", fits, "a line is too long")?;
            Ok(Finding::Kept)
        },
    ),
    Rule::must(
        "cmd/test-email/sent/10",
        "RFC 6152",
        "To a server that does not offer 8BITMIME the mail is in 7-bit characters.",
        |ev| {
            let (session, _) = delivered(ev, "mail")?;
            want(ev, "mail", session["ascii"] == json!(true), "it has others")?;
            Ok(Finding::Kept)
        },
    ),
    Rule::must("cmd/test-email/sent/11", "RFC 5322 §3.6", "The mail has one Date, in the form of mail.", |ev| {
        field(ev, "Date", is_date)
    }),
    Rule::must("cmd/test-email/sent/12", CLAUSE, "The mail has one From, and it is `fromaddr`.", |ev| {
        field(ev, "From", |it| address(it) == FROM)
    }),
    Rule::should("cmd/test-email/sent/13", "RFC 5322 §3.6.3", "The mail has one To, and it is `address`.", |ev| {
        field(ev, "To", |it| address(it) == TO)
    }),
    Rule::should("cmd/test-email/sent/14", "RFC 5322 §3.6.4", "The mail has one Message-ID of the form <x@y>.", |ev| {
        field(ev, "Message-ID", |it| {
            let inside = it.strip_prefix('<').and_then(|it| it.strip_suffix('>'));
            let parts = inside.and_then(|it| it.split_once('@'));
            parts.is_some_and(|(left, right)| !left.is_empty() && !right.is_empty() && !right.contains(['@', '<', ' ']))
        })
    }),
    Rule::should("cmd/test-email/sent/15", "RFC 5322 §3.6.5", "The mail has one Subject that says something.", |ev| {
        field(ev, "Subject", |it| !it.is_empty())
    }),
    Rule::should("cmd/test-email/sent/16", "RFC 5322 §3.6.4", "Two mails have different Message-IDs.", |ev| {
        let id = |label: &str| -> Result<Option<String>, Finding> {
            let message = delivered(ev, label)?.1;
            Ok(Message::parse(message).ok().and_then(|it| it.one("Message-ID").ok().map(str::to_string)))
        };
        match (id("mail")?, id("no-login")?) {
            (Some(first), Some(second)) => {
                want(ev, "no-login", first != second, "the mail before had the same Message-ID")?;
                Ok(Finding::Kept)
            }
            _ => Err(Finding::NoEvidence("a mail has no Message-ID".into())),
        }
    }),
    Rule::should("cmd/test-email/sent/17", "cmd-api: Test sending email", "The mail has a text.", |ev| {
        let (_, message) = delivered(ev, "mail")?;
        let said = Message::parse(message).is_ok_and(|it| !it.body.trim().is_empty());
        want(ev, "mail", said, "it is empty")?;
        Ok(Finding::Kept)
    }),
    Rule::must(
        "cmd/test-email/sent/18",
        CLAUSE,
        "Without `mailuser` and `mailpass` the mail is sent without a login, also where one is offered.",
        |ev| without_login(ev, "no-login"),
    ),
    Rule::must("cmd/test-email/sent/19", CLAUSE, "Without `mailpass` the mail is sent without a login.", |ev| {
        without_login(ev, "half-login")
    }),
    Rule::choice("cmd/test-email/sent/20", "RFC 4954 §4", "A login never goes out without TLS.", |ev| {
        if sessions(ev, "login")?.is_empty() {
            return Err(Finding::NoEvidence("the meter did not connect to the mail server".into()));
        }
        for it in sessions(ev, "login")?.iter().filter_map(Value::as_object) {
            let tried = lines(it).iter().any(|it| it.starts_with("AUTH"));
            want(ev, "login", !tried, "the password went over the network in the clear")?;
        }
        Ok(Finding::Kept)
    }),
    Rule::must("cmd/test-email/sent/21", CLAUSE, "A login is made with `mailuser` and `mailpass`.", |ev| {
        let tried: Vec<_> = sessions(ev, "login")?.iter().filter(|it| !it["login"].is_null()).collect();
        match tried.first() {
            None => Err(Finding::NoEvidence("the sink has no TLS, and the meter does not log in without it".into())),
            Some(first) => {
                want(ev, "login", first["login"] == json!(true), "user or password were others")?;
                Ok(Finding::Kept)
            }
        }
    }),
    Rule::choice("cmd/test-email/sent/22", CLAUSE, "No reply and no log shows the password.", |ev| {
        refusals::keeps_secrets(ev)
    }),
    Rule::must(
        "cmd/test-email/sent/23",
        "RFC 5321 §2.3.8",
        "A line break in a member never becomes one in the dialogue or in the mail.",
        |ev| {
            // A meter that sends nothing at all shows nothing here.
            delivered(ev, "mail").map_err(|_| Finding::NoEvidence("not even a good mail was sent".into()))?;
            let mut note = Finding::Kept;
            for name in ["address", "fromaddr", "header", "smarthost", "mailuser", "mailpass"] {
                if let quirk @ Finding::Quirk(_) = not_injected(ev, &format!("inject/{name}"))? {
                    note = quirk;
                }
            }
            Ok(note)
        },
    ),
    Rule::choice("cmd/test-email/sent/24", CLAUSE, "`smarthost` may be a host with a port.", |ev| {
        let Ok(probe) = ev.get("probe") else {
            return Err(Finding::NoEvidence("mail.smarthost was given to the meter instead".into()));
        };
        probe.want(!sessions(ev, "probe")?.is_empty(), "nobody came to the mail server at that port")?;
        Ok(Finding::Kept)
    }),
    Rule::must("cmd/test-email/sent/25", CLAUSE, "`smarthost` may be a host alone; the port is the usual one.", |ev| {
        let alone = ev.get("host-alone");
        if alone.is_err() {
            let why = "needs --with companion.mail-port=587, or 25, whichever the meter takes for the usual one";
            return Err(Finding::NoEvidence(why.into()));
        }
        if sessions(ev, "host-alone")?.is_empty() {
            return Err(Finding::NoEvidence("the meter takes another port than companion.mail-port".into()));
        }
        delivered(ev, "host-alone")?;
        status::succeeded(ev, "host-alone")
    }),
    Rule::must("cmd/test-email/sent/26", CLAUSE, "Without `smarthost` the mail is delivered directly.", |ev| {
        if ev.get("direct").is_err() {
            return Err(Finding::NoEvidence("needs --with mail.direct=...".into()));
        }
        status::succeeded(ev, "direct")
    }),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::testing::{broken, kept, quirk, transcript};

    const MAIL: &str = "Date: Sun, 9 Sep 2001 01:46:40 +0000\r\nFrom: <meter@example.com>\r\n\
        To: <Meter.Test+1@example.com>\r\nSubject: Test\r\nMessage-ID: <1@example.com>\r\n\r\nIt works.\r\n";

    fn session(lines: &[&str], message: Option<&str>) -> Value {
        json!([{"lines": lines, "message": message, "bare": false, "ascii": true, "login": null}])
    }

    fn good() -> Value {
        let (from, to) = (format!("MAIL FROM:<{FROM}> SIZE=7"), format!("RCPT TO:<{TO}>"));
        session(&["EHLO m.example.com", &from, &to, "DATA", "QUIT"], Some(MAIL))
    }

    #[track_caller]
    fn check(rule: &str, label: &str, saw: Value, expect: fn(Result<Finding, Finding>)) {
        let token = r#"{"token":"473c31462e62848b5352314dfc608669"}"#;
        let poll = format!("{label}/poll/1");
        let answers = [(label, 200, token), (poll.as_str(), 200, r#"{"result":{"done":true}}"#)];
        let mut run = transcript(AREA.name, answers);
        run.facts.insert(format!("{}/{label}", AREA.name), saw);
        let rule = RULES.iter().find(|it| it.id.ends_with(rule)).unwrap();
        expect((rule.judge)(&Evidence::new(&run, AREA.name)));
    }

    #[test]
    fn a_good_mail_keeps_every_rule() {
        for rule in ["01", "02", "03", "05", "06", "07", "08", "09", "10", "11", "12", "13", "14", "15", "17"] {
            check(&format!("sent/{rule}"), "mail", good(), kept);
        }
    }

    #[test]
    fn another_recipient_a_second_mail_or_none_is_a_fault() {
        let other = session(&["EHLO m", "MAIL FROM:<meter@example.com>", "RCPT TO:<x@example.com>"], Some(MAIL));
        check("sent/02", "mail", other, broken);
        let lower = json!(good().to_string().replace("Meter.Test+1", "meter.test"));
        check("sent/02", "mail", serde_json::from_str(lower.as_str().unwrap()).unwrap(), broken);
        let twice = json!([good()[0], good()[0]]);
        check("sent/01", "mail", twice, broken);
        check("sent/01", "mail", session(&["EHLO m", "QUIT"], None), broken);
        check("sent/06", "mail", session(&["EHLO meter"], Some(MAIL)), quirk);
        check("sent/12", "mail", session(&[], Some("From: <root@localhost>\r\n\r\nx")), broken);
        check("sent/11", "mail", session(&[], Some("Date: 2001-09-09\r\n\r\nx")), broken);
    }

    #[test]
    fn a_meter_that_knows_no_ports_is_told_apart_from_one_that_sends_nothing() {
        check("sent/24", "probe", json!([]), broken);
        check("sent/24", "probe", good(), kept);
        check("sent/24", "mail", good(), crate::evidence::testing::untested);
    }

    #[test]
    fn a_login_in_the_clear_is_a_fault_and_so_is_one_that_nobody_wanted() {
        let login = session(&["EHLO m", "AUTH PLAIN ***", "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA"], Some(MAIL));
        check("sent/20", "login", login.clone(), broken);
        check("sent/20", "login", session(&["EHLO m", "QUIT"], None), kept);
        check("sent/18", "no-login", login, broken);
        check("sent/18", "no-login", good(), kept);
    }

    #[test]
    fn an_injected_line_is_a_fault() {
        let mut run = transcript(AREA.name, [("inject/address", 200, r#"{"error":"address: no"}"#)]);
        run.facts.insert(format!("{}/inject/address", AREA.name), json!([]));
        kept(not_injected(&Evidence::new(&run, AREA.name), "inject/address"));
        let spoilt = session(&["RCPT TO:<a@b>", "RCPT TO:<injected@example.com"], Some(MAIL));
        run.facts.insert(format!("{}/inject/address", AREA.name), spoilt);
        broken(not_injected(&Evidence::new(&run, AREA.name), "inject/address"));
    }
}
