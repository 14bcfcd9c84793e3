//! How fast a long job may go. SQLite's write lock is unfair: who comes back at once gets it again, and a program that
//! records rows would wait for seconds. So while another program writes, batches are short and the lock is left free in
//! between. Times are arguments; nothing here waits or looks at a clock.

use std::time::Duration;

/// How long another program's last write is remembered: longer than the usual minute between two rows, twice over.
const REMEMBER: Duration = Duration::from_secs(150);

/// What a batch should take while another program writes, and alone.
const SHARED_BATCH: Duration = Duration::from_millis(20);
const LONE_BATCH: Duration = Duration::from_millis(100);

/// The shortest gap that lets a waiting writer in; its retries come at growing intervals.
const SHORTEST_GAP: Duration = Duration::from_millis(10);

const FIRST_ROWS: usize = 256;
const FEWEST_ROWS: usize = 16;
const MOST_ROWS: usize = 65_536;

/// The pace of one job.
#[derive(Clone, Debug)]
pub struct Pace {
    rows: usize,
    other_wrote: Option<Duration>,
}

impl Default for Pace {
    fn default() -> Self {
        Pace { rows: FIRST_ROWS, other_wrote: None }
    }
}

impl Pace {
    /// Rows that the next batch should have.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// To be told of each batch: the time at its end on any clock that only goes forward, how long it held the lock, and
    /// whether `PRAGMA data_version` has changed since the batch before. Tells how long to leave the lock alone.
    pub fn after(&mut self, now: Duration, took: Duration, other_wrote: bool) -> Duration {
        if other_wrote {
            self.other_wrote = Some(now);
        }
        let shared = self.other_wrote.is_some_and(|then| now.saturating_sub(then) < REMEMBER);
        let target = if shared { SHARED_BATCH } else { LONE_BATCH };
        let ideal = self.rows as f64 * target.as_secs_f64() / took.as_secs_f64().max(1e-6);
        // A single slow batch (a full disk cache, another program's checkpoint) should not throw the size about.
        let ideal = ideal.clamp(self.rows as f64 / 4.0, self.rows as f64 * 2.0) as usize;
        self.rows = ideal.clamp(FEWEST_ROWS, MOST_ROWS);
        if shared { SHORTEST_GAP.max(took / 2) } else { Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Runs batches of a job whose rows take a given time; returns the last batch's time and gap.
    fn run(row: Duration, n: u32, other: bool) -> (Duration, Duration) {
        let (mut pace, mut now) = (Pace::default(), Duration::ZERO);
        let mut res = (Duration::ZERO, Duration::ZERO);
        for _ in 0..n {
            let took = row * pace.rows() as u32;
            now += took;
            let gap = pace.after(now, took, other);
            now += gap;
            res = (took, gap);
        }
        res
    }

    #[test]
    fn alone_it_runs_flat_out_in_batches_of_a_tenth_of_a_second() {
        let (took, gap) = run(Duration::from_micros(10), 20, false);
        assert_eq!(gap, Duration::ZERO);
        assert!(90 * MS <= took && took <= 110 * MS, "{took:?}");
    }

    #[test]
    fn beside_another_writer_the_lock_is_free_a_third_of_the_time() {
        for micros in [1, 10, 100, 1_000, 10_000] {
            let (took, gap) = run(Duration::from_micros(micros), 20, true);
            assert!(10 * MS <= gap && took <= gap * 2, "{micros}: {took:?} {gap:?}");
            assert!(took <= 22 * MS || micros == 10_000, "{micros}: {took:?}");
        }
    }

    #[test]
    fn another_writer_is_remembered_for_a_while() {
        let mut pace = Pace::default();
        let mut now = Duration::from_secs(1000);
        pace.after(now, 20 * MS, true);
        assert_ne!(pace.after(now + Duration::from_secs(149), 20 * MS, false), Duration::ZERO);
        now += Duration::from_secs(150);
        assert_eq!(pace.after(now, 20 * MS, false), Duration::ZERO);
    }

    #[test]
    fn one_odd_batch_changes_the_size_by_little() {
        let mut pace = Pace::default();
        pace.after(Duration::ZERO, Duration::ZERO, false);
        assert_eq!(pace.rows(), 2 * FIRST_ROWS);
        pace.after(Duration::ZERO, Duration::from_secs(60), false);
        assert_eq!(pace.rows(), FIRST_ROWS / 2);
    }
}
