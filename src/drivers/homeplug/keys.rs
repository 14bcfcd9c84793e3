//! Passwords and the keys that HomePlug AV derives from them. Nothing here prints a secret, and each is wiped when it is
//! dropped. It does not know what the keys are sent in.

use std::fmt;
use std::hint::black_box;

use sha2::{Digest, Sha256};

/// Characters of a network password, as the API has it.
const PASSWORD_CHARS: std::ops::RangeInclusive<usize> = 4..=24;
/// Letters and digits of a device encryption key, without its dashes.
const DEK_CHARS: usize = 16;
/// Bytes of an AES key, a network or a device access key.
pub const KEY: usize = 16;
/// Bytes of a network identifier.
pub const NID: usize = 7;
/// Times that a password is hashed, counting the first.
const ROUNDS: usize = 1000;
const NETWORK_SALT: [u8; 8] = [0x08, 0x85, 0x6d, 0xaf, 0x7c, 0xf5, 0x81, 0x86];
const DEVICE_SALT: [u8; 8] = [0x08, 0x85, 0x6d, 0xaf, 0x7c, 0xf5, 0x81, 0x85];

/// The password of a network, of an allowed form.
#[derive(Clone, PartialEq)]
pub struct Password(Box<[u8]>);

/// The device encryption key on a bridge's label, in the form that is hashed: upper case, groups of four, dashes.
#[derive(Clone, PartialEq)]
pub struct Dek(Box<[u8]>);

/// A derived key.
#[derive(Clone, PartialEq)]
pub struct Key([u8; KEY]);

impl Password {
    /// Takes 4 to 24 characters (Unicode scalar values, however many bytes) without double quotes and control characters.
    pub fn parse(text: &str) -> Result<Password, String> {
        if text.chars().any(|it| it == '"' || it.is_control()) {
            return Err("must not contain double quotes or control characters".into());
        }
        if !PASSWORD_CHARS.contains(&text.chars().count()) {
            return Err(format!("must have {} to {} characters", PASSWORD_CHARS.start(), PASSWORD_CHARS.end()));
        }
        Ok(Password(text.as_bytes().into()))
    }

    /// The network membership key (NMK).
    pub fn network_key(&self) -> Key {
        derive(&self.0, NETWORK_SALT)
    }
}

impl Dek {
    /// Takes the 16 letters and digits of a label, in either case, with or without the dashes between groups of four.
    pub fn parse(text: &str) -> Result<Dek, String> {
        // Already a `Dek`, so that it is wiped whatever comes of it.
        let plain = Dek(text.trim().bytes().filter(|it| *it != b'-').map(|it| it.to_ascii_uppercase()).collect());
        if plain.0.len() != DEK_CHARS || !plain.0.iter().all(u8::is_ascii_alphanumeric) {
            return Err("the DEK must be four groups of four letters or digits, as on the bridge's label".into());
        }
        Ok(Dek(plain.0.chunks(4).collect::<Vec<_>>().join(&b'-').into()))
    }

    /// The device access key (DAK).
    pub fn access_key(&self) -> Key {
        derive(&self.0, DEVICE_SALT)
    }
}

impl Key {
    /// The bytes, for the frame that carries them.
    pub fn expose(&self) -> &[u8; KEY] {
        &self.0
    }

    /// The identifier of the network that has this membership key, at security level 0. The bits are placed as Qualcomm's
    /// devices and tools do it, which is not how the standard's text reads.
    pub fn network_id(&self) -> [u8; NID] {
        let mut digest = Sha256::digest(self.0);
        for _ in 1..5 {
            digest = Sha256::digest(digest);
        }
        let mut res = [0; NID];
        res.copy_from_slice(&digest[..NID]);
        res[NID - 1] >>= 4;
        res
    }
}

/// The one derivation of both kinds of key: salted in the first round, bytes as typed, never cut.
fn derive(password: &[u8], salt: [u8; 8]) -> Key {
    let mut digest = Sha256::new().chain_update(password).chain_update(salt).finalize();
    for _ in 1..ROUNDS {
        digest = Sha256::digest(digest);
    }
    let mut res = Key([0; KEY]);
    res.0.copy_from_slice(&digest[..KEY]);
    res
}

/// Overwrites a secret that is about to be freed.
pub fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    // Without a reader the compiler may leave out the overwriting.
    black_box(&*bytes);
}

impl Drop for Password {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

impl Drop for Dek {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

impl fmt::Debug for Dek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dek(..)")
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{hex, unhex};
    use super::*;

    /// Made with hpavkey 0.0.6 and checked against a second implementation.
    const VECTORS: &str = include_str!("../../../tests/data/homeplug/vectors.tsv");

    #[test]
    fn keys_and_identifiers_are_those_of_the_toolkit() {
        let mut checked = 0;
        for line in VECTORS.lines().skip(1) {
            let [kind, input, key, nid] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
            let input = unhex(input);
            let got = derive(&input, if kind == "NMK" { NETWORK_SALT } else { DEVICE_SALT });
            assert_eq!(hex(got.expose()), key.to_lowercase(), "{line}");
            if kind == "NMK" {
                assert_eq!(hex(&got.network_id()), nid.to_lowercase(), "{line}");
                let text = String::from_utf8(input).unwrap();
                assert_eq!(Password::parse(&text).unwrap().network_key(), got, "{line}");
            }
            checked += 1;
        }
        assert_eq!(checked, 18);
    }

    #[test]
    fn a_password_has_4_to_24_characters() {
        let long = "€".repeat(24);
        for text in ["abcd", "密码密码", "with 'quote' \\ and / 24c", &long] {
            assert!(Password::parse(text).is_ok(), "{text}");
        }
        for text in ["", "abc", "密码密", &format!("{long}x")] {
            assert!(Password::parse(text).unwrap_err().contains("4 to 24"), "{text}");
        }
        for text in ["ab\"cd", "abc\n", "abcd\u{7f}", "abcd\u{85}", "\0\0\0\0"] {
            assert!(Password::parse(text).unwrap_err().contains("double quotes or control"), "{text:?}");
        }
    }

    #[test]
    fn a_dek_is_brought_into_the_form_of_the_label() {
        for text in ["K7M2-9XQ4-0ABZ-11YY", " k7m2-9xq4-0abz-11yy\t", "k7m29xq40abz11yy", "K7M29XQ4-0ABZ11YY"] {
            let dek = Dek::parse(text).unwrap();
            assert_eq!(&*dek.0, b"K7M2-9XQ4-0ABZ-11YY");
            assert_eq!(hex(dek.access_key().expose()), "7429d98df764f3ba56976270158ac79d");
        }
        for text in [
            "",
            "----",
            "K7M2-9XQ4-0ABZ-11Y",
            "K7M2-9XQ4-0ABZ-11YYY",
            "K7M2-9XQ4-0ABZ-11Y\u{e9}",
            "K7M2 9XQ4 0ABZ 11YY",
        ] {
            assert!(Dek::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn nothing_prints_a_secret() {
        let password = Password::parse("secret pass").unwrap();
        let dek = Dek::parse("ABCD-EFGH-IJKL-MNOP").unwrap();
        let printed = format!("{password:?} {:?} {dek:?} {:?}", password.network_key(), dek.access_key());
        assert_eq!(printed, "Password(..) Key(..) Dek(..) Key(..)");
    }
}
