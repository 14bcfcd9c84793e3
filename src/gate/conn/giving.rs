//! What a connection can give up for others: its place, if it has nothing in work, and the memory it holds meanwhile.
//! Who has to is decided by `places`.

use std::time::{Duration, Instant};

use super::{Conn, End, Step};
use crate::gate::house::House;
use crate::gate::refusals::Refusal;

/// How long a client may take nothing of its answer and still be safe from losing its place to another one.
const STALL: Duration = Duration::from_secs(1);

impl Conn {
    /// Whether the connection may be dropped for another one: it has no whole request and no upload in work.
    pub(in crate::gate) fn expendable(&self) -> bool {
        matches!(self.step, Step::Head | Step::Collect { .. } | Step::Drop { .. } | Step::Linger { .. })
    }

    /// Whether the connection may be dropped for a peer that holds less: its client does not read its answer, or its
    /// request was not begun yet.
    pub(in crate::gate) fn yields(&self, now: Instant) -> bool {
        match &self.step {
            Step::Queue(_) => true,
            Step::Leave => !self.out.is_empty() && self.since + STALL <= now,
            Step::Work(work, None) => !self.out.is_empty() && work.moved + STALL <= now,
            _ => false,
        }
    }

    /// Bytes of memory held by what is not in work: requests that are not whole or wait, answers that were not taken yet.
    pub(in crate::gate) fn held(&self) -> usize {
        let body = match &self.step {
            Step::Work(..) => return 0,
            Step::Collect { body, .. } => body.capacity(),
            Step::Queue(order) => order.body.held(),
            Step::Head | Step::Drop { .. } | Step::Leave | Step::Linger { .. } => 0,
        };
        self.input.capacity() + self.out.held() + body
    }

    /// Gives up what it holds. A request is told so; an answer that its client has not taken is cut.
    pub(in crate::gate) fn give_memory(&mut self, house: &mut House, now: Instant) -> Result<(), End> {
        match self.step {
            Step::Head | Step::Collect { .. } | Step::Drop { .. } | Step::Queue(_) => {
                self.input = Vec::new();
                self.refuse(Refusal::Busy, now);
                self.progress(house, now)
            }
            Step::Work(..) | Step::Leave | Step::Linger { .. } => Err(End::Reset),
        }
    }

    /// Gives its place up: a request that was not begun is told so as far as the socket takes it now, a cut answer ends
    /// like one.
    pub(in crate::gate) fn give_place(mut self, house: &mut House, now: Instant) {
        let mut end = End::Reset;
        if let Step::Queue(_) = self.step {
            self.refuse(Refusal::Busy, now);
            if self.progress(house, now).is_ok() {
                end = End::Quiet;
            }
        }
        self.abandon(&end, house, now);
    }
}
