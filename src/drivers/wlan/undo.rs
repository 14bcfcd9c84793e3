//! The way back: one change at a time, a mark on the disk while one is under way, and what puts a failed one right. It
//! does not know what the change was for.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::control::{Control, Trouble};
use super::text::Network;
use super::{Failure, Timings, networks};
use crate::sys;

/// Control sockets whose networks are being changed.
static BUSY: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// The right to change the networks of one socket, held by one at a time.
pub(super) struct Turn(PathBuf);

impl Turn {
    pub fn take(control: &Path) -> Result<Turn, Failure> {
        let mut busy = BUSY.lock().unwrap_or_else(PoisonError::into_inner);
        if busy.iter().any(|it| it == control) {
            return Err(Failure::Busy);
        }
        busy.push(control.into());
        Ok(Turn(control.into()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        BUSY.lock().unwrap_or_else(PoisonError::into_inner).retain(|it| *it != self.0);
    }
}

/// Writes the mark that a change is under way, durably.
pub(super) fn mark(marker: &Path) -> Result<(), Failure> {
    let text = b"A change of the WLAN is under way. meterd reads this at its start.\n";
    sys::fs::replace(marker, text, 0o600).map_err(|err| Failure::Mark(marker.into(), err))
}

/// Removes the mark. One that stays costs a reconnection at the next start, no more.
pub(super) fn unmark(marker: &Path) {
    let remove = || -> io::Result<()> {
        fs::remove_file(marker)?;
        match marker.parent().filter(|it| !it.as_os_str().is_empty()) {
            Some(dir) => sys::fs::sync_dir(dir),
            None => Ok(()),
        }
    };
    if let Err(err) = remove() {
        log::warn!("{}: {err}", marker.display());
    }
}

/// What a change has done so far.
#[derive(Default)]
pub(super) struct Trail {
    /// The network that it made.
    pub added: Option<u32>,
    /// Whether the supplicant's file may have been rewritten.
    pub saved: bool,
}

/// Makes everything as it was: the new network goes, the one that was current is selected again, and the others are as
/// enabled as they were.
pub(super) fn put_back(control: &Control<'_>, before: &[Network], trail: &Trail) -> Result<(), Trouble> {
    if let Some(id) = trail.added {
        control.order(&format!("REMOVE_NETWORK {id}"))?;
    }
    let current = before.iter().find(|it| it.is_current() && it.is_enabled());
    match current {
        Some(it) => control.order(&format!("SELECT_NETWORK {}", it.id))?,
        None => {
            for it in before.iter().filter(|it| !it.is_enabled() && !it.is_group()) {
                control.order(&format!("DISABLE_NETWORK {}", it.id))?;
            }
        }
    }
    let enabled: Vec<u32> = before.iter().filter(|it| it.is_enabled()).map(|it| it.id).collect();
    for id in enabled.iter().filter(|id| current.is_none_or(|it| it.id != **id)) {
        control.order(&format!("ENABLE_NETWORK {id}"))?;
    }
    if current.is_none() && !enabled.is_empty() {
        control.order("REASSOCIATE")?;
    }
    if trail.saved {
        control.order("SAVE_CONFIG")?;
    }
    Ok(())
}

/// Makes the supplicant forget what is not in its file. A file in which nothing is enabled would leave the meter
/// without any WLAN; then everything in it is tried.
pub(super) fn reload(control: &Path, timings: &Timings, cancelled: &dyn Fn() -> bool) -> Result<(), Trouble> {
    let control = Control::open(control, timings.reply, cancelled)?;
    control.order("RECONFIGURE")?;
    let list = networks::list(&control)?;
    if list.iter().any(|it| !it.is_group()) && !list.iter().any(Network::is_enabled) {
        log::warn!("no WLAN network was enabled any more; now all are");
        control.order("ENABLE_NETWORK all")?;
        control.order("SAVE_CONFIG")?;
    }
    Ok(())
}
