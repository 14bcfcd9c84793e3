//! What was sent and what came, in order, with what else was learned on the way. Rules judge this and nothing else, so a
//! transcript on disk can be judged again without the meter. Passwords and keys are taken out before anything is shown
//! or written.

mod file;
mod mask;
mod seal;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::danger::Class;
use crate::http::{Fault, Reply};

pub use file::{load, save};
pub use mask::masked;
pub use seal::forms;

/// One request and its answer.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The area that sent it.
    pub area: String,
    /// Its name in that area: `wrong-password`. A repeated one goes by number: `poll/3`.
    pub label: String,
    /// When it was sent, in seconds since the run began.
    pub at: f64,
    /// The tester's own clock then, Unix time.
    pub wall: f64,
    /// Seconds until the last byte of the answer, or until it was given up.
    pub took: f64,
    /// All bytes that were sent.
    pub sent: Vec<u8>,
    /// What came.
    pub answer: Result<Reply, Fault>,
}

/// A run's evidence.
#[derive(Clone, Debug, Default)]
pub struct Transcript {
    /// The meter's URL.
    pub meter: String,
    /// When the run began, Unix time in whole seconds.
    pub begun: u64,
    /// The classes that were allowed.
    pub allowed: Vec<Class>,
    /// In the order in which they were sent.
    pub exchanges: Vec<Exchange>,
    /// What areas learned otherwise, by `area/name`: what a companion saw, what the tester named.
    pub facts: BTreeMap<String, Value>,
    /// Areas that could not be played to their end, and why.
    pub stopped: BTreeMap<String, String>,
    /// Why the run ended before its end, if it did.
    pub gone: Option<String>,
    /// What the tester would not have shown, wherever it turns up; empty once it is taken out.
    pub secrets: Vec<String>,
}
