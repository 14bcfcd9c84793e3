//! What rules read: the exchanges and facts of their area, with the readings of the API that many rules share.

pub mod backup;
mod exchange;
pub mod refusal;
pub mod status;
mod tags;
pub mod tokens;
#[cfg(test)]
pub mod testing;

use serde_json::Value;

use crate::transcript::{Exchange, Transcript};
use crate::verdict::Finding;

/// The evidence of one area.
pub struct Evidence<'a> {
    transcript: &'a Transcript,
    area: &'a str,
}

impl<'a> Evidence<'a> {
    /// What `area` left in the transcript.
    pub fn new(transcript: &'a Transcript, area: &'a str) -> Evidence<'a> {
        Evidence { transcript, area }
    }

    /// The exchange of that label.
    pub fn get(&self, label: &str) -> Result<&'a Exchange, Finding> {
        self.own().find(|it| it.label == label).ok_or_else(|| self.missing(label))
    }

    /// The exchanges whose labels begin so, in order; at least one.
    pub fn all(&self, start: &str) -> Result<Vec<&'a Exchange>, Finding> {
        let res: Vec<_> = self.own().filter(|it| it.label.starts_with(start)).collect();
        if res.is_empty() { Err(self.missing(start)) } else { Ok(res) }
    }

    /// Every exchange of the run, whatever its area.
    pub fn everything(&self) -> &'a [Exchange] {
        &self.transcript.exchanges
    }

    /// The fact of that name.
    pub fn fact(&self, name: &str) -> Result<&'a Value, Finding> {
        self.transcript.facts.get(&format!("{}/{name}", self.area)).ok_or_else(|| self.missing(name))
    }

    fn own(&self) -> impl Iterator<Item = &'a Exchange> + use<'a> {
        let area = self.area;
        self.transcript.exchanges.iter().filter(move |it| it.area == area)
    }

    fn missing(&self, what: &str) -> Finding {
        let why = self.transcript.stopped.get(self.area).map_or("", String::as_str);
        let separator = if why.is_empty() { "" } else { ": " };
        let what = if what.is_empty() { "nothing" } else { what };
        let was = if what == "nothing" { "was" } else { "was not" };
        Finding::NoEvidence(format!("{what} {was} tried{separator}{why}"))
    }
}
