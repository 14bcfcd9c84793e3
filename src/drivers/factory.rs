//! The factory restore, which survives a power cut at any point: a durable marker is all that the command leaves, and the
//! wipe happens at the next start, before anything is opened. The marker goes last, so a wipe that was cut is done again:
//! either nothing is gone or everything is.

use std::fmt;
use std::fs::{self as files, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::power;
use crate::config::Config;
use crate::sys::fs;

/// Name of the marker in the state folder.
const MARKER: &str = "factory-restore";
/// Name of the file by which a service holds its state folder. Whoever wipes holds it, so it stays.
pub const LOCK: &str = "lock";
/// How often something that cannot be removed is tried before the meter goes on without that.
const ATTEMPTS: usize = 3;

/// An order to restore the factory's state, as the marker has it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// When it was given: the wall clock as a decimal string.
    pub time: String,
    /// The boot in which it was given. It is carried out in a later one, while nothing uses what is to go.
    pub boot: String,
}

/// What could not be removed from the state folder. The marker stays, so the next start tries again.
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

/// Why an order was not given.
#[derive(Debug)]
pub enum OrderError {
    /// It could not be recorded.
    NotGiven(io::Error),
    /// Nor could be taken back what there is of it.
    MayStand(io::Error),
}

impl fmt::Display for OrderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OrderError::NotGiven(err) => write!(f, "Nothing was done: the order could not be recorded ({err})."),
            OrderError::MayStand(err) => write!(
                f,
                "The order could neither be recorded for certain nor be taken back ({err}); the next boot may remove \
                 everything."
            ),
        }
    }
}

impl std::error::Error for OrderError {}

/// Decides that everything goes at the next boot; once this returns, no power cut changes the decision. After an error it
/// does not stand, if the disk still lets anything be removed.
pub fn order(state_dir: &Path, order: &Order) -> Result<(), OrderError> {
    let text = serde_json::to_vec(order).expect("an order is plain data");
    // Where only the last sync fails, the marker is there.
    fs::replace(&state_dir.join(MARKER), &text, 0o600).map_err(|err| match withdraw(state_dir) {
        Ok(()) => OrderError::NotGiven(err),
        Err(_) if !state_dir.join(MARKER).exists() => OrderError::NotGiven(err),
        Err(_) => OrderError::MayStand(err),
    })
}

/// The order that is still to be carried out. One that is there and cannot be read counts: somebody gave it. An error
/// tells that it cannot be known whether there is one; nothing may be removed then.
pub fn pending(state_dir: &Path) -> io::Result<Option<Order>> {
    let path = state_dir.join(MARKER);
    let mut text = Vec::new();
    match File::open(&path) {
        Ok(mut file) => drop(file.read_to_end(&mut text)),
        Err(err) if err.kind() == ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(io::Error::new(err.kind(), format!("{}: {err}", path.display()))),
    }
    Ok(Some(serde_json::from_slice(&text).unwrap_or(Order { time: String::new(), boot: String::new() })))
}

/// Takes an order back, because the machine could not be rebooted.
pub fn withdraw(state_dir: &Path) -> io::Result<()> {
    match files::remove_file(state_dir.join(MARKER)) {
        Err(err) if err.kind() != ErrorKind::NotFound => Err(err),
        _ => fs::sync_dir(state_dir),
    }
}

/// Carries out an order: data and settings in the state folder, and what the machine keeps elsewhere: the supplicant's
/// networks, and what the platform lists. In bench mode only the log says what would go of the latter. To be called while
/// nothing uses any of it.
pub fn wipe(config: &Config, order: &Order) -> Result<(), WipeError> {
    let state_dir = &config.state_dir;
    if config.bench {
        log::info!("bench mode: would remove {:?} and the WLAN's networks", config.platform.factory_restore);
    } else {
        wipe_elsewhere(config);
    }
    let at = |path: &Path, err| WipeError { path: path.into(), err };
    for entry in files::read_dir(state_dir).map_err(|err| at(state_dir, err))? {
        let entry = entry.map_err(|err| at(state_dir, err))?;
        if entry.file_name() != MARKER && entry.file_name() != LOCK {
            remove(&entry.path()).map_err(|err| at(&entry.path(), err))?;
        }
    }
    // That the machine was rebooted, and when, is no setting: `/sys/boot` goes on telling the truth.
    if !order.time.is_empty() {
        power::asked(state_dir, &order.time).map_err(|err| at(state_dir, err))?;
    }
    // Every removal must be on disk before the marker goes.
    fs::sync_everything();
    withdraw(state_dir).map_err(|err| at(state_dir, err))
}

/// What cannot be removed in a few attempts never can be, on a read-only file system say: the rest goes, the log names it,
/// and the meter comes back.
fn wipe_elsewhere(config: &Config) {
    let empty = |path: &PathBuf| (path.clone(), clear as fn(&Path) -> io::Result<()>);
    let networks = config.wlan.iter().map(|it| (it.config.clone(), forget_networks as fn(&Path) -> io::Result<()>));
    for (path, remove) in config.platform.factory_restore.iter().map(empty).chain(networks) {
        for attempt in 1..=ATTEMPTS {
            match remove(&path) {
                Ok(()) => break,
                Err(err) => log::error!("factory restore, attempt {attempt}: {}: {err}", path.display()),
            }
        }
    }
}

/// Empties a folder, which stays: it may be a mount, and those who use it need it. Removes a file. The path that the
/// configuration names is followed if it is a link; links in the folder are removed, not what they point to.
fn clear(path: &Path) -> io::Result<()> {
    let path = match path.canonicalize() {
        Ok(path) => path,
        Err(err) if err.kind() == ErrorKind::NotFound => return Ok(()),
        Err(err) => return Err(err),
    };
    if !path.is_dir() {
        return remove(&path);
    }
    let mut res = Ok(());
    for entry in files::read_dir(&path)? {
        let entry = entry?;
        if let Err(err) = remove(&entry.path()) {
            res = Err(io::Error::new(err.kind(), format!("{}: {err}", entry.path().display())));
        }
    }
    res
}

/// Removes a file, a folder with all that is in it, or a symbolic link, not what it points to.
fn remove(path: &Path) -> io::Result<()> {
    let res = match files::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => files::remove_dir_all(path),
        Ok(_) => files::remove_file(path),
        Err(err) => Err(err),
    };
    match res {
        Err(err) if err.kind() != ErrorKind::NotFound => Err(err),
        _ => Ok(()),
    }
}

/// Takes every network and credential out of a supplicant's configuration and keeps its other settings; so does the draft
/// that the supplicant leaves behind when it is cut while saving go.
fn forget_networks(path: &Path) -> io::Result<()> {
    let path = match path.canonicalize() {
        Ok(path) => path,
        Err(err) if err.kind() == ErrorKind::NotFound => return Ok(()),
        Err(err) => return Err(err),
    };
    let (text, meta) = (files::read(&path)?, files::metadata(&path)?);
    let mut draft = path.clone().into_os_string();
    draft.push(".tmp");
    remove(Path::new(&draft))?;
    fs::replace(&path, &without_networks(&text), meta.mode() & 0o777)?;
    chown(&path, Some(meta.uid()), Some(meta.gid()))
}

/// The lines outside of `network={...}` and `cred={...}`; a block ends with a line that begins with `}`.
fn without_networks(text: &[u8]) -> Vec<u8> {
    let mut inside = false;
    let mut res = Vec::new();
    for line in text.split_inclusive(|it| *it == b'\n') {
        let word = line.trim_ascii();
        if word.starts_with(b"network={") || word.starts_with(b"cred={") {
            inside = true;
        } else if inside {
            inside = !word.starts_with(b"}");
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

    fn given() -> Order {
        Order { time: "17.5".into(), boot: "before".into() }
    }

    #[test]
    fn everything_goes_and_nothing_outside() {
        let place = Place::new();
        let state_dir = &place.1.state_dir;
        assert_eq!(pending(state_dir).unwrap(), None);
        order(state_dir, &given()).unwrap();
        assert_eq!(pending(state_dir).unwrap(), Some(given()));
        assert!(state_dir.join("meter.db").exists(), "the order alone removes nothing");
        wipe(&place.1, &given()).unwrap();
        assert_eq!(place.left(), ["boot.json", "lock"]);
        assert_eq!(files::read_dir(place.0.join("log")).unwrap().count(), 0, "emptied, and still there");
        assert!(place.0.join("outside/kept").exists());
        let supplicant = files::read_to_string(place.0.join("wpa.conf")).unwrap();
        assert_eq!(supplicant, "ctrl_interface=/run/wpa\n\nupdate_config=1\n");
        let boot = power::boot(state_dir, "next").unwrap();
        assert_eq!((boot.reason.as_str(), boot.time.as_deref()), ("software reset", Some("17.5")));
    }

    #[test]
    fn links_that_the_configuration_names_are_followed() {
        let mut place = Place::new();
        files::rename(place.0.join("wpa.conf"), place.0.join("real.conf")).unwrap();
        symlink("real.conf", place.0.join("wpa.conf")).unwrap();
        files::write(place.0.join("real.conf.tmp"), "psk").unwrap();
        files::rename(place.0.join("log"), place.0.join("real")).unwrap();
        symlink("real", place.0.join("log")).unwrap();
        place.1.platform.factory_restore.push(place.0.join("outside/kept"));
        wipe(&place.1, &given()).unwrap();
        let supplicant = files::read_to_string(place.0.join("real.conf")).unwrap();
        assert!(!supplicant.contains("psk") && !place.0.join("real.conf.tmp").exists(), "{supplicant}");
        assert_eq!(files::read_dir(place.0.join("real")).unwrap().count(), 0);
        assert!(!place.0.join("outside/kept").exists(), "a file that is named goes");
    }

    #[test]
    fn what_cannot_be_removed_does_not_keep_the_meter_down() {
        let mut place = Place::new();
        order(&place.1.state_dir, &given()).unwrap();
        place.1.platform.factory_restore.insert(0, place.0.join("wpa.conf/below-a-file"));
        wipe(&place.1, &given()).unwrap();
        assert_eq!(pending(&place.1.state_dir).unwrap(), None);
        assert_eq!(files::read_dir(place.0.join("log")).unwrap().count(), 0, "the rest goes all the same");
    }

    #[test]
    fn a_wipe_that_was_cut_is_done_again() {
        let place = Place::new();
        order(&place.1.state_dir, &given()).unwrap();
        files::remove_file(place.1.state_dir.join("users.json")).unwrap();
        wipe(&place.1, &pending(&place.1.state_dir).unwrap().unwrap()).unwrap();
        assert_eq!(place.left(), ["boot.json", "lock"]);
    }

    #[test]
    fn a_damaged_marker_is_an_order_all_the_same() {
        let place = Place::new();
        files::write(place.1.state_dir.join(MARKER), "").unwrap();
        assert_eq!(pending(&place.1.state_dir).unwrap().unwrap().boot, "");
        withdraw(&place.1.state_dir).unwrap();
        assert_eq!(pending(&place.1.state_dir).unwrap(), None);
    }

    #[test]
    fn a_marker_that_cannot_be_looked_for_is_no_order() {
        let place = Place::new();
        // To be met whoever runs the test: root may open everything.
        symlink(MARKER, place.1.state_dir.join(MARKER)).unwrap();
        let err = pending(&place.1.state_dir).unwrap_err().to_string();
        assert!(err.contains("factory-restore: Too many levels of symbolic links"), "{err}");
    }

    #[test]
    fn an_order_that_cannot_be_recorded_is_none() {
        let place = Place::new();
        let err = order(&place.0.join("nowhere"), &given()).unwrap_err();
        assert!(
            err.to_string().starts_with("Nothing was done: the order could not be recorded (No such file"),
            "{err}"
        );
    }

    #[test]
    fn bench_mode_removes_nothing_elsewhere() {
        let mut place = Place::new();
        place.1.bench = true;
        files::write(place.0.join("log/x"), "x").unwrap();
        wipe(&place.1, &given()).unwrap();
        assert!(place.0.join("log/x").exists());
        assert!(files::read_to_string(place.0.join("wpa.conf")).unwrap().contains("psk"));
        assert_eq!(place.left(), ["boot.json", "lock"]);
    }

    #[test]
    fn a_block_ends_where_its_brace_is() {
        let text = b"a=1\nnetwork={\n\tpsk=\"}\"\n} # end\nb=2\n  cred={\n}\nc=3";
        assert_eq!(without_networks(text), b"a=1\nb=2\nc=3");
    }
}
