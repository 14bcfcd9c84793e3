//! The table of operations: tokens to live records. It offers verbs and hides its locks, which are held for moments
//! and never across I/O.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

use super::status::{Outcome, Status};
use super::token::{Token, TokenKey};

/// Finished operations that are remembered.
pub const MAX_FINISHED: usize = 64;
/// How long a finished operation is remembered, in run time.
pub const KEEP_FINISHED: Duration = Duration::from_secs(15 * 60);
/// Of these, refused ones that are kept in any case: whoever is told of one must find it. More of them make room first.
const SPARED_REFUSALS: usize = 8;
/// Tokens of one operation; each resent request gets one of its own, because only hashes of earlier ones are kept.
const MAX_TOKENS: usize = 8;

/// A live operation. Its cancel flag is read by whoever works on it.
pub struct Op {
    /// The row in the journal, growing with each operation.
    pub id: i64,
    nature: Nature,
    cancel: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

/// What becomes of an operation that does not come to its end by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nature {
    /// It goes on after a restart.
    Lasting,
    /// It ends with the service.
    Passing,
    /// It was refused before anything was done.
    Refused,
}

struct State {
    status: Status,
    tokens: Vec<TokenKey>,
}

/// Why an operation cannot be cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelError {
    /// No such token.
    Unknown,
    /// It is over already.
    Finished,
}

/// All operations that somebody may ask for.
#[derive(Default)]
pub struct Table {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    by_token: HashMap<TokenKey, Arc<Op>>,
    finished: Vec<(Duration, Arc<Op>)>,
}

impl Op {
    /// Whether somebody asked to cancel it.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }

    /// Whether it ends with the service, so that nothing about its end needs to be on disk to hold over a restart.
    pub fn is_passing(&self) -> bool {
        self.nature == Nature::Passing
    }

    /// Asks it to stop.
    pub fn cancel(&self) {
        self.cancel.store(true, Ordering::Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes progress and the current action.
    pub fn step(&self, progress: f64, info: Cow<'static, str>) {
        let mut state = self.state();
        state.status.progress = Some(progress);
        state.status.info = Some(info);
    }

    /// Notes the current action alone, with the arguments of its tag.
    pub fn info(&self, tag: &'static str, args: Vec<String>) {
        let mut state = self.state();
        state.status.info = Some(tag.into());
        state.status.args = args;
    }

    /// Notes progress alone.
    pub fn progress(&self, share: f64) {
        self.state().status.progress = Some(share);
    }

    /// Notes what is known of the result so far.
    pub fn result(&self, value: Value) {
        self.state().status.result = Some(value);
    }

    /// What there is to say now.
    pub fn status(&self) -> Status {
        self.state().status.clone()
    }

    /// How it ended, if it has.
    pub fn outcome(&self) -> Option<Outcome> {
        self.state().status.outcome.clone()
    }

    /// Waits until it is over, for at most `timeout`.
    pub fn wait(&self, timeout: Duration) -> Option<Outcome> {
        let state = self.state();
        let over = |state: &mut State| state.status.outcome.is_none();
        let res = self.changed.wait_timeout_while(state, timeout, over);
        res.unwrap_or_else(PoisonError::into_inner).0.status.outcome.clone()
    }
}

impl Table {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters an operation that goes on after a restart under its tokens.
    pub fn begin(&self, id: i64, tokens: &[TokenKey], status: Status) -> Arc<Op> {
        self.enter(id, tokens, status, Nature::Lasting)
    }

    /// Enters an operation that ends with the service.
    pub fn begin_passing(&self, id: i64, token: &TokenKey, status: Status) -> Arc<Op> {
        self.enter(id, &[*token], status, Nature::Passing)
    }

    /// Enters an operation that was refused, which is its end.
    pub fn refuse(&self, id: i64, token: &TokenKey, status: Status, outcome: Outcome, now: Duration) {
        let op = self.enter(id, &[*token], status, Nature::Refused);
        self.finish(&op, outcome, now);
    }

    fn enter(&self, id: i64, tokens: &[TokenKey], status: Status, nature: Nature) -> Arc<Op> {
        let state = Mutex::new(State { status, tokens: tokens.to_vec() });
        let op = Arc::new(Op { id, nature, cancel: AtomicBool::new(false), state, changed: Condvar::new() });
        let mut inner = self.inner();
        for key in tokens {
            inner.by_token.insert(*key, Arc::clone(&op));
        }
        op
    }

    /// One more token for an operation, and the oldest of its tokens if that one had to go for it.
    pub fn add_token(&self, op: &Arc<Op>, token: &Token) -> Option<TokenKey> {
        let mut inner = self.inner();
        let mut state = op.state();
        let gone = (state.tokens.len() >= MAX_TOKENS).then(|| state.tokens.remove(0));
        if let Some(gone) = &gone {
            inner.by_token.remove(gone);
        }
        state.tokens.push(token.key());
        drop(state);
        inner.by_token.insert(token.key(), Arc::clone(op));
        gone
    }

    /// The operation of a token.
    pub fn find(&self, token: &Token) -> Option<Arc<Op>> {
        self.inner().by_token.get(&token.key()).cloned()
    }

    /// Asks an operation to stop.
    pub fn cancel(&self, token: &Token) -> Result<Arc<Op>, CancelError> {
        let op = self.find(token).ok_or(CancelError::Unknown)?;
        if op.outcome().is_some() {
            return Err(CancelError::Finished);
        }
        op.cancel();
        Ok(op)
    }

    /// Ends an operation; the first outcome stands. `now` is the run time at which it ended.
    pub fn finish(&self, op: &Arc<Op>, outcome: Outcome, now: Duration) {
        let mut state = op.state();
        if state.status.outcome.is_some() {
            return;
        }
        if outcome.fault.is_none() {
            state.status.progress = Some(1.0);
        }
        state.status.outcome = Some(outcome);
        drop(state);
        op.changed.notify_all();
        self.inner().finished.push((now, Arc::clone(op)));
    }

    /// Forgets operations that ended too long ago or are too many, of these first the ones that were refused before they
    /// began, but for the last few; returns their journal rows.
    pub fn expire(&self, now: Duration) -> Vec<i64> {
        let mut inner = self.inner();
        let old = inner.finished.iter().take_while(|(at, _)| *at + KEEP_FINISHED <= now).count();
        let mut gone: Vec<_> = inner.finished.drain(..old).map(|(_, op)| op).collect();
        while inner.finished.len() > MAX_FINISHED {
            let refused = inner.finished.iter().filter(|(_, op)| op.nature == Nature::Refused).count();
            let first = SPARED_REFUSALS < refused;
            let at = inner.finished.iter().position(|(_, op)| (op.nature == Nature::Refused) == first).unwrap_or(0);
            gone.push(inner.finished.remove(at).1);
        }
        for op in &gone {
            for key in &op.state().tokens {
                inner.by_token.remove(key);
            }
        }
        gone.iter().map(|op| op.id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::status::Fault;

    fn status() -> Status {
        Status { ts: "1".into(), progress: None, info: None, args: vec![], outcome: None, result: None }
    }

    const OK: Outcome = Outcome { fault: None, result: None };

    #[test]
    fn the_first_outcome_stands() {
        let table = Table::default();
        let token = Token::new();
        let op = table.begin(1, &[token.key()], status());
        table.finish(&op, Outcome { fault: Some(Fault::cancelled()), result: None }, Duration::ZERO);
        table.finish(&op, OK, Duration::ZERO);
        assert_eq!(op.outcome().unwrap().fault, Some(Fault::cancelled()));
        assert_eq!(table.cancel(&token).err(), Some(CancelError::Finished));
    }

    #[test]
    fn cancelling_sets_the_flag_and_nothing_else() {
        let table = Table::default();
        let token = Token::new();
        let op = table.begin(1, &[token.key()], status());
        assert_eq!(table.cancel(&Token::new()).err(), Some(CancelError::Unknown));
        assert!(!op.is_cancelled());
        table.cancel(&token).unwrap();
        assert!(op.is_cancelled() && op.outcome().is_none());
    }

    #[test]
    fn finished_operations_are_bounded_in_number_and_age() {
        let table = Table::default();
        let tokens: Vec<_> = (0..70).map(|_| Token::new()).collect();
        for (id, token) in tokens.iter().enumerate() {
            let op = table.begin(id as i64, &[token.key()], status());
            table.finish(&op, OK, Duration::from_secs(id as u64));
        }
        assert_eq!(table.expire(Duration::from_secs(70)), (0..6).collect::<Vec<_>>());
        assert!(table.find(&tokens[5]).is_none() && table.find(&tokens[6]).is_some());
        assert_eq!(table.expire(Duration::from_secs(10) + KEEP_FINISHED), (6..11).collect::<Vec<_>>());
    }

    #[test]
    fn refusals_make_room_first() {
        let table = Table::default();
        let token = Token::new();
        let op = table.begin(0, &[token.key()], status());
        table.finish(&op, OK, Duration::ZERO);
        for id in 1..=MAX_FINISHED as i64 {
            table.refuse(id, &Token::new().key(), status(), OK, Duration::ZERO);
        }
        assert_eq!(table.expire(Duration::ZERO), [1]);
        assert!(table.find(&token).is_some());
    }

    #[test]
    fn a_refusal_is_found_in_a_full_table_too() {
        let table = Table::default();
        for id in 0..MAX_FINISHED as i64 {
            let op = table.begin(id, &[Token::new().key()], status());
            table.finish(&op, OK, Duration::ZERO);
        }
        let tokens: Vec<_> = (0..SPARED_REFUSALS + 1).map(|_| Token::new()).collect();
        for token in &tokens {
            table.refuse(100, &token.key(), status(), OK, Duration::ZERO);
            table.expire(Duration::ZERO);
            assert!(table.find(token).is_some());
        }
        assert!(table.find(&tokens[0]).is_none() && table.find(&tokens[1]).is_some());
    }

    #[test]
    fn running_operations_never_expire() {
        let table = Table::default();
        let token = Token::new();
        table.begin(1, &[token.key()], status());
        assert!(table.expire(KEEP_FINISHED * 100).is_empty());
        assert!(table.find(&token).is_some());
    }

    #[test]
    fn a_resent_request_gets_a_token_of_its_own() {
        let table = Table::default();
        let first = Token::new();
        let op = table.begin(1, &[first.key()], status());
        let others: Vec<_> = (0..MAX_TOKENS).map(|_| Token::new()).collect();
        let gone: Vec<_> = others.iter().filter_map(|it| table.add_token(&op, it)).collect();
        assert!(gone == [first.key()]);
        assert!(table.find(&first).is_none());
        assert!(others.iter().all(|it| Arc::ptr_eq(&table.find(it).unwrap(), &op)));
    }

    #[test]
    fn waiting_ends_with_the_operation_or_the_deadline() {
        let table = Arc::new(Table::default());
        let op = table.begin(1, &[], status());
        assert_eq!(op.wait(Duration::from_millis(1)), None);
        let other = (Arc::clone(&table), Arc::clone(&op));
        let thread = std::thread::spawn(move || other.0.finish(&other.1, OK, Duration::ZERO));
        assert_eq!(op.wait(Duration::from_secs(20)), Some(OK));
        thread.join().unwrap();
    }
}
