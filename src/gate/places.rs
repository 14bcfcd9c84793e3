//! Who gives way when there are too many: too few places, descriptors or bytes of memory for everybody who is here.
//! It is always whoever holds most, so that a peer with little is not hurt by others.

use std::time::{Duration, Instant};

use super::conn::Conn;
use super::peers::Who;
use super::run::Run;

/// The bytes that all connections together may hold besides what is in work, which has bounds of its own, in bodies of the
/// largest size that is collected whole.
const BODIES: usize = 16;
/// Descriptors that must be left for the work itself once they have run out: connections to tiny_http, files of SQLite.
const SPARE: usize = 8;
/// Places that there are however few descriptors may be had.
const FEWEST: usize = 2;
/// How long it takes until one place more is tried again.
const REGAIN: Duration = Duration::from_secs(1);

/// How many clients may be connected: what the limits say, or fewer while there are no descriptors for so many.
pub(super) struct Places {
    now: usize,
    /// When that was last changed.
    since: Instant,
}

impl Places {
    pub(super) fn new(connections: usize) -> Places {
        Places { now: connections, since: Instant::now() }
    }

    pub(super) fn now(&self) -> usize {
        self.now
    }

    /// Descriptors have run out with so many connections.
    fn shrink(&mut self, conns: usize, now: Instant) {
        self.now = self.now.min(conns.saturating_sub(SPARE)).max(FEWEST);
        self.since = now;
    }

    /// To be called before anybody is admitted.
    pub(super) fn recover(&mut self, connections: usize, now: Instant) {
        if self.now < connections && self.since + REGAIN <= now {
            self.now += 1;
            self.since = now;
        }
    }
}

impl Run {
    /// Makes room for a caller: of the connections without a whole request, the oldest one of the peer that holds most goes.
    /// Where every place is taken by whole requests, peers that hold more than the caller would give way in the same order:
    /// an answer that its client does not read, or a request that was not begun yet.
    pub(super) fn evict(&mut self, caller: Who) -> bool {
        let now = Instant::now();
        let share = self.house.peers.seats(caller) + 1;
        let victim = self.victim(Conn::expendable).or_else(|| {
            let peers = &self.house.peers;
            self.victim(|it| share < peers.seats(it.seat.who) && it.yields(now))
        });
        if let Some(at) = victim {
            let conn = self.conns.swap_remove(at);
            if !conn.expendable() {
                conn.give_place(&mut self.house, now);
            }
        }
        victim.is_some()
    }

    /// Ends connections until there are descriptors for those that stay and for their work; says whether any ended.
    pub(super) fn free_descriptors(&mut self, now: Instant) -> bool {
        let before = self.conns.len();
        // Said once for as long as it lasts.
        if self.places.now() == self.house.limits.connections {
            log::warn!("gate: out of descriptors with {before} connections");
        }
        self.places.shrink(before, now);
        while self.places.now() < self.conns.len()
            && let Some(at) = self.victim(Conn::expendable)
        {
            self.conns.swap_remove(at);
        }
        self.conns.len() < before
    }

    /// Has connections give up what they hold until all together hold no more than they may.
    pub(super) fn free_memory(&mut self, now: Instant) {
        let most = BODIES * self.house.limits.body_bytes;
        // Each one is asked once at most.
        for _ in 0..self.conns.len() {
            if self.conns.iter().map(Conn::held).sum::<usize>() <= most {
                return;
            }
            let Some(at) = self.heaviest() else { return };
            if let Err(end) = self.conns[at].give_memory(&mut self.house, now) {
                self.conns.swap_remove(at).abandon(&end, &mut self.house, now);
            }
        }
    }

    fn victim(&self, may_go: impl Fn(&Conn) -> bool) -> Option<usize> {
        let peers = &self.house.peers;
        let counted = |it: &Conn| !matches!(it.seat.who, Who::Turned | Who::Probe);
        (self.conns.iter().enumerate())
            .filter(|(_, it)| counted(it) && may_go(it))
            .max_by_key(|(_, it)| (peers.seats(it.seat.who), std::cmp::Reverse(it.accepted)))
            .map(|(at, _)| at)
    }

    /// The largest connection of the peer whose connections hold most.
    fn heaviest(&self) -> Option<usize> {
        let held_by = |who| self.conns.iter().filter(|it| it.seat.who == who).map(Conn::held).sum::<usize>();
        (self.conns.iter().enumerate())
            .filter(|(_, it)| 0 < it.held())
            .max_by_key(|(_, it)| (held_by(it.seat.who), it.held()))
            .map(|(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_descriptors_have_cost_come_back_one_by_one() {
        let mut places = Places::new(64);
        let start = Instant::now();
        places.shrink(20, start);
        assert_eq!(places.now(), 12);
        places.shrink(15, start);
        assert_eq!(places.now(), 7);
        places.recover(64, start + REGAIN / 2);
        assert_eq!(places.now(), 7);
        for n in 1..=60 {
            places.recover(64, start + n * REGAIN);
        }
        assert_eq!(places.now(), 64);
        places.shrink(3, start);
        assert_eq!(places.now(), FEWEST);
    }
}
