//! One file per command: bytes become a command, and its errors name the member at fault.

pub mod activate;
pub mod cancel;
pub mod clear;
pub mod db;
pub mod db_body;
pub mod homeplug;
pub mod reboot;
pub mod set_time;
pub mod test_remote;
pub mod test_email;
pub mod update;
pub mod wlan;

use std::fmt;

use serde::de::DeserializeOwned;

use crate::config::Config;

/// A member that cannot be used, with the reason.
#[derive(Debug, PartialEq)]
pub struct BadMember {
    /// The member's name; `body` when the body as a whole is at fault.
    pub name: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for BadMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.reason)
    }
}

impl std::error::Error for BadMember {}

/// Whether `body` is one of the command of this name in `/cmd`, as far as its bytes alone can tell; nothing is begun. The
/// error is the reply's. `None` for a name that is no command's.
pub fn understand(command: &str, body: &[u8], config: &Config) -> Option<Result<(), String>> {
    let shown = |res: Result<(), BadMember>| res.map_err(|err| err.to_string());
    Some(match command {
        "activate" => shown(activate::parse(body).map(drop)),
        "cancel" => shown(cancel::parse(body).map(drop)),
        "clear" => shown(clear::parse(body).map(drop)),
        "db" => {
            let scanned = db_body::scan(&mut &*body, config.limits.data_chars, &mut |_| Ok(()));
            let parsed = |members| db::parse(&members).map(drop).map_err(|err| err.to_string());
            scanned.map_err(|err| err.to_string()).and_then(parsed)
        }
        "factory-restore" | "reboot" => shown(reboot::parse(body)),
        "homeplug" => shown(homeplug::parse(body).map(drop)),
        "set-time" => shown(set_time::parse(body).map(drop)),
        "test-email" => shown(test_email::parse(body).map(drop)),
        "test-remote" => shown(test_remote::parse(body, config).map(drop)),
        "update" => shown(update::parse(body).map(drop)),
        "wlan" => shown(wlan::parse(body).map(drop)),
        _ => return None,
    })
}

/// Shorthand for a refusal.
fn bad<T>(name: &'static str, reason: impl Into<String>) -> Result<T, BadMember> {
    Err(BadMember { name, reason: reason.into() })
}

/// The typed value of a member's JSON text; `null` is an absent member.
fn typed<T: DeserializeOwned>(name: &'static str, text: Option<&[u8]>, what: &str) -> Result<Option<T>, BadMember> {
    match text.map(serde_json::from_slice::<Option<T>>) {
        None => Ok(None),
        Some(Ok(value)) => Ok(value),
        Some(Err(_)) => bad(name, format!("must be {what}.")),
    }
}
