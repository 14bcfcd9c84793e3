//! A folder held open, so that what is done in it is done in it and nowhere else, whatever its path comes to mean.

use std::ffi::{CString, OsStr};
use std::fs::{self, File, ReadDir};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::process;

/// An open folder.
pub struct Dir(File);

impl Dir {
    /// Opens a folder; a symbolic link in its path is followed.
    pub fn open(path: &Path) -> io::Result<Dir> {
        let mut options = fs::OpenOptions::new();
        options.read(true).custom_flags(libc::O_DIRECTORY).open(path).map(Dir)
    }

    /// Makes a folder in this one that only this process's user may enter, and opens it. An error of `PermissionDenied` says
    /// that somebody has put another one in its place meanwhile.
    pub fn make(&self, name: &OsStr) -> io::Result<Dir> {
        let text = c_name(name)?;
        // SAFETY: the descriptor is open and the name a live C string.
        super::check(unsafe { libc::mkdirat(self.0.as_raw_fd(), text.as_ptr(), 0o700) })?;
        let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
        // SAFETY: as above; the descriptor that comes back is new and owned by nobody else.
        let file = unsafe {
            let fd = super::check(libc::openat(self.0.as_raw_fd(), text.as_ptr(), flags))?;
            File::from_raw_fd(fd)
        };
        let meta = file.metadata()?;
        if meta.uid() != process::own_uid() || meta.mode() & 0o077 != 0 {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(Dir(file))
    }

    /// Moves what is called `name` here, link or not, into another folder on the same file system.
    pub fn rename_into(&self, name: &OsStr, other: &Dir) -> io::Result<()> {
        let text = c_name(name)?;
        // SAFETY: both descriptors are open and the name is a live C string.
        let res = unsafe { libc::renameat(self.0.as_raw_fd(), text.as_ptr(), other.0.as_raw_fd(), text.as_ptr()) };
        super::check(res).map(drop)
    }

    /// A path to something in this very folder.
    pub fn path(&self, name: &OsStr) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd())).join(name)
    }

    /// What is in it.
    pub fn entries(&self) -> io::Result<ReadDir> {
        fs::read_dir(self.path(OsStr::new("")))
    }
}

fn c_name(name: &OsStr) -> io::Result<CString> {
    CString::new(name.as_bytes()).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::random;

    #[test]
    fn a_folder_stays_itself_when_its_path_leads_elsewhere() {
        let base = std::env::temp_dir().join(format!("meterd-dir-{}", random::name()));
        fs::create_dir_all(base.join("here")).unwrap();
        fs::create_dir(base.join("elsewhere")).unwrap();
        fs::write(base.join("here/file"), "x").unwrap();
        let here = Dir::open(&base.join("here")).unwrap();
        fs::rename(base.join("here"), base.join("moved")).unwrap();
        std::os::unix::fs::symlink(base.join("elsewhere"), base.join("here")).unwrap();
        let inside = here.make(OsStr::new("inside")).unwrap();
        here.rename_into(OsStr::new("file"), &inside).unwrap();
        assert!(base.join("moved/inside/file").exists());
        assert_eq!(fs::read_dir(base.join("elsewhere")).unwrap().count(), 0);
        assert_eq!(here.entries().unwrap().count(), 1);
        fs::remove_dir_all(&base).unwrap();
    }
}
