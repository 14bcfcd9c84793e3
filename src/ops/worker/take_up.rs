//! What the thread does first: it reads the journal and takes up what a stop or a power cut left undone.

use std::collections::HashSet;
use std::path::PathBuf;

use super::{Queued, Worker};
use crate::drivers::register_db::{DbError, Plan};
use crate::ops::journal::{self, SavedOp};
use crate::ops::staging;
use crate::ops::status::{Fault, Outcome, Status};
use crate::ops::store::{in_transaction, ledger_line, new_status};
use crate::ops::tail::Digest;
use crate::sys::clock;

impl Worker {
    /// Reads the journal: what can go on is queued again, the rest ends as interrupted; orphaned files go.
    pub(super) fn take_up(&mut self) -> Result<(), DbError> {
        let saved = journal::load(&self.conn)?;
        let mut owned = HashSet::new();
        let last = saved.last().map(|it| it.id);
        for op in saved {
            let status = Status { progress: Some(op.progress), ..new_status(&op.created) };
            let live = self.table.begin(op.id, &op.tokens, status);
            if let Some(outcome) = op.outcome.clone() {
                self.table.finish(&live, outcome, clock::boottime());
                if last == Some(op.id) {
                    // Its reply may have been lost with the power.
                    self.tail.push(&live, digest_of(&op));
                    self.tail.ended(&live, clock::boottime());
                }
            } else if let Some(mut plan) = plan_of(&op) {
                log::info!("operation {} ({}) goes on", op.id, op.kind);
                let file = self.locate(&mut plan);
                owned.extend(file.clone());
                self.tail.push(&live, digest_of(&op));
                if op.cancelled {
                    live.cancel();
                }
                let line = ledger_line(&op.who, &format!("db {}", op.kind));
                let position = op.position;
                self.queue.push_back(Queued { op: live, plan, position, job: None, summary: None, file, line });
            } else {
                // What its driver had told of its result is all that is known of its effect.
                let result = op.position.as_deref().and_then(|it| serde_json::from_str(it).ok());
                let outcome = Outcome { fault: Some(Fault::interrupted()), result };
                in_transaction(&mut self.conn, |tx| journal::finish(tx, op.id, &outcome))?;
                self.table.finish(&live, outcome, clock::boottime());
            }
        }
        if let Some((header, unbroken)) = journal::chain(&self.conn)? {
            self.tail.set_chain(serde_json::from_str(&header).ok());
            if !unbroken {
                self.tail.break_chain();
            }
        }
        if let Err(err) = staging::remove_orphans(&self.staged, &owned) {
            log::warn!("staged files: {err}");
        }
        Ok(())
    }

    /// The staged file of a plan, where it is now: the state folder may have been moved since.
    fn locate(&self, plan: &mut Plan) -> Option<PathBuf> {
        let Plan::Restore(plan) = plan else { return None };
        plan.file = self.staged.join(plan.file.file_name()?);
        Some(plan.file.clone())
    }
}

fn plan_of(op: &SavedOp) -> Option<Plan> {
    serde_json::from_str(op.plan.as_deref()?).ok()
}

fn digest_of(op: &SavedOp) -> Option<Digest> {
    op.digest.as_deref()?.try_into().ok()
}
