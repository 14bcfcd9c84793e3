//! What the kernel says of the machine's name and of itself (uname(2)).

use std::ffi::CStr;
use std::io;

/// The host name.
pub fn name() -> String {
    uname(|it| &it.nodename)
}

/// Release and build of the running kernel.
pub fn kernel() -> String {
    format!("{} {}", uname(|it| &it.release), uname(|it| &it.version))
}

/// A random number that the kernel draws at each boot, as text.
pub fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

fn uname(field: impl Fn(&libc::utsname) -> &[libc::c_char]) -> String {
    // SAFETY: all-zero is a valid utsname; the kernel fills every field with a NUL-terminated string.
    let (res, uts) = unsafe {
        let mut uts: libc::utsname = std::mem::zeroed();
        (libc::uname(&mut uts), uts)
    };
    if res != 0 {
        return String::new();
    }
    // c_char is signed on some targets and unsigned on others.
    #[allow(clippy::unnecessary_cast)]
    let bytes: Vec<u8> = field(&uts).iter().map(|&it| it as u8).collect();
    CStr::from_bytes_until_nul(&bytes).map(|it| it.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_names_itself() {
        assert!(!name().is_empty());
        assert!(kernel().chars().next().is_some_and(|it| it.is_ascii_digit()));
    }
}
