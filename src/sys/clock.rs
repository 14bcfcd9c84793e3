//! Reading clocks, and setting the one that can be set. Token validity and every deadline use [`boottime`], which
//! `/cmd/set-time` cannot move. The wall clock has 64-bit seconds on every target: the C library's own type ends in
//! 2038 on 32-bit ones.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The system calls whose seconds have 64 bits: gettime and settime. On 32-bit targets they exist since Linux 5.1, under the
/// same numbers on every architecture.
#[cfg(target_pointer_width = "64")]
const CALLS: (libc::c_long, libc::c_long) = (libc::SYS_clock_gettime, libc::SYS_clock_settime);
#[cfg(target_pointer_width = "32")]
const CALLS: (libc::c_long, libc::c_long) = (403, 404);

/// `struct __kernel_timespec`, the same on every target.
#[repr(C)]
struct Timespec {
    seconds: i64,
    nanos: i64,
}

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
    let mut ts = Timespec { seconds: 0, nanos: 0 };
    // SAFETY: `ts` is a live timespec of the layout that this call fills.
    match super::check(unsafe { libc::syscall(CALLS.0, libc::CLOCK_REALTIME, &raw mut ts) } as libc::c_int) {
        Ok(_) if ts.seconds < 0 => Duration::ZERO,
        Ok(_) => Duration::new(ts.seconds as u64, ts.nanos as u32),
        // A 32-bit kernel from before the call: its clock ends in 2038 whatever we do.
        Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
    }
}

/// Sets the wall clock to a time since 1970. Errors: `PermissionDenied` without CAP_SYS_TIME, `InvalidInput` for a time
/// that the kernel's clock does not take, `Unsupported` on a 32-bit kernel from before Linux 5.1.
pub fn set_wall(to: Duration) -> io::Result<()> {
    let seconds = i64::try_from(to.as_secs()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let ts = Timespec { seconds, nanos: i64::from(to.subsec_nanos()) };
    // SAFETY: `ts` is a live timespec of the layout that this call reads.
    let res = unsafe { libc::syscall(CALLS.1, libc::CLOCK_REALTIME, &raw const ts) };
    super::check(res as libc::c_int).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_is_that_of_the_standard_library() {
        let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let got = wall();
        let after = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        assert!(before <= got && got <= after, "{before:?} {got:?} {after:?}");
    }

    #[test]
    fn a_time_beyond_the_kernels_clock_is_refused() {
        // The kernel checks the value before the permission, so this never sets anything, not even as root.
        let err = set_wall(Duration::from_secs(u64::MAX)).unwrap_err();
        assert_eq!(err.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(set_wall(Duration::from_secs(1 << 62)).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
