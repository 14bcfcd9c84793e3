//! What the database thread does: batches of the first operation, small transactions in between, and when there is
//! nothing else, old operations, the WAL and retention. It alone writes.

mod take_up;
mod upkeep;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use rusqlite::{Connection, TransactionBehavior};
use serde_json::Value;

use super::journal::{self, LedgerLine, NewOp};
use super::staging;
use super::status::{Fault, Outcome};
use super::store::{Begin, BeginError, Message, fault, in_transaction, ledger_line, new_status, one_more_token};
use super::table::{Op, Table};
use super::tail::Tail;
use super::token::Token;
use crate::config::Limits;
use crate::drivers::register_db::pace::Pace;
use crate::drivers::register_db::wal::Log;
use crate::drivers::register_db::{DbError, Fault as LockFault, Job, Plan, Step};
use crate::sys::clock;

/// How long the thread sleeps when there is nothing to do; then it looks after the WAL, old operations and retention.
const IDLE_TICK: Duration = Duration::from_secs(20);
/// How long a batch waits for a lock that another process holds; then it looks at its mailbox and tries again, so that a
/// cancelled operation ends in time and a locked database is never a failure.
const BATCH_WAIT: Duration = Duration::from_millis(150);
/// Pause before a batch that could not get the lock is tried again.
const LOCKED_GAP: Duration = Duration::from_millis(50);

/// An operation in the queue; the first one is being worked on once it has a job.
struct Queued {
    op: Arc<Op>,
    plan: Plan,
    /// Where the last committed batch stands.
    position: Option<String>,
    job: Option<Job>,
    /// What is known of the effect of all committed batches.
    summary: Option<Value>,
    file: Option<PathBuf>,
    line: LedgerLine,
}

/// The thread's own state.
pub(super) struct Worker {
    conn: Connection,
    log: Log,
    inbox: Receiver<Message>,
    table: Arc<Table>,
    tail: Arc<Tail>,
    staged: PathBuf,
    limits: Limits,
    queue: VecDeque<Queued>,
    pace: Pace,
    /// How long the lock is to stay free after the batch just done.
    gap: Duration,
    /// `PRAGMA data_version` after our last batch; another number means that another process has written.
    seen_version: i64,
    idle_work: Option<Job>,
    next_retention: Duration,
    /// Operations that are over but whose end the disk has not taken yet.
    unrecorded: Vec<(Queued, Outcome)>,
    stopping: bool,
}

/// What the thread is given.
pub(super) struct Parts {
    pub(super) conn: Connection,
    pub(super) inbox: Receiver<Message>,
    pub(super) table: Arc<Table>,
    pub(super) tail: Arc<Tail>,
    pub(super) staged: PathBuf,
    pub(super) limits: Limits,
}

impl Worker {
    /// A worker that goes on where the journal stops.
    pub(super) fn new(parts: Parts) -> Result<Worker, DbError> {
        let Parts { mut conn, inbox, table, tail, staged, limits } = parts;
        let mut worker = Worker {
            log: Log::watch(&mut conn)?,
            conn,
            inbox,
            table,
            tail,
            staged,
            limits,
            queue: VecDeque::new(),
            pace: Pace::default(),
            gap: Duration::ZERO,
            seen_version: 0,
            idle_work: None,
            next_retention: clock::boottime(),
            unrecorded: Vec::new(),
            stopping: false,
        };
        worker.take_up()?;
        Ok(worker)
    }

    /// Works until it is told to stop; what is not done goes on after the next start.
    pub(super) fn run(&mut self) {
        while !self.stopping {
            while let Ok(message) = self.inbox.try_recv() {
                self.handle(message);
            }
            if self.stopping {
                break;
            }
            self.record();
            let gap = if !self.queue.is_empty() {
                self.work()
            } else if self.idle_work.is_some() {
                self.work_idle()
            } else {
                self.tidy();
                self.wait(IDLE_TICK);
                continue;
            };
            self.copy_log();
            // The lock stays free for a whole gap, so that another process's writer gets its turn.
            let until = Instant::now() + gap;
            while let Some(rest) = until.checked_duration_since(Instant::now()).filter(|it| !it.is_zero()) {
                self.wait(rest);
                if self.stopping || self.queue.front().is_some_and(|it| it.op.is_cancelled()) {
                    break;
                }
            }
        }
        // What was cancelled does not go on after the next start.
        while let Some(at) = self.queue.iter().position(|it| it.op.is_cancelled()) {
            let queued = self.queue.remove(at).expect("it was found there");
            self.end(queued, at, Outcome { fault: Some(Fault::cancelled()), result: None });
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
            Message::Begin(begin, reply) => {
                let _ = reply.send(self.begin(*begin));
            }
            Message::Stop => self.stopping = true,
        }
    }

    fn begin(&mut self, mut begin: Begin) -> Result<(Arc<Op>, Token), BeginError> {
        if begin.deadline <= clock::boottime() {
            return Err(BeginError::Late);
        }
        if let Some(op) = begin.digest.as_ref().and_then(|it| self.tail.same(it, clock::boottime())) {
            let token = one_more_token(&mut self.conn, &self.table, &op);
            return Ok((op, token));
        }
        if self.queue.len() > self.limits.waiting_operations {
            let text = format!(
                "{} database operations are waiting already; wait until one is done (see /sys/status).",
                self.limits.waiting_operations
            );
            return Err(BeginError::Busy(text));
        }
        // The chain may have broken while the chunk was checked.
        if let Plan::Restore(plan) = &mut begin.plan {
            plan.continues &= self.tail.is_unbroken();
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
            self.tail.set_chain(begin.chain);
        }
        let op = self.table.begin(id, &[token.key()], new_status(&line.ts));
        self.tail.push(&op, begin.digest);
        let file = begin.staged.map(|it| {
            let path = it.path().to_path_buf();
            it.keep();
            path
        });
        let op_of_caller = Arc::clone(&op);
        let plan = begin.plan;
        self.queue.push_back(Queued { op, plan, position: None, job: None, summary: None, file, line });
        Ok((op_of_caller, token))
    }

    /// One batch of the first operation, and at once the end of every waiting one that was cancelled. Returns how
    /// long the lock is to stay free.
    fn work(&mut self) -> Duration {
        let cancelled = (1..self.queue.len()).find(|&at| self.queue[at].op.is_cancelled());
        if let Some((at, queued)) = cancelled.and_then(|at| Some((at, self.queue.remove(at)?))) {
            self.end(queued, at, Outcome { fault: Some(Fault::cancelled()), result: None });
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
            Err(DbError::Sqlite { fault: LockFault::Lock, .. }) => {
                // Another process holds the lock; an acknowledged operation waits for it as long as it takes.
                first.job = None;
                self.queue.push_front(first);
                LOCKED_GAP
            }
            Err(err) => {
                log::error!("operation {}: {err}", first.op.id);
                let result = first.summary.clone();
                self.end(first, 0, Outcome { fault: Some(fault(&err)), result });
                Duration::ZERO
            }
        }
    }

    /// One batch: position, outcome and ledger are in its transaction. `Some` when the operation is over.
    fn batch(&mut self, queued: &mut Queued) -> Result<Option<Outcome>, DbError> {
        if queued.op.is_cancelled() {
            let outcome = Outcome { fault: Some(Fault::cancelled()), result: queued.summary.clone() };
            self.close(queued, 0, &outcome)?;
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
        self.conn.busy_timeout(BATCH_WAIT)?;
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let started = Instant::now();
        let step = job.step(&tx, self.pace.rows())?;
        let position = job.position();
        let outcome = match step {
            Step::More => {
                journal::save(&tx, queued.op.id, &position, job.progress())?;
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
        queued.summary = Some(job.summary());
        queued.position = Some(position);
        self.keep_pace(started.elapsed());
        Ok(outcome)
    }

    /// Writes the end of an operation that did not run to its end. It stood at `place` of the queue, which it has left.
    fn close(&mut self, queued: &Queued, place: usize, outcome: &Outcome) -> Result<(), DbError> {
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let text = outcome.fault.as_ref().map_or("OK", |it| it.text.as_str());
        journal::finish(&tx, queued.op.id, outcome)?;
        journal::ledger(&tx, &LedgerLine { outcome: text.into(), ..queued.line.clone() })?;
        // A chain has broken here: the chunk behind must not be joined to the one before.
        if queued.file.is_some() {
            let behind = self.queue.iter_mut().skip(place).find(|it| it.file.is_some());
            match behind {
                Some(Queued { op, plan: Plan::Restore(plan), .. }) => {
                    plan.continues = false;
                    let plan = Plan::Restore(plan.clone());
                    journal::set_plan(&tx, op.id, &serde_json::to_string(&plan).expect("a plan is plain data"))?;
                }
                _ => {
                    journal::break_chain(&tx)?;
                    self.tail.break_chain();
                }
            }
        }
        tx.commit()?;
        Ok(())
    }

    /// [`Worker::close`], then [`Worker::ended`]; if the disk refuses even that, the client gets its answer and the record
    /// follows as soon as it can be made.
    fn end(&mut self, queued: Queued, place: usize, outcome: Outcome) {
        match self.close(&queued, place, &outcome) {
            Ok(()) => self.ended(queued, outcome),
            Err(err) => {
                log::error!("operation {}: its end could not be recorded yet: {err}", queued.op.id);
                self.table.finish(&queued.op, outcome.clone(), clock::boottime());
                self.unrecorded.push((queued, outcome));
            }
        }
    }

    /// Tries again to record what ended while the disk was full or locked.
    fn record(&mut self) {
        let mut left = Vec::new();
        for (queued, outcome) in std::mem::take(&mut self.unrecorded) {
            match self.close(&queued, 0, &outcome) {
                Ok(()) => self.ended(queued, outcome),
                Err(_) => left.push((queued, outcome)),
            }
        }
        self.unrecorded = left;
    }

    fn ended(&mut self, queued: Queued, outcome: Outcome) {
        if let Some(file) = &queued.file {
            staging::remove(file);
            // Old rows that came back may be finer than retention keeps them.
            self.next_retention = clock::boottime();
        }
        self.tail.ended(&queued.op, clock::boottime());
        self.table.finish(&queued.op, outcome, clock::boottime());
        self.expire();
    }

    /// Tells the pace how long a batch held the lock and whether somebody else writes.
    fn keep_pace(&mut self, took: Duration) {
        // If it cannot be read, nothing is known of others, which is the same as no change.
        let version = self.conn.query_row("PRAGMA data_version", [], |row| row.get(0)).unwrap_or(self.seen_version);
        let other_wrote = self.seen_version != 0 && version != self.seen_version;
        self.seen_version = version;
        self.gap = self.pace.after(clock::boottime(), took, other_wrote);
    }
}
