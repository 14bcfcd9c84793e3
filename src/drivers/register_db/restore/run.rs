//! The second reading of a backup, batch by batch. It owns the position, from which it can be taken up again after any
//! cut, and the order of things; what happens in a stretch of time is in `window`, what happens once at first in `begin`.

use rusqlite::Transaction;
use serde::{Deserialize, Serialize};

use super::plan::{RestorePlan, bits, selected};
use super::rows::{Found, Rows};
use super::window::Statements;
use crate::drivers::register_db::edge::{self, Edge, Moved};
use crate::drivers::register_db::packed::Unpacker;
use crate::drivers::register_db::schema::{self, MAX_REGISTERS};
use crate::drivers::register_db::{DbError, Step};

/// Rows that are skipped before the caller gets to look at its cancel flag.
const ROWS_PER_SKIP: u32 = 20_000;

/// A restore under way.
pub(in crate::drivers::register_db) struct Run {
    pub(super) plan: RestorePlan,
    pub(super) state: State,
    pub(super) selected: u64,
    pub(super) file: Rows,
    pub(super) found: Found,
    /// Whether the last row that is needed is in the buffer, or was.
    pub(super) complete: bool,
    reader: Option<Unpacker>,
    rows_read: u64,
    statements: Statements,
}

/// How far a restore has come; its JSON is the position.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct State {
    /// Everything from this stamp on has been applied. Absent before the first batch.
    pub cursor: Option<i64>,
    /// Rows of the file that have been applied.
    pub applied: u64,
    /// What is open of each column.
    pub columns: Vec<Open>,
}

/// What is open of a column between two batches. In a file without empty fields nothing is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Open {
    /// The stamp of the edge that this chunk fills.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filled: Option<i64>,
    /// The sample whose older neighbour has not been met yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
    /// The newer sample that is being drawn from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<Moved>,
    /// The same, as an earlier restore of the same chunk left it for the next chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inherited: Option<Moved>,
}

/// A sample that waits for its older neighbour.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Pending {
    pub ts: i64,
    pub counter: i64,
    /// Whether its increment will be taken from the newer sample.
    pub moves: bool,
}

impl Run {
    pub(in crate::drivers::register_db) fn new(plan: RestorePlan) -> Run {
        let n = plan.columns.len();
        let state = State { columns: vec![Open::default(); n], ..State::default() };
        Run {
            selected: selected(&plan.columns),
            file: Rows::of_file(n),
            found: Found::new(n),
            complete: plan.last == i64::MAX,
            reader: None,
            rows_read: 0,
            statements: Statements::default(),
            state,
            plan,
        }
    }

    pub(in crate::drivers::register_db) fn resume(plan: RestorePlan, position: &str) -> Result<Run, DbError> {
        let mut run = Run::new(plan);
        let state: State = serde_json::from_str(position).map_err(|err| DbError::Position(err.to_string()))?;
        if state.columns.len() != run.plan.columns.len() {
            return Err(DbError::Position("it belongs to another file".into()));
        }
        run.state = state;
        Ok(run)
    }

    pub(in crate::drivers::register_db) fn position(&self) -> String {
        serde_json::to_string(&self.state).expect("plain data")
    }

    pub(in crate::drivers::register_db) fn progress(&self) -> f64 {
        (self.rows_read.saturating_sub(self.file.len() as u64)) as f64 / self.plan.rows as f64
    }

    /// Whether rows are still being skipped: those above the range, or those that were applied before a restart.
    pub(in crate::drivers::register_db) fn is_skipping(&self) -> bool {
        self.file.len() == 0 && !self.complete
    }

    pub(in crate::drivers::register_db) fn reached(&self) -> Option<i64> {
        self.state.cursor
    }

    pub(in crate::drivers::register_db) fn applied(&self) -> u64 {
        self.state.applied
    }

    /// Reads and parses as many of the next rows as the buffer takes.
    pub(in crate::drivers::register_db) fn prepare(&mut self) -> Result<(), DbError> {
        if self.complete || self.file.is_full() {
            return Ok(());
        }
        self.file.compact();
        let reader = match &mut self.reader {
            Some(reader) => reader,
            None => self.reader.insert(Unpacker::open(&self.plan.file)?),
        };
        let (_, to) = self.plan.range.seconds();
        let top = self.state.cursor.map_or(to, |cursor| to.min(cursor - 1));
        let mut values = [0; MAX_REGISTERS];
        let values = &mut values[..self.plan.columns.len()];
        let mut skipped = 0;
        while !self.complete && !self.file.is_full() && skipped < ROWS_PER_SKIP {
            let Some((ts, present)) = reader.row(values)? else {
                self.complete = true;
                break;
            };
            self.rows_read += 1;
            self.complete = ts <= self.plan.last;
            if top < ts {
                skipped += 1;
            } else {
                self.file.push(ts, present, values);
            }
        }
        Ok(())
    }

    /// Applies about `rows` rows within the caller's transaction.
    pub(in crate::drivers::register_db) fn step(&mut self, tx: &Transaction, rows: usize) -> Result<Step, DbError> {
        // Skipping goes on over several steps, so that the caller can look at its cancel flag; but a step that begins also
        // applies something, for a counter must not be set before its row is there.
        if !self.has_work() {
            self.prepare()?;
            if !self.has_work() {
                return Ok(Step::More);
            }
        }
        if self.state.cursor.is_none() {
            self.begin(tx)?;
        }
        self.statements.renew(&self.plan, schema::dids(tx)?);
        let mut done = 0;
        while !self.is_done() {
            while !self.has_work() {
                self.prepare()?;
            }
            let statements = std::mem::take(&mut self.statements);
            let res = self.window(tx, &statements, rows.max(done + 1) - done);
            self.statements = statements;
            done += res?;
            if rows <= done && !self.is_done() {
                return Ok(Step::More);
            }
        }
        self.leave_edges(tx)?;
        Ok(Step::Done)
    }

    /// Whether the buffer suffices for a window, once rows that are above everything to be applied are dropped. It takes two
    /// rows: the last one only serves as neighbour, so that rows of an ordinary file are written once.
    fn has_work(&mut self) -> bool {
        while 0 < self.file.len() && self.state.cursor.is_some_and(|cursor| cursor <= self.file.ts(0)) {
            self.file.consume(1);
        }
        self.complete || 2 <= self.file.len()
    }

    fn is_done(&self) -> bool {
        self.state.cursor.is_some_and(|cursor| cursor <= self.plan.last)
    }

    /// What is still waiting for an older neighbour at the end becomes an edge for the next chunk.
    fn leave_edges(&mut self, tx: &Transaction) -> Result<(), DbError> {
        if !self.plan.more_chunks {
            edge::end_chain(tx)?;
        }
        for i in bits(self.selected) {
            let (column, open) = (&self.plan.columns[i], &mut self.state.columns[i]);
            let (Some(did), Some(pending)) = (column.did, open.pending.take()) else { continue };
            let spacing = match (column.spacing, open.filled) {
                (0, Some(filled)) => filled - pending.ts,
                (spacing, _) => spacing,
            };
            let moved = open.moved.take().filter(|it| it.open).or(open.inherited.take());
            let more_chunks = self.plan.more_chunks;
            edge::store(tx, &Edge { did, ts: pending.ts, counter: pending.counter, more_chunks, spacing, moved })?;
        }
        Ok(())
    }
}
