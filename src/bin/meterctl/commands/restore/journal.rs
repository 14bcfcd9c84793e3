//! What a restore remembers of itself, so that it can go on after anything: how many rows the meter has applied, which chunks
//! are on their way, and where a link broke. It says nothing that is secret.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::args;
use crate::failure::{Failure, Kind};
use crate::session::Session;
use crate::state;

/// See the module. Rows are counted among those that are sent.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Journal {
    /// The file, for whoever looks at this one.
    pub file: String,
    /// Rows that are applied.
    pub done: u64,
    /// Chunks that are applied.
    pub chunks: u64,
    /// Chunks on their way, in order.
    pub flight: Vec<Flight>,
    /// Rows that begin a chunk which the meter may not have joined to the one before.
    pub seams: Vec<u64>,
}

/// A chunk on its way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flight {
    /// Its first row.
    pub at: u64,
    /// Its rows.
    pub rows: u64,
    /// The meter's token for it, once that is known.
    pub token: Option<String>,
    /// The meter's reply said that all went well.
    pub is_ok: bool,
}

impl Journal {
    /// Under which name a restore is kept: the file's content, the meter, and every option that decides what is sent.
    pub fn key(digest: &str, base: &str, members: &Map<String, Value>, args: &args::Restore) -> String {
        let members = Value::Object(members.clone()).to_string();
        let form = format!("{} {}", args.chunk, args.plain);
        state::key("restore", &[digest.as_bytes(), base.as_bytes(), members.as_bytes(), form.as_bytes()])
    }

    /// The first row that is not sent yet.
    pub fn next(&self) -> u64 {
        self.flight.last().map_or(self.done, |it| it.at + it.rows)
    }

    /// A chunk begins where the meter may not join it by itself.
    pub fn note_seam(&mut self, at: u64) {
        if 0 < at && !self.seams.contains(&at) {
            self.seams.push(at);
        }
    }

    /// Everything that is not applied is to be sent again.
    pub fn go_back(&mut self) {
        self.flight.clear();
        self.note_seam(self.done);
    }

    /// Puts this down. A restore that cannot be resumed is still one that can be done.
    pub fn keep(&self, session: &Session, key: &str) {
        if let Some(state) = session.state()
            && let Err(err) = state.write(key, self)
        {
            session.terminal.note(&format!("How far it is cannot be kept ({err}); --resume will not know."));
        }
    }

    /// Ctrl-C, with what is to be said of it.
    pub fn interrupted(&self, rows: u64) -> Failure {
        let percent = 100 * self.done / rows.max(1);
        let rest = match self.flight.last().and_then(|it| it.token.as_deref()) {
            Some(token) => format!(" The meter finishes what it has by itself (meterctl cancel {token} ends it)."),
            None => String::new(),
        };
        Failure::new(Kind::Left, format!("Interrupted; {percent} % are restored.{rest}"))
            .hint(format!("The same command with --resume goes on there.{}", self.spike()))
    }

    /// What is to be said beside that: a meter that keeps counters joins a chunk to what is older only when the next one
    /// has come, as the WebAPI warns.
    pub fn spike(&self) -> &'static str {
        if 0 < self.next() { " Until then some meters show a spike where the restored rows begin." } else { "" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_are_on_their_way_are_not_sent_twice() {
        let mut journal = Journal { done: 100, ..Journal::default() };
        assert_eq!(journal.next(), 100);
        journal.flight.push(Flight { at: 100, rows: 50, token: None, is_ok: false });
        assert_eq!(journal.next(), 150);
        journal.go_back();
        journal.go_back();
        assert_eq!((journal.next(), journal.seams.as_slice()), (100, &[100][..]));
    }

    #[test]
    fn a_spike_is_only_spoken_of_once_something_was_sent() {
        let mut journal = Journal::default();
        assert_eq!(journal.spike(), "");
        journal.flight.push(Flight { at: 0, rows: 50, token: None, is_ok: false });
        assert!(journal.interrupted(100).hint.unwrap().ends_with("where the restored rows begin."));
    }

    #[test]
    fn the_first_chunk_has_nothing_to_be_joined_to() {
        let mut journal = Journal::default();
        journal.go_back();
        assert!(journal.seams.is_empty());
    }
}
