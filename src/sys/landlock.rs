//! Landlock (landlock(7)): from a moment on this process reaches only the files that it names now, whatever their rights
//! say. Each kernel can do so much of it; what an older one cannot is left out, and the caller is told which one it is.

use std::fs::OpenOptions;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::check;

/// The system calls, which have the same numbers on every architecture.
const CREATE_RULESET: libc::c_long = 444;
const ADD_RULE: libc::c_long = 445;
const RESTRICT_SELF: libc::c_long = 446;
/// Asks for the version of the interface instead of making a ruleset.
const VERSION: u32 = 1;
/// A rule for everything beneath a path.
const PATH_BENEATH: libc::c_int = 1;

// What can be done with files, by its bits in linux/landlock.h.
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const REMOVE_DIR: u64 = 1 << 4;
const REMOVE_FILE: u64 = 1 << 5;
const MAKE_DIR: u64 = 1 << 7;
const MAKE_REG: u64 = 1 << 8;
const MAKE_SOCK: u64 = 1 << 9;
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEV: u64 = 1 << 15;
/// What a rule for something that is no folder may have.
const OF_FILES: u64 = WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV;

/// Waiting for connections on a new TCP port.
const BIND_TCP: u64 = 1;
/// Speaking to abstract Unix sockets of others, and sending them signals.
const SCOPES: u64 = 0b11;

/// What may be done beneath a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading files and folders.
    Read,
    /// Everything that is done with files, folders and sockets, except running them as programs.
    Write,
    /// Using devices.
    Device,
    /// Removing folders that are empty.
    RemoveFolders,
}

impl Access {
    fn bits(self) -> u64 {
        match self {
            Access::Read => READ_FILE | READ_DIR,
            Access::Write => {
                let make = MAKE_DIR | MAKE_REG | MAKE_SOCK;
                READ_FILE | READ_DIR | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | make | REFER | TRUNCATE
            }
            Access::Device => READ_FILE | WRITE_FILE | IOCTL_DEV,
            Access::RemoveFolders => REMOVE_DIR,
        }
    }
}

#[repr(C)]
struct Ruleset {
    files: u64,
    net: u64,
    scopes: u64,
}

#[repr(C, packed)]
struct Beneath {
    access: u64,
    folder: libc::c_int,
}

/// The version of Landlock that this kernel has; nothing if it has none, or has it turned off.
pub fn version() -> Option<u32> {
    // SAFETY: asked for its version the call reads no memory.
    let res = unsafe { libc::syscall(CREATE_RULESET, std::ptr::null::<Ruleset>(), 0usize, VERSION) };
    u32::try_from(res).ok().filter(|it| *it != 0)
}

/// Everything of files that this version can forbid.
fn handled(version: u32) -> u64 {
    let newest = match version {
        1 => REFER - 1,
        2 => TRUNCATE - 1,
        3 | 4 => IOCTL_DEV - 1,
        _ => (IOCTL_DEV << 1) - 1,
    };
    // The lowest bits of all versions, running programs included.
    newest
}

/// Leaves this process, and every thread and process that it will start, what the rules name: beneath each path that is
/// there, what goes with it. With a newer kernel it opens no further TCP port, and speaks to no process outside but over
/// sockets with a path. To be called after [`super::caps::no_new_privileges`]. Returns the kernel's version of Landlock.
pub fn restrict<'a>(rules: impl IntoIterator<Item = (&'a Path, Access)>) -> io::Result<Option<u32>> {
    let Some(version) = version() else { return Ok(None) };
    let files = handled(version);
    let net = if 4 <= version { BIND_TCP } else { 0 };
    let scopes = if 6 <= version { SCOPES } else { 0 };
    let attributes = Ruleset { files, net, scopes };
    // SAFETY: the structure is live and of the given size; what an older kernel does not know of it is zero.
    let fd = unsafe { libc::syscall(CREATE_RULESET, &raw const attributes, size_of::<Ruleset>(), 0u32) };
    let fd = check(fd as libc::c_int)?;
    // SAFETY: the descriptor is new and owned by nobody else.
    let ruleset = unsafe { OwnedFd::from_raw_fd(fd) };
    for (path, access) in rules {
        let mut options = OpenOptions::new();
        let file = match options.read(true).custom_flags(libc::O_PATH).open(path) {
            Ok(file) => file,
            // What is not there, or out of reach anyway, needs no rule.
            Err(err) if matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => continue,
            Err(err) => return Err(err),
        };
        let all = if file.metadata()?.is_dir() { u64::MAX } else { OF_FILES };
        let access = access.bits() & files & all;
        if access == 0 {
            continue;
        }
        let rule = Beneath { access, folder: file.as_raw_fd() };
        // SAFETY: both descriptors are open and the rule is live; the kernel only reads it.
        let res = unsafe { libc::syscall(ADD_RULE, ruleset.as_raw_fd(), PATH_BENEATH, &raw const rule, 0u32) };
        check(res as libc::c_int)?;
    }
    // SAFETY: the call takes plain numbers.
    check(unsafe { libc::syscall(RESTRICT_SELF, ruleset.as_raw_fd(), 0u32) } as libc::c_int)?;
    Ok(Some(version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_forbids_more() {
        assert_eq!(handled(1), 0x1fff);
        assert_eq!(handled(2), 0x3fff);
        assert_eq!((handled(3), handled(4)), (0x7fff, 0x7fff));
        assert_eq!((handled(5), handled(9)), (0xffff, 0xffff));
    }

    #[test]
    fn a_rule_for_writing_lets_nothing_run() {
        assert_eq!(Access::Write.bits() & 1, 0);
        assert_eq!(Access::Write.bits() & !handled(9), 0);
    }
}
