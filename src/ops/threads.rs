//! Operations with threads of their own: what a driver does that takes its time and is not the database's. They cannot go
//! on after a restart; their begin, what is known of their result, and their end are journal rows all the same.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rusqlite::Connection;
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
    /// A growing result waits for the disk.
    saving: Arc<AtomicBool>,
}

/// Whether an operation is to end, because somebody asked for that or because the meter goes down.
fn is_to_end(op: &Op, store: &Store) -> bool {
    op.is_cancelled() || store.threads.stopping.load(Ordering::Relaxed)
}

/// Writes down what is known of an operation's result at the moment of writing.
fn save(op: &Arc<Op>) -> impl FnOnce(&mut Connection) + Send + 'static {
    let op = Arc::clone(op);
    move |conn| {
        let status = op.status();
        let (Some(result), progress) = (status.result, status.progress.unwrap_or_default()) else { return };
        let saved = in_transaction(conn, |tx| journal::save(tx, op.id, &result.to_string(), progress));
        if let Err(err) = saved {
            log::error!("journal: {err}");
        }
    }
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
        self.op.result(value);
        // On disk before the driver goes on: a driver says what it is about to do, and then does it.
        if self.store.call(save(&self.op)).is_none() {
            log::error!("journal: a result could not be recorded in time");
        }
    }

    fn intent(&self, value: Value) {
        self.op.result(value);
        let saved = self.store.call_unless(|| self.cancelled(), save(&self.op));
        if saved.is_none() && !self.cancelled() {
            log::error!("journal: a result could not be recorded in time");
        }
    }

    fn growing(&self, value: Value) {
        self.op.result(value);
        // One that still waits for the disk takes this with it.
        if !self.saving.swap(true, Ordering::AcqRel) {
            let (saving, save) = (Arc::clone(&self.saving), save(&self.op));
            let waits = self.store.later(move |conn| {
                saving.store(false, Ordering::Release);
                save(conn);
            });
            self.saving.fetch_and(waits, Ordering::AcqRel);
        }
    }

    fn reason(&self) -> &'static str {
        if self.op.is_cancelled() { "Cancelled" } else { "Stopped with the service" }
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
        let op = self.table.begin_passing(id, &token.key(), new_status(&line.ts));
        let work = || Work { op: Arc::clone(&op), store: Arc::clone(self), saving: Arc::default() };
        let (work, spare) = (work(), (work(), line.clone()));
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
            *fault = Fault::stopped(&fault.text);
        }
        if outcome.result.is_none() {
            outcome.result = self.op.status().result;
        }
        let (id, stored) = (self.op.id, outcome.clone());
        let text = outcome.fault.as_ref().map_or_else(|| "OK".into(), |it| it.text.clone());
        let record = move |conn: &mut Connection| {
            let recorded = in_transaction(conn, |tx| {
                journal::finish(tx, id, &stored)?;
                journal::ledger(tx, &LedgerLine { outcome: text, ..line })
            });
            if let Err(err) = recorded {
                log::error!("operation {id}: its end could not be recorded: {err}");
            }
        };
        // Whoever cancels does not wait for the disk: without this row the operation is one that was interrupted, which
        // is as true. The row comes before anything that is begun next, and before the end of the service.
        if self.op.is_cancelled() {
            self.store.later(record);
        } else if self.store.call(record).is_none() {
            log::error!("operation {id}: its end could not be recorded in time");
        }
        self.store.table.finish(&self.op, outcome, clock::boottime());
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::time::Instant;

    use serde_json::json;

    use super::*;
    use crate::config::Limits;
    use crate::ops::table::Table;
    use crate::sys::random;

    /// How long the store's own thread waits for a lock, so that anything quicker has not waited for it.
    const LOCK_WAIT: Duration = Duration::from_secs(2);
    const PATIENCE: Duration = Duration::from_secs(60);

    fn store() -> (PathBuf, Arc<Store>) {
        let dir = std::env::temp_dir().join(format!("meterd-threads-{}", random::name()));
        std::fs::create_dir(&dir).unwrap();
        let fatal = Arc::new(|text: String| panic!("{text}"));
        let store =
            Store::start(&dir.join("meter.db"), dir.join("staged"), &Limits::default(), Arc::<Table>::default(), fatal);
        (dir, Arc::new(store.unwrap()))
    }

    fn begin(store: &Arc<Store>, body: impl FnOnce(&Work) -> Outcome + Send + 'static) -> (Arc<Op>, Token) {
        let who = Who { user: "owner".into(), peer: "127.0.0.1".into() };
        store.launch(Launch { kind: "test", command: "test".into(), who }, body).unwrap()
    }

    /// Until it is to end: `tell`, and a look every few milliseconds.
    fn work(work: &Work, tell: impl Fn(&Work, Value)) -> Outcome {
        for n in 0.. {
            tell(work, json!({ "n": n }));
            if work.cancelled() {
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
        Outcome { fault: Some(Fault::cancelled()), result: Some(json!({ "why": work.reason() })) }
    }

    /// What the journal says of the only operation, once it says that it is over.
    fn recorded(path: &Path) -> Outcome {
        let until = Instant::now() + PATIENCE;
        let conn = Connection::open(path).unwrap();
        loop {
            if let Some(outcome) = journal::load(&conn).unwrap().pop().unwrap().outcome {
                return outcome;
            }
            assert!(Instant::now() < until, "its end was not recorded");
            thread::sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn a_locked_database_does_not_hold_a_cancellation_up() {
        for tell in [Work::growing as fn(&Work, Value), Work::intent] {
            let (dir, store) = store();
            let (op, token) = begin(&store, move |it| work(it, tell));
            let other = Connection::open(dir.join("meter.db")).unwrap();
            other.busy_timeout(PATIENCE).unwrap();
            other.execute_batch("BEGIN IMMEDIATE").unwrap();
            thread::sleep(Duration::from_millis(300));
            let started = Instant::now();
            store.cancel(&token).unwrap();
            let outcome = op.wait(PATIENCE).unwrap();
            assert!(started.elapsed() < LOCK_WAIT, "{:?}", started.elapsed());
            assert_eq!((outcome.fault, outcome.result), (Some(Fault::cancelled()), Some(json!({"why": "Cancelled"}))));
            other.execute_batch("ROLLBACK").unwrap();
            assert_eq!(recorded(&dir.join("meter.db")).fault, Some(Fault::cancelled()));
            store.stop();
            std::fs::remove_dir_all(&dir).unwrap();
        }
    }

    #[test]
    fn a_growing_result_is_on_disk_soon() {
        let (dir, store) = store();
        let (_, token) = begin(&store, |it| work(it, Work::growing));
        let until = Instant::now() + PATIENCE;
        let conn = Connection::open(dir.join("meter.db")).unwrap();
        let position = || journal::load(&conn).unwrap().pop().unwrap().position;
        let first = loop {
            if let Some(first) = position() {
                break first;
            }
            assert!(Instant::now() < until, "nothing is on disk");
        };
        while position().as_ref() == Some(&first) {
            assert!(Instant::now() < until, "nothing more than {first} is on disk");
        }
        store.cancel(&token).unwrap();
        store.stop();
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn an_end_of_the_service_is_no_cancellation() {
        let (dir, store) = store();
        let (op, _) = begin(&store, |it| work(it, Work::growing));
        store.stop();
        let outcome = op.outcome().unwrap();
        assert_eq!(outcome.fault, Some(Fault::stopped("Cancelled.")));
        assert_eq!(outcome.result, Some(json!({"why": "Stopped with the service"})));
        assert_eq!(recorded(&dir.join("meter.db")), outcome);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
