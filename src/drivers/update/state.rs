//! What updates leave in the state folder: the image that is being fetched, what it is to be, and how new the manifests
//! were that have been seen. Everything survives a power cut; whoever asks next finds what was there, or nothing.
//!
//! ```text
//! update/seen.json     when the newest manifest of each branch was issued
//! update/image.json    which image the file is, or is to become
//! update/image/NAME    the image, as far as it was fetched
//! update/lock          empty; locked by an installer at work, and by whoever must not have one started
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::manifest::Image;
use crate::config::Target;
use crate::sys::fs::{private_dir, replace};

/// Branches whose manifests are remembered; a client may name any, but only signed ones get here.
const MAX_SEEN: usize = 64;

/// A lock that was given up a moment ago may still be held by a program that another thread is just starting, until that
/// has become itself; so it is tried a few times...
const LOCK_TRIES: u32 = 10;
/// ...with this pause in between.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// The folder of updates.
pub struct Folder {
    path: PathBuf,
}

/// Which image the file is to become, and by which mark of the server a rest of it is known to belong to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Record {
    name: String,
    size: u64,
    sha256: String,
    validator: Option<String>,
}

/// An image's file.
pub struct Draft {
    /// Where it is.
    pub path: PathBuf,
    /// Open for reading and writing; its length is what has been fetched.
    pub file: File,
    /// What the server called the file's content: an ETag or a date, for `If-Range`.
    pub validator: Option<String>,
}

impl Folder {
    /// The folder below `state_dir`, made if it is missing.
    pub fn open(state_dir: &Path) -> io::Result<Folder> {
        let path = state_dir.join("update");
        private_dir(&path.join("image"))?;
        Ok(Folder { path })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the lock of installers; nothing if somebody has it: an installer, of this run or of an earlier one, or a
    /// meter that goes down.
    pub fn lock(&self) -> io::Result<Option<File>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(self.path.join("lock"))?;
        for _ in 0..LOCK_TRIES {
            match file.try_lock() {
                Ok(()) => return Ok(Some(file)),
                Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
                Err(TryLockError::Error(err)) => return Err(err),
            }
        }
        Ok(None)
    }

    /// Remembers a manifest of this branch by when it was issued; when the newest one was, which this is or is not.
    pub fn note_seen(&self, target: Target, branch: &str, issued: &str) -> io::Result<String> {
        // Lists of several clients at once must not write over each other's memory.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen = self.seen()?;
        let key = key(target, branch);
        if let Some(newest) = seen.get(&key).filter(|it| issued <= it.as_str()) {
            return Ok(newest.clone());
        }
        if MAX_SEEN <= seen.len() && !seen.contains_key(&key) {
            // Forgetting one would open the way back for it.
            return Err(io::Error::other(format!("more than {MAX_SEEN} release branches were used on this meter")));
        }
        seen.insert(key, issued.into());
        let text = serde_json::to_vec(&seen)?;
        replace(&self.path.join("seen.json"), &text, 0o600)?;
        Ok(issued.into())
    }

    /// Only a missing file is an empty memory: with one that cannot be read, an old manifest would pass for a new one.
    fn seen(&self) -> io::Result<BTreeMap<String, String>> {
        let path = self.path.join("seen.json");
        let text = match fs::read(&path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            text => text?,
        };
        serde_json::from_slice(&text).map_err(|_| {
            let what = "is damaged, so no manifest can be known to be new; remove it to begin with the next one";
            io::Error::new(io::ErrorKind::InvalidData, format!("{} {what}", path.display()))
        })
    }

    /// Bytes of `image` that are here already.
    pub fn bytes_of(&self, image: &Image) -> u64 {
        if !self.record().is_some_and(|it| it.is_of(image)) {
            return 0;
        }
        fs::metadata(self.image_path(image)).map_or(0, |it| it.len().min(image.size))
    }

    /// The file of `image`, with what an earlier attempt has fetched of it. Whatever else was fetched is removed.
    pub fn draft(&self, image: &Image) -> io::Result<Draft> {
        let record = match self.record().filter(|it| it.is_of(image)) {
            Some(record) => record,
            None => {
                self.clear()?;
                let record = Record {
                    name: image.name.clone(),
                    size: image.size,
                    sha256: image.sha256.clone(),
                    validator: None,
                };
                self.write(&record)?;
                record
            }
        };
        let path = self.image_path(image);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        if image.size < file.metadata()?.len() {
            file.set_len(0)?;
        }
        Ok(Draft { path, file, validator: record.validator })
    }

    /// Remembers what the server calls the content that it is about to send.
    pub fn note_validator(&self, image: &Image, validator: Option<&str>) -> io::Result<()> {
        let (name, sha256) = (image.name.clone(), image.sha256.clone());
        self.write(&Record { name, size: image.size, sha256, validator: validator.map(str::to_owned) })
    }

    /// Removes every image.
    pub fn clear(&self) -> io::Result<()> {
        // First the record: a file without one is never taken for anything.
        match fs::remove_file(self.path.join("image.json")) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
            _ => {}
        }
        for it in fs::read_dir(self.path.join("image"))? {
            fs::remove_file(it?.path())?;
        }
        Ok(())
    }

    fn image_path(&self, image: &Image) -> PathBuf {
        self.path.join("image").join(&image.name)
    }

    fn record(&self) -> Option<Record> {
        serde_json::from_slice(&fs::read(self.path.join("image.json")).ok()?).ok()
    }

    fn write(&self, record: &Record) -> io::Result<()> {
        replace(&self.path.join("image.json"), &serde_json::to_vec(record)?, 0o600)
    }
}

impl Record {
    fn is_of(&self, image: &Image) -> bool {
        self.name == image.name && self.size == image.size && self.sha256 == image.sha256
    }
}

fn key(target: Target, branch: &str) -> String {
    format!("{}/{branch}", target.name())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::testing::{TempDir, image};
    use super::*;

    #[test]
    fn the_newest_manifest_is_remembered_by_branch() {
        let dir = TempDir::new();
        let folder = Folder::open(&dir.0).unwrap();
        for (issued, expect) in [("2026-02", "2026-02"), ("2026-01", "2026-02"), ("2026-03", "2026-03")] {
            let again = Folder::open(&dir.0).unwrap();
            assert_eq!(again.note_seen(Target::Fw, "stable", issued).unwrap(), expect);
        }
        assert_eq!(folder.note_seen(Target::Kernel, "stable", "2026-01").unwrap(), "2026-01");
        for at in 2..MAX_SEEN {
            folder.note_seen(Target::Fw, &at.to_string(), "2026-01").unwrap();
        }
        assert!(folder.note_seen(Target::Fw, "one-more", "2026-01").is_err());
        folder.note_seen(Target::Fw, "stable", "2026-04").unwrap();
    }

    #[test]
    fn a_memory_that_cannot_be_read_lets_no_manifest_pass() {
        let dir = TempDir::new();
        let folder = Folder::open(&dir.0).unwrap();
        folder.note_seen(Target::Fw, "stable", "2026-02").unwrap();
        for damaged in ["", "{", "[]"] {
            fs::write(dir.0.join("update/seen.json"), damaged).unwrap();
            let err = folder.note_seen(Target::Fw, "stable", "2026-03").unwrap_err().to_string();
            assert!(err.contains("seen.json is damaged"), "{err}");
            assert_eq!(fs::read(dir.0.join("update/seen.json")).unwrap(), damaged.as_bytes());
        }
    }

    #[test]
    fn lists_at_the_same_time_forget_nothing() {
        let dir = TempDir::new();
        thread::scope(|scope| {
            for branch in 0..8 {
                let folder = Folder::open(&dir.0).unwrap();
                scope.spawn(move || folder.note_seen(Target::Fw, &branch.to_string(), "2026-01").unwrap());
            }
        });
        assert_eq!(Folder::open(&dir.0).unwrap().seen().unwrap().len(), 8);
    }

    #[test]
    fn what_was_fetched_of_an_image_is_found_again_and_of_another_removed() {
        let dir = TempDir::new();
        let folder = Folder::open(&dir.0).unwrap();
        let one = image("one.bin", b"12345678");
        folder.draft(&one).unwrap().file.write_all(b"1234").unwrap();
        folder.note_validator(&one, Some("\"x\"")).unwrap();
        assert_eq!(folder.bytes_of(&one), 4);
        let draft = folder.draft(&one).unwrap();
        assert_eq!((draft.file.metadata().unwrap().len(), draft.validator.as_deref()), (4, Some("\"x\"")));
        // The same name with other content is another image.
        let other = image("one.bin", b"87654321");
        assert_eq!(folder.bytes_of(&other), 0);
        let draft = folder.draft(&other).unwrap();
        assert_eq!((draft.file.metadata().unwrap().len(), draft.validator), (0, None));
        folder.draft(&image("two.bin", b"x")).unwrap();
        assert_eq!(fs::read_dir(dir.0.join("update/image")).unwrap().count(), 1);
    }

    #[test]
    fn more_than_the_image_or_a_damaged_record_counts_as_nothing() {
        let dir = TempDir::new();
        let folder = Folder::open(&dir.0).unwrap();
        let one = image("one.bin", b"1234");
        folder.draft(&one).unwrap().file.write_all(b"12345").unwrap();
        assert_eq!(folder.draft(&one).unwrap().file.metadata().unwrap().len(), 0);
        folder.draft(&one).unwrap().file.write_all(b"12").unwrap();
        fs::write(dir.0.join("update/image.json"), "{").unwrap();
        assert_eq!(folder.bytes_of(&one), 0);
        assert_eq!(folder.draft(&one).unwrap().file.metadata().unwrap().len(), 0);
    }

    #[test]
    fn the_lock_is_held_by_one() {
        let dir = TempDir::new();
        let folder = Folder::open(&dir.0).unwrap();
        let lock = folder.lock().unwrap();
        assert!(lock.is_some() && folder.lock().unwrap().is_none());
        drop(lock);
        assert!((0..10).any(|_| folder.lock().unwrap().is_some()));
    }
}
