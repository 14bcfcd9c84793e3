//! Capabilities (capabilities(7)): which a process keeps, and that it never gets another one.

use std::io;

use super::check;

/// A capability by its number in linux/capability.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Cap {
    /// Changing whom files belong to.
    Chown = 0,
    /// Reading and writing whatever the rights of files say.
    DacOverride = 1,
    /// Doing with anybody's files what their owner may do.
    Fowner = 3,
    /// Signals to processes of others.
    Kill = 5,
    /// Raw sockets.
    NetRaw = 13,
    /// Setting the clock.
    SysTime = 25,
}

/// `_LINUX_CAPABILITY_VERSION_3`: sets of 64 bits, in two halves.
const VERSION: u32 = 0x2008_0522;
/// More than there are; the kernel says which one is none.
const MAX: libc::c_ulong = 63;

#[repr(C)]
struct Header {
    version: u32,
    pid: libc::c_int,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Half {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Gives up every capability but those in `keep` that this process has. A program that it runs as root gets root's again.
pub fn keep(keep: &[Cap]) -> io::Result<()> {
    let header = Header { version: VERSION, pid: 0 };
    let mut halves = [Half::default(); 2];
    // SAFETY: both structures are live and of the layout of this version; the kernel fills the second.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw const header, halves.as_mut_ptr()) } as libc::c_int)?;
    let mut wanted = [0u32; 2];
    keep.iter().for_each(|it| wanted[*it as usize / 32] |= 1 << (*it as u32 % 32));
    for (half, wanted) in halves.iter_mut().zip(wanted) {
        let left = half.permitted & wanted;
        *half = Half { effective: left, permitted: left, inheritable: 0 };
    }
    // SAFETY: as above; the kernel only reads both.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, halves.as_ptr()) } as libc::c_int).map(drop)
}

/// Sees to it that no program gives this process, or what it starts, a capability that it lacks. For this a process must
/// have CAP_SETPCAP; without it there is nothing to bound.
pub fn bound() {
    for cap in 0..=MAX {
        // SAFETY: prctl takes plain numbers.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, cap, 0, 0, 0) } != 0 {
            return;
        }
    }
}

/// Never again will a program give this process, or what it starts, more rights than it has (`no_new_privs`).
pub fn no_new_privileges() -> io::Result<()> {
    let (yes, none): (libc::c_ulong, libc::c_ulong) = (1, 0);
    // SAFETY: prctl takes plain numbers.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, yes, none, none, none) }).map(drop)
}
