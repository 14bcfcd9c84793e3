//! Every contact with libc, behind safe signatures; the only place with `unsafe`.
//! It knows system calls and nothing of meters, HTTP or SQLite.
#![allow(unsafe_code)]

pub mod clock;
pub mod dir;
pub mod fs;
pub mod heap;
pub mod host;
pub mod net;
pub mod packet;
pub mod poll;
pub mod privilege;
pub mod process;
pub mod program;
pub mod random;
pub mod serial;

use std::io;

/// Turns a system call's `-1` into the calling thread's `errno`.
fn check(res: libc::c_int) -> io::Result<libc::c_int> {
    if res < 0 { Err(io::Error::last_os_error()) } else { Ok(res) }
}
