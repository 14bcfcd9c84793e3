//! Mails, tests of devices and activations that are wrong, and commands for networks that a bench has not.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Mutant, anonymous, before_401, failed, fine, has, lax, obey, ordered, replace, status};
use crate::message::Message;
use crate::proxy::{Meter, request};

const MAIL: &str = "/cmd/test-email";
const REMOTE: &str = "/cmd/test-remote";
const ACTIVATE: &str = "/cmd/activate";

pub static MUTANTS: &[Mutant] = &[
    Mutant::new("mail/without-login", &["cmd/test-email/01", "cmd/test-email/02"], |call, meter| {
        obey(call, meter, |it| it.path() == MAIL && anonymous(it))
    }),
    Mutant::new("mail/executes-before-401", &["cmd/test-email/02"], |call, meter| before_401(call, meter, MAIL)),
    Mutant::new("mail/without-address", &["cmd/test-email/05"], |call, meter| {
        lax(call, meter, MAIL, |it| it.get("address").is_none())
    }),
    Mutant::new("mail/numbers-as-members", &["cmd/test-email/06"], |call, meter| {
        lax(call, meter, MAIL, |it| it.values().any(Value::is_number))
    }),
    Mutant::new("mail/any-address-does", &["cmd/test-email/07"], |call, meter| {
        lax(call, meter, MAIL, |it| it.get("address").is_some_and(Value::is_string))
    }),
    Mutant::new("mail/without-token", &["cmd/test-email/09"], |call, meter| {
        replace(&call, meter, |it| call.path() == MAIL && has(it, "token"), |_| fine())
    }),
    Mutant::new("mail/log-in-a-list", &["cmd/test-email/18"], |call, meter| {
        result(call, meter, |it, _| {
            if let Some(log) = it.get_mut("log") {
                *log = json!([log.clone()]);
            }
        })
    }),
    Mutant::new("mail/log-comes-at-the-end", &["cmd/test-email/19"], |call, meter| {
        result(call, meter, |it, done| {
            if !done {
                it.remove("log");
            }
        })
    })
    .noted(),
    Mutant::new("mail/log-has-the-last-line-only", &["cmd/test-email/19"], |call, meter| {
        result(call, meter, |it, _| {
            let log = it.get("log").and_then(Value::as_str).unwrap_or_default().to_string();
            it.insert("log".into(), json!(log.lines().last()));
        })
    }),
    Mutant::new("mail/changes-after-the-end", &["cmd/test-email/20"], |call, meter| {
        let looks = meter.count("looks");
        result(call, meter, |it, done| {
            if done && it.contains_key("log") {
                it.insert("log".into(), json!(format!("look {looks}\nand another\n")));
            }
        })
    }),
    Mutant::new("mail/failure-without-the-address", &["cmd/test-email/21"], |call, meter| {
        status(call, meter, |it| {
            if it.get("error") == Some(&json!("MAIL_TX_ERR")) {
                it.insert("args".into(), json!(["somebody@example.net"]));
            }
        })
    }),
    Mutant::new("mail/failure-under-another-tag", &["cmd/test-email/22"], |call, meter| {
        status(call, meter, |it| {
            if it.get("error") == Some(&json!("MAIL_TX_ERR")) {
                it.insert("error".into(), json!("SRV"));
            }
        })
    }),
    Mutant::new("mail/goes-out-twice", &["cmd/test-email/sent/01"], |call, meter| {
        let reply = meter.ask(&call);
        if call.is("POST", MAIL) && has(&reply, "token") {
            // A meter may refuse a mail while another is under way: this second one, and the suite's next one after it.
            over(meter, &reply);
            over(meter, &meter.ask(&call));
        }
        reply
    }),
    Mutant::new("mail/to-somebody-else", &["cmd/test-email/sent/02", "cmd/test-email/sent/13"], |call, meter| {
        ordered(call, meter, MAIL, |it| {
            it.insert("address".into(), json!("somebody@example.net"));
        })
    }),
    Mutant::new("mail/forgets-the-sender", &["cmd/test-email/sent/03", "cmd/test-email/sent/12"], |call, meter| {
        ordered(call, meter, MAIL, |it| {
            it.remove("fromaddr");
        })
    }),
    Mutant::new("mail/password-in-the-log", &["cmd/test-email/sent/22"], |call, meter| {
        if let Some(password) = call.json().as_ref().and_then(|it| it.get("mailpass")).filter(|it| it.is_string()) {
            meter.keep("password", password.clone());
        }
        result(call, meter, |it, _| {
            let password = meter.recall("password");
            it.insert("log".into(), json!(format!("AUTH {}\nand more\n", password.as_str().unwrap_or_default())));
        })
    }),
    Mutant::new("remote/executes-before-401", &["cmd/test-remote/02"], |call, meter| before_401(call, meter, REMOTE)),
    Mutant::new("remote/without-link-type", &["cmd/test-remote/05"], |call, meter| {
        lax(call, meter, REMOTE, |it| it.get("linktype").is_none())
    }),
    Mutant::new("remote/any-link-type-does", &["cmd/test-remote/07"], |call, meter| {
        lax(call, meter, REMOTE, |it| it.get("linktype").is_some_and(Value::is_string))
    }),
    Mutant::new("remote/progress-as-an-integer", &["cmd/test-remote/14"], |call, meter| {
        status(call, meter, |it| {
            it.insert("progress".into(), json!(0));
        })
    }),
    Mutant::new("remote/times-as-text", &["cmd/test-remote/17"], |call, meter| {
        each(call, meter, "trace", |it| it["dt"] = json!(it["dt"].to_string()))
    }),
    Mutant::new("remote/registers-without-type", &["cmd/test-remote/18"], |call, meter| {
        each(call, meter, "regs", |it| it["type"] = Value::Null)
    }),
    Mutant::new("remote/trace-youngest-first", &["cmd/test-remote/19"], |call, meter| {
        result(call, meter, |it, _| {
            if let Some(trace) = it.get_mut("trace").and_then(Value::as_array_mut) {
                trace.reverse();
            }
        })
    }),
    Mutant::new("remote/no-list-while-it-is-empty", &["cmd/test-remote/22"], |call, meter| {
        result(call, meter, |it, _| {
            it.retain(|_, value| value.as_array().is_none_or(|it| !it.is_empty()));
        })
    }),
    Mutant::new("remote/everything-is-power", &["cmd/test-remote/24"], |call, meter| {
        each(call, meter, "regs", |it| it["type"] = json!("P"))
    }),
    Mutant::new("remote/one-name-for-all", &["cmd/test-remote/25"], |call, meter| {
        each(call, meter, "regs", |it| it["name"] = json!("Register"))
    }),
    Mutant::new("remote/asks-another-unit", &["cmd/test-remote/27"], |call, meter| {
        ordered(call, meter, REMOTE, |it| {
            let address =
                it.get("address").and_then(Value::as_str).unwrap_or_default().replace("sunspec.", "sunspec.1");
            it.insert("address".into(), json!(address));
        })
    }),
    Mutant::new("remote/silent-about-nobody", &["cmd/test-remote/29"], |call, meter| {
        result(call, meter, |it, _| {
            it.insert("trace".into(), json!([]));
        })
    }),
    Mutant::new("activate/without-login", &["cmd/activate/01", "cmd/activate/02"], |call, meter| {
        obey(call, meter, |it| it.path() == ACTIVATE && anonymous(it))
    }),
    Mutant::new("activate/any-service-does", &["cmd/activate/06"], |call, meter| {
        lax(call, meter, ACTIVATE, |it| it.get("service").is_some())
    }),
    Mutant::new("activate/any-provider-does", &["cmd/activate/07"], |call, meter| {
        lax(call, meter, ACTIVATE, |it| it.get("provider").is_some_and(Value::is_string))
    }),
    Mutant::new("activate/failure-under-another-tag", &["cmd/activate/13"], |call, meter| {
        status(call, meter, |it| {
            if it.get("error").and_then(Value::as_str).is_some_and(|it| it != "CANCELED") {
                it.insert("error".into(), json!("OOM"));
            }
        })
    }),
    Mutant::new("activate/not-activated", &["cmd/activate/21"], |call, meter| {
        result(call, meter, |it, _| {
            if it.contains_key("activated") {
                it.insert("activated".into(), json!("yes"));
            }
        })
    }),
    Mutant::new("activate/forgets-the-signup", &["cmd/activate/22"], |call, meter| {
        result(call, meter, |it, _| {
            it.remove("signup");
        })
    }),
    Mutant::new("activate/nobody-knows-of-it", &["cmd/activate/23"], |call, meter| match call.method() {
        "GET" if call.path().starts_with("/config/") && !anonymous(&call) => {
            Message::answer(200, &json!({"result": ""}))
        }
        _ => meter.ask(&call),
    }),
    Mutant::new("activate/cannot-be-ended", &["cmd/activate/24"], |call, meter| {
        if call.method() == "DELETE" && !anonymous(&call) { fine() } else { meter.ask(&call) }
    }),
    Mutant::new("wlan/without-login", &["cmd/wlan/01"], |call, meter| {
        obey(call, meter, |it| it.path() == "/cmd/wlan" && anonymous(it))
    }),
    Mutant::new("wlan/by-get-too", &["cmd/wlan/02"], |call, meter| {
        replace(&call, meter, |it| call.path() == "/cmd/wlan" && it.status() == 405, |_| fine())
    }),
    Mutant::new("homeplug/without-login", &["cmd/homeplug/01"], |call, meter| {
        obey(call, meter, |it| it.path() == "/cmd/homeplug" && anonymous(it))
    }),
    Mutant::new("homeplug/password-of-any-length", &["cmd/homeplug/06"], |call, meter| {
        lax(call, meter, "/cmd/homeplug", |it| it.get("password").is_some_and(Value::is_string))
    }),
    Mutant::new("homeplug/repeats-the-password", &["cmd/homeplug/13"], |call, meter| {
        let body = call.json().unwrap_or_default();
        let repeated = |_: Message| failed(&format!("{} and {} are wrong.", body["password"], body["targets"]));
        replace(&call, meter, |it| call.path() == "/cmd/homeplug" && it.status() == 200, repeated)
    }),
];

/// Waits for the end of the operation whose token a reply has.
fn over(meter: &Meter, reply: &Message) {
    let Some(Value::String(token)) = reply.json().map(|it| it["token"].clone()) else { return };
    let look = meter.as_owner(&request("GET", &format!("/sys/status/{token}"), ""));
    for _ in 0..100 {
        if meter.ask(&look).json().is_none_or(|it| it["result"]["done"] != json!(false)) {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Changes the members of every operation's result; the flag says whether it is done.
fn result(call: Message, meter: &Meter, change: impl FnOnce(&mut Map<String, Value>, bool)) -> Message {
    status(call, meter, |it| {
        let done = it.get("done") == Some(&json!(true));
        if let Some(members) = it.get_mut("result").and_then(Value::as_object_mut) {
            change(members, done);
        }
    })
}

/// Changes each element of a list in every operation's result.
fn each(call: Message, meter: &Meter, list: &str, change: impl FnMut(&mut Value)) -> Message {
    result(call, meter, |it, _| {
        it.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten().for_each(change);
    })
}
