//! Helpers of the tests: folders that go away, and images.

use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::hex;
use super::manifest::Image;
use super::version::Version;
use crate::sys::random;

/// A folder of a test's own.
pub struct TempDir(pub PathBuf);

impl TempDir {
    pub fn new() -> TempDir {
        let path = std::env::temp_dir().join(format!("meterd-update-{}", random::name()));
        std::fs::create_dir(&path).unwrap();
        TempDir(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a manifest would say of a file.
pub fn image(name: &str, content: &[u8]) -> Image {
    Image {
        version: Version::parse("2.0").unwrap(),
        minimum: None,
        hardware: vec!["1".into()],
        name: name.into(),
        size: content.len() as u64,
        sha256: hex(&Sha256::digest(content)),
        released: "2026-11-20".into(),
    }
}
