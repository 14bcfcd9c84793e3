//! Reading clocks. Token validity and every deadline use [`boottime`], which `/cmd/set-time` cannot move.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Time since boot, suspend included (`CLOCK_BOOTTIME`): monotonic, and unmoved by a step of the wall clock.
pub fn boottime() -> Duration {
    let mut ts = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `ts` is a live timespec that the kernel fills; CLOCK_BOOTTIME exists on every Linux since 2.6.39.
    let res = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut ts) };
    assert_eq!(res, 0, "CLOCK_BOOTTIME is readable on every supported kernel");
    // Both fields are non-negative here and nanoseconds are below 10^9; time_t is 32 bits on some targets.
    #[allow(clippy::unnecessary_cast)]
    Duration::new(ts.tv_sec as u64, ts.tv_nsec as u32)
}

/// The wall clock as time since 1970; zero if it stands before that.
pub fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
