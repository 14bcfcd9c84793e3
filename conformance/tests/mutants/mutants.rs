//! Ways in which a meter may be wrong, as data: a name, the rules that have to notice, and what is done to the traffic.

mod auth;

use crate::message::Message;
use crate::proxy::Meter;

/// One way to be wrong.
pub struct Mutant {
    /// Its name, which says what it does.
    pub name: &'static str,
    /// The rules each of which has to catch it.
    pub rules: &'static [&'static str],
    /// Answers a request, mostly by asking the meter.
    pub breaks: fn(Message, &Meter) -> Message,
    /// Answers what is no whole request; nothing leaves it to the meter.
    pub strange: Option<fn(&[u8], &Meter) -> Option<Vec<u8>>>,
    /// Why no rule can catch it.
    pub survives: Option<&'static str>,
}

impl Mutant {
    const fn new(name: &'static str, rules: &'static [&'static str], breaks: fn(Message, &Meter) -> Message) -> Mutant {
        Mutant { name, rules, breaks, strange: None, survives: None }
    }
}

/// Breaks nothing.
pub static NONE: Mutant = Mutant::new("none", &[], |call, meter| meter.ask(&call));

/// All of them.
pub fn all() -> Vec<&'static Mutant> {
    [auth::MUTANTS].into_iter().flatten().collect()
}
