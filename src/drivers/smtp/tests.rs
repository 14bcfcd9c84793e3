//! The dialogue against servers that exist only as scripts. Real ones are in `tests/counterparts/mail.py`.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::Value;

use super::address::Address;
use super::auth::Login;
use super::session::{Link, Terms, Tls, Trouble, deliver};
use super::transcript::Transcript;
use crate::drivers::Watch;
use crate::drivers::reach::{ReachError, TlsFault};
use crate::drivers::wlan::Hidden;

struct Nobody;

impl Watch for Nobody {
    fn cancelled(&self) -> bool {
        false
    }
    fn progress(&self, _: f64) {}
    fn result(&self, _: Value) {}
}

/// A server that has its lines ready: after each write it says the next of them.
struct Script {
    says: VecDeque<&'static str>,
    heard: String,
    encrypted: bool,
    good_certificate: bool,
}

impl Link for Script {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, ReachError> {
        let Some(text) = self.says.pop_front() else { return Ok(0) };
        buf[..text.len()].copy_from_slice(text.as_bytes());
        Ok(text.len())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ReachError> {
        self.heard += std::str::from_utf8(bytes).unwrap();
        Ok(())
    }

    fn encrypt(&mut self) -> Result<(), ReachError> {
        self.heard += "[TLS]\r\n";
        self.encrypted = true;
        match self.good_certificate {
            true => Ok(()),
            false => Err(ReachError::Tls(TlsFault::UnknownIssuer)),
        }
    }

    fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    fn hurry(&mut self, _: Duration) {}
}

/// How the test is set up; the rest is the same for all.
#[derive(Clone, Copy)]
struct Setup {
    to: &'static str,
    login: Option<(&'static str, &'static str)>,
    plain_auth: bool,
    tls: Tls,
    good_certificate: bool,
}

const PLAIN: Setup =
    Setup { to: "b@y.test", login: None, plain_auth: false, tls: Tls::Offered, good_certificate: true };
const LOGIN: Setup = Setup { login: Some(("joe", "swordfish")), ..PLAIN };

/// Outcome, what the server heard (without the message's lines, and with bars for line ends), and the log.
fn run(setup: Setup, says: &[&'static str]) -> (Result<String, Trouble>, String, String) {
    let log = Transcript::new(&Nobody);
    let login = setup
        .login
        .map(|(user, password)| Login { user: user.into(), password: Hidden::from(password.as_bytes().to_vec()) });
    let terms = Terms {
        hello: "m.test",
        from: &Address::parse("a@x").unwrap(),
        to: &Address::parse(setup.to).unwrap(),
        login: login.as_ref(),
        plain_auth: setup.plain_auth,
        tls: setup.tls,
        message: "F: v\r\n\r\n.x\r\n",
    };
    let says = says.iter().copied().collect();
    let mut script = Script { says, heard: String::new(), encrypted: false, good_certificate: setup.good_certificate };
    let res = deliver(&mut script, &log, &terms).map(|it| it.to_string());
    let heard = script.heard.trim_end().replace("\r\n", "|");
    (res, heard, log.finish("end")["log"].as_str().unwrap().into())
}

#[track_caller]
fn check(setup: Setup, says: &[&'static str], outcome: &str, heard: &str) {
    let (res, got, log) = run(setup, says);
    let res = res.unwrap_or_else(|err| format!("error: {err}"));
    assert!(res.starts_with(outcome), "{res}\nexpected {outcome}\n{log}");
    assert_eq!(got, heard, "{log}");
    assert!(!log.contains("swordfish"), "{log}");
}

const TAIL: [&str; 5] = ["250 ok\r\n", "250 ok\r\n", "354 go\r\n", "250 2.0.0 queued\r\n", "221 bye\r\n"];
const SENT: &str = "MAIL FROM:<a@x>|RCPT TO:<b@y.test>|DATA|F: v||..x|.|QUIT";

fn with(head: &[&'static str], tail: &[&'static str]) -> Vec<&'static str> {
    [head, tail].concat()
}

#[test]
fn a_plain_delivery() {
    let says = with(&["220 mx\r\n", "250 mx\r\n"], &TAIL);
    check(PLAIN, &says, "250 2.0.0 queued", &format!("EHLO m.test|{SENT}"));
}

#[test]
fn a_server_that_knows_no_ehlo_hears_helo() {
    let says = with(&["220 mx\r\n", "502 what?\r\n", "250 mx\r\n"], &TAIL);
    check(PLAIN, &says, "250", &format!("EHLO m.test|HELO m.test|{SENT}"));
}

#[test]
fn starttls_is_taken_where_it_is_offered() {
    let head = ["220 mx\r\n", "250-mx\r\n250-STARTTLS\r\n250 SIZE 10\r\n", "220 go\r\n", "250 mx\r\n"];
    check(PLAIN, &with(&head, &TAIL), "250", &format!("EHLO m.test|STARTTLS|[TLS]|EHLO m.test|{SENT}"));
    // Its certificate is no good: the rest is not said, not even goodbye.
    let bad = Setup { good_certificate: false, ..PLAIN };
    check(bad, &head, "error: the TLS handshake: TLS: the certificate is of an issuer", "EHLO m.test|STARTTLS|[TLS]");
    let refused = ["220 mx\r\n", "250-mx\r\n250 STARTTLS\r\n", "454 4.7.0 no\r\n", "221 bye\r\n"];
    check(PLAIN, &refused, "error: STARTTLS: the server answered 454", "EHLO m.test|STARTTLS|QUIT");
}

#[test]
fn what_comes_in_the_clear_behind_starttls_is_an_attack() {
    let head = ["220 mx\r\n", "250-mx\r\n250 STARTTLS\r\n", "220 go\r\n250 AUTH PLAIN\r\n"];
    check(LOGIN, &head, "error: the server sent more than its answer before TLS", "EHLO m.test|STARTTLS");
}

#[test]
fn tls_from_the_first_byte_comes_before_the_greeting() {
    let setup = Setup { tls: Tls::Immediate, ..LOGIN };
    let says = with(&["220 mx\r\n", "250-mx\r\n250 AUTH PLAIN\r\n", "235 ok\r\n"], &TAIL);
    check(setup, &says, "250", &format!("[TLS]|EHLO m.test|AUTH PLAIN AGpvZQBzd29yZGZpc2g=|{SENT}"));
}

const SECURE: [&str; 3] = ["220 mx\r\n", "250-mx\r\n250 STARTTLS\r\n", "220 go\r\n"];
const GREETED: &str = "EHLO m.test|STARTTLS|[TLS]|EHLO m.test";

#[test]
fn every_mechanism_logs_in() {
    let login = with(&SECURE, &["250-mx\r\n250 AUTH=LOGIN\r\n", "334 VXNlcm5hbWU6\r\n", "334 UGFzc3dvcmQ6\r\n"]);
    let says = with(&with(&login, &["235 ok\r\n"]), &TAIL);
    check(LOGIN, &says, "250", &format!("{GREETED}|AUTH LOGIN|am9l|c3dvcmRmaXNo|{SENT}"));
    // HMAC-MD5 of "<1@x>" under "swordfish", by python3's hmac.
    let says = with(&SECURE, &["250-mx\r\n250 AUTH CRAM-MD5\r\n", "334 PDFAeD4=\r\n", "235 ok\r\n"]);
    let answer = "am9lIDZhNDg4ZjE0YjljOTNhMTAxNGVmNDRmNmU0MzAyZDhi";
    check(LOGIN, &with(&says, &TAIL), "250", &format!("{GREETED}|AUTH CRAM-MD5|{answer}|{SENT}"));
}

#[test]
fn a_wrong_password_ends_it_without_a_second_try() {
    let says = with(&SECURE, &["250-mx\r\n250 AUTH PLAIN LOGIN\r\n", "535 5.7.8 not joe/swordfish\r\n", "221 bye\r\n"]);
    let expect = "error: logging in: the server answered 535 5.7.8 not joe/***";
    check(LOGIN, &says, expect, &format!("{GREETED}|AUTH PLAIN AGpvZQBzd29yZGZpc2g=|QUIT"));
}

#[test]
fn nobody_logs_in_without_tls_unless_the_configuration_says_so() {
    let offer = ["220 mx\r\n", "250-mx\r\n250 AUTH PLAIN CRAM-MD5\r\n"];
    check(LOGIN, &with(&offer, &["221 bye\r\n"]), "error: the server does not offer TLS", "EHLO m.test|QUIT");
    let allowed = Setup { plain_auth: true, ..LOGIN };
    let says = with(&offer, &["334 PDFAeD4=\r\n", "235 ok\r\n"]);
    let (res, heard, log) = run(allowed, &with(&says, &TAIL));
    assert!(res.is_ok() && heard.contains("|AUTH CRAM-MD5|"), "{log}");
    let says = with(&["220 mx\r\n", "250-mx\r\n250 AUTH PLAIN\r\n", "235 ok\r\n"], &TAIL);
    let (res, heard, log) = run(allowed, &says);
    assert!(res.is_ok() && heard.contains("|AUTH PLAIN AGpv") && log.contains("goes out in the clear"), "{log}");
    assert!(log.contains("> AUTH PLAIN ***\n") && !log.contains("AGpv"), "{log}");
}

#[test]
fn a_server_must_offer_what_a_login_needs() {
    let says = with(&SECURE, &["250-mx\r\n250 SIZE\r\n", "221 bye\r\n"]);
    check(LOGIN, &says, "error: the server does not offer to log in", &format!("{GREETED}|QUIT"));
    let says = with(&SECURE, &["250-mx\r\n250 AUTH GSSAPI NTLM\r\n", "221 bye\r\n"]);
    check(LOGIN, &says, "error: the server offers to log in only by GSSAPI, NTLM", &format!("{GREETED}|QUIT"));
    // A challenge that is none gets no answer.
    let says = with(&SECURE, &["250-mx\r\n250 AUTH CRAM-MD5\r\n", "334 !\r\n"]);
    check(LOGIN, &says, "error: logging in: the server sent", &format!("{GREETED}|AUTH CRAM-MD5"));
}

#[test]
fn other_letters_need_smtputf8() {
    let setup = Setup { to: "jürgen@y.test", ..PLAIN };
    let lacks = ["220 mx\r\n", "250-mx\r\n250 8BITMIME\r\n", "221 bye\r\n"];
    check(setup, &lacks, "error: the server does not take addresses with other letters", "EHLO m.test|QUIT");
    let says = with(&["220 mx\r\n", "250-mx\r\n250-SIZE 1000\r\n250 SMTPUTF8\r\n"], &TAIL);
    let sent = "MAIL FROM:<a@x> SIZE=12 BODY=8BITMIME SMTPUTF8|RCPT TO:<jürgen@y.test>|DATA|F: v||..x|.|QUIT";
    check(setup, &says, "250", &format!("EHLO m.test|{sent}"));
    // A domain alone has an ASCII form.
    let setup = Setup { to: "b@bücher.test", ..PLAIN };
    let (res, heard, _) = run(setup, &with(&["220 mx\r\n", "250 mx\r\n"], &TAIL));
    assert!(res.is_ok() && heard.contains("RCPT TO:<b@xn--bcher-kva.test>"), "{heard}");
}

#[test]
fn refusals_are_told_by_their_step() {
    let hello = ["220 mx\r\n", "250 mx\r\n"];
    let cases: [(&[&str], &str); 5] = [
        (&["550 no\r\n"], "MAIL FROM: the server answered 550 no"),
        (&["250 ok\r\n", "450 4.2.0 Greylisted\r\n"], "RCPT TO: the server answered 450 4.2.0 Greylisted"),
        (&["250 ok\r\n", "250 ok\r\n", "250 ok\r\n"], "DATA: the server answered 250 ok"),
        (
            &["250 ok\r\n", "250 ok\r\n", "354 go\r\n", "552 5.3.4 big\r\n"],
            "sending the message: the server answered 552",
        ),
        (&["250 ok\r\n", "250 ok\r\n", "354 go\r\n"], "sending the message: the other side closed"),
    ];
    for (says, expect) in cases {
        let (res, _, log) = run(PLAIN, &with(&hello, says));
        let text = res.unwrap_err().to_string();
        assert!(text.starts_with(expect), "{text}\nexpected {expect}\n{log}");
    }
    let (res, heard, _) = run(PLAIN, &["554 5.7.1 blocked\r\n", "221 bye\r\n"]);
    assert!(res.unwrap_err().to_string().starts_with("waiting for the greeting: the server answered 554"));
    assert_eq!(heard, "QUIT");
}

#[test]
fn what_is_no_mail_server_is_left() {
    for (says, expect) in [
        ("HTTP/1.1 400 Bad Request\r\n", "waiting for the greeting: the server sent a line that no mail server sends"),
        ("220-a\r\n250 b\r\n", "waiting for the greeting: the server sent a reply with more than one code"),
        ("", "waiting for the greeting: the other side closed"),
    ] {
        let (res, heard, _) = run(PLAIN, &[says]);
        let text = res.unwrap_err().to_string();
        assert!(text.starts_with(expect), "{text}");
        assert_eq!(heard, "");
    }
}
