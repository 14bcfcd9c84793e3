//! The rate floor: who may take long must at least keep moving.
//! Only time in which it was the client's turn counts, so that nobody is cut for our own slowness.

use std::time::{Duration, Instant};

use crate::config::Limits;

/// Counts the bytes of one transfer in windows of the client's own time.
pub(super) struct Rate {
    floor: u64,
    window: Duration,
    bytes: u64,
    /// The client's time in this window, up to `since`.
    spent: Duration,
    /// Since when it has been the client's turn.
    since: Option<Instant>,
}

impl Rate {
    pub(super) fn new(limits: &Limits) -> Rate {
        let window = Duration::from_secs(limits.rate_seconds);
        Rate { floor: limits.rate_floor * limits.rate_seconds, window, bytes: 0, spent: Duration::ZERO, since: None }
    }

    /// Begins anew, for another transfer on the same connection.
    pub(super) fn restart(&mut self) {
        (self.bytes, self.spent, self.since) = (0, Duration::ZERO, None);
    }

    pub(super) fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Says whether it is the client's turn from now on.
    pub(super) fn set_turn(&mut self, clients: bool, now: Instant) {
        if let Some(since) = self.since.take() {
            self.spent += now.saturating_duration_since(since);
        }
        if clients {
            self.since = Some(now);
        }
    }

    /// When the window ends, if the client's turn lasts that long.
    pub(super) fn due(&self) -> Option<Instant> {
        Some(self.since? + self.window.saturating_sub(self.spent))
    }

    /// To be asked at [`Rate::due`]: whether the window saw enough bytes. If so, the next one begins.
    pub(super) fn suffices(&mut self, now: Instant) -> bool {
        let enough = self.bytes >= self.floor;
        (self.bytes, self.spent) = (0, Duration::ZERO);
        self.since = self.since.map(|_| now);
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_clients_time_counts() {
        let limits = Limits { rate_floor: 10, rate_seconds: 2, ..Limits::default() };
        let (mut rate, start) = (Rate::new(&limits), Instant::now());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        assert_eq!(rate.due(), None);
        rate.set_turn(true, at(0));
        rate.set_turn(false, at(1));
        assert_eq!(rate.due(), None);
        rate.set_turn(true, at(100));
        assert_eq!(rate.due(), Some(at(101)));
        rate.add(20);
        assert!(rate.suffices(at(101)));
        assert_eq!(rate.due(), Some(at(103)));
        rate.add(19);
        assert!(!rate.suffices(at(103)));
    }
}
