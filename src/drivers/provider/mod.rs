//! Activation: the meter introduces itself to a provider of alerts or of push data, proves on demand that it has its
//! private key, and keeps what it gets for the program that will report there. In reading order: `handshake` is what is
//! said, `activate` the course, `stored` what is kept. It does not report anything itself.

mod activate;
pub mod handshake;
mod stored;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::config::{Provider, Providers};
use crate::drivers::reach::Stop;

pub use activate::{Errand, activate};
pub use stored::{end, name};

/// A service that a provider offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Alerts are reported to it.
    Alert,
    /// Data are pushed to it.
    Push,
}

impl Service {
    /// The word of the API, of the configuration and of the file.
    pub fn word(self) -> &'static str {
        match self {
            Service::Alert => "alert",
            Service::Push => "push",
        }
    }

    /// Its providers in the configuration.
    pub fn providers(self, all: &Providers) -> &[Provider] {
        match self {
            Service::Alert => &all.alert,
            Service::Push => &all.push,
        }
    }
}

/// Why a service was not activated; it is as it was before.
#[derive(Debug)]
pub enum Failure {
    /// The work was stopped.
    Stopped(Stop),
    /// The provider cannot be reached, or refuses.
    Server(String),
    /// The meter cannot do its part.
    Meter(Service, String),
}

impl Failure {
    /// The wire's tag; it takes the text as its one argument.
    pub fn tag(&self) -> &'static str {
        match self {
            Failure::Meter(Service::Alert, _) => "ALRT",
            Failure::Meter(Service::Push, _) => "PUSH",
            Failure::Server(_) | Failure::Stopped(_) => "SRV",
        }
    }

    /// Whether it failed because somebody cancelled it.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Failure::Stopped(Stop::Cancelled))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Stopped(Stop::Cancelled) => f.write_str("Cancelled; the service is as before."),
            Failure::Stopped(Stop::Late) => {
                write!(f, "the provider did not answer completely within {} s", activate::WITHIN.as_secs())
            }
            Failure::Server(text) | Failure::Meter(_, text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Failure {}
