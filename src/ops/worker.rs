//! What the database thread does: batches of the first operation, small transactions in between, and when there is
//! nothing else, old operations, the WAL and retention. It alone writes.

use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use rusqlite::{Connection, TransactionBehavior};

use super::journal::{self, LedgerLine, NewOp, SavedOp};
use super::staging;
use super::status::{Fault, Outcome, Status};
use super::store::{Begin, BeginError, Message, fault, in_transaction, ledger_line, new_status, one_more_token};
use super::table::{Op, Table};
use super::tail::{Digest, Tail};
use super::token::Token;
use crate::config::Limits;
use crate::drivers::register_db::pace::Pace;
use crate::drivers::register_db::{DbError, Job, Plan, Step, restore, wal};
use crate::sys::clock;

/// How long the thread sleeps when there is nothing to do; then it looks after the WAL, old operations and retention.
const IDLE_TICK: Duration = Duration::from_secs(20);
/// Pause between two runs of retention.
const RETENTION_EVERY: Duration = Duration::from_secs(3600);
/// The longest sleep between two batches before the thread looks at its mailbox again.
const GAP_SLICE: Duration = Duration::from_millis(20);

/// An operation in the queue; the first one is being worked on once it has a job.
struct Queued {
    op: Arc<Op>,
    plan: Plan,
    position: Option<String>,
    job: Option<Job>,
    file: Option<PathBuf>,
    line: LedgerLine,
}

/// The thread's own state.
pub(super) struct Worker {
    conn: Connection,
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
        let Parts { conn, inbox, table, tail, staged, limits } = parts;
        let mut worker = Worker {
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
            stopping: false,
        };
        worker.take_up()?;
        Ok(worker)
    }

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
                self.tail.push(&live, digest_of(&op));
                let line = ledger_line(&op.who, &format!("db {}", op.kind));
                self.queue.push_back(Queued { op: live, plan, position: op.position, job: None, file, line });
            } else {
                let outcome = Outcome { fault: Some(Fault::interrupted()), result: None };
                in_transaction(&mut self.conn, |tx| journal::finish(tx, op.id, &outcome))?;
                self.table.finish(&live, outcome, clock::boottime());
            }
        }
        self.tail.set_chain(journal::chain(&self.conn)?.and_then(|it| serde_json::from_str(&it).ok()));
        if let Err(err) = staging::remove_orphans(&self.staged, &owned) {
            log::warn!("staged files: {err}");
        }
        Ok(())
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
            Message::Begin(begin, reply) => {
                let _ = reply.send(self.begin(*begin));
            }
            Message::Stop => self.stopping = true,
        }
    }

    fn begin(&mut self, begin: Begin) -> Result<(Arc<Op>, Token), BeginError> {
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
            restore::end_chain(&tx)?;
            self.tail.set_chain(None);
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
        self.tail.ended(&queued.op, clock::boottime());
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

fn digest_of(op: &SavedOp) -> Option<Digest> {
    op.digest.as_deref()?.try_into().ok()
}
