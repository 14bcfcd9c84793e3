//! What one input may cost, whatever it is: a second, and no more heap than a meter has for one request.

use std::time::{Duration, Instant};

use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// What the service may take beyond its idle state while a chunk of 2 MiB is applied, check and second opinion included.
const BYTES: usize = 1_500_000;
const TIME: Duration = Duration::from_secs(1);
/// An input that was too slow is tried again, since the machine may just have been busy with something else.
const TRIES: usize = 3;

/// Runs a check within the limits.
pub fn within(check: fn(&[u8]), data: &[u8]) {
    let mut quickest = Duration::MAX;
    for _ in 0..TRIES {
        let before = HEAP.current_usage();
        HEAP.reset_peak_usage();
        let started = Instant::now();
        check(data);
        quickest = quickest.min(started.elapsed());
        let taken = HEAP.peak_usage().saturating_sub(before);
        assert!(taken <= BYTES, "{taken} bytes of heap");
        if quickest < TIME {
            return;
        }
    }
    panic!("it takes {quickest:?}");
}
