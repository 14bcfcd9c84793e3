//! The WLAN, through wpa_supplicant's control socket, the one that wpa_cli speaks to. In reading order: `key` and
//! `text` say what names, keys and replies look like; `control` asks and waits; `networks` is the view; `join` adds,
//! selects and forgets; `undo` puts right what fails and `why` explains it; `file` checks what was saved. It knows one
//! supplicant with one interface, and neither addresses nor routes.
//!
//! Nothing is saved before the meter is associated. So the supplicant's own file always says how the meter is to come
//! back, after a power cut, a restart of the supplicant or an undo.

mod control;
mod failure;
mod file;
mod join;
mod key;
mod networks;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod text;
mod undo;
mod why;

pub use control::Trouble;
pub use failure::Failure;
pub use join::{Change, Saved, change, recover};
pub use key::{Hidden, Key};
pub use networks::view;
pub use text::Ssid;

use std::path::{Path, PathBuf};
use std::time::Duration;

/// The file in the state folder that exists while a change is under way.
pub fn marker(state_dir: &Path) -> PathBuf {
    state_dir.join("wlan-pending")
}

/// How long the steps may take; tests are less patient.
struct Timings {
    /// For one reply. Deriving the key of a passphrase keeps a small meter's supplicant busy for a second or two.
    reply: Duration,
    /// Between two looks at what is being waited for.
    poll: Duration,
    /// From the selection of a network to its association.
    associate: Duration,
    /// From there to a look at what was heard, and between such looks: about a scan's time.
    look: Duration,
    /// From the start of a scan to its results.
    scan: Duration,
    /// For a supplicant to appear that starts later than this service.
    start: Duration,
}

const TIMINGS: Timings = Timings {
    reply: Duration::from_secs(10),
    poll: Duration::from_millis(200),
    associate: Duration::from_secs(30),
    look: Duration::from_secs(5),
    scan: Duration::from_secs(5),
    start: Duration::from_secs(60),
};
