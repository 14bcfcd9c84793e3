//! What the configuration says about updates: where they come from, whose signature counts, and what installs them.

use minisign_verify::PublicKey;
use serde::Deserialize;

use super::Command;

/// The release branch of updates where the configuration names none.
const DEFAULT_BRANCH: &str = "stable";
/// The longest [`Update::patience_seconds`], a day.
const MAX_PATIENCE: u64 = 86_400;
/// Seconds of [`Update::patience_seconds`].
const DEFAULT_PATIENCE: u64 = 300;
/// Bytes of a branch's name.
const MAX_BRANCH: usize = 64;

/// What can be updated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// The meter's firmware.
    Fw,
    /// Its kernel.
    Kernel,
}

impl Target {
    /// Its word in requests, in URLs and in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Target::Fw => "fw",
            Target::Kernel => "kernel",
        }
    }
}

/// Where updates come from; manifests are at `{url}/{target}/{branch}/manifest.json`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Update {
    /// Base URL of the update server. Plain HTTP is good enough: everything is signed or named by its digest.
    pub url: String,
    /// The minisign key whose signature counts, as in the second line of its `.pub` file.
    pub public_key: String,
    /// The branch that an empty `branch` stands for, and a missing one where `identity.branch` is missing too.
    #[serde(default = "default_branch")]
    pub default_branch: String,
    /// Seconds for which a download goes on trying without a byte of progress; a lost link may come back meanwhile.
    #[serde(default = "default_patience")]
    pub patience_seconds: u64,
}

/// The programs that install an image: they get its path as their last argument.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Install {
    /// For the firmware, such as `["rauc", "install"]` or `["swupdate", "-i"]`.
    pub fw: Option<Command>,
    /// For the kernel.
    pub kernel: Option<Command>,
}

impl Install {
    /// The program for `target`.
    pub fn command(&self, target: Target) -> Option<&Command> {
        match target {
            Target::Fw => self.fw.as_ref(),
            Target::Kernel => self.kernel.as_ref(),
        }
    }
}

impl Update {
    /// What makes no sense, with its key.
    pub(super) fn check(&self) -> Result<(), String> {
        if !self.url.starts_with("https://") && !self.url.starts_with("http://") || self.url.contains(['?', '#']) {
            return Err("update.url: must be an https or http URL without query".into());
        }
        if PublicKey::from_base64(&self.public_key).is_err() {
            return Err("update.public_key: must be a minisign public key, the line of its file that begins RW".into());
        }
        if MAX_PATIENCE < self.patience_seconds {
            return Err(format!("update.patience_seconds: at most {MAX_PATIENCE}"));
        }
        check_branch(&self.default_branch).map_err(|reason| format!("update.default_branch: {reason}"))
    }
}

/// Whether this can be the name of a release branch, which becomes part of URLs; an error says why not.
pub fn check_branch(name: &str) -> Result<(), &'static str> {
    let fits = |it: u8| it.is_ascii_alphanumeric() || b"._-".contains(&it);
    if name.is_empty() || MAX_BRANCH < name.len() {
        return Err("must be 1 to 64 characters long");
    }
    if !name.bytes().all(fits) || name.starts_with('.') {
        return Err("must consist of letters, digits, '.', '_' and '-', and not begin with '.'");
    }
    Ok(())
}

fn default_branch() -> String {
    DEFAULT_BRANCH.into()
}

fn default_patience() -> u64 {
    DEFAULT_PATIENCE
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "RWRWvmCsZqvVi7qzqEje2AMQwuxFqCpWEseUqDJuasn9GoXvIC5PvMzH";

    #[track_caller]
    fn check(url: &str, key: &str, branch: &str, expect: &str) {
        let (url, public_key, default_branch) = (url.into(), key.into(), branch.into());
        let update = Update { url, public_key, default_branch, patience_seconds: 0 };
        let got = update.check().err().unwrap_or_default();
        assert!(got.starts_with(expect) && got.is_empty() == expect.is_empty(), "{got}\nexpected {expect}");
    }

    #[test]
    fn senseless_settings_are_named() {
        check("https://updates.example/meter", KEY, "stable", "");
        check("ftp://updates.example", KEY, "stable", "update.url: must be");
        check("https://updates.example/?x=", KEY, "stable", "update.url: must be");
        check("https://updates.example", "RWQ", "stable", "update.public_key: must be");
        check("https://updates.example", KEY, "", "update.default_branch: must be 1 to 64");
        for branch in ["..", "a/b", "a b", ".hidden", "é", "a%2fb"] {
            check("https://updates.example", KEY, branch, "update.default_branch: must consist");
        }
    }
}
