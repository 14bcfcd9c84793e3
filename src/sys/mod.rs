//! Every contact with libc, behind safe signatures; the only place with `unsafe`.
//! It knows system calls and nothing of meters, HTTP or SQLite.
#![allow(unsafe_code)]

pub mod caps;
pub mod channel;
pub mod clock;
pub mod dir;
pub mod fork;
pub mod fs;
pub mod heap;
pub mod host;
pub mod landlock;
pub mod net;
pub mod packet;
pub mod poll;
pub mod privilege;
pub mod process;
pub mod program;
pub mod random;
pub mod seccomp;
pub mod serial;
pub mod user;

use std::io;

/// Turns a system call's `-1` into the calling thread's `errno`.
fn check(res: libc::c_int) -> io::Result<libc::c_int> {
    if res < 0 { Err(io::Error::last_os_error()) } else { Ok(res) }
}

/// The number of an error, for who gets it from another process; those of the standard library's own have none.
pub fn errno(err: &io::Error) -> i32 {
    err.raw_os_error().unwrap_or(match err.kind() {
        io::ErrorKind::InvalidInput => libc::EINVAL,
        _ => libc::EIO,
    })
}
