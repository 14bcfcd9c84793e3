//! Clocks that are set wrongly.

use serde_json::{Value, json};

use super::{Mutant, anonymous, at, bearer, before_401, failed, fine, has, obey, replace};
use crate::message::Message;
use crate::proxy::Meter;

const PATH: &str = "/cmd/set-time";

pub static MUTANTS: &[Mutant] = &[
    Mutant::new("clock/without-login", &["cmd/set-time/01", "cmd/set-time/02"], |call, meter| {
        obey(call, meter, |it| it.path() == PATH && anonymous(it))
    }),
    Mutant::new("clock/executes-before-401", &["cmd/set-time/02"], |call, meter| before_401(call, meter, PATH)),
    Mutant::new("clock/by-get-too", &["cmd/set-time/03"], |call, meter| {
        replace(&call, meter, |it| call.path() == PATH && it.status() == 405, |_| fine())
    }),
    Mutant::new("clock/numbers-do", &["cmd/set-time/04"], |call, meter| {
        lax(call, meter, |it| it.is_some_and(Value::is_number))
    }),
    Mutant::new("clock/exponents-do", &["cmd/set-time/05"], |call, meter| {
        lax(call, meter, |it| it.and_then(Value::as_str).is_some_and(|it| it.ends_with("e0")))
    }),
    Mutant::new("clock/no-number-is-now", &["cmd/set-time/05"], |call, meter| {
        lax(call, meter, |it| it.is_some_and(|it| it == "NaN"))
    }),
    Mutant::new("clock/objects-do", &["cmd/set-time/06"], |call, meter| {
        lax(call, meter, |it| it.is_some_and(Value::is_object))
    }),
    Mutant::new("clock/half-a-body-does", &["cmd/set-time/07"], |call, meter| lax(call, meter, |it| it.is_none())),
    Mutant::new("clock/refuses-and-sets", &["cmd/set-time/08"], |call, meter| {
        let answer = meter.ask(&call);
        if call.is("POST", PATH) && answer.status() == 200 && has(&answer, "error") {
            let number: String = call.text().chars().filter(char::is_ascii_digit).take(10).collect();
            meter.ask(&call.with_body(json!(number).to_string()));
        }
        answer
    }),
    Mutant::new("clock/null-is-1970", &["cmd/set-time/09"], |call, meter| {
        match call.is("POST", PATH) && call.text() == "null" {
            true => meter.ask(&call.with_body("\"1000000000\"")),
            false => meter.ask(&call),
        }
    }),
    Mutant::new("clock/null-is-refused", &["cmd/set-time/09"], |call, meter| {
        if call.is("POST", PATH) && call.text() == "null" { failed("A string is expected.") } else { meter.ask(&call) }
    }),
    Mutant::new("clock/no-body-is-refused", &["cmd/set-time/10"], |call, meter| {
        if call.is("POST", PATH) && call.body.is_empty() { failed("A body is expected.") } else { meter.ask(&call) }
    }),
    Mutant::new("clock/whole-seconds-only", &["cmd/set-time/11"], |call, meter| {
        let fraction = call.is("POST", PATH) && call.text().contains('.') && !anonymous(&call);
        if fraction { failed("Whole seconds, please.") } else { meter.ask(&call) }
    }),
    Mutant::new("clock/in-another-zone", &["cmd/set-time/12"], |call, meter| {
        let later = |it: &mut Value| {
            if let Some(time) = it.as_str().and_then(|it| it.parse::<f64>().ok()) {
                *it = json!(format!("{:.6}", time + 3600.0));
            }
        };
        if call.is("POST", PATH) { meter.ask(&call.edit(later)) } else { meter.ask(&call) }
    }),
    Mutant::new("clock/never-goes-back", &["cmd/set-time/13"], |call, meter| {
        let set = call.is("POST", PATH) && call.json().is_some_and(|it| it.is_string());
        if set && !anonymous(&call) && meter.recall("set") == true {
            return fine();
        }
        let answer = meter.ask(&call);
        if set && answer.status() == 200 && !has(&answer, "error") {
            meter.keep("set", true);
        }
        answer
    }),
    Mutant::new("clock/time-as-a-number", &["cmd/set-time/14"], |call, meter| {
        at(call, meter, "/sys/time", |it| {
            let time = it["result"].as_str().and_then(|it| it.parse::<f64>().ok());
            it["result"] = json!(time);
        })
    }),
    Mutant::new("clock/ends-logins", &["cmd/set-time/15"], |call, meter| {
        if meter.recall(bearer(&call)) == true && !anonymous(&call) {
            return meter.ask(&call.with_field("Authorization", None));
        }
        let answer = meter.ask(&call);
        let set = call.is("POST", PATH) && call.json().is_some_and(|it| it.is_string());
        if set && answer.status() == 200 && !has(&answer, "error") {
            meter.keep(bearer(&call), true);
        }
        answer
    }),
];

/// Says that all is well where the meter refuses a body of which `when` says so.
fn lax(call: Message, meter: &Meter, when: impl FnOnce(Option<&Value>) -> bool) -> Message {
    let refused = |it: &Message| call.is("POST", PATH) && it.status() == 200 && has(it, "error");
    replace(&call, meter, |it| refused(it) && when(call.json().as_ref()), |_| fine())
}
