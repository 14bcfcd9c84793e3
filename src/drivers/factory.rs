//! The factory restore, which survives a power cut at any point: a durable marker is all that the command leaves, and the
//! wipe happens at the next start, before anything is opened. The marker goes last, so a wipe that was cut is done again:
//! either nothing is gone or everything is.

use std::fmt;
use std::fs as files;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::power;
use crate::config::Config;
use crate::sys::fs;

/// Name of the marker in the state folder.
const MARKER: &str = "factory-restore";
/// Name of the file by which a service holds its state folder. Whoever wipes holds it, so it stays.
pub const LOCK: &str = "lock";

/// What could not be removed. The marker stays, so the next start tries again.
#[derive(Debug)]
pub struct WipeError {
    path: PathBuf,
    err: io::Error,
}

impl fmt::Display for WipeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "factory restore: {}: {}", self.path.display(), self.err)
    }
}

impl std::error::Error for WipeError {}

/// Decides that everything goes at the next start. `time` is the wall clock as a decimal string; once this returns, no
/// power cut changes the decision.
pub fn mark(state_dir: &Path, time: &str) -> io::Result<()> {
    fs::replace(&state_dir.join(MARKER), time.as_bytes(), 0o600)
}

/// Whether a factory restore is due.
pub fn is_due(state_dir: &Path) -> bool {
    files::symlink_metadata(state_dir.join(MARKER)).is_ok()
}

/// Carries out the factory restore that is due: data and settings in the state folder, the supplicant's networks, and what
/// the platform lists. To be called while nothing uses any of them.
pub fn wipe(config: &Config) -> Result<(), WipeError> {
    let state_dir = &config.state_dir;
    let marker = state_dir.join(MARKER);
    let asked = files::read_to_string(&marker).unwrap_or_default();
    for path in &config.platform.factory_restore {
        remove(path)?;
    }
    if let Some(wlan) = &config.wlan {
        forget_networks(&wlan.config)?;
    }
    let at = |path: &Path, err| WipeError { path: path.into(), err };
    for entry in files::read_dir(state_dir).map_err(|err| at(state_dir, err))? {
        let entry = entry.map_err(|err| at(state_dir, err))?;
        if entry.file_name() != MARKER && entry.file_name() != LOCK {
            remove(&entry.path())?;
        }
    }
    // That the machine was rebooted, and when, is no setting: `/sys/boot` goes on telling the truth.
    if !asked.is_empty() {
        power::asked(state_dir, &asked).map_err(|err| at(state_dir, err))?;
    }
    // Every removal must be on disk before the marker goes.
    fs::sync_everything();
    files::remove_file(&marker).map_err(|err| at(&marker, err))?;
    fs::sync_dir(state_dir).map_err(|err| at(state_dir, err))
}

/// Removes a file, a folder with all that is in it, or a symbolic link, not what it points to.
fn remove(path: &Path) -> Result<(), WipeError> {
    let res = match files::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => files::remove_dir_all(path),
        Ok(_) => files::remove_file(path),
        Err(err) => Err(err),
    };
    match res {
        Err(err) if err.kind() != ErrorKind::NotFound => Err(WipeError { path: path.into(), err }),
        _ => Ok(()),
    }
}

/// Takes every network and credential out of a supplicant's configuration and keeps its other settings.
fn forget_networks(path: &Path) -> Result<(), WipeError> {
    let at = |err| WipeError { path: path.into(), err };
    let text = match files::read(path) {
        Ok(text) => text,
        Err(err) if err.kind() == ErrorKind::NotFound => return Ok(()),
        Err(err) => return Err(at(err)),
    };
    let mode = files::metadata(path).map(|it| std::os::unix::fs::PermissionsExt::mode(&it.permissions()) & 0o777);
    fs::replace(path, &without_networks(&text), mode.map_err(at)?).map_err(at)
}

/// The lines outside of `network={...}` and `cred={...}`; a block ends with a line that holds nothing but `}`.
fn without_networks(text: &[u8]) -> Vec<u8> {
    let mut inside = false;
    let mut res = Vec::new();
    for line in text.split_inclusive(|it| *it == b'\n') {
        let word = line.trim_ascii();
        if word.starts_with(b"network={") || word.starts_with(b"cred={") {
            inside = true;
        } else if inside {
            inside = word != b"}";
        } else {
            res.extend_from_slice(line);
        }
    }
    res
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::config::{Platform, Wlan};
    use crate::sys::random;

    struct Place(PathBuf, Config);

    impl Place {
        fn new() -> Place {
            let dir = std::env::temp_dir().join(format!("meterd-factory-{}", random::name()));
            let state_dir = dir.join("state");
            files::create_dir_all(state_dir.join("staged")).unwrap();
            for name in ["meter.db", "users.json", "staged/one", LOCK] {
                files::write(state_dir.join(name), "x").unwrap();
            }
            files::create_dir(dir.join("outside")).unwrap();
            files::write(dir.join("outside/kept"), "x").unwrap();
            files::create_dir(dir.join("log")).unwrap();
            symlink(dir.join("outside"), dir.join("log/link")).unwrap();
            symlink(dir.join("outside"), state_dir.join("link")).unwrap();
            let supplicant = "ctrl_interface=/run/wpa\nnetwork={\n\tssid=\"a\"\n\tpsk=\"}\"\n}\n\nupdate_config=1\n";
            files::write(dir.join("wpa.conf"), supplicant).unwrap();
            let platform = Platform { factory_restore: vec![dir.join("log"), dir.join("none")], ..Platform::default() };
            let wlan = Some(Wlan { control: dir.join("wlan0"), config: dir.join("wpa.conf") });
            let config = Config { state_dir, platform, wlan, ..Config::default() };
            Place(dir, config)
        }

        fn left(&self) -> Vec<String> {
            let names = files::read_dir(&self.1.state_dir).unwrap();
            let mut res: Vec<_> = names.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
            res.sort();
            res
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = files::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn everything_goes_and_nothing_outside() {
        let place = Place::new();
        assert!(!is_due(&place.1.state_dir));
        mark(&place.1.state_dir, "17.5").unwrap();
        assert!(is_due(&place.1.state_dir));
        assert!(place.1.state_dir.join("meter.db").exists(), "the marker alone removes nothing");
        wipe(&place.1).unwrap();
        assert_eq!(place.left(), ["boot.json", "lock"]);
        assert!(!place.0.join("log").exists() && place.0.join("outside/kept").exists());
        let supplicant = files::read_to_string(place.0.join("wpa.conf")).unwrap();
        assert_eq!(supplicant, "ctrl_interface=/run/wpa\n\nupdate_config=1\n");
        let boot = power::boot(&place.1.state_dir, "next").unwrap();
        assert_eq!((boot.reason.as_str(), boot.time.as_deref()), ("software reset", Some("17.5")));
    }

    #[test]
    fn a_wipe_that_fails_stays_due() {
        let mut place = Place::new();
        mark(&place.1.state_dir, "1").unwrap();
        place.1.platform.factory_restore.push(place.0.join("wpa.conf/below-a-file"));
        assert!(wipe(&place.1).unwrap_err().to_string().contains("below-a-file"));
        assert!(is_due(&place.1.state_dir));
        place.1.platform.factory_restore.pop();
        wipe(&place.1).unwrap();
        assert!(!is_due(&place.1.state_dir));
    }

    #[test]
    fn a_wipe_that_was_cut_is_done_again() {
        let place = Place::new();
        mark(&place.1.state_dir, "1").unwrap();
        files::remove_file(place.1.state_dir.join("users.json")).unwrap();
        wipe(&place.1).unwrap();
        assert_eq!(place.left(), ["boot.json", "lock"]);
    }
}
