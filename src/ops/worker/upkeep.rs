//! What is due when nothing else is: retention, the WAL, and operations that nobody may ask for any more.

use std::time::{Duration, Instant};

use rusqlite::TransactionBehavior;

use super::{BATCH_WAIT, Worker};
use crate::drivers::register_db::{DbError, Job, Plan, SETTLED, Step, wal};
use crate::ops::store::forget;
use crate::sys::clock;

/// Pause between two runs of retention.
const RETENTION_EVERY: Duration = Duration::from_secs(3600);

impl Worker {
    /// One batch of retention, the work of last resort.
    pub(super) fn work_idle(&mut self) -> Duration {
        let Some(mut job) = self.idle_work.take() else { return Duration::ZERO };
        match self.idle_batch(&mut job) {
            Ok(Step::More) => self.idle_work = Some(job),
            Ok(Step::Done) => {}
            // It begins again at its marks; another process may hold the lock just now.
            Err(err) => log::debug!("retention: {err}"),
        }
        self.gap
    }

    fn idle_batch(&mut self, job: &mut Job) -> Result<Step, DbError> {
        job.prepare()?;
        self.conn.busy_timeout(BATCH_WAIT)?;
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let started = Instant::now();
        let step = job.step(&tx, self.pace.rows())?;
        tx.commit()?;
        self.keep_pace(started.elapsed());
        Ok(step)
    }

    /// What is due when nothing else is: old operations, the WAL, and retention once an hour.
    pub(super) fn tidy(&mut self) {
        let now = clock::boottime();
        self.expire();
        self.checkpoint();
        if now >= self.next_retention {
            self.next_retention = now + RETENTION_EVERY;
            self.idle_work = Some(Job::start(Plan::Retention(SETTLED)));
        }
    }

    pub(super) fn expire(&mut self) {
        let gone = self.table.expire(clock::boottime());
        forget(&mut self.conn, &gone);
    }

    fn checkpoint(&mut self) {
        if let Err(err) = wal::checkpoint(&self.conn) {
            log::warn!("checkpoint: {err}");
        }
    }

    /// What is due between two batches.
    pub(super) fn copy_log(&mut self) {
        if let Err(err) = self.log.copy(&self.conn) {
            log::warn!("checkpoint: {err}");
        }
    }
}
