//! The handle to the one thread that writes the database: database operations are worked off in order, batch by batch,
//! and the small transactions of everybody else run between two batches, so that nobody in this process waits for a lock.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::journal::{self, LedgerLine, NewOp, Who};
use super::staging::Staged;
use super::status::{Fault, Outcome, Status};
use super::table::{CancelError, Op, Table};
use super::tail::{Digest, Tail};
use super::threads::Threads;
use super::token::Token;
use super::worker::{Parts, Worker};
use crate::config::Limits;
use crate::drivers::register_db::text::Header;
use crate::drivers::register_db::{DbError, Plan, schema};
use crate::sys::clock;

/// Small transactions that may wait for the thread.
const MAILBOX: usize = 64;
/// How long anybody waits for the thread to run a small transaction.
const CALL_WITHIN: Duration = Duration::from_secs(7);
/// How often somebody who waits for the thread asks whether that is still wanted.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long a small transaction waits for a lock that another process holds.
const SMALL_WAIT: Duration = Duration::from_secs(2);
/// What a client is told whose command did not begin because the database was locked for too long.
const LATE: &str = "The database is locked by another program; nothing was begun, try again.";
/// Stack of the thread; SQLite's deepest calls take a few tens of KiB.
const STACK: usize = 512 * 1024;
/// How long operations may take to find a safe point when the service stops. All but one look four times a second; a
/// HomePlug bridge that was asked for something is waited for, because the meter's own has to follow those that moved.
const SAFE_POINT: Duration = Duration::from_secs(15);

/// Why an operation cannot begin.
#[derive(Debug)]
pub enum BeginError {
    /// Too many operations wait, or they hold too much space.
    Busy(String),
    /// The journal could not be written.
    Journal(rusqlite::Error),
    /// The service is stopping.
    Stopping,
    /// The database was not to be had in time; nothing was begun.
    Late,
}

impl std::fmt::Display for BeginError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BeginError::Busy(text) => f.write_str(text),
            BeginError::Journal(err) if err.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) => {
                f.write_str("No room on the meter's disk; nothing was changed.")
            }
            BeginError::Journal(err) => write!(f, "The operation could not be recorded: {err}."),
            BeginError::Late => f.write_str(LATE),
            BeginError::Stopping => f.write_str("The meter is going down; try again when it is back."),
        }
    }
}

impl std::error::Error for BeginError {}

/// Why the database thread cannot be started.
#[derive(Debug)]
pub enum StoreError {
    /// The database cannot be opened or its journal cannot be read.
    Database(DbError),
    /// The system gives no thread.
    Thread(std::io::Error),
}

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StoreError::Database(err) => err.fmt(f),
            StoreError::Thread(err) => write!(f, "the database thread cannot be started: {err}"),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<DbError> for StoreError {
    fn from(err: DbError) -> Self {
        StoreError::Database(err)
    }
}

/// What is to begin.
pub struct Begin {
    /// The checked plan.
    pub plan: Plan,
    /// What it does, in the word of the request.
    pub kind: &'static str,
    /// By which a resent request is recognised.
    pub digest: Option<Digest>,
    /// The file it reads, if any.
    pub staged: Option<Staged>,
    /// Whether this chunk leaves a chain open, and with which header.
    pub chain: Option<Header>,
    /// Who asked.
    pub who: Who,
    /// The ledger's name for it, such as `db restore`.
    pub command: String,
    /// When its client has been told that it did not begin (run time): then it must not.
    pub deadline: Duration,
}

/// How far a cancellation reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// It is recorded.
    ForGood,
    /// The disk did not take it down: if the power fails before the operation has stopped, that goes on.
    WhileRunning,
}

/// What a request finds before it is checked.
pub struct Arrival {
    /// The operation that an equal request began, with a new token for it.
    pub same: Option<(Arc<Op>, Token)>,
    /// The header of the open chain.
    pub chain: Option<Header>,
}

/// A small transaction, or a few.
pub(super) type Run = Box<dyn FnOnce(&mut Connection) + Send>;

/// What the thread is asked for.
pub(super) enum Message {
    Run(Run),
    Begin(Box<Begin>, Sender<Result<(Arc<Op>, Token), BeginError>>),
    Stop,
}

/// The handle to the thread.
pub struct Store {
    pub(super) table: Arc<Table>,
    pub(super) threads: Threads,
    tail: Arc<Tail>,
    mailbox: Sender<Message>,
    thread: std::sync::Mutex<Option<JoinHandle<()>>>,
}

impl Store {
    /// Opens the database, takes up what was interrupted and starts the thread. `on_fatal` is told if it dies.
    pub fn start(
        path: &Path,
        staged: PathBuf,
        limits: &Limits,
        table: Arc<Table>,
        on_fatal: Arc<dyn Fn(String) + Send + Sync>,
    ) -> Result<Store, StoreError> {
        let conn = schema::open(path)?;
        journal::prepare(&conn).map_err(DbError::from)?;
        let tail = Arc::new(Tail::default());
        let (mailbox, inbox) = bounded(MAILBOX);
        let parts =
            Parts { conn, inbox, table: Arc::clone(&table), tail: Arc::clone(&tail), staged, limits: limits.clone() };
        let mut worker = Worker::new(parts)?;
        let body = move || {
            let res = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| worker.run()));
            if res.is_err() {
                on_fatal("the database thread died".into());
            }
        };
        let thread = thread::Builder::new().name("database".into()).stack_size(STACK).spawn(body);
        let thread = thread.map_err(StoreError::Thread)?;
        Ok(Store { table, threads: Threads::default(), tail, mailbox, thread: std::sync::Mutex::new(Some(thread)) })
    }

    /// Runs a small transaction on the thread and waits for its answer. `None` when the service is stopping, or when the
    /// thread did not get to it in time; then it is not run later either.
    pub fn call<T: Send + 'static>(&self, run: impl FnOnce(&mut Connection) -> T + Send + 'static) -> Option<T> {
        let (tx, rx) = bounded(1);
        let deadline = clock::boottime() + CALL_WITHIN;
        let run: Run = Box::new(move |conn| {
            if clock::boottime() < deadline {
                drop(tx.send(run(conn)));
            }
        });
        self.mailbox.send_timeout(Message::Run(run), CALL_WITHIN).ok()?;
        rx.recv().ok()
    }

    /// [`Store::call`] for somebody who does not wait once `given_up` is true; then it may still be run later.
    pub(super) fn call_unless<T: Send + 'static>(
        &self,
        given_up: impl Fn() -> bool,
        run: impl FnOnce(&mut Connection) -> T + Send + 'static,
    ) -> Option<T> {
        let (tx, rx) = bounded(1);
        self.later(move |conn| drop(tx.send(run(conn)))).then_some(())?;
        let deadline = clock::boottime() + CALL_WITHIN;
        loop {
            match rx.recv_timeout(LOOK_EVERY) {
                Ok(res) => return Some(res),
                Err(RecvTimeoutError::Timeout) if !given_up() && clock::boottime() < deadline => {}
                Err(_) => return None,
            }
        }
    }

    /// Writes a line into the ledger, without waiting for it.
    pub fn note(&self, line: LedgerLine) {
        let text = line.to_string();
        let is_queued = self.later(move |conn| {
            if let Err(err) = in_transaction(conn, |tx| journal::ledger(tx, &line)) {
                log::error!("ledger: {err}");
            }
        });
        if !is_queued {
            log::warn!("the ledger lacks {text}");
        }
    }

    /// Runs a small transaction without waiting for it; false if too much waits already, and it never will be.
    pub(super) fn later(&self, run: impl FnOnce(&mut Connection) + Send + 'static) -> bool {
        let res = self.mailbox.try_send(Message::Run(Box::new(run))).is_ok();
        if !res {
            log::error!("journal: too much waits for the database; a line is lost");
        }
        res
    }

    /// Looks for an equal request and for the open chain; waits for the thread only if there is an equal one. `None` when
    /// the service is stopping.
    pub fn arrive(&self, digest: &Digest) -> Option<Arrival> {
        let same = match self.tail.same(digest, clock::boottime()) {
            None => None,
            Some(op) => {
                let (table, same) = (Arc::clone(&self.table), Arc::clone(&op));
                Some((op, self.call(move |conn| one_more_token(conn, &table, &same))?))
            }
        };
        Some(Arrival { same, chain: self.tail.chain() })
    }

    /// Enters an operation into journal, ledger, table and queue; when this returns, it survives a power cut.
    pub fn begin(&self, begin: Begin) -> Result<(Arc<Op>, Token), BeginError> {
        let (tx, rx) = bounded(1);
        self.mailbox.send(Message::Begin(Box::new(begin), tx)).map_err(|_| BeginError::Stopping)?;
        rx.recv().unwrap_or(Err(BeginError::Stopping))
    }

    /// Records an operation that was refused before it began, so that its tags can be asked for like those of one
    /// that failed later; `None` if not even that could be written.
    pub fn refuse(&self, kind: &'static str, fault: Fault, who: Who, command: &str) -> Option<Token> {
        let token = Token::new();
        let line = LedgerLine { outcome: fault.text.clone(), ..ledger_line(&who, command) };
        let outcome = Outcome { fault: Some(fault), result: None };
        let status = new_status(&line.ts);
        let (key, stored) = (token.key(), outcome.clone());
        let id = self.call(move |conn| {
            in_transaction(conn, |tx| {
                journal::ledger(tx, &line)?;
                let new = NewOp { kind, created: &line.ts, who: &who, digest: None, plan: None };
                let id = journal::begin(tx, &new, &key)?;
                journal::finish(tx, id, &stored).map(|()| id)
            })
        })?;
        match id {
            Ok(id) => {
                self.table.refuse(id, &key, status, outcome, clock::boottime());
                let gone = self.table.expire(clock::boottime());
                if !gone.is_empty() {
                    self.forget(gone);
                }
                Some(token)
            }
            Err(err) => {
                log::error!("journal: {err}");
                None
            }
        }
    }

    /// Drops the journal rows of forgotten operations, without waiting for it; what cannot be dropped now goes at the next
    /// start.
    fn forget(&self, gone: Vec<i64>) {
        self.later(move |conn| forget(conn, &gone));
    }

    /// Cancels the operation of a token. It stops in any case; whether it is certain not to go on after a restart either is
    /// the answer.
    pub fn cancel(&self, token: &Token) -> Result<Cancelled, CancelError> {
        let op = self.table.cancel(token)?;
        if op.is_passing() {
            return Ok(Cancelled::ForGood);
        }
        let id = op.id;
        match self.call(move |conn| in_transaction(conn, |tx| journal::cancel(tx, id))) {
            Some(Ok(())) => return Ok(Cancelled::ForGood),
            Some(Err(err)) => log::error!("journal: {err}"),
            None => log::error!("journal: a cancellation could not be recorded in time"),
        }
        Ok(Cancelled::WhileRunning)
    }

    /// A chunk was not taken: the next one must not be joined to the one before.
    pub fn break_chain(&self) {
        if !self.tail.is_unbroken() {
            return;
        }
        self.tail.break_chain();
        if let Some(Err(err)) = self.call(|conn| in_transaction(conn, journal::break_chain)) {
            log::error!("journal: {err}");
        }
    }

    /// Lets the batch in hand end, and every other operation find a safe point, then stops; what waits goes on after the
    /// next start.
    pub fn stop(&self) {
        self.threads.stop(SAFE_POINT);
        let _ = self.mailbox.send(Message::Stop);
        let thread = self.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

/// A token for a request that was sent again; those given before are known by their hashes alone.
pub(super) fn one_more_token(conn: &mut Connection, table: &Table, op: &Arc<Op>) -> Token {
    let token = Token::new();
    let gone = table.add_token(op, &token);
    let res = in_transaction(conn, |tx| {
        if let Some(gone) = &gone {
            journal::drop_token(tx, gone)?;
        }
        journal::add_token(tx, op.id, &token.key())
    });
    if let Err(err) = res {
        // The token works until the next restart; the request itself is safe in its first journal row.
        log::error!("journal: {err}");
    }
    token
}

/// Drops the journal rows of operations that nobody may ask for any more.
pub(super) fn forget(conn: &mut Connection, gone: &[i64]) {
    if !gone.is_empty()
        && let Err(err) = in_transaction(conn, |tx| journal::forget(tx, gone))
    {
        log::error!("journal: {err}");
    }
}

/// A ledger line whose outcome is still to be said.
pub fn ledger_line(who: &Who, command: &str) -> LedgerLine {
    LedgerLine {
        ts: stamp(clock::wall()),
        user: who.user.clone(),
        peer: who.peer.clone(),
        command: command.into(),
        outcome: String::new(),
    }
}

pub(super) fn new_status(ts: &str) -> Status {
    Status { ts: ts.into(), progress: Some(0.0), info: None, args: Vec::new(), outcome: None, result: None }
}

/// A wall-clock reading as the API's decimal string, to the microsecond.
pub fn stamp(wall: Duration) -> String {
    format!("{}.{:06}", wall.as_secs(), wall.subsec_micros())
}

/// The wire's view of a database error; one without a tag of its own failed while writing.
pub fn fault(err: &DbError) -> Fault {
    let tag = err.tag().unwrap_or("WRITE_FAILED");
    let args = if err.tag().is_some() { err.args() } else { vec!["?".into()] };
    Fault { tag: tag.into(), args, text: err.to_string() }
}

pub(super) fn in_transaction<T>(
    conn: &mut Connection,
    run: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    conn.busy_timeout(SMALL_WAIT)?;
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let res = run(&tx)?;
    tx.commit()?;
    Ok(res)
}
