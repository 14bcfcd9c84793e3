//! Files that survive a power cut: written beside, synced, renamed, folder synced.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::process;

/// Makes the entries of a folder durable (creations, renames, removals).
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Replaces `path` so that after a cut either the old or the new content is there, never a mixture. After an error the old
/// one is, unless its text says that the new one has no more than to be made durable.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let dir = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temp = path.with_extension("new");
    // What a cut has left may have another mode.
    match fs::remove_file(&temp) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temp)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temp, path)?;
    sync_dir(dir).map_err(|err| {
        io::Error::new(
            err.kind(),
            format!("it is in place, but its folder cannot be synced: a power cut may undo it; {err}"),
        )
    })
}

/// Opens a file for writing, made if it is missing; a link in its place is an error, since it may lead anywhere.
pub fn open_own(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(path)
}

/// Makes a folder (and its parents) that only its owner can enter, durably; one that exists is left as it is.
pub fn private_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if parent != dir {
        private_dir(parent)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(dir) {
        // Somebody else was quicker.
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        Err(err) => Err(err),
        Ok(()) => sync_dir(parent),
    }
}

/// Whether a folder that others could have made is ours alone, or that of `user`, whom we trust as much; an error says
/// that it is not.
pub fn check_private(dir: &Path, user: Option<u32>) -> io::Result<()> {
    let meta = fs::symlink_metadata(dir)?;
    let ours = meta.uid() == process::own_uid() || user == Some(meta.uid());
    if meta.is_dir() && ours && meta.mode() & 0o077 == 0 {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("{}: not a folder of ours alone", dir.display())))
    }
}

/// Writes everything that any file system still holds in memory to its disk (sync(2)).
pub fn sync_everything() {
    // SAFETY: sync has no arguments and cannot fail.
    unsafe { libc::sync() };
}

/// Bytes that an unprivileged process may still write on the file system of `path`.
pub fn free_space(path: &Path) -> io::Result<u64> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    // SAFETY: all-zero is a valid statvfs; the path is a live C string; the kernel fills the struct.
    let (res, vfs) = unsafe {
        let mut vfs: libc::statvfs = std::mem::zeroed();
        (libc::statvfs(path.as_ptr(), &mut vfs), vfs)
    };
    super::check(res)?;
    // The fields are 32 bits wide on some targets.
    #[allow(clippy::unnecessary_cast)]
    Ok((vfs.f_bavail as u64).saturating_mul(vfs.f_frsize as u64))
}
