//! The maker of the healthy meter: a folder with two versions of its firmware, signed with Debian's minisign. It knows the
//! form of the service's manifests; a server for the folder is the suite's own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

/// What a meter runs before it is tried, and what it may be updated to.
pub const VERSIONS: [&str; 2] = ["1.0", "1.1"];
/// Bytes of an image: a slow server takes some seconds over them, so that one can be cancelled.
const IMAGE: usize = 300_000;

/// What is published, for as many meters as like.
pub struct Publisher {
    /// What a server serves.
    pub folder: PathBuf,
    /// The key that a meter trusts.
    pub public_key: String,
}

impl Publisher {
    /// Makes the keys, the images and their manifest below `folder`.
    pub fn open(folder: &Path) -> Result<Publisher, String> {
        Publisher::publish(folder).map_err(|err| format!("{}: nothing could be published: {err}", folder.display()))
    }

    fn publish(folder: &Path) -> io::Result<Publisher> {
        let branch = folder.join("root/fw/stable");
        fs::create_dir_all(&branch)?;
        let (public, secret) = (folder.join("vendor.pub"), folder.join("vendor.key"));
        minisign(&["-G", "-W", "-f"], &[("-p", &public), ("-s", &secret)])?;
        let mut images = Vec::new();
        for version in VERSIONS {
            let name = format!("{version}.bin");
            fs::write(branch.join(&name), version.repeat(IMAGE / version.len()))?;
            let sum = output(Command::new("sha256sum").arg(branch.join(&name)))?;
            let digest = sum.split(' ').next().unwrap_or_default();
            images.push(json!({
                "version": version, "image": name, "size": IMAGE / version.len() * version.len(), "sha256": digest,
                "released": "2026-11-20", "minimum": null, "hardware": ["1"],
            }));
        }
        let manifest = branch.join("manifest.json");
        let content = json!({
            "format": 1, "target": "fw", "branch": "stable", "issued": "2026-11-22T10:00:00Z", "images": images,
        });
        fs::write(&manifest, content.to_string())?;
        minisign(&["-S"], &[("-s", &secret), ("-m", &manifest)])?;
        let public_key = fs::read_to_string(public)?.lines().nth(1).unwrap_or_default().to_string();
        Ok(Publisher { folder: folder.join("root"), public_key })
    }
}

fn minisign(how: &[&str], files: &[(&str, &PathBuf)]) -> io::Result<()> {
    let mut command = Command::new("minisign");
    command.args(how);
    for (option, path) in files {
        command.arg(option).arg(path);
    }
    output(&mut command).map(drop)
}

fn output(command: &mut Command) -> io::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let done = command.stdin(Stdio::null()).stderr(Stdio::null()).output();
    let done = done.map_err(|err| io::Error::other(format!("{name}: {err}")))?;
    match done.status.success() {
        true => Ok(String::from_utf8_lossy(&done.stdout).into_owned()),
        false => Err(io::Error::other(format!("{name}: {}", done.status))),
    }
}
