//! What became of each bridge, as the result's JSON and as plain words. It does not know how it came about.

use std::fmt;

use serde_json::{Map, Value, json};

use super::qualcomm::{Answer, is_doubtful, refusal};
use super::target::{Mac, Target};

/// What is known of a bridge's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It has the new one.
    Changed,
    /// It has the one that it had.
    Unchanged,
    /// Either.
    Unknown,
}

/// One bridge.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its address.
    pub mac: Mac,
    /// What is known of its key.
    pub state: State,
    detail: Option<String>,
}

/// All bridges of a command.
pub struct Report {
    /// Those that the caller named, in the caller's order.
    pub targets: Vec<Entry>,
    /// The meter's own.
    pub local: Entry,
    /// The new network was seen at the meter's own bridge with all that should be in it.
    pub verified: bool,
    /// What else there is to say about a success.
    pub note: Option<String>,
}

impl State {
    /// The word in the result.
    pub fn name(self) -> &'static str {
        match self {
            State::Changed => "changed",
            State::Unchanged => "unchanged",
            State::Unknown => "unknown",
        }
    }
}

impl Entry {
    fn new(mac: Mac) -> Entry {
        Entry { mac, state: State::Unchanged, detail: None }
    }

    /// A key is about to be sent. Should the meter lose power now, this is what is known.
    pub fn begin(&mut self) {
        self.set(State::Unknown, "asked, not answered yet");
    }

    /// It was not asked, and why.
    pub fn skip(&mut self, why: &str) {
        self.set(State::Unchanged, why);
    }

    /// What its answer says.
    pub fn answered(&mut self, answer: &Answer) {
        match answer {
            Answer::Accepted => *self = Entry { mac: self.mac, state: State::Changed, detail: None },
            Answer::Refused(status) => {
                let state = if is_doubtful(*status) { State::Unknown } else { State::Unchanged };
                self.set(state, &format!("refused with status 0x{status:02x}: {}", refusal(*status)));
            }
            Answer::Silent => self.set(State::Unknown, "no answer"),
            Answer::NotSent(err) => self.set(State::Unchanged, &format!("the request could not be sent: {err}")),
            Answer::Lost(err) => self.set(State::Unknown, &format!("the answer was lost: {err}")),
        }
    }

    /// It was found in the new network, which nobody enters without the new key.
    pub fn seen(&mut self) {
        if self.state == State::Unknown {
            self.set(State::Changed, "its answer was missed, but it is in the new network");
        }
    }

    fn set(&mut self, state: State, detail: &str) {
        self.state = state;
        self.detail = Some(detail.to_string());
    }

    fn value(&self) -> Value {
        let mut res = Map::new();
        res.insert("mac".into(), self.mac.to_string().into());
        res.insert("state".into(), self.state.name().into());
        if let Some(detail) = &self.detail {
            res.insert("detail".into(), detail.clone().into());
        }
        res.into()
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.mac, self.state.name())?;
        match &self.detail {
            Some(detail) => write!(f, " ({detail})"),
            None => Ok(()),
        }
    }
}

impl Report {
    /// Nothing has been asked.
    pub fn new(local: Mac, targets: &[Target]) -> Report {
        let targets = targets.iter().map(|it| Entry::new(it.mac)).collect();
        Report { targets, local: Entry::new(local), verified: false, note: None }
    }

    /// Changes the meter's own bridge, here and where the caller named it as a target.
    pub fn local(&mut self, change: impl Fn(&mut Entry)) {
        let mac = self.local.mac;
        self.targets.iter_mut().filter(|it| it.mac == mac).chain([&mut self.local]).for_each(change);
    }

    /// A remote bridge has left for the new network, as far as is known.
    pub fn has_moved(&self) -> bool {
        self.targets.iter().any(|it| it.mac != self.local.mac && it.state == State::Changed)
    }

    /// Every bridge has the new key.
    pub fn all_changed(&self) -> bool {
        self.targets.iter().chain([&self.local]).all(|it| it.state == State::Changed)
    }

    /// The members of the operation's result.
    pub fn value(&self) -> Value {
        let targets: Vec<_> = self.targets.iter().map(Entry::value).collect();
        let mut res = json!({"targets": targets, "local": self.local.value(), "verified": self.verified});
        if let Some(note) = &self.note {
            res["note"] = note.clone().into();
        }
        res
    }

    /// Every bridge with its state, and what to do next.
    pub fn text(&self) -> String {
        let targets: Vec<_> = self.targets.iter().map(Entry::to_string).collect();
        format!("Targets: {}. The meter's own bridge: {}. {}", targets.join(", "), self.local, self.advice())
    }

    fn advice(&self) -> String {
        let own = self.local.mac;
        if self.local.state != State::Changed {
            let alone = format!(
                "send the command with the meter's own bridge, {own} and its DEK, as the only target, and then for the others"
            );
            let unknown = self.targets.iter().any(|it| it.mac != own && it.state == State::Unknown);
            return if self.has_moved() {
                format!("The targets that changed are out of the meter's reach until its own bridge follows: {alone}.")
            } else if self.local.state == State::Unknown {
                "Send the command again.".into()
            } else if unknown {
                format!(
                    "Check that the target has power and that its address is right, and send the command again. If it did \
                     change, it cannot answer any more; then {alone}."
                )
            } else {
                "No bridge was changed. Put the cause right and send the command again.".into()
            };
        }
        "Send the command again for the targets that did not change; one that cannot be reached any more must be given the \
         password at the bridge itself."
            .into()
    }
}
