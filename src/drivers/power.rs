//! What is known of the last boot, and whether the next one is due: a file that remembers, over a reboot, that somebody
//! asked for it, and one that remembers, until then, that something was installed which only runs after it.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::sys::fs;

/// Name of the file in the state folder.
const FILE: &str = "boot.json";
/// Name of the file that holds the boot in which something was installed that only the next one runs.
const DUE: &str = "reboot-due";
/// The WebAPI's words for a reboot that software asked for, and for one of which nothing is known.
const SOFTWARE: &str = "software reset";
const UNKNOWN: &str = "unknown reset";

/// The last boot, as `/sys/boot` tells it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Boot {
    /// Which boot this is about; another number means that the machine has started anew.
    id: String,
    /// Why the machine started.
    pub reason: String,
    /// When a user last asked for a reboot: Unix seconds as a decimal string.
    pub time: Option<String>,
    /// Somebody has asked for a reboot since, which has not come yet.
    asked: bool,
}

/// What there is to know of the boot `id`, remembered for the next one.
pub fn boot(state_dir: &Path, id: &str) -> io::Result<Boot> {
    let before = read(state_dir);
    if let Some(same) = before.as_ref().filter(|it| it.id == id) {
        return Ok(same.clone());
    }
    let asked = before.as_ref().is_some_and(|it| it.asked);
    let reason = if asked { SOFTWARE } else { UNKNOWN };
    let res = Boot { id: id.into(), reason: reason.into(), time: before.and_then(|it| it.time), asked: false };
    write(state_dir, &res)?;
    Ok(res)
}

/// Notes that a user asks for a reboot now; `time` is the wall clock as a decimal string.
pub fn asked(state_dir: &Path, time: &str) -> io::Result<()> {
    let before = read(state_dir);
    let known = |it: fn(Boot) -> String| before.clone().map_or_else(String::new, it);
    let (id, reason) = (known(|it| it.id), known(|it| it.reason));
    write(state_dir, &Boot { id, reason, time: Some(time.into()), asked: true })
}

/// Takes back what [`asked`] noted: the machine was not rebooted.
pub fn not_asked(state_dir: &Path) -> io::Result<()> {
    match read(state_dir) {
        Some(boot) => write(state_dir, &Boot { asked: false, ..boot }),
        None => Ok(()),
    }
}

/// Notes that what was installed in the boot `id` runs only after a reboot.
pub fn need(state_dir: &Path, id: &str) -> io::Result<()> {
    fs::replace(&state_dir.join(DUE), id.as_bytes(), 0o600)
}

/// Whether the boot `id` is still without the reboot that [`need`] asked for.
pub fn is_needed(state_dir: &Path, id: &str) -> bool {
    std::fs::read(state_dir.join(DUE)).is_ok_and(|it| it == id.as_bytes())
}

/// A file that is missing or damaged is as good as no memory at all.
fn read(state_dir: &Path) -> Option<Boot> {
    serde_json::from_slice(&std::fs::read(state_dir.join(FILE)).ok()?).ok()
}

fn write(state_dir: &Path, boot: &Boot) -> io::Result<()> {
    let text = serde_json::to_vec(boot).expect("a boot is plain data");
    fs::replace(&state_dir.join(FILE), &text, 0o600)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::random;

    #[test]
    fn only_a_reboot_that_was_asked_for_is_one_of_software() {
        let dir = std::env::temp_dir().join(format!("meterd-boot-{}", random::name()));
        fs::private_dir(&dir).unwrap();
        let seen = |id: &str| {
            let it = boot(&dir, id).unwrap();
            (it.reason, it.time)
        };
        assert_eq!(seen("a"), (UNKNOWN.into(), None));
        asked(&dir, "17.5").unwrap();
        // The service may start again before the machine does.
        assert_eq!(seen("a"), (UNKNOWN.into(), Some("17.5".into())));
        assert_eq!(seen("b"), (SOFTWARE.into(), Some("17.5".into())));
        assert_eq!(seen("b"), (SOFTWARE.into(), Some("17.5".into())));
        assert_eq!(seen("c"), (UNKNOWN.into(), Some("17.5".into())));
        asked(&dir, "18").unwrap();
        not_asked(&dir).unwrap();
        assert_eq!(seen("d"), (UNKNOWN.into(), Some("18".into())));
        std::fs::write(dir.join(FILE), "{").unwrap();
        assert_eq!(seen("e"), (UNKNOWN.into(), None));
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_reboot_is_needed_until_it_has_come() {
        let dir = std::env::temp_dir().join(format!("meterd-boot-{}", random::name()));
        fs::private_dir(&dir).unwrap();
        assert!(!is_needed(&dir, "a"));
        need(&dir, "a").unwrap();
        assert!(is_needed(&dir, "a") && !is_needed(&dir, "b") && !is_needed(&dir, ""));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
