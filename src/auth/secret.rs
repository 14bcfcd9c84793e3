//! What must not leak: secrets without Debug or Display that are wiped when dropped, keys, and comparison in constant
//! time. It does not know what the secrets are for.

use std::hint::black_box;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Deserializer};
use sha2::Sha256;

use crate::sys::random;

/// Secret bytes, a password for example. Nothing prints them, and their memory is overwritten when they are dropped.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// The bytes themselves; whoever asks for them answers for where they go.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Secret {
    fn from(bytes: Vec<u8>) -> Self {
        Secret(bytes)
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Secret(text.into_bytes())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(Secret::from)
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.fill(0);
        // Without a reader the compiler may leave out the overwriting of memory that is about to be freed.
        black_box(self.0.as_slice());
    }
}

/// Whether two byte strings are equal, in a time that depends on their lengths alone.
pub fn same(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let diff = left.iter().zip(right).fold(0, |diff, (left, right)| black_box(diff | (left ^ right)));
    black_box(diff) == 0
}

/// A signing key that lives as long as the process: whatever it signed dies with a restart.
pub struct Key(Secret);

/// Bytes of a signature.
pub const SIGNATURE: usize = 32;

impl Key {
    /// A new random key.
    pub fn random() -> Self {
        Key(Secret(random::bytes::<32>().to_vec()))
    }

    /// The HMAC-SHA256 of `message`.
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE] {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose()).expect("HMAC takes keys of every length");
        mac.update(message);
        mac.finalize().into_bytes().into()
    }

    /// Whether `signature` is this key's for `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        same(&self.sign(message), signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparison_sees_every_byte_and_the_length() {
        assert!(same(b"", b""));
        assert!(same(b"abc", b"abc"));
        for other in ["abd", "Abc", "ab", "abcd", ""] {
            assert!(!same(b"abc", other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn a_signature_holds_for_its_message_and_key_only() {
        let key = Key::random();
        let signature = key.sign(b"message");
        assert!(key.verifies(b"message", &signature));
        assert!(!key.verifies(b"massage", &signature));
        assert!(!key.verifies(b"message", &signature[..SIGNATURE - 1]));
        assert!(!Key::random().verifies(b"message", &signature));
    }

    #[test]
    fn the_signature_is_hmac_sha256() {
        // Test case 2 of RFC 4231.
        let key = Key(Secret::from("Jefe".to_string()));
        let expect = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(crate::auth::digest::hex(&key.sign(b"what do ya want for nothing?")), expect);
    }
}
