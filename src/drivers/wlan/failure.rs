//! Why a change of the WLAN failed, in words for whoever asked for it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::control::Trouble;

/// Why a change was not made. The WLAN is as before, except with [`Failure::Stuck`], and except when the supplicant
/// died while it saved: then its file, which is whole in any case, decides.
#[derive(Debug)]
pub enum Failure {
    /// Somebody cancelled.
    Cancelled,
    /// Another change is under way.
    Busy,
    /// A member of the request cannot be fulfilled: its name, and why.
    Member(&'static str, String),
    /// The supplicant failed.
    Supplicant(Trouble),
    /// The network works, but it would be gone after a restart.
    NotSaved(PathBuf, String),
    /// The mark that a change is under way cannot be written.
    Mark(PathBuf, io::Error),
    /// The change failed, and so did putting everything back; that is tried again by [`super::recover`].
    Stuck(Box<Failure>, Trouble),
}

impl Failure {
    /// Whether it failed because somebody cancelled it.
    pub fn is_cancelled(&self) -> bool {
        match self {
            Failure::Cancelled => true,
            Failure::Stuck(cause, _) => cause.is_cancelled(),
            _ => false,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Cancelled => f.write_str("Cancelled; the WLAN is as before."),
            Failure::Busy => f.write_str("Another change of the WLAN is under way; wait for it or cancel it."),
            Failure::Member(name, reason) => write!(f, "{name}: {reason}"),
            Failure::Supplicant(trouble) => trouble.fmt(f),
            Failure::NotSaved(path, reason) => {
                write!(f, "The network works, but it could not be saved to {}: {reason}", path.display())
            }
            Failure::Mark(path, err) => write!(f, "Nothing was changed, because {}: {err}.", path.display()),
            Failure::Stuck(cause, trouble) => {
                write!(
                    f,
                    "{cause} What had been before could not be put back; meterd tries it at its next start: {trouble}"
                )
            }
        }
    }
}

impl std::error::Error for Failure {}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Cancelled => Failure::Cancelled,
            trouble => Failure::Supplicant(trouble),
        }
    }
}
