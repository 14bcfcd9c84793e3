//! Reboots and factory restores that are wrong.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{Mutant, anonymous, at, bearer, before_401, failed, fine, has, obey, replace};
use crate::message::Message;
use crate::proxy::Meter;

const REBOOT: &str = "/cmd/reboot";
const RESTORE: &str = "/cmd/factory-restore";

pub static MUTANTS: &[Mutant] = &[
    Mutant::new("reboot/without-login", &["cmd/reboot/01"], |call, meter| {
        obey(call, meter, |it| it.path() == REBOOT && anonymous(it))
    }),
    Mutant::new("reboot/executes-before-401", &["cmd/reboot/02"], |call, meter| before_401(call, meter, REBOOT)),
    Mutant::new("reboot/by-get-too", &["cmd/reboot/03"], |call, meter| {
        replace(&call, meter, |it| call.path() == REBOOT && it.status() == 405, |_| fine())
    }),
    Mutant::new("reboot/wants-a-reason", &["cmd/reboot/04"], |call, meter| {
        if call.is("POST", REBOOT) && !bearer(&call).starts_with("e30") && !anonymous(&call) {
            return failed("reason is missing.");
        }
        meter.ask(&call)
    }),
    Mutant::new("reboot/without-a-word", &["cmd/reboot/04"], |call, meter| {
        replace(&call, meter, |it| call.path() == REBOOT && it.status() == 200, |_| Message::nothing())
    }),
    Mutant::new("reboot/too-early", &["cmd/reboot/05"], |call, meter| too_early(call, meter, REBOOT)),
    Mutant::new("reboot/never", &["cmd/reboot/06"], |call, meter| never(call, meter, REBOOT)),
    Mutant::new("reboot/says-500-on-the-way", &["cmd/reboot/07"], |call, meter| {
        if call.is("POST", REBOOT) {
            meter.keep("going", true);
        }
        let gone = |it: &Message| meter.recall("going") == true && (it.status() == 0 || it.status() == 503);
        replace(&call, meter, gone, |_| Message::answer(500, &json!({"error": "shutting down"})))
    }),
    Mutant::new("reboot/keeps-logins", &["cmd/reboot/10"], keeps_logins),
    Mutant::new("reboot/of-which-nobody-hears", &["cmd/reboot/11", "cmd/reboot/12"], |call, meter| {
        let call = at(call.clone(), meter, "/sys/boot", |it| it["result"] = json!({"reason": "", "time": null}));
        call.members(|it| {
            if it.get("result").is_some_and(Value::is_f64) {
                it.insert("result".into(), json!(1_000_000.5));
            }
        })
    }),
    Mutant::new("reboot/empties-operations", &["cmd/reboot/13", "cmd/db/status/12"], |call, meter| {
        // From their end on.
        if meter.recall(call.path()) == true {
            return Message::answer(200, &json!({"result": {}}));
        }
        let answer = meter.ask(&call);
        if call.is("GET", "/sys/status/") && answer.json().is_some_and(|it| it["result"]["done"] == true) {
            meter.keep(call.path(), true);
        }
        answer
    }),
    Mutant::new("factory/without-login", &["cmd/factory-restore/01"], |call, meter| {
        obey(call, meter, |it| it.path() == RESTORE && anonymous(it))
    }),
    Mutant::new("factory/executes-before-401", &["cmd/factory-restore/02"], |call, meter| {
        before_401(call, meter, RESTORE)
    }),
    Mutant::new("factory/by-get-too", &["cmd/factory-restore/03"], |call, meter| {
        replace(&call, meter, |it| call.path() == RESTORE && it.status() == 405, |_| fine())
    }),
    Mutant::new("factory/too-early", &["cmd/factory-restore/05"], |call, meter| too_early(call, meter, RESTORE)),
    Mutant::new("factory/never", &["cmd/factory-restore/06"], |call, meter| never(call, meter, RESTORE)),
    Mutant::new("factory/keeps-logins", &["cmd/factory-restore/09"], keeps_logins),
    Mutant::new("factory/keeps-settings", &["cmd/factory-restore/10", "cmd/factory-restore/11"], |mut call, meter| {
        // It reboots, and restores nothing.
        if call.is("POST", RESTORE) {
            call.lines[0] = format!("POST /api{REBOOT} HTTP/1.1");
            call = call.with_field("X-Changed", Some("1"));
        }
        meter.ask(&call)
    }),
];

/// Is gone for the second in which it should still be there.
fn too_early(call: Message, meter: &Meter, path: &str) -> Message {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |it| it.as_secs_f64());
    if meter.recall("until").as_f64().is_some_and(|it| now < it) {
        return Message::nothing();
    }
    let answer = meter.ask(&call);
    if call.is("POST", path) && answer.status() == 200 {
        meter.keep("until", now + 1.0);
    }
    answer
}

fn never(call: Message, meter: &Meter, path: &str) -> Message {
    let known = bearer(&call).len() > 40;
    if call.is("POST", path) && known { fine() } else { meter.ask(&call) }
}

/// Every token that was good once is good for ever.
fn keeps_logins(call: Message, meter: &Meter) -> Message {
    let answer = meter.ask(&call);
    let token = bearer(&call);
    if answer.status() == 200 && !token.is_empty() {
        meter.keep(token, true);
    }
    let known = answer.status() == 401 && !token.is_empty() && meter.recall(token) == true;
    if known && !has(&answer, "jwt") {
        Message::answer(200, &json!({"usr": "owner", "rights": ["save"]}))
    } else {
        answer
    }
}
