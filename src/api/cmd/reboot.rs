//! `POST /cmd/reboot` and `POST /cmd/factory-restore`: the reply first, then the way down. Neither takes anything.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::{App, failed, note, ok};
use super::{BadMember, bad};
use crate::drivers::factory::Order;
use crate::drivers::{factory, power, update};
use crate::http::{Answer, Exchange};
use crate::ops::{Who, store};
use crate::platform::{Hands, PlatformError, Verb};
use crate::sys::clock;

/// Why a meter does not go down now.
const INSTALLING: &str = "Nothing was done: an update is being installed, and its installer must not be interrupted; try \
                          again when it has ended (see /sys/status).";

/// What the meter goes down for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::api) enum Why {
    Reboot,
    FactoryRestore,
}

impl Why {
    fn command(self) -> &'static str {
        match self {
            Why::Reboot => "reboot",
            Why::FactoryRestore => "factory-restore",
        }
    }
}

/// No body, `{}` and `null` are the same.
pub(super) fn parse(body: &[u8]) -> Result<(), BadMember> {
    let nothing = "must be empty, {} or null; this command takes no members.";
    if body.trim_ascii().is_empty() {
        return Ok(());
    }
    match serde_json::from_slice(body) {
        Ok(serde_json::Value::Null) => Ok(()),
        Ok(serde_json::Value::Object(members)) if members.is_empty() => Ok(()),
        Ok(_) | Err(_) => bad("body", nothing),
    }
}

/// Answers, and sends the meter down a second later.
pub(in crate::api) fn run(app: &Arc<App>, why: Why, body: &[u8], who: Who) -> Answer {
    if let Err(err) = parse(body) {
        return Answer::Now(failed(&err.to_string()));
    }
    let app = Arc::clone(app);
    Answer::Detach(Box::new(move |exchange| go_down(&app, why, &who, exchange)))
}

fn go_down(app: &App, why: Why, who: &Who, exchange: Exchange) {
    let refuse = |text: &str| {
        note(app, who, why.command(), text);
        failed(text)
    };
    if !app.platform.offers(Verb::Reboot) {
        let err = PlatformError::Missing("platform.reboot");
        return exchange.reply(refuse(&format!("Nothing was done: {err}.")));
    }
    let state_dir = &app.config.state_dir;
    // Held until the machine is down: what an installer has half written may be all that it could start from.
    let lock = match update::keep_installers_away(state_dir) {
        Ok(None) if !app.going_down.load(Ordering::Acquire) => return exchange.reply(refuse(INSTALLING)),
        Ok(lock) => lock,
        Err(err) => {
            // A disk that fails is one more reason to reboot.
            log::error!("the installers' lock cannot be taken: {err}");
            None
        }
    };
    // From here on everybody else is told that the meter goes down.
    if app.going_down.swap(true, Ordering::AcqRel) {
        return exchange.reply(App::down());
    }
    let now = store::stamp(clock::wall());
    if why == Why::FactoryRestore
        && let Err(err) = factory::order(state_dir, &Order { time: now.clone(), boot: app.boot_id.clone() })
    {
        app.going_down.store(false, Ordering::Release);
        return exchange.reply(refuse(&err.to_string()));
    }
    if let Err(err) = power::asked(state_dir, &now) {
        // What `/sys/boot` says afterwards is not worth a meter that does not reboot.
        log::error!("the reason of the next boot could not be recorded: {err}");
    }
    note(app, who, why.command(), "OK");
    exchange.reply(ok());
    (app.go_down)(lock);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_taken() {
        for body in ["", " ", "{}", " { }", "null"] {
            assert_eq!(parse(body.as_bytes()), Ok(()), "{body}");
        }
        for body in ["[]", "\"\"", "0", "{\"now\":true}", "{", "true"] {
            assert!(parse(body.as_bytes()).unwrap_err().to_string().starts_with("body: must be empty"), "{body}");
        }
    }
}
