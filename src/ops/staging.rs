//! Staged files: what an upload leaves on flash until the database thread has applied it. A file is durable before
//! anything speaks of it, and none outlives its operation. An upload needs two: the backup as it came, which goes before
//! it is ever written out to flash, and its checked rows, which are sealed.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::token::hex;
use crate::sys::{fs as durable, random};

/// The folder of staged files, below the state folder.
const FOLDER: &str = "staged";

/// A file being written. Dropped before [`Draft::seal`], it is removed again.
pub struct Draft {
    file: File,
    most: u64,
    path: PathBuf,
    bytes: u64,
    sealed: bool,
}

/// A file that will survive a power cut; dropped before [`Staged::keep`], it is removed again.
pub struct Staged {
    path: PathBuf,
    kept: bool,
}

/// The folder below `state_dir`, made if it is missing.
pub fn folder(state_dir: &Path) -> io::Result<PathBuf> {
    let res = state_dir.join(FOLDER);
    durable::private_dir(&res)?;
    Ok(res)
}

impl Draft {
    /// An empty file under a name of its own, for at most `most` bytes.
    pub fn new(folder: &Path, most: u64) -> io::Result<Draft> {
        let path = folder.join(hex(&random::bytes::<8>()));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Draft { file, most, path, bytes: 0, sealed: false })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the file and its folder entry durable.
    pub fn seal(mut self) -> io::Result<Staged> {
        self.file.sync_all()?;
        durable::sync_dir(self.path.parent().unwrap_or(Path::new(".")))?;
        self.sealed = true;
        Ok(Staged { path: self.path.clone(), kept: false })
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.most - self.bytes < bytes.len() as u64 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let n = self.file.write(bytes)?;
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.sealed {
            remove(&self.path);
        }
    }
}

impl Staged {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// From here on the operation owns the file.
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.kept {
            remove(&self.path);
        }
    }
}

/// Removes a staged file; one that is gone already is as good.
pub fn remove(path: &Path) {
    if let Err(err) = fs::remove_file(path)
        && err.kind() != io::ErrorKind::NotFound
    {
        log::warn!("cannot remove {}: {err}", path.display());
    }
}

/// Removes every file that no operation owns: what a power cut left between an upload and its begin row.
pub fn remove_orphans(folder: &Path, owned: &HashSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if !owned.contains(&path) {
            log::info!("removing {}, which no operation owns", path.display());
            remove(&path);
        }
    }
    Ok(())
}

/// Bytes in the folder.
pub fn bytes(folder: &Path) -> io::Result<u64> {
    let mut res = 0;
    for entry in fs::read_dir(folder)? {
        // A file may go between the listing and the look at it.
        res += entry?.metadata().map_or(0, |it| it.len());
    }
    Ok(res)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temp() -> PathBuf {
        let dir = std::env::temp_dir().join(format!("meterd-staging-{}", hex(&random::bytes::<6>())));
        folder(&dir).unwrap()
    }

    #[test]
    fn only_a_kept_file_stays() {
        let dir = temp();
        let mut draft = Draft::new(&dir, 3).unwrap();
        draft.write_all(b"abc").unwrap();
        drop(draft);
        assert_eq!(bytes(&dir).unwrap(), 0);
        let mut draft = Draft::new(&dir, 3).unwrap();
        draft.write_all(b"abc").unwrap();
        assert_eq!(draft.write_all(b"d").unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        let staged = draft.seal().unwrap();
        assert_eq!(bytes(&dir).unwrap(), 3);
        drop(staged);
        assert_eq!(bytes(&dir).unwrap(), 0);
        fs::remove_dir_all(dir.parent().unwrap()).unwrap();
    }

    #[test]
    fn orphans_are_removed_and_owned_files_stay() {
        let dir = temp();
        for name in ["a", "b"] {
            fs::write(dir.join(name), name).unwrap();
        }
        remove_orphans(&dir, &HashSet::from([dir.join("a")])).unwrap();
        assert!(dir.join("a").exists() && !dir.join("b").exists());
        fs::remove_dir_all(dir.parent().unwrap()).unwrap();
    }
}
