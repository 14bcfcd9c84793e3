//! Operations with threads of their own: what a driver does that takes its time and is not the database's. They cannot go
//! on after a restart; their begin, what is known of their result, and their end are journal rows all the same.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::journal::{self, LedgerLine, NewOp, Who};
use super::status::{Fault, Outcome};
use super::store::{BeginError, Store, in_transaction, ledger_line, new_status};
use super::table::Op;
use super::token::Token;
use crate::drivers::{CancelFlag, Watch};
use crate::sys::clock;

/// Operations that run at once.
const MAX_RUNNING: usize = 8;
/// Stack of an operation's thread.
const STACK: usize = 256 * 1024;

/// An operation about to begin.
pub struct Launch {
    /// What it does, in the word of the request; of one kind only one runs at a time.
    pub kind: &'static str,
    /// The ledger's name for it, such as `wlan add`.
    pub command: String,
    /// Who asked.
    pub who: Who,
}

/// The operations that run, and whether they are all to end.
#[derive(Default)]
pub(super) struct Threads {
    running: Mutex<Vec<&'static str>>,
    changed: Condvar,
    stopping: AtomicBool,
}

/// What an operation's driver looks back at.
pub struct Work {
    op: Arc<Op>,
    store: Arc<Store>,
}

/// Whether an operation is to end, because somebody asked for that or because the meter goes down.
fn is_to_end(op: &Op, store: &Store) -> bool {
    op.is_cancelled() || store.threads.stopping.load(Ordering::Relaxed)
}

impl Watch for Work {
    fn cancelled(&self) -> bool {
        is_to_end(&self.op, &self.store)
    }

    fn flag(&self) -> CancelFlag {
        let (op, store) = (Arc::clone(&self.op), Arc::clone(&self.store));
        Arc::new(move || is_to_end(&op, &store))
    }

    fn progress(&self, share: f64) {
        self.op.progress(share);
    }

    fn info(&self, tag: &'static str, args: Vec<String>) {
        self.op.info(tag, args);
    }

    fn result(&self, value: Value) {
        let (id, text) = (self.op.id, value.to_string());
        let progress = self.op.status().progress.unwrap_or_default();
        self.op.result(value);
        // On disk before the driver goes on: a driver says what it is about to do, and then does it.
        let saved = self.store.call(move |conn| in_transaction(conn, |tx| journal::save(tx, id, &text, progress)));
        match saved {
            Some(Ok(())) => {}
            Some(Err(err)) => log::error!("journal: {err}"),
            None => log::error!("journal: a result could not be recorded in time"),
        }
    }
}

impl Threads {
    fn running(&self) -> MutexGuard<'_, Vec<&'static str>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more operation of this kind.
    fn enter(&self, kind: &'static str) -> Result<(), BeginError> {
        let mut running = self.running();
        if self.stopping.load(Ordering::Relaxed) {
            return Err(BeginError::Stopping);
        }
        if running.contains(&kind) {
            let text = format!("A {kind} operation is running already; wait until it is done (see /sys/status).");
            return Err(BeginError::Busy(text));
        }
        if running.len() >= MAX_RUNNING {
            let text = format!("{MAX_RUNNING} operations are running already; wait until one is done.");
            return Err(BeginError::Busy(text));
        }
        running.push(kind);
        Ok(())
    }

    fn leave(&self, kind: &'static str) {
        let mut running = self.running();
        if let Some(at) = running.iter().position(|it| *it == kind) {
            running.swap_remove(at);
        }
        self.changed.notify_all();
    }

    /// Asks all operations to end at their next safe point and waits for them, for at most `within`.
    pub(super) fn stop(&self, within: Duration) {
        let running = self.running();
        self.stopping.store(true, Ordering::Relaxed);
        let res = self.changed.wait_timeout_while(running, within, |it| !it.is_empty());
        let left = res.unwrap_or_else(PoisonError::into_inner).0;
        if !left.is_empty() {
            log::warn!("operations that did not end in time: {}", left.join(", "));
        }
    }
}

impl Store {
    /// Begins an operation and runs `body` on a thread of its own; when this returns, the operation survives a power cut,
    /// at least as one that was interrupted.
    pub fn launch(
        self: &Arc<Self>,
        launch: Launch,
        body: impl FnOnce(&Work) -> Outcome + Send + 'static,
    ) -> Result<(Arc<Op>, Token), BeginError> {
        let kind = launch.kind;
        self.threads.enter(kind)?;
        let res = self.enter_and_run(launch, body);
        if res.is_err() {
            self.threads.leave(kind);
        }
        res
    }

    fn enter_and_run(
        self: &Arc<Self>,
        launch: Launch,
        body: impl FnOnce(&Work) -> Outcome + Send + 'static,
    ) -> Result<(Arc<Op>, Token), BeginError> {
        let Launch { kind, command, who } = launch;
        let token = Token::new();
        let line = ledger_line(&who, &command);
        let (key, begun) = (token.key(), LedgerLine { outcome: "begun".into(), ..line.clone() });
        let entered = self.call(move |conn| {
            in_transaction(conn, |tx| {
                journal::ledger(tx, &begun)?;
                let new = NewOp { kind, created: &begun.ts, who: &who, digest: None, plan: None };
                journal::begin(tx, &new, &key)
            })
        });
        let id = entered.ok_or(BeginError::Late)?.map_err(BeginError::Journal)?;
        let op = self.table.begin(id, &[token.key()], new_status(&line.ts));
        let work = Work { op: Arc::clone(&op), store: Arc::clone(self) };
        let spare = (Work { op: Arc::clone(&op), store: Arc::clone(self) }, line.clone());
        let internal = || Outcome { fault: Some(Fault::internal()), result: None };
        let run = move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| body(&work)));
            work.end(line, outcome.unwrap_or_else(|_| internal()));
            work.store.threads.leave(kind);
        };
        let thread = thread::Builder::new().name(format!("op-{kind}")).stack_size(STACK).spawn(run);
        if let Err(err) = thread {
            log::error!("a thread for {kind}: {err}");
            let (work, line) = spare;
            work.end(line, internal());
            return Err(BeginError::Busy("The meter is too busy to begin; try again later.".into()));
        }
        Ok((op, token))
    }
}

impl Work {
    fn end(&self, line: LedgerLine, mut outcome: Outcome) {
        // Whoever did not ask for the end is told what really happened.
        if let Some(fault) = &mut outcome.fault
            && fault.tag == Fault::cancelled().tag
            && !self.op.is_cancelled()
        {
            fault.tag = Fault::interrupted().tag;
        }
        if outcome.result.is_none() {
            outcome.result = self.op.status().result;
        }
        let (id, stored) = (self.op.id, outcome.clone());
        let text = outcome.fault.as_ref().map_or_else(|| "OK".into(), |it| it.text.clone());
        let recorded = self.store.call(move |conn| {
            in_transaction(conn, |tx| {
                journal::finish(tx, id, &stored)?;
                journal::ledger(tx, &LedgerLine { outcome: text, ..line })
            })
        });
        match recorded {
            Some(Ok(())) => {}
            Some(Err(err)) => log::error!("operation {id}: its end could not be recorded: {err}"),
            None => log::error!("operation {id}: its end could not be recorded in time"),
        }
        self.store.table.finish(&self.op, outcome, clock::boottime());
    }
}
