//! Long jobs behind one face: a plan that the journal keeps, and a job that works it off by steps. The caller owns the
//! transactions, the pace, the journal and the cancel flag; a job only knows what to do next and where it stands.

use rusqlite::Transaction;
use serde::{Deserialize, Serialize};

use super::DbError;
use super::restore::{RestorePlan, Run};
use super::retention::Retention;
use super::rework::{Rework, SplitPlan, ZeroPlan};

/// What a job will do, fixed when its command begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Plan {
    /// Apply a staged backup.
    Restore(RestorePlan),
    /// Set samples to 0.
    Zero(ZeroPlan),
    /// Fill positive-only registers.
    Split(SplitPlan),
    /// Put old rows together; age counts from the row that has so many younger ones ([`SETTLED`](super::SETTLED) in service).
    Retention(usize),
}

/// Whether a job goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Call again, in a new transaction.
    More,
    /// Everything is done.
    Done,
}

/// A job under way. Only one may be under way on a database. One that is dropped halfway (cancelled or failed) leaves rows
/// as its last step did, and no edge: edges are the last thing that a restore writes.
pub struct Job(Kind);

enum Kind {
    Restore(Box<Run>),
    Zero(Rework),
    Split(Rework),
    Retention(Retention),
}

impl Job {
    /// A job at its beginning.
    pub fn start(plan: Plan) -> Job {
        Job(match plan {
            Plan::Restore(plan) => Kind::Restore(Box::new(Run::new(plan))),
            Plan::Zero(plan) => Kind::Zero(Rework::zero(&plan)),
            Plan::Split(plan) => Kind::Split(Rework::split(&plan)),
            Plan::Retention(settled) => Kind::Retention(Retention::new(settled)),
        })
    }

    /// A job at the position that was stored with its last committed step.
    pub fn resume(plan: Plan, position: &str) -> Result<Job, DbError> {
        Ok(Job(match plan {
            Plan::Restore(plan) => Kind::Restore(Box::new(Run::resume(plan, position)?)),
            Plan::Zero(plan) => Kind::Zero(Rework::zero(&plan).resume(position)?),
            Plan::Split(plan) => Kind::Split(Rework::split(&plan).resume(position)?),
            Plan::Retention(settled) => Kind::Retention(Retention::new(settled)), // Its marks are its position.
        }))
    }

    /// Reads ahead, for the time between two transactions. Changes nothing that the position tells.
    pub fn prepare(&mut self) -> Result<(), DbError> {
        match &mut self.0 {
            Kind::Restore(run) => run.prepare(),
            Kind::Zero(_) | Kind::Split(_) | Kind::Retention(_) => Ok(()),
        }
    }

    /// Does one batch of about `rows` rows. After an error the transaction must be rolled back and the job dropped; it can
    /// be resumed from the position before.
    pub fn step(&mut self, tx: &Transaction, rows: usize) -> Result<Step, DbError> {
        let res = match &mut self.0 {
            Kind::Restore(run) => run.step(tx, rows),
            Kind::Zero(rework) | Kind::Split(rework) => rework.step(tx, rows),
            Kind::Retention(retention) => retention.step(tx, rows),
        };
        res.map_err(|err| match self.reached() {
            Some(reached) => err.at(reached),
            None => err,
        })
    }

    /// Where the job stands after its last step; to be stored in that step's transaction.
    pub fn position(&self) -> String {
        match &self.0 {
            Kind::Restore(run) => run.position(),
            Kind::Zero(rework) | Kind::Split(rework) => rework.position(),
            Kind::Retention(_) => "null".into(),
        }
    }

    /// How much is done, from 0 to 1.
    pub fn progress(&self) -> f64 {
        let res = match &self.0 {
            Kind::Restore(run) => run.progress(),
            Kind::Zero(rework) | Kind::Split(rework) => rework.progress(),
            Kind::Retention(retention) => retention.progress(),
        };
        res.clamp(0.0, 1.0)
    }

    /// The API's tag for what is being done.
    pub fn info(&self) -> &'static str {
        match &self.0 {
            Kind::Restore(run) if run.is_skipping() => "SKIP",
            Kind::Restore(_) => "RESTORE",
            Kind::Zero(_) => "ZERO",
            Kind::Split(_) => "SPLIT",
            Kind::Retention(_) => "ADJUST",
        }
    }

    /// The stamp down to which everything is done; nothing before the first step.
    pub fn reached(&self) -> Option<i64> {
        match &self.0 {
            Kind::Restore(run) => run.reached(),
            Kind::Zero(rework) | Kind::Split(rework) => Some(rework.reached()),
            Kind::Retention(_) => None,
        }
    }

    /// What the result of the operation tells: how far it came and, for a restore, how many rows of the file it applied.
    pub fn summary(&self) -> serde_json::Value {
        let reached = self.reached().map(|it| it.to_string());
        match &self.0 {
            Kind::Restore(run) => serde_json::json!({"reached": reached, "rows": run.applied()}),
            _ => serde_json::json!({"reached": reached}),
        }
    }
}
