//! How the meter sends a test mail.

use std::time::Duration;

use serde::Deserialize;

/// How test mail is sent, beyond what each command says.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mail {
    /// Send user and password also to a server without TLS, where anybody on the way can read them.
    pub plain_auth: bool,
    /// Seconds for everything, from the look at the DNS to the server's last word.
    pub seconds: u64,
}

impl Default for Mail {
    fn default() -> Self {
        Mail { plain_auth: false, seconds: 120 }
    }
}

impl Mail {
    /// How long all of it may take.
    pub fn within(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    pub(super) fn check(&self) -> Result<(), String> {
        match self.seconds {
            1..=3600 => Ok(()),
            _ => Err("mail.seconds: must be between 1 and 3600".into()),
        }
    }
}
