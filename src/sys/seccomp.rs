//! System calls that this process may make from a moment on (seccomp(2)); `calls` has the list. Whatever is not on it
//! answers as on a kernel that lacks it, since C libraries try what is new and fall back when it is missing. What an
//! intruder would want is refused by name, so that a refusal says what it is. Nothing is killed for asking.

mod calls;

use std::io;
use std::mem::offset_of;

use super::check;

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "arm")))]
compile_error!("calls have other numbers on each architecture: give seccomp and its list those of this one");

/// What the filter sees of a call (`struct seccomp_data`).
#[repr(C)]
struct Data {
    number: i32,
    architecture: u32,
    _at: u64,
    arguments: [u64; 6],
}

/// The architecture whose numbers these are (linux/audit.h); others that the processor speaks are refused whole.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;
#[cfg(target_arch = "arm")]
const ARCHITECTURE: u32 = 0x4000_0028;

const ALLOW: u32 = 0x7fff_0000;
/// With an error number in its lower half.
const ERRNO: u32 = 0x0005_0000;

/// A call, and when it is allowed.
struct Call {
    number: libc::c_long,
    when: When,
}

/// What the lower half of an argument must be; the upper ones of what is looked at here mean nothing to the kernel.
enum When {
    Always,
    /// One of these.
    Is(u8, Vec<u32>),
    /// With all of these bits.
    Has(u8, u32),
    /// Without any of these bits.
    Lacks(u8, u32),
}

/// Leaves this process, with every thread and process that it will start, the calls of a service that speaks to the
/// network and keeps files: no other program, no process, no clock, no other user. To be called after
/// [`super::caps::no_new_privileges`]. False if this kernel has no filters.
pub fn restrict() -> io::Result<bool> {
    let mut program = program(&calls::allowed(std::process::id()), calls::REFUSED);
    let filter = libc::sock_fprog { len: program.len() as libc::c_ushort, filter: program.as_mut_ptr() };
    // On every thread, should there be more than one.
    let (mode, flags) = (libc::SECCOMP_SET_MODE_FILTER, libc::SECCOMP_FILTER_FLAG_TSYNC);
    // SAFETY: filter and program are live and of the sizes they say; the kernel copies them.
    match check(unsafe { libc::syscall(libc::SYS_seccomp, mode, flags, &raw const filter) } as libc::c_int) {
        Ok(0) => Ok(true),
        // The number of a thread that has a filter of its own.
        Ok(_) => Err(io::Error::other("a thread cannot take the filter")),
        Err(err) if matches!(err.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL)) => Ok(false),
        Err(err) => Err(err),
    }
}

fn program(allowed: &[Call], refused: &[libc::c_long]) -> Vec<libc::sock_filter> {
    let mut res = vec![
        load(offset_of!(Data, architecture)),
        jump(libc::BPF_JEQ, ARCHITECTURE, 1, 0),
        end(ERRNO | libc::EPERM as u32),
        load(offset_of!(Data, number)),
    ];
    for call in allowed {
        let test = |at: u8| load(offset_of!(Data, arguments) + 8 * usize::from(at));
        let body = match &call.when {
            When::Always => vec![end(ALLOW)],
            When::Is(at, values) => {
                let mut body = vec![test(*at)];
                for (n, value) in values.iter().enumerate() {
                    // To the last step, which allows it.
                    body.push(jump(libc::BPF_JEQ, *value, (values.len() - n) as u8, 0));
                }
                body.extend([end(ERRNO | libc::EPERM as u32), end(ALLOW)]);
                body
            }
            When::Has(at, bits) => vec![
                test(*at),
                and(*bits),
                jump(libc::BPF_JEQ, *bits, 1, 0),
                end(ERRNO | libc::EPERM as u32),
                end(ALLOW),
            ],
            When::Lacks(at, bits) => {
                vec![test(*at), jump(libc::BPF_JSET, *bits, 0, 1), end(ERRNO | libc::EPERM as u32), end(ALLOW)]
            }
        };
        res.push(jump(libc::BPF_JEQ, call.number as u32, 0, body.len() as u8));
        res.extend(body);
    }
    for number in refused {
        res.extend([jump(libc::BPF_JEQ, *number as u32, 0, 1), end(ERRNO | libc::EPERM as u32)]);
    }
    res.push(end(ERRNO | libc::ENOSYS as u32));
    res
}

fn load(at: usize) -> libc::sock_filter {
    libc::sock_filter { code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, jt: 0, jf: 0, k: at as u32 }
}

fn and(bits: u32) -> libc::sock_filter {
    libc::sock_filter { code: (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16, jt: 0, jf: 0, k: bits }
}

fn jump(how: u32, value: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code: (libc::BPF_JMP | how | libc::BPF_K) as u16, jt, jf, k: value }
}

fn end(verdict: u32) -> libc::sock_filter {
    libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: verdict }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the filter says of a call, as the kernel works it off.
    fn verdict(program: &[libc::sock_filter], architecture: u32, number: libc::c_long, arguments: [u64; 6]) -> u32 {
        let (mut at, mut value) = (0, 0u32);
        loop {
            let step = &program[at];
            at += 1;
            let jump = |holds: bool| usize::from(if holds { step.jt } else { step.jf });
            match u32::from(step.code) {
                0x20 => {
                    value = match step.k {
                        0 => number as u32,
                        4 => architecture,
                        at => (arguments[(at as usize - 16) / 8] >> (at % 8 * 8)) as u32,
                    }
                }
                0x54 => value &= step.k,
                0x15 => at += jump(value == step.k),
                0x45 => at += jump(value & step.k != 0),
                0x06 => return step.k,
                code => panic!("step {code:#x}"),
            }
        }
    }

    fn of(number: libc::c_long, arguments: [u64; 6]) -> u32 {
        verdict(&program(&calls::allowed(77), calls::REFUSED), ARCHITECTURE, number, arguments)
    }

    const REFUSE: u32 = ERRNO | libc::EPERM as u32;

    #[test]
    fn calls_are_allowed_refused_or_missing() {
        assert_eq!(of(libc::SYS_read, [0; 6]), ALLOW);
        assert_eq!(of(libc::SYS_execve, [0; 6]), REFUSE);
        assert_eq!(of(libc::SYS_clock_settime, [0; 6]), REFUSE);
        assert_eq!(of(100_000, [0; 6]), ERRNO | libc::ENOSYS as u32);
        let filter = program(&calls::allowed(77), calls::REFUSED);
        assert_eq!(verdict(&filter, !ARCHITECTURE, libc::SYS_read, [0; 6]), REFUSE);
    }

    #[test]
    fn arguments_decide_where_a_call_can_do_harm() {
        let first = |value: u64| [value, 0, 0, 0, 0, 0];
        let second = |value: u64| [0, value, 0, 0, 0, 0];
        let third = |value: u64| [0, 0, value, 0, 0, 0];
        for (number, arguments, expect) in [
            (libc::SYS_socket, first(libc::AF_INET6 as u64), ALLOW),
            (libc::SYS_socket, first(libc::AF_PACKET as u64), REFUSE),
            (libc::SYS_clone, first((libc::CLONE_VM | libc::CLONE_THREAD) as u64), ALLOW),
            (libc::SYS_clone, first(libc::SIGCHLD as u64), REFUSE),
            (libc::SYS_mprotect, third((libc::PROT_READ | libc::PROT_WRITE) as u64), ALLOW),
            (libc::SYS_mprotect, third((libc::PROT_READ | libc::PROT_EXEC) as u64), REFUSE),
            (libc::SYS_tgkill, first(77), ALLOW),
            (libc::SYS_tgkill, first(1), REFUSE),
            (libc::SYS_ioctl, second(u64::from(libc::TIOCSTI as u32)), REFUSE),
            (libc::SYS_ioctl, second(u64::from(libc::FIONBIO as u32)), ALLOW),
        ] {
            assert_eq!(of(number, arguments), expect, "{number} {arguments:?}");
        }
    }

    #[test]
    fn no_call_is_on_the_list_twice() {
        let mut numbers: Vec<_> = calls::allowed(77).iter().map(|it| it.number).collect();
        numbers.extend(calls::REFUSED);
        numbers.sort_unstable();
        let count = numbers.len();
        numbers.dedup();
        assert_eq!(numbers.len(), count);
    }
}
