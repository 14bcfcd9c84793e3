//! The one thread that writes the database: it works off database operations in order, batch by batch, and runs the
//! small transactions of everybody else between two batches, so that nobody in this process waits for a lock.

use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::journal::{self, LedgerLine, NewOp, SavedOp, Who};
use super::staging::{self, Staged};
use super::status::{Fault, Outcome, Status};
use super::table::{Op, Table};
use super::token::Token;
use crate::config::Limits;
use crate::drivers::register_db::pace::Pace;
use crate::drivers::register_db::text::Header;
use crate::drivers::register_db::{DbError, Job, Plan, Step, schema, wal};
use crate::sys::clock;

/// Small transactions that may wait for the thread.
const MAILBOX: usize = 64;
/// How long the thread sleeps when there is nothing to do; then it looks after the WAL, old operations and retention.
const IDLE_TICK: Duration = Duration::from_secs(20);
/// Pause between two runs of retention.
const RETENTION_EVERY: Duration = Duration::from_secs(3600);
/// A request that repeats the youngest operation counts as resent for this long after that one ended.
const RESENT_WITHIN: Duration = Duration::from_secs(300);
/// Stack of the thread; SQLite's deepest calls take a few tens of KiB.
const STACK: usize = 512 * 1024;
/// The longest sleep between two batches before the thread looks at its mailbox again.
const GAP_SLICE: Duration = Duration::from_millis(20);

/// Why an operation cannot begin.
#[derive(Debug)]
pub enum BeginError {
    /// Too many operations wait, or they hold too much space.
    Busy(String),
    /// The journal could not be written.
    Journal(rusqlite::Error),
    /// The service is stopping.
    Stopping,
}

impl std::fmt::Display for BeginError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BeginError::Busy(text) => f.write_str(text),
            BeginError::Journal(err) if err.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) => {
                f.write_str("No room on the meter's disk; nothing was changed.")
            }
            BeginError::Journal(err) => write!(f, "The operation could not be recorded: {err}."),
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
    pub digest: Option<[u8; 32]>,
    /// The file it reads, if any.
    pub staged: Option<Staged>,
    /// Whether this chunk leaves a chain open, and with which header.
    pub chain: Option<Header>,
    /// Who asked.
    pub who: Who,
    /// The ledger's name for it, such as `db restore`.
    pub command: String,
}

/// What a request finds before it is checked.
pub struct Arrival {
    /// The operation that an equal request began, with a new token for it.
    pub same: Option<(Arc<Op>, Token)>,
    /// The header of the open chain.
    pub chain: Option<Header>,
}

type Run = Box<dyn FnOnce(&mut Connection) + Send>;

enum Message {
    Run(Run),
    Arrive([u8; 32], Sender<Arrival>),
    Begin(Box<Begin>, Sender<Result<(Arc<Op>, Token), BeginError>>),
    Stop,
}

/// The handle to the thread.
pub struct Store {
    table: Arc<Table>,
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
        let (mailbox, inbox) = bounded(MAILBOX);
        let mut worker = Worker {
            conn,
            inbox,
            table: Arc::clone(&table),
            staged,
            limits: limits.clone(),
            queue: VecDeque::new(),
            chain: None,
            youngest: None,
            pace: Pace::default(),
            gap: Duration::ZERO,
            seen_version: 0,
            idle_work: None,
            next_retention: clock::boottime(),
            stopping: false,
        };
        worker.take_up()?;
        let body = move || {
            let res = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| worker.run()));
            if res.is_err() {
                on_fatal("the database thread died".into());
            }
        };
        let thread = thread::Builder::new().name("database".into()).stack_size(STACK).spawn(body);
        let thread = thread.map_err(StoreError::Thread)?;
        Ok(Store { table, mailbox, thread: std::sync::Mutex::new(Some(thread)) })
    }

    /// Runs a small transaction on the thread and waits for its answer; `None` when the service is stopping.
    pub fn call<T: Send + 'static>(&self, run: impl FnOnce(&mut Connection) -> T + Send + 'static) -> Option<T> {
        let (tx, rx) = bounded(1);
        let run: Run = Box::new(move |conn| drop(tx.send(run(conn))));
        self.mailbox.send(Message::Run(run)).ok()?;
        rx.recv().ok()
    }

    /// Writes a line into the ledger, without waiting for it.
    pub fn note(&self, line: LedgerLine) {
        let run: Run = Box::new(move |conn| {
            let res = in_transaction(conn, |tx| journal::ledger(tx, &line));
            if let Err(err) = res {
                log::error!("ledger: {err}");
            }
        });
        if self.mailbox.try_send(Message::Run(run)).is_err() {
            log::error!("ledger: too much waits for the database; a line is lost");
        }
    }

    /// Looks for an equal request and for the open chain.
    pub fn arrive(&self, digest: [u8; 32]) -> Option<Arrival> {
        let (tx, rx) = bounded(1);
        self.mailbox.send(Message::Arrive(digest, tx)).ok()?;
        rx.recv().ok()
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
                let op = self.table.begin(id, &[key], status);
                self.table.finish(&op, outcome, clock::boottime());
                Some(token)
            }
            Err(err) => {
                log::error!("journal: {err}");
                None
            }
        }
    }

    /// Lets the batch in hand end, then stops; what waits goes on after the next start.
    pub fn stop(&self) {
        let _ = self.mailbox.send(Message::Stop);
        let thread = self.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

/// An operation in the queue; the first one is being worked on once it has a job.
struct Queued {
    op: Arc<Op>,
    plan: Plan,
    position: Option<String>,
    job: Option<Job>,
    file: Option<PathBuf>,
    line: LedgerLine,
}

/// The youngest database operation, for recognising a resent request.
struct Youngest {
    op: Arc<Op>,
    digest: [u8; 32],
    ended: Option<Duration>,
}

struct Worker {
    conn: Connection,
    inbox: Receiver<Message>,
    table: Arc<Table>,
    staged: PathBuf,
    limits: Limits,
    queue: VecDeque<Queued>,
    chain: Option<Header>,
    youngest: Option<Youngest>,
    pace: Pace,
    /// How long the lock is to stay free after the batch just done.
    gap: Duration,
    /// `PRAGMA data_version` after our last batch; another number means that another process has written.
    seen_version: i64,
    idle_work: Option<Job>,
    next_retention: Duration,
    stopping: bool,
}

impl Worker {
    /// Reads the journal: what can go on is queued again, the rest ends as interrupted; orphaned files go.
    fn take_up(&mut self) -> Result<(), DbError> {
        let saved = journal::load(&self.conn)?;
        let mut owned = HashSet::new();
        for op in saved {
            let status = Status { progress: Some(op.progress), ..new_status(&op.created) };
            let live = self.table.begin(op.id, &op.tokens, status);
            if let Some(outcome) = op.outcome.clone() {
                self.table.finish(&live, outcome, clock::boottime());
            } else if let Some(plan) = plan_of(&op) {
                log::info!("operation {} ({}) goes on", op.id, op.kind);
                let file = match &plan {
                    Plan::Restore(plan) => Some(plan.file.clone()),
                    Plan::Zero(_) | Plan::Split(_) | Plan::Retention => None,
                };
                owned.extend(file.clone());
                self.youngest = digest_of(&op).map(|digest| Youngest { op: Arc::clone(&live), digest, ended: None });
                let line = ledger_line(&op.who, &format!("db {}", op.kind));
                self.queue.push_back(Queued { op: live, plan, position: op.position, job: None, file, line });
            } else {
                let outcome = Outcome { fault: Some(Fault::interrupted()), result: None };
                in_transaction(&mut self.conn, |tx| journal::finish(tx, op.id, &outcome))?;
                self.table.finish(&live, outcome, clock::boottime());
            }
        }
        self.chain = journal::chain(&self.conn)?.and_then(|it| serde_json::from_str(&it).ok());
        if let Err(err) = staging::remove_orphans(&self.staged, &owned) {
            log::warn!("staged files: {err}");
        }
        Ok(())
    }

    fn run(&mut self) {
        while !self.stopping {
            while let Ok(message) = self.inbox.try_recv() {
                self.handle(message);
            }
            if self.stopping {
                break;
            }
            let gap = if !self.queue.is_empty() {
                self.work()
            } else if self.idle_work.is_some() {
                self.work_idle()
            } else {
                self.tidy();
                self.wait(IDLE_TICK);
                continue;
            };
            self.checkpoint();
            // The lock stays free for a whole gap, so that another process's writer gets its turn.
            let until = Instant::now() + gap;
            while let Some(rest) = until.checked_duration_since(Instant::now()).filter(|it| !it.is_zero()) {
                thread::sleep(rest.min(GAP_SLICE));
            }
        }
    }

    fn wait(&mut self, timeout: Duration) {
        match self.inbox.recv_timeout(timeout) {
            Ok(message) => self.handle(message),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => self.stopping = true,
        }
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Run(run) => run(&mut self.conn),
            Message::Arrive(digest, reply) => {
                let same = self.same(&digest);
                let _ = reply.send(Arrival { same, chain: self.chain.clone() });
            }
            Message::Begin(begin, reply) => {
                let _ = reply.send(self.begin(*begin));
            }
            Message::Stop => self.stopping = true,
        }
    }

    /// The operation that an equal request began: only the youngest one counts, and only while it is under way or
    /// has just succeeded, because after anything else a repetition is meant as one.
    fn same(&mut self, digest: &[u8; 32]) -> Option<(Arc<Op>, Token)> {
        let youngest = self.youngest.as_ref().filter(|it| it.digest == *digest)?;
        if let Some(outcome) = youngest.op.outcome() {
            let recent = youngest.ended.is_some_and(|at| clock::boottime() < at + RESENT_WITHIN);
            if outcome.fault.is_some() || !recent {
                return None;
            }
        } else if youngest.op.is_cancelled() {
            return None;
        }
        let op = Arc::clone(&youngest.op);
        let token = Token::new();
        let gone = self.table.add_token(&op, &token);
        let res = in_transaction(&mut self.conn, |tx| {
            if let Some(gone) = &gone {
                journal::drop_token(tx, gone)?;
            }
            journal::add_token(tx, op.id, &token.key())
        });
        if let Err(err) = res {
            // The token works until the next restart; the request itself is safe in its first journal row.
            log::error!("journal: {err}");
        }
        Some((op, token))
    }

    fn begin(&mut self, begin: Begin) -> Result<(Arc<Op>, Token), BeginError> {
        if let Some(same) = begin.digest.as_ref().and_then(|it| self.same(it)) {
            return Ok(same);
        }
        if self.queue.len() > self.limits.waiting_operations {
            let text = format!(
                "{} database operations are waiting already; wait until one is done (see /sys/status).",
                self.limits.waiting_operations
            );
            return Err(BeginError::Busy(text));
        }
        let token = Token::new();
        let line = ledger_line(&begin.who, &begin.command);
        let plan = serde_json::to_string(&begin.plan).expect("a plan is plain data");
        let chain = begin.chain.as_ref().map(|it| serde_json::to_string(it).expect("a header is plain data"));
        let changes_chain = begin.staged.is_some();
        let new = NewOp {
            kind: begin.kind,
            created: &line.ts,
            who: &begin.who,
            digest: begin.digest.as_ref().map(|it| &it[..]),
            plan: Some(&plan),
        };
        let id = in_transaction(&mut self.conn, |tx| {
            if changes_chain {
                journal::set_chain(tx, chain.as_deref())?;
            }
            journal::ledger(tx, &LedgerLine { outcome: "begun".into(), ..line.clone() })?;
            journal::begin(tx, &new, &token.key())
        })
        .map_err(BeginError::Journal)?;
        if changes_chain {
            self.chain = begin.chain;
        }
        let op = self.table.begin(id, &[token.key()], new_status(&line.ts));
        self.youngest = begin.digest.map(|digest| Youngest { op: Arc::clone(&op), digest, ended: None });
        let file = begin.staged.map(|it| {
            let path = it.path().to_path_buf();
            it.keep();
            path
        });
        let op_of_caller = Arc::clone(&op);
        self.queue.push_back(Queued { op, plan: begin.plan, position: None, job: None, file, line });
        Ok((op_of_caller, token))
    }

    /// One batch of the first operation, and at once the end of every waiting one that was cancelled. Returns how
    /// long the lock is to stay free.
    fn work(&mut self) -> Duration {
        let cancelled = (1..self.queue.len()).find(|&at| self.queue[at].op.is_cancelled());
        if let Some(queued) = cancelled.and_then(|at| self.queue.remove(at)) {
            self.end(queued, Outcome { fault: Some(Fault::cancelled()), result: None });
            return Duration::ZERO;
        }
        let Some(mut first) = self.queue.pop_front() else { return Duration::ZERO };
        match self.batch(&mut first) {
            Ok(Some(outcome)) => {
                self.ended(first, outcome);
                Duration::ZERO
            }
            Ok(None) => {
                self.queue.push_front(first);
                self.gap
            }
            Err(err) => {
                log::error!("operation {}: {err}", first.op.id);
                let result = first.job.as_ref().map(Job::summary);
                self.end(first, Outcome { fault: Some(fault(&err)), result });
                Duration::ZERO
            }
        }
    }

    /// One batch: position, outcome and ledger are in its transaction. `Some` when the operation is over.
    fn batch(&mut self, queued: &mut Queued) -> Result<Option<Outcome>, DbError> {
        if queued.op.is_cancelled() {
            let result = queued.job.as_ref().map(Job::summary);
            let outcome = Outcome { fault: Some(Fault::cancelled()), result };
            self.close(queued, &outcome)?;
            return Ok(Some(outcome));
        }
        let job = match &mut queued.job {
            Some(job) => job,
            slot => slot.insert(match &queued.position {
                Some(position) => Job::resume(queued.plan.clone(), position)?,
                None => Job::start(queued.plan.clone()),
            }),
        };
        job.prepare()?;
        let started = Instant::now();
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let step = job.step(&tx, self.pace.rows())?;
        let outcome = match step {
            Step::More => {
                journal::save(&tx, queued.op.id, &job.position(), job.progress())?;
                None
            }
            Step::Done => {
                let outcome = Outcome { fault: None, result: None };
                journal::finish(&tx, queued.op.id, &outcome)?;
                journal::ledger(&tx, &LedgerLine { outcome: "OK".into(), ..queued.line.clone() })?;
                Some(outcome)
            }
        };
        tx.commit()?;
        queued.op.step(job.progress(), job.info().into());
        self.keep_pace(started.elapsed())?;
        Ok(outcome)
    }

    /// Writes the end of an operation that did not run to its end.
    fn close(&mut self, queued: &mut Queued, outcome: &Outcome) -> Result<(), DbError> {
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let text = outcome.fault.as_ref().map_or("OK", |it| it.text.as_str());
        journal::finish(&tx, queued.op.id, outcome)?;
        journal::ledger(&tx, &LedgerLine { outcome: text.into(), ..queued.line.clone() })?;
        // The next chunk of a chain that broke cannot be adjacent to anything, so it must bring its own header.
        if queued.file.is_some() {
            journal::set_chain(&tx, None)?;
            self.chain = None;
        }
        tx.commit()?;
        Ok(())
    }

    /// [`Worker::close`], then [`Worker::ended`]; if the disk refuses even that, the client still gets its answer.
    fn end(&mut self, mut queued: Queued, outcome: Outcome) {
        if let Err(err) = self.close(&mut queued, &outcome) {
            log::error!("operation {}: its end could not be recorded: {err}", queued.op.id);
        }
        self.ended(queued, outcome);
    }

    fn ended(&mut self, queued: Queued, outcome: Outcome) {
        if let Some(file) = &queued.file {
            staging::remove(file);
            // Old rows that came back may be finer than retention keeps them.
            self.next_retention = clock::boottime();
        }
        if let Some(youngest) = &mut self.youngest
            && youngest.op.id == queued.op.id
        {
            youngest.ended = Some(clock::boottime());
        }
        self.table.finish(&queued.op, outcome, clock::boottime());
    }

    /// One batch of retention, the work of last resort.
    fn work_idle(&mut self) -> Duration {
        let Some(mut job) = self.idle_work.take() else { return Duration::ZERO };
        match self.idle_batch(&mut job) {
            Ok(Step::More) => self.idle_work = Some(job),
            Ok(Step::Done) => {}
            Err(err) => log::error!("retention: {err}"),
        }
        self.gap
    }

    fn idle_batch(&mut self, job: &mut Job) -> Result<Step, DbError> {
        job.prepare()?;
        let started = Instant::now();
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let step = job.step(&tx, self.pace.rows())?;
        tx.commit()?;
        self.keep_pace(started.elapsed())?;
        Ok(step)
    }

    /// Tells the pace how long a batch held the lock and whether somebody else writes.
    fn keep_pace(&mut self, took: Duration) -> Result<(), DbError> {
        let version = self.conn.query_row("PRAGMA data_version", [], |row| row.get(0))?;
        let other_wrote = self.seen_version != 0 && version != self.seen_version;
        self.seen_version = version;
        self.gap = self.pace.after(clock::boottime(), took, other_wrote);
        Ok(())
    }

    /// What is due when nothing else is: old operations, the WAL, and retention once an hour.
    fn tidy(&mut self) {
        let now = clock::boottime();
        let gone = self.table.expire(now);
        if !gone.is_empty()
            && let Err(err) = in_transaction(&mut self.conn, |tx| journal::forget(tx, &gone))
        {
            log::error!("journal: {err}");
        }
        self.checkpoint();
        if now >= self.next_retention {
            self.next_retention = now + RETENTION_EVERY;
            self.idle_work = Some(Job::start(Plan::Retention));
        }
    }

    fn checkpoint(&mut self) {
        if let Err(err) = wal::checkpoint(&self.conn) {
            log::warn!("checkpoint: {err}");
        }
    }
}

fn plan_of(op: &SavedOp) -> Option<Plan> {
    serde_json::from_str(op.plan.as_deref()?).ok()
}

fn digest_of(op: &SavedOp) -> Option<[u8; 32]> {
    op.digest.as_deref()?.try_into().ok()
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

fn new_status(ts: &str) -> Status {
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

fn in_transaction<T>(
    conn: &mut Connection,
    run: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let res = run(&tx)?;
    tx.commit()?;
    Ok(res)
}
