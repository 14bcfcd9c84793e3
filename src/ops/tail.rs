//! The end of the queue of database operations, as the next request sees it: which request came last, in case this one
//! repeats it, and whether a chain of chunks is open. Looked at without waiting for the thread that writes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::table::Op;
use crate::drivers::register_db::text::Header;

/// A request that repeats the youngest operation counts as resent for this long after that one ended.
const RESENT_WITHIN: Duration = Duration::from_secs(300);

/// By which a resent request is recognised.
pub type Digest = [u8; 32];

/// See the module.
#[derive(Default)]
pub struct Tail(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// Operations under way and the youngest one, in the order in which they began.
    entries: Vec<Entry>,
    chain: Option<Header>,
    broken: bool,
}

struct Entry {
    op: Arc<Op>,
    /// Absent for an operation that cannot be resent, and behind which a repetition is meant as one.
    digest: Option<Digest>,
    ended: Option<Duration>,
}

impl Tail {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The operation that an equal request began, if it is under way or, being the youngest, has just succeeded. After
    /// anything else a repetition is meant as one. `now` is run time.
    pub fn same(&self, digest: &Digest, now: Duration) -> Option<Arc<Op>> {
        let inner = self.inner();
        let youngest = inner.entries.last()?.op.id;
        let resendable = inner.entries.iter().rev().take_while(|it| it.digest.is_some());
        let mut equal = resendable.filter(|it| it.digest == Some(*digest));
        let same = equal.find(|it| match it.op.outcome() {
            Some(outcome) => {
                let recent = it.ended.is_some_and(|at| now < at + RESENT_WITHIN);
                it.op.id == youngest && outcome.fault.is_none() && recent
            }
            None => !it.op.is_cancelled(),
        });
        same.map(|it| Arc::clone(&it.op))
    }

    /// The header of the open chain.
    pub fn chain(&self) -> Option<Header> {
        self.inner().chain.clone()
    }

    /// An operation has begun; one without a digest cannot be resent.
    pub fn push(&self, op: &Arc<Op>, digest: Option<Digest>) {
        let mut inner = self.inner();
        inner.entries.retain(|it| it.ended.is_none());
        inner.entries.push(Entry { op: Arc::clone(op), digest, ended: None });
    }

    /// A chunk has opened a chain, or closed it.
    pub fn set_chain(&self, chain: Option<Header>) {
        let mut inner = self.inner();
        inner.chain = chain;
        inner.broken = false;
    }

    /// A chunk of the open chain was not taken: the next one may still use its header, but is not joined to the last one
    /// whatever lies between.
    pub fn break_chain(&self) {
        self.inner().broken = true;
    }

    /// Whether every chunk of the open chain was taken.
    pub fn is_unbroken(&self) -> bool {
        let inner = self.inner();
        inner.chain.is_some() && !inner.broken
    }

    /// An operation is over.
    pub fn ended(&self, op: &Op, now: Duration) {
        let mut inner = self.inner();
        let youngest = inner.entries.last().map(|it| it.op.id);
        for entry in &mut inner.entries {
            if entry.op.id == op.id {
                entry.ended = Some(now);
            }
        }
        inner.entries.retain(|it| it.ended.is_none() || Some(it.op.id) == youngest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::status::{Fault, Outcome, Status};
    use crate::ops::table::Table;

    const DIGEST: Digest = [7; 32];

    fn begin(table: &Table, tail: &Tail, id: i64) -> Arc<Op> {
        let op = enter(table, id);
        tail.push(&op, Some(DIGEST));
        op
    }

    fn enter(table: &Table, id: i64) -> Arc<Op> {
        let status = Status { ts: "1".into(), progress: None, info: None, args: vec![], outcome: None, result: None };
        table.begin(id, &[], status)
    }

    #[test]
    fn a_repetition_counts_while_the_first_is_under_way_or_has_just_succeeded() {
        let (table, tail) = (Table::default(), Tail::default());
        let op = begin(&table, &tail, 1);
        let at = Duration::from_secs(1000);
        assert!(tail.same(&DIGEST, at).is_some());
        assert!(tail.same(&[8; 32], at).is_none());
        table.finish(&op, Outcome { fault: None, result: None }, at);
        tail.ended(&op, at);
        assert!(tail.same(&DIGEST, at + RESENT_WITHIN - Duration::from_secs(1)).is_some());
        assert!(tail.same(&DIGEST, at + RESENT_WITHIN).is_none());
    }

    #[test]
    fn after_a_failure_or_another_operation_a_repetition_is_meant() {
        let (table, tail) = (Table::default(), Tail::default());
        let op = begin(&table, &tail, 1);
        table.finish(&op, Outcome { fault: Some(Fault::cancelled()), result: None }, Duration::ZERO);
        tail.ended(&op, Duration::ZERO);
        assert!(tail.same(&DIGEST, Duration::ZERO).is_none());
        let op = begin(&table, &tail, 2);
        tail.push(&op, None);
        assert!(tail.same(&DIGEST, Duration::ZERO).is_none());
    }

    #[test]
    fn an_earlier_chunk_under_way_is_recognised_too() {
        let (table, tail) = (Table::default(), Tail::default());
        let first = begin(&table, &tail, 1);
        let second = enter(&table, 2);
        tail.push(&second, Some([8; 32]));
        assert!(tail.same(&DIGEST, Duration::ZERO).is_some());
        for op in [&first, &second] {
            table.finish(op, Outcome { fault: None, result: None }, Duration::ZERO);
            tail.ended(op, Duration::ZERO);
        }
        assert!(tail.same(&DIGEST, Duration::ZERO).is_none());
        assert!(tail.same(&[8; 32], Duration::ZERO).is_some());
    }
}
