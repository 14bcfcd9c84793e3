//! Becoming two processes, while there is one thread: a child that runs a function, and whether it still lives.

use std::io;

/// A child process.
#[derive(Debug)]
pub struct Child(libc::pid_t);

/// Starts a process that runs `body` and ends. To be called before any other thread exists: a lock that one of them holds
/// would never be given up in the child.
pub fn fork(body: impl FnOnce()) -> io::Result<Child> {
    // Only debug builds look: an emulator of user mode has threads of its own, which do no harm.
    if cfg!(debug_assertions) && threads()? != 1 {
        return Err(io::Error::other("there are other threads already"));
    }
    // SAFETY: there is one thread, so the child is a whole copy of this process, in which everything goes on working.
    match super::check(unsafe { libc::fork() })? {
        0 => {
            // Whatever happens in there, the code above must not go on twice.
            let res = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            // SAFETY: _exit ends the process; nothing that the parent has buffered or will clean up is touched.
            unsafe { libc::_exit(i32::from(res.is_err())) }
        }
        pid => Ok(Child(pid)),
    }
}

impl Child {
    /// Whether it has ended, which is asked without waiting.
    pub fn has_ended(&self) -> bool {
        let mut status = 0;
        // SAFETY: `status` is a live int; the process is a child of ours, or the call says that it is not.
        unsafe { libc::waitpid(self.0, &raw mut status, libc::WNOHANG) != 0 }
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.0 as u32
    }
}

/// How many threads this process has.
fn threads() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_forks_beside_other_threads() {
        // A test has at least the thread of the harness beside it.
        let idle = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| idle.wait());
            assert!(fork(|| {}).is_err());
            idle.wait();
        });
    }
}
