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
