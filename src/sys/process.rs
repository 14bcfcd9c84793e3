//! What the kernel says of processes: who is at the other end of a Unix socket, how many descriptors we may open.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// The user id of the process that connected the other end of a Unix socket (`SO_PEERCRED`).
pub fn peer_uid(socket: impl AsFd) -> io::Result<u32> {
    let mut cred = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: `cred` is a live ucred and `len` its size; the kernel writes at most that much.
    super::check(unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut cred).cast(),
            &raw mut len,
        )
    })?;
    Ok(cred.uid)
}

/// Whether a call failed because no further descriptor may be had, in this process or on the whole machine.
pub fn out_of_descriptors(err: &io::Error) -> bool {
    matches!(err.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// The user id that this process acts as.
pub fn own_uid() -> u32 {
    // SAFETY: geteuid has no arguments and cannot fail.
    unsafe { libc::geteuid() }
}

/// Makes room for `needed` descriptors, raising the soft limit towards the hard one; returns how many there may be now.
pub fn ensure_descriptors(needed: u64) -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a live rlimit that the kernel fills.
    super::check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    // The fields are 32 bits wide on some targets; RLIM_INFINITY is their largest value there too.
    #[allow(clippy::unnecessary_cast)]
    let (soft, hard) = (limit.rlim_cur as u64, limit.rlim_max as u64);
    if soft >= needed || hard <= soft {
        return Ok(soft);
    }
    let raised = needed.min(hard);
    limit.rlim_cur = raised as libc::rlim_t;
    // SAFETY: `limit` is a live rlimit that the kernel only reads.
    match super::check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }) {
        Ok(_) => Ok(raised),
        // An unlimited hard limit still has the kernel's own bound (fs.nr_open) above it.
        Err(_) => Ok(soft),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn the_other_end_of_a_pair_is_ourselves() {
        let (one, _other) = UnixStream::pair().unwrap();
        assert_eq!(peer_uid(&one).unwrap(), own_uid());
    }

    #[test]
    fn a_modest_need_for_descriptors_is_met() {
        assert!(ensure_descriptors(64).unwrap() >= 64);
    }
}
