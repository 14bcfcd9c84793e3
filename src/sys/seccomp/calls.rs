//! The lists: what the service's own code, SQLite and the C libraries (glibc and musl) ask of the kernel once it serves,
//! by what it is for; and what is refused by name.

use libc::c_long;

use super::{Call, When};

/// What is always allowed, on every architecture; what is asked for most often first.
const ALWAYS: &[c_long] = &[
    // Waiting and looking at clocks.
    libc::SYS_futex,
    libc::SYS_ppoll,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_restart_syscall,
    // Reading and writing what is open.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_fcntl,
    libc::SYS_flock,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync,
    libc::SYS_ftruncate,
    // Files and folders, as far as Landlock and their rights let.
    libc::SYS_openat,
    libc::SYS_statx,
    libc::SYS_fstat,
    libc::SYS_faccessat,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_mkdirat,
    libc::SYS_fchmod,
    libc::SYS_fchown,
    libc::SYS_statfs,
    libc::SYS_getcwd,
    // Sockets.
    libc::SYS_accept4,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_socketpair,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_connect,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    // Memory.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    // Threads and signals of this process.
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_membarrier,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_wait4,
    // What there is to know.
    libc::SYS_getrandom,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_prlimit64,
];

/// What C libraries ask for by older names.
#[cfg(target_arch = "x86_64")]
const OLDER: &[c_long] = &[
    libc::SYS_newfstatat,
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_poll,
];
#[cfg(target_arch = "aarch64")]
const OLDER: &[c_long] = &[libc::SYS_newfstatat];
/// On 32-bit machines also by newer ones, whose files are larger than 2 GiB and whose time goes on after 2038.
#[cfg(target_arch = "arm")]
const OLDER: &[c_long] = &[
    libc::SYS_open,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_poll,
    libc::SYS_send,
    libc::SYS_recv,
    libc::SYS_stat64,
    libc::SYS_lstat64,
    libc::SYS_fstat64,
    libc::SYS_fstatat64,
    libc::SYS_statfs64,
    libc::SYS_fcntl64,
    libc::SYS_ftruncate64,
    libc::SYS__llseek,
    libc::SYS_getuid32,
    libc::SYS_geteuid32,
    libc::SYS_fchown32,
    libc::SYS_ugetrlimit,
    libc::SYS_sigreturn,
    403, // clock_gettime64
    407, // clock_nanosleep_time64
    414, // ppoll_time64
    422, // futex_time64
];

/// The call that maps memory.
#[cfg(not(target_arch = "arm"))]
const MMAP: c_long = libc::SYS_mmap;
#[cfg(target_arch = "arm")]
const MMAP: c_long = libc::SYS_mmap2;

/// What is asked of terminals, sockets and serial ports.
const IOCTLS: &[u32] = &[
    libc::FIONBIO as u32,
    libc::FIONREAD as u32,
    libc::FIOCLEX as u32,
    libc::SIOCGIFINDEX as u32,
    libc::TCGETS as u32,
    libc::TCSETS as u32,
    libc::TCFLSH as u32,
    libc::TIOCEXCL as u32,
    libc::TIOCNXCL as u32,
    libc::TIOCGWINSZ as u32,
];

/// What `process` may ask for.
pub(super) fn allowed(process: u32) -> Vec<Call> {
    let always = |number: &c_long| Call { number: *number, when: When::Always };
    let mut res: Vec<Call> = ALWAYS.iter().chain(OLDER).map(always).collect();
    let no_code = || When::Lacks(2, libc::PROT_EXEC as u32);
    let families = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK].map(|it| it as u32);
    for (number, when) in [
        // Memory is never to be run as code.
        (MMAP, no_code()),
        (libc::SYS_mprotect, no_code()),
        // Threads, no processes. `clone3` keeps its flags where no filter can see them, so it is missing, and C libraries
        // take this one.
        (libc::SYS_clone, When::Has(0, libc::CLONE_THREAD as u32)),
        (libc::SYS_socket, When::Is(0, families.to_vec())),
        (libc::SYS_ioctl, When::Is(1, IOCTLS.to_vec())),
        // Names of threads.
        (libc::SYS_prctl, When::Is(0, vec![libc::PR_SET_NAME as u32])),
        // A process may abort itself.
        (libc::SYS_tgkill, When::Is(0, vec![process])),
    ] {
        res.push(Call { number, when });
    }
    res
}

/// What is refused with "not permitted": other programs, other processes, other users, the machine.
pub(super) const REFUSED: &[c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_mknodat,
    libc::SYS_fchownat,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_settimeofday,
    libc::SYS_reboot,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_quotactl,
    libc::SYS_acct,
    libc::SYS_syslog,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
    #[cfg(target_arch = "arm")]
    libc::SYS_fork,
    #[cfg(target_arch = "arm")]
    libc::SYS_vfork,
    #[cfg(target_arch = "arm")]
    404, // clock_settime64
    #[cfg(target_arch = "arm")]
    405, // clock_adjtime64
];
