//! `POST /cmd/test-email`: its members become the order for a test mail. What becomes of that, the status says.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::{App, failed, note};
use super::{BadMember, bad};
use crate::config::Identity;
use crate::drivers::reach::Reach;
use crate::drivers::smtp::{self, Address, Login, MailError, Meter, Order, PASSWORD, Smarthost, USER};
use crate::drivers::wlan::Hidden;
use crate::http::{Answer, Reply};
use crate::ops::{Fault, Launch, Outcome, Who};
use crate::sys::host;

/// The name before the `@` of a sender that is not given.
const SENDER: &str = "nobody";

/// The members as they came: what is wrong with one is said without serde, whose words would repeat a password.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Body {
    address: Option<Value>,
    smarthost: Option<Value>,
    mailuser: Option<Value>,
    mailpass: Option<Value>,
    fromaddr: Option<Value>,
}

/// What a body asks for.
pub(super) struct Wish {
    to: Address,
    from: Option<Address>,
    smarthost: Option<Smarthost>,
    login: Option<Login>,
}

/// The test mail that a body asks for. Clients with a form send what was left blank as an empty string, so that counts
/// as unspecified.
pub(super) fn parse(body: &[u8]) -> Result<Wish, BadMember> {
    let body = members(body)?;
    // First, so that it is wiped whatever the others are.
    let password = text("mailpass", body.mailpass)?.map(|it| Hidden::from(it.into_bytes()));
    let Some(to) = text("address", body.address)? else {
        return bad("address", "missing; it names who gets the test mail.");
    };
    let to = Address::parse(&to).or_else(|reason| bad("address", reason))?;
    let smarthost = text("smarthost", body.smarthost)?;
    let smarthost = smarthost.map(|it| Smarthost::parse(&it).or_else(|reason| bad("smarthost", reason))).transpose()?;
    let from = text("fromaddr", body.fromaddr)?;
    let from = from.map(|it| Address::parse(&it).or_else(|reason| bad("fromaddr", reason))).transpose()?;
    let user = text("mailuser", body.mailuser)?;
    if user.as_ref().is_some_and(|it| it.len() > USER || it.contains(char::is_control)) {
        return bad("mailuser", format!("must be at most {USER} bytes without line breaks or control characters."));
    }
    let is_bad = |it: &Hidden| it.expose().len() > PASSWORD || it.expose().iter().any(|it| b"\r\n\0".contains(it));
    if password.as_ref().is_some_and(is_bad) {
        return bad("mailpass", format!("must be at most {PASSWORD} bytes without line breaks or NUL."));
    }
    // One without the other means "without authentication", and without a smarthost there is nobody to log in to.
    let login = match (user, password, &smarthost) {
        (Some(user), Some(password), Some(_)) => Some(Login { user, password }),
        _ => None,
    };
    Ok(Wish { to, from, smarthost, login })
}

/// Begins the operation; the reply is its token.
pub(in crate::api) fn run(app: &Arc<App>, body: &[u8], who: Who) -> Answer {
    let wish = match parse(body) {
        Ok(wish) => wish,
        Err(err) => return Answer::Now(failed(&err.to_string())),
    };
    let app = Arc::clone(app);
    Answer::Detach(Box::new(move |exchange| {
        let command = format!("test-email {}", wish.to);
        let order = order(wish, &app);
        let reach = Reach::new(&app.config);
        let launch = Launch { kind: "test-email", command: command.clone(), who: who.clone() };
        exchange.reply(match app.store.launch(launch, move |work| outcome(&order, &reach, work)) {
            Ok((_, token)) => Reply::json(200, &json!({ "token": token.as_str() })),
            Err(err) => {
                let text = err.to_string();
                note(&app, &who, &command, &text);
                failed(&text)
            }
        });
    }))
}

fn order(wish: Wish, app: &App) -> Order {
    let meter = meter(&app.config.identity);
    let mail = &app.config.mail;
    let Wish { to, from, smarthost, login } = wish;
    let from = from.unwrap_or_else(|| sender(&meter.hostname));
    Order { to, from, smarthost, login, meter, plain_auth: mail.plain_auth, within: mail.within() }
}

fn meter(identity: &Identity) -> Meter {
    let hostname = identity.hostname.clone().unwrap_or_else(host::name);
    Meter { hostname, model: identity.model.clone(), serial: identity.serial.clone() }
}

/// Who sends, where that is not said.
fn sender(hostname: &str) -> Address {
    // A host name that mail does not take is none that anybody could answer to.
    let parsed = Address::parse(&format!("{SENDER}@{hostname}"));
    parsed.or_else(|_| Address::parse("nobody@meter.invalid")).expect("a constant address is well-formed")
}

fn outcome(order: &Order, reach: &Reach, work: &crate::ops::Work) -> Outcome {
    let (log, res) = smtp::send(order, reach, work);
    let fault = match res {
        Ok(()) => None,
        Err(MailError::Cancelled) => Some(Fault::cancelled()),
        Err(MailError::Failed(text)) => {
            Some(Fault { tag: "MAIL_TX_ERR".into(), args: vec![order.to.to_string()], text })
        }
    };
    Outcome { fault, result: Some(log) }
}

fn members(body: &[u8]) -> Result<Body, BadMember> {
    match body.trim_ascii() {
        b"" | b"null" => Ok(Body::default()),
        [b'{', ..] => serde_json::from_slice(body).or_else(|err| bad("body", format!("{err}."))),
        // serde would take a list for the members in their order.
        _ => bad("body", "must be an object with the member address."),
    }
}

fn text(name: &'static str, value: Option<Value>) -> Result<Option<String>, BadMember> {
    match value {
        None => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => bad(name, "must be a string."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, expect: &str) {
        let got = match parse(body.as_bytes()) {
            Ok(wish) => {
                let from = wish.from.map_or_else(|| "-".into(), |it| it.to_string());
                let smarthost = wish.smarthost.map_or_else(|| "-".into(), |it| format!("{}:{}", it.host, it.port));
                let login = wish.login.map_or_else(
                    || "-".into(),
                    |it| format!("{}/{}", it.user, String::from_utf8_lossy(it.password.expose())),
                );
                format!("{} {from} {smarthost} {login}", wish.to)
            }
            Err(err) => format!("error: {err}"),
        };
        assert!(got.starts_with(expect), "{body}\n{got}\nexpected {expect}");
    }

    #[test]
    fn members_become_an_order() {
        check(r#"{"address":"a@b.test"}"#, "a@b.test - - -");
        check(
            r#"{"address":"a@b.test","smarthost":"smtp.domain.com","mailuser":"username","mailpass":"p w",
                "fromaddr":"nobody@eGauge123456"}"#,
            "a@b.test nobody@eGauge123456 smtp.domain.com:587 username/p w",
        );
        check(r#"{"address":"a@b.test","smarthost":"x:465","mailuser":null,"mailpass":""}"#, "a@b.test - x:465 -");
        check(r#"{"address":"a@b.test","smarthost":"","fromaddr":""}"#, "a@b.test - - -");
    }

    #[test]
    fn only_one_of_user_and_password_is_no_login() {
        check(r#"{"address":"a@b","smarthost":"x","mailuser":"u"}"#, "a@b - x:587 -");
        check(r#"{"address":"a@b","smarthost":"x","mailpass":"p"}"#, "a@b - x:587 -");
        check(r#"{"address":"a@b","smarthost":"x","mailuser":"u","mailpass":""}"#, "a@b - x:587 -");
        check(r#"{"address":"a@b","mailuser":"u","mailpass":"p"}"#, "a@b - - -");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for body in ["", "{}", "null", r#"{"address":null}"#, r#"{"address":""}"#] {
            check(body, "error: address: missing; it names");
        }
        check(r#"{"address":7}"#, "error: address: must be a string.");
        check(r#"{"address":"a@b\r\nRCPT TO:<c@d>"}"#, "error: address: must not contain a line break.");
        check(r#"{"address":"a@b","fromaddr":"a\n@b"}"#, "error: fromaddr: must not contain a line break.");
        check(r#"{"address":"a@b","smarthost":"x\r\n"}"#, "error: smarthost: has a host name with the character");
        check(r#"{"address":"a@b","smarthost":"x:0"}"#, "error: smarthost: has no port between");
        check(r#"{"address":"a@b","mailuser":"u\r\n"}"#, "error: mailuser: must be at most 320 bytes without");
        for bad in ["\\r", "\\n", "\\u0000"] {
            check(&format!(r#"{{"address":"a@b","mailpass":"p{bad}"}}"#), "error: mailpass: must be at most 512");
        }
        check(&format!(r#"{{"address":"a@b","mailpass":"{}"}}"#, "p".repeat(513)), "error: mailpass: must be at most");
        check(r#"{"address":"a@b","adress":"x"}"#, "error: body: unknown field `adress`");
        check(r#"{"address":"a@b","address":"x"}"#, "error: body: duplicate field `address`");
        check(r#"["a@b"]"#, "error: body: must be an object");
        check("{", "error: body: EOF");
    }

    #[test]
    fn no_error_repeats_a_password() {
        for body in [
            r#""swordfish""#,
            r#"{"mailpass":"swordfish","#,
            r#"{"address":"a@b","mailpass":["swordfish"]}"#,
            r#"{"address":"a@b","mailpass":"swordfish\n"}"#,
            r#"{"mailpass":"swordfish"}"#,
            r#"{"address":"a@b","mailpass":"swordfish","mailpass":"swordfish"}"#,
        ] {
            let err = parse(body.as_bytes()).err().unwrap().to_string();
            assert!(!err.contains("sword"), "{err}");
        }
    }

    #[test]
    fn a_sender_is_made_of_the_host_name() {
        assert_eq!(sender("eGauge123456").to_string(), "nobody@eGauge123456");
        assert_eq!(sender("my meter").to_string(), "nobody@meter.invalid");
        assert_eq!(sender("").to_string(), "nobody@meter.invalid");
    }
}
