//! Why an update did not happen: the WebAPI's tag with its arguments, and words for a technician.

use std::fmt;
use std::io;

use crate::drivers::reach::{ReachError, Stop};
use crate::platform::PlatformError;

/// Why an update did not happen. Until the installer has begun to write, the meter is as before.
#[derive(Debug)]
pub enum Failure {
    /// Somebody cancelled it.
    Cancelled,
    /// The meter is not set up for it; the text is the missing key.
    Missing(&'static str),
    /// The version that runs is not one that can be compared; key, text and reason.
    Unknown(&'static str, String, &'static str),
    /// The manifest is not signed by the configured key.
    BadSignature,
    /// The manifest is signed, and wrong all the same.
    BadManifest(String),
    /// An older manifest than one that was there before; both times of issue.
    Rollback(String, String),
    /// There is no such image, or none at all; the version that was asked for.
    NoImage(String),
    /// The image is for other hardware; its hardware and this meter's.
    OtherHardware(String, String),
    /// The image is not newer; its version and the installed one.
    NotNewer(String, String),
    /// The installed version is too old for the image; its version, the one it needs, and the installed one.
    TooOld(String, String, String),
    /// No room for the image; its name, the bytes that it takes beside a reserve, and those that are free.
    NoRoom(String, u64, u64),
    /// A file could not be fetched; which one, and why.
    Download(String, String),
    /// What was fetched is not what the manifest names.
    WrongImage,
    /// A file of the state folder is not to be written or read.
    Files(io::Error),
    /// An installer of an earlier run is still at work.
    InstallerBusy,
    /// The installer failed; its last tag and what that was about, and what it said.
    Installer(&'static str, String, String),
    /// The installer could not be started.
    Platform(PlatformError),
}

impl Failure {
    /// The tag of the WebAPI, with as many arguments as it needs.
    pub fn fault(&self) -> (&'static str, Vec<String>) {
        let text = || self.to_string();
        match self {
            Failure::Cancelled => ("CANCELED", vec![]),
            Failure::BadSignature => ("BADSIG", vec![]),
            Failure::BadManifest(_) | Failure::Rollback(..) => ("NO_IMAGE", vec![text()]),
            Failure::NoImage(version) => ("NO_IMAGE", vec![version.clone()]),
            Failure::OtherHardware(image, meter) => ("INCOMPATBILE", vec![image.clone(), meter.clone()]),
            Failure::TooOld(_, minimum, installed) => ("INCOMPATBILE", vec![minimum.clone(), installed.clone()]),
            Failure::NotNewer(image, installed) => ("NOT_NEWER", vec![image.clone(), installed.clone()]),
            Failure::NoRoom(name, ..) => ("DOWNLOAD_FAILED", vec![name.clone(), text()]),
            Failure::Download(name, why) => ("DOWNLOAD_FAILED", vec![name.clone(), why.clone()]),
            Failure::WrongImage => ("INVALID_IMAGE", vec![]),
            Failure::Installer("EXTRACT", what, said) => ("EXTRACT_FAILED", vec![what.clone(), said.clone()]),
            Failure::Installer("FLASH", ..) => ("FLASH_FAILED", vec![text()]),
            Failure::Missing(_) | Failure::Unknown(..) => ("NOT_SUPPORTED", vec![]),
            Failure::Files(err) => ("DOWNLOAD_FAILED", vec!["the state folder".into(), err.to_string()]),
            Failure::Installer(..) | Failure::InstallerBusy | Failure::Platform(_) => ("INSTALL_FAILED", vec![text()]),
        }
    }

    /// A file that could not be fetched.
    pub(super) fn fetch(name: &str, err: ReachError) -> Failure {
        match err {
            ReachError::Stopped(Stop::Cancelled) => Failure::Cancelled,
            err => Failure::Download(name.into(), err.to_string()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Cancelled => f.write_str("Cancelled; nothing was installed."),
            Failure::Missing(key) => write!(f, "{}.", PlatformError::Missing(key)),
            Failure::Unknown(key, text, reason) => {
                write!(f, "What is installed cannot be compared: {key} is \"{text}\", which {reason}.")
            }
            Failure::BadSignature => {
                f.write_str("The manifest is not signed with the key in update.public_key; nothing of it is believed.")
            }
            Failure::BadManifest(why) => write!(f, "The manifest is signed, but of no use: {why}."),
            Failure::Rollback(now, before) => write!(
                f,
                "The server's manifest of {now} is older than the one of {before} that was there before; it may be an \
                 attempt to bring back an old image."
            ),
            Failure::NoImage(version) => write!(f, "There is no image of version {version} in this branch."),
            Failure::OtherHardware(image, meter) => {
                write!(f, "The image is for hardware {image}; this meter's is {meter}.")
            }
            Failure::NotNewer(image, installed) => {
                write!(
                    f,
                    "Version {image} is not newer than the installed {installed}; force installs it all the same."
                )
            }
            Failure::TooOld(image, minimum, installed) => write!(
                f,
                "Version {image} needs at least {minimum} installed, this is {installed}; install a version in between."
            ),
            Failure::NoRoom(name, needs, free) => write!(
                f,
                "{name} needs {} of room in the state folder, where {} are free; nothing was fetched.",
                kib(*needs),
                kib(*free)
            ),
            Failure::Download(name, why) => write!(f, "{name} could not be fetched: {why}."),
            Failure::WrongImage => {
                f.write_str("What the server sent is not the image that the manifest names (wrong size or digest).")
            }
            Failure::Files(err) => write!(f, "The state folder's update files: {err}."),
            Failure::InstallerBusy => {
                f.write_str("The installer of an earlier update is still at work; try again when it has ended.")
            }
            Failure::Installer(_, what, said) if what.is_empty() => write!(f, "{said}"),
            Failure::Installer(tag, what, said) => write!(f, "{said} (at {tag} {what})"),
            Failure::Platform(err) => write!(f, "{err}."),
        }
    }
}

impl std::error::Error for Failure {}

impl From<io::Error> for Failure {
    fn from(err: io::Error) -> Self {
        Failure::Files(err)
    }
}

/// Bytes in a unit that is read at a glance.
fn kib(bytes: u64) -> String {
    format!("{} KiB", bytes.div_ceil(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_have_as_many_arguments_as_clients_expect() {
        let text = || "x".to_string();
        for (failure, tag, count) in [
            (Failure::Cancelled, "CANCELED", 0),
            (Failure::Missing("update"), "NOT_SUPPORTED", 0),
            (Failure::BadSignature, "BADSIG", 0),
            (Failure::BadManifest(text()), "NO_IMAGE", 1),
            (Failure::Rollback(text(), text()), "NO_IMAGE", 1),
            (Failure::NoImage(text()), "NO_IMAGE", 1),
            (Failure::OtherHardware(text(), text()), "INCOMPATBILE", 2),
            (Failure::NotNewer(text(), text()), "NOT_NEWER", 2),
            (Failure::TooOld(text(), text(), text()), "INCOMPATBILE", 2),
            (Failure::NoRoom(text(), 2, 1), "DOWNLOAD_FAILED", 2),
            (Failure::Download(text(), text()), "DOWNLOAD_FAILED", 2),
            (Failure::WrongImage, "INVALID_IMAGE", 0),
            (Failure::Installer("EXTRACT", text(), text()), "EXTRACT_FAILED", 2),
            (Failure::Installer("FLASH", text(), text()), "FLASH_FAILED", 1),
            (Failure::Installer("INSTALL", text(), text()), "INSTALL_FAILED", 1),
            (Failure::InstallerBusy, "INSTALL_FAILED", 1),
            (Failure::Files(io::ErrorKind::StorageFull.into()), "DOWNLOAD_FAILED", 2),
        ] {
            let (got, args) = failure.fault();
            assert_eq!((got, args.len()), (tag, count), "{failure}");
        }
    }
}
