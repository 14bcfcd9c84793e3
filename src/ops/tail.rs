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
    youngest: Option<Youngest>,
    chain: Option<Header>,
}

struct Youngest {
    op: Arc<Op>,
    digest: Digest,
    ended: Option<Duration>,
}

impl Tail {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The operation that an equal request began. Only the youngest one counts, and only while it is under way or has
    /// just succeeded, because after anything else a repetition is meant as one. `now` is run time.
    pub fn same(&self, digest: &Digest, now: Duration) -> Option<Arc<Op>> {
        let inner = self.inner();
        let youngest = inner.youngest.as_ref().filter(|it| it.digest == *digest)?;
        let same = match youngest.op.outcome() {
            Some(outcome) => outcome.fault.is_none() && youngest.ended.is_some_and(|at| now < at + RESENT_WITHIN),
            None => !youngest.op.is_cancelled(),
        };
        same.then(|| Arc::clone(&youngest.op))
    }

    /// The header of the open chain.
    pub fn chain(&self) -> Option<Header> {
        self.inner().chain.clone()
    }

    /// An operation has begun; one without a digest cannot be resent.
    pub fn push(&self, op: &Arc<Op>, digest: Option<Digest>) {
        self.inner().youngest = digest.map(|digest| Youngest { op: Arc::clone(op), digest, ended: None });
    }

    /// A chunk has opened a chain, or closed it.
    pub fn set_chain(&self, chain: Option<Header>) {
        self.inner().chain = chain;
    }

    /// An operation is over.
    pub fn ended(&self, op: &Op, now: Duration) {
        if let Some(youngest) = self.inner().youngest.as_mut().filter(|it| it.op.id == op.id) {
            youngest.ended = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::status::{Fault, Outcome, Status};
    use crate::ops::table::Table;

    const DIGEST: Digest = [7; 32];

    fn begin(table: &Table, tail: &Tail, id: i64) -> Arc<Op> {
        let status = Status { ts: "1".into(), progress: None, info: None, args: vec![], outcome: None, result: None };
        let op = table.begin(id, &[], status);
        tail.push(&op, Some(DIGEST));
        op
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
}
