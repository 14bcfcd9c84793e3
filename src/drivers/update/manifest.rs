//! The manifest of a release branch: which images there are, and which of them is to be installed. It knows neither
//! where a manifest comes from nor whether anybody has signed it.

use serde::Deserialize;

use super::version::Version;
use super::{Failure, Installed};
use crate::config::Target;

/// Bytes of a manifest.
pub const MAX_BYTES: usize = 64 * 1024;
/// Images in a manifest.
const MAX_IMAGES: usize = 256;
/// Characters of an image's name.
const MAX_NAME: usize = 100;

/// A manifest as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: u32,
    target: String,
    branch: String,
    issued: String,
    images: Vec<WrittenImage>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenImage {
    version: String,
    minimum: Option<String>,
    hardware: Vec<String>,
    image: String,
    size: u64,
    sha256: String,
    released: String,
}

/// What a branch offers for one target.
#[derive(Debug)]
pub struct Manifest {
    /// When it was made, as `2026-11-22T10:00:00Z`: these texts sort by time.
    pub issued: String,
    images: Vec<Image>,
}

/// One image.
#[derive(Clone, Debug)]
pub struct Image {
    /// What it is.
    pub version: Version,
    /// The version that must run before it can be installed.
    pub minimum: Option<Version>,
    /// The hardware that it is for.
    pub hardware: Vec<String>,
    /// Its file beside the manifest.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    /// Their SHA-256, lower-case hexadecimal digits.
    pub sha256: String,
    /// The day of its release, as `2026-11-20`.
    pub released: String,
}

/// Why an image is not installed though there is one.
#[derive(Debug, PartialEq)]
pub enum Withheld {
    /// What runs is as new.
    NotNewer,
    /// What runs is too old for it.
    TooOld,
}

impl Manifest {
    /// Reads a manifest of `target` and `branch`; another one's is as bad as none, or a mirror could pass off one
    /// branch for another. The error says what is wrong.
    pub fn parse(text: &[u8], target: Target, branch: &str) -> Result<Manifest, String> {
        let written: Written = serde_json::from_slice(text).map_err(|err| err.to_string())?;
        if written.format != 1 {
            return Err(format!("format {} is not known here", written.format));
        }
        if written.target != target.name() || written.branch != branch {
            return Err(format!("it is for {} of branch {}", written.target, written.branch));
        }
        if !has_shape(&written.issued, "0000-00-00T00:00:00Z") {
            return Err("issued: must look like 2026-11-22T10:00:00Z".into());
        }
        if MAX_IMAGES < written.images.len() {
            return Err(format!("there are more than {MAX_IMAGES} images in it"));
        }
        let images = written.images.into_iter().map(image).collect::<Result<_, _>>()?;
        Ok(Manifest { issued: written.issued, images })
    }

    /// The image of the wanted version, or the newest one for this hardware; and why it is withheld, if it is.
    pub fn choose(&self, wanted: Option<&Version>, meter: &Installed) -> Result<(&Image, Option<Withheld>), Failure> {
        let of_version = || self.images.iter().filter(|it| wanted.is_none_or(|wanted| it.version == *wanted));
        let fitting = of_version().filter(|it| it.hardware.contains(&meter.hardware));
        let Some(image) = fitting.max_by(|one, other| one.version.cmp(&other.version)) else {
            return Err(match of_version().max_by(|one, other| one.version.cmp(&other.version)) {
                Some(other) => Failure::OtherHardware(other.hardware.join(", "), meter.hardware.clone()),
                None => Failure::NoImage(wanted.map_or_else(|| "any".into(), Version::to_string)),
            });
        };
        let withheld = if image.version <= meter.version {
            Some(Withheld::NotNewer)
        } else if image.minimum.as_ref().is_some_and(|it| meter.version < *it) {
            Some(Withheld::TooOld)
        } else {
            None
        };
        Ok((image, withheld))
    }
}

fn image(written: WrittenImage) -> Result<Image, String> {
    let shown: String = written.version.chars().take(MAX_NAME).collect();
    let wrong = |member: &str, reason: &str| format!("version {shown}: {member}: {reason}");
    let version = Version::parse(&written.version).map_err(|reason| wrong("version", reason))?;
    let minimum = written.minimum.map(|it| Version::parse(&it)).transpose();
    let minimum = minimum.map_err(|reason| wrong("minimum", reason))?;
    if written.hardware.is_empty() {
        return Err(wrong("hardware", "must name at least one"));
    }
    // The name becomes part of a URL, of a path and of the installer's arguments.
    let fits = |it: u8| it.is_ascii_alphanumeric() || b"._+-".contains(&it);
    let name = &written.image;
    let starts_well = name.starts_with(|it: char| it.is_ascii_alphanumeric());
    if MAX_NAME < name.len() || !starts_well || !name.bytes().all(fits) {
        return Err(wrong("image", "must be a plain file name"));
    }
    if written.size == 0 {
        return Err(wrong("size", "must be above 0"));
    }
    let sha256 = written.sha256.to_ascii_lowercase();
    if sha256.len() != 64 || !sha256.bytes().all(|it| it.is_ascii_hexdigit()) {
        return Err(wrong("sha256", "must be 64 hexadecimal digits"));
    }
    if !has_shape(&written.released, "0000-00-00") {
        return Err(wrong("released", "must look like 2026-11-20"));
    }
    Ok(Image {
        version,
        minimum,
        hardware: written.hardware,
        name: written.image,
        size: written.size,
        sha256,
        released: written.released,
    })
}

/// Whether a text has digits where `shape` has them, and is the same elsewhere.
fn has_shape(text: &str, shape: &str) -> bool {
    let same = |(it, shape): (u8, u8)| if shape == b'0' { it.is_ascii_digit() } else { it == shape };
    text.len() == shape.len() && text.bytes().zip(shape.bytes()).all(same)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn entry(version: &str, minimum: Option<&str>, hardware: &[&str]) -> Value {
        json!({
            "version": version, "minimum": minimum, "hardware": hardware, "image": format!("fw-{version}.bin"),
            "size": 10, "sha256": "ab".repeat(32), "released": "2026-11-20",
        })
    }

    fn manifest(images: &[Value]) -> Value {
        json!({
            "format": 1, "target": "fw", "branch": "stable", "issued": "2026-11-22T10:00:00Z", "images": images,
        })
    }

    fn parse(text: &str) -> Result<Manifest, String> {
        Manifest::parse(text.as_bytes(), Target::Fw, "stable")
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Value), expect: &str) {
        let mut value = manifest(&[entry("4.6", Some("4.1.2"), &["1"])]);
        change(&mut value);
        let got = parse(&value.to_string()).err().unwrap_or_else(|| "fine".into());
        assert!(got.starts_with(expect), "{got}\nexpected {expect}");
    }

    #[test]
    fn what_is_wrong_is_said() {
        check(|_| {}, "fine");
        check(|it| it["images"][0]["minimum"] = Value::Null, "fine");
        check(|it| it["images"] = json!([]), "fine");
        check(|it| it["format"] = json!(2), "format 2");
        check(|it| it["target"] = json!("kernel"), "it is for kernel of branch stable");
        check(|it| it["branch"] = json!("beta"), "it is for fw of branch beta");
        check(|it| it["issued"] = json!("2026-11-22"), "issued: must");
        check(|it| it["issued"] = json!(1), "invalid type");
        check(|it| it["more"] = json!(1), "unknown field `more`");
        check(|it| it["images"] = json!(vec![entry("1", None, &["1"]); 257]), "there are more than 256");
        check(|it| it["images"][0]["version"] = json!("x"), "version x: version: must begin");
        check(|it| it["images"][0]["minimum"] = json!("x"), "version 4.6: minimum: must begin");
        check(|it| it["images"][0]["hardware"] = json!([]), "version 4.6: hardware:");
        check(|it| it["images"][0]["size"] = json!(0), "version 4.6: size:");
        check(|it| it["images"][0]["size"] = json!(-1), "invalid value");
        check(|it| it["images"][0]["sha256"] = json!("ab"), "version 4.6: sha256:");
        check(|it| it["images"][0]["sha256"] = json!("zz".repeat(32)), "version 4.6: sha256:");
        check(|it| it["images"][0]["released"] = json!("today"), "version 4.6: released:");
        check(|it| it["images"][0]["extra"] = json!(1), "unknown field `extra`");
    }

    #[test]
    fn an_image_is_a_plain_file_name() {
        for name in ["", ".", "..", "../x", "a/b", "-i", ".x", "a b", "a%2f", "a?b", "\u{e9}", "a\nb"] {
            check(|it| it["images"][0]["image"] = json!(name), "version 4.6: image: must be a plain");
        }
        check(|it| it["images"][0]["image"] = json!("a".repeat(101)), "version 4.6: image:");
    }

    #[track_caller]
    fn choose(wanted: Option<&str>, installed: &str, hardware: &str, expect: &str) {
        let images = [
            entry("4.5", None, &["1", "2"]),
            entry("4.7", Some("4.6"), &["1"]),
            entry("4.6", Some("4.1.2"), &["1", "2"]),
            entry("5.0", None, &["3"]),
        ];
        let manifest = parse(&manifest(&images).to_string()).unwrap();
        let meter = Installed { version: Version::parse(installed).unwrap(), hardware: hardware.into() };
        let wanted = wanted.map(|it| Version::parse(it).unwrap());
        let got = match manifest.choose(wanted.as_ref(), &meter) {
            Ok((image, withheld)) => format!("{} {withheld:?}", image.version),
            Err(err) => err.fault().0.to_string(),
        };
        assert_eq!(got, expect);
    }

    #[test]
    fn the_newest_image_for_the_hardware_is_chosen() {
        choose(None, "4.6", "1", "4.7 None");
        choose(None, "4.5", "1", "4.7 Some(TooOld)");
        choose(None, "4.7.0", "1", "4.7 Some(NotNewer)");
        choose(None, "4.8", "1", "4.7 Some(NotNewer)");
        choose(None, "4.5", "2", "4.6 None");
        choose(None, "4.1", "2", "4.6 Some(TooOld)");
        choose(None, "4.9", "3", "5.0 None");
        choose(None, "4.9", "4", "INCOMPATBILE");
    }

    #[test]
    fn a_version_that_was_asked_for_is_chosen_or_none() {
        choose(Some("4.6"), "4.5", "1", "4.6 None");
        choose(Some("4.5.0"), "4.6", "1", "4.5 Some(NotNewer)");
        choose(Some("5.0"), "4.6", "1", "INCOMPATBILE");
        choose(Some("4.8"), "4.6", "1", "NO_IMAGE");
    }
}
