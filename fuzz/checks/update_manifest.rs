//! Whatever an update server sends: only the one signed text passes for signed, an accepted manifest keeps its promises,
//! and what is chosen from it fits this meter. Versions are in one order, whoever compares them.

use std::cmp::Ordering;

use meterd::config::Target;
use meterd::drivers::update::manifest::{Manifest, Withheld};
use meterd::drivers::update::{Failure, Installed, Version, signature};

/// Made with `minisign -G -W` and `minisign -S`; nobody has the secret key any more.
const KEY: &str = "RWRWvmCsZqvVi7qzqEje2AMQwuxFqCpWEseUqDJuasn9GoXvIC5PvMzH";
const SIGNED: &[u8] = b"{\"signed\":\"text\"}\n";

/// See the module.
pub fn check(data: &[u8]) {
    // A signature and a text, apart by a byte that no signature has.
    let at = data.iter().position(|it| *it == 0).unwrap_or(data.len());
    let (signature, text) = (&data[..at], data.get(at + 1..).unwrap_or_default());
    assert!(!signature::is_good(KEY, text, signature) || text == SIGNED, "a text that nobody signed");
    // The right text, so that what is wrong is the signature.
    let good = signature::is_good(KEY, SIGNED, signature);
    assert!(!good || signature.len() > 200, "too little for a signature");
    versions(text);
    let Ok(manifest) = Manifest::parse(text, Target::Fw, "stable") else { return };
    for (version, hardware) in [("0", "M1"), ("4.5", "M1"), ("4.5.1", "M2"), ("99999", "M1")] {
        let meter = Installed { version: Version::parse(version).unwrap(), hardware: hardware.into() };
        chosen(&manifest, &meter);
    }
}

fn chosen(manifest: &Manifest, meter: &Installed) {
    let (image, withheld) = match manifest.choose(None, meter) {
        Ok(chosen) => chosen,
        Err(err) => return assert!(matches!(err, Failure::OtherHardware(..) | Failure::NoImage(_))),
    };
    assert!(image.hardware.contains(&meter.hardware) && 0 < image.size);
    assert!(image.sha256.len() == 64 && image.sha256.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f')));
    assert!(!image.name.contains('/') && !image.name.starts_with(['.', '-']) && !image.name.is_empty());
    assert!(image.released.len() == 10 && image.released.is_ascii());
    let is_newer = meter.version < image.version;
    match withheld {
        Some(Withheld::NotNewer) => assert!(!is_newer),
        Some(Withheld::TooOld) => assert!(is_newer && image.minimum.as_ref().is_some_and(|it| meter.version < *it)),
        None => assert!(is_newer && image.minimum.as_ref().is_none_or(|it| *it <= meter.version)),
    }
    // Asked for by its version it is there too.
    let (same, _) = manifest.choose(Some(&image.version), meter).expect("an image that was chosen before");
    assert!(same.version == image.version);
}

/// The first three words are versions, if they are.
fn versions(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let found: Vec<Version> = text.split_whitespace().take(3).flat_map(Version::parse).collect();
    for one in &found {
        assert!(one.cmp(one).is_eq() && Version::parse(&one.to_string()).as_ref() == Ok(one), "{one}");
        for other in &found {
            assert_eq!(one.cmp(other), other.cmp(one).reverse(), "{one} {other}");
            for third in &found {
                if one.cmp(other) != Ordering::Greater && other.cmp(third) != Ordering::Greater {
                    assert!(one.cmp(third) != Ordering::Greater, "{one} {other} {third}");
                }
            }
        }
    }
}
