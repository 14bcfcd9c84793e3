//! Random bytes from the kernel.

use std::io;

/// Fills `buf` with bytes fit for keys and tokens; blocks only before the kernel's pool is first seeded.
///
/// # Panics
/// When the kernel has no `getrandom` (before Linux 3.17): running with guessable tokens is not an option.
pub fn fill(buf: &mut [u8]) {
    let mut at = 0;
    while at < buf.len() {
        let rest = &mut buf[at..];
        // SAFETY: the kernel writes at most `rest.len()` bytes into `rest`, which is live and exclusive here.
        let n = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        match usize::try_from(n) {
            Ok(n) => at += n,
            Err(_) => {
                let err = io::Error::last_os_error();
                assert_eq!(err.kind(), io::ErrorKind::Interrupted, "getrandom: {err}");
            }
        }
    }
}

/// `N` random bytes.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut res = [0; N];
    fill(&mut res);
    res
}

/// Sixteen random hexadecimal digits, for a file that is to have a name of its own.
pub fn name() -> String {
    format!("{:016x}", u64::from_ne_bytes(bytes()))
}
