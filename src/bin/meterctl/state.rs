//! Small files between two runs: tokens and the journals of interrupted restores. Their folder and they themselves belong to
//! the caller and are closed to everybody else; a symbolic link in their place is never followed.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

/// Bytes of such a file.
const MAX_FILE: u64 = 256 * 1024;

/// The folder of those files.
pub struct State {
    folder: PathBuf,
}

impl State {
    /// Below `XDG_CACHE_HOME`, or `.cache` at home; nothing where neither is known.
    pub fn of_user() -> Option<State> {
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|it| it.is_absolute());
        let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
        Some(State { folder: cache.join("meterctl") })
    }

    /// Reads what was kept under a name; nothing if there is none or it cannot be trusted.
    pub fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        self.check_folder().ok()?;
        let options =
            OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(self.path(name));
        let file = options.ok()?;
        let about = file.metadata().ok()?;
        if !about.is_file() || about.uid() != me() || about.mode() & 0o077 != 0 {
            return None;
        }
        let mut text = String::new();
        file.take(MAX_FILE).read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Keeps something under a name, whole or not at all.
    pub fn write(&self, name: &str, value: &impl Serialize) -> io::Result<()> {
        match fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder) {
            Err(err) if err.kind() != io::ErrorKind::AlreadyExists => return Err(err),
            _ => self.check_folder()?,
        }
        let text = serde_json::to_vec(value)?;
        let draft = self.path(&format!("{name}.{}", std::process::id()));
        // What a killed process of the same number left behind.
        let _ = fs::remove_file(&draft);
        let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).and_then(|mut file| {
            // Whatever the umask took away or a default ACL gave.
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&draft, self.path(name))?;
            File::open(&self.folder)?.sync_all()
        });
        if written.is_err() {
            let _ = fs::remove_file(&draft);
        }
        written
    }

    /// Forgets what was kept under a name.
    pub fn remove(&self, name: &str) {
        let _ = fs::remove_file(self.path(name));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The folder must be a real one, ours, and closed to others.
    fn check_folder(&self) -> io::Result<()> {
        let refuse = |why: &str| {
            Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("{} {why}", self.folder.display())))
        };
        let about = fs::symlink_metadata(&self.folder)?;
        if !about.is_dir() {
            return refuse("is no folder");
        }
        if about.uid() != me() {
            return refuse("belongs to somebody else");
        }
        if about.mode() & 0o022 != 0 {
            return refuse("can be written by others");
        }
        Ok(())
    }
}

fn me() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// A name for what belongs to all of `parts` together.
pub fn key(kind: &str, parts: &[&[u8]]) -> String {
    let mut sha = Sha256::new();
    for part in parts {
        sha.update((part.len() as u64).to_be_bytes());
        sha.update(part);
    }
    format!("{kind}-{}.json", hex(&sha.finalize()[..16]))
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|it| format!("{it:02x}")).collect()
}

/// Random bytes of the kernel.
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open(Path::new("/dev/urandom"))?.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A folder that is gone at the end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new() -> Scratch {
            let path = std::env::temp_dir().join(format!("meterctl-{}", hex(&random::<8>().unwrap())));
            fs::create_dir(&path).unwrap();
            Scratch(path)
        }

        fn state(&self) -> State {
            State { folder: self.0.join("meterctl") }
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn what_is_kept_comes_back_and_is_closed_to_others() {
        let scratch = Scratch::new();
        let state = scratch.state();
        assert_eq!(state.read::<Vec<u32>>("a"), None);
        state.write("a", &[1, 2]).unwrap();
        state.write("a", &[3]).unwrap();
        assert_eq!(state.read::<Vec<u32>>("a"), Some(vec![3]));
        assert_eq!(fs::metadata(state.path("a")).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&state.folder).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&state.folder).unwrap().count(), 1, "no drafts are left");
        state.remove("a");
        assert_eq!(state.read::<Vec<u32>>("a"), None);
    }

    #[test]
    fn links_and_files_that_others_may_read_are_not_trusted() {
        let scratch = Scratch::new();
        let state = scratch.state();
        state.write("a", &7).unwrap();
        symlink(state.path("a"), state.path("b")).unwrap();
        assert_eq!(state.read::<u32>("b"), None);
        let target = scratch.0.join("target");
        fs::write(&target, "keep").unwrap();
        fs::remove_file(state.path("b")).unwrap();
        symlink(&target, state.path("b")).unwrap();
        state.write("b", &8).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "keep");
        assert_eq!(state.read::<u32>("b"), Some(8));
        fs::set_permissions(state.path("a"), Permissions::from_mode(0o640)).unwrap();
        assert_eq!(state.read::<u32>("a"), None);
    }

    #[test]
    fn a_folder_that_is_a_link_or_open_to_others_is_refused() {
        let scratch = Scratch::new();
        let state = scratch.state();
        let elsewhere = scratch.0.join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        symlink(&elsewhere, &state.folder).unwrap();
        assert!(state.write("a", &1).is_err());
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
        fs::remove_file(&state.folder).unwrap();
        fs::create_dir(&state.folder).unwrap();
        fs::set_permissions(&state.folder, Permissions::from_mode(0o777)).unwrap();
        assert!(state.write("a", &1).is_err());
    }

    #[test]
    fn names_depend_on_where_a_part_ends() {
        assert_ne!(key("t", &[b"ab", b"c"]), key("t", &[b"a", b"bc"]));
    }
}
