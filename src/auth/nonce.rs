//! Nonces of the digest login: stateless, so that a flood of unauthorised requests costs no memory. A nonce carries the
//! moment of its making and random bytes under a signature; a restart ends all of them with the key.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;

use super::secret::{Key, SIGNATURE};
use crate::sys::random;

/// How long a nonce is good for.
pub const LIFETIME: Duration = Duration::from_secs(60);

const MOMENT: usize = 8;
const RANDOM: usize = 16;
const SIGNED: usize = MOMENT + RANDOM;

/// Makes and checks nonces.
pub struct Nonces {
    key: Key,
}

impl Nonces {
    /// A maker with a key of its own.
    pub fn new() -> Self {
        Nonces { key: Key::random() }
    }

    /// A nonce made at `now` (run time, not the wall clock).
    pub fn issue(&self, now: Duration) -> String {
        let mut bytes = Vec::with_capacity(SIGNED + SIGNATURE);
        bytes.extend((now.as_millis() as u64).to_be_bytes());
        bytes.extend(random::bytes::<RANDOM>());
        bytes.extend(self.key.sign(&bytes));
        BASE64.encode(bytes)
    }

    /// Whether `nonce` was made here in the last 60 s. Why not is not told: a client whose nonce stems from before a
    /// restart must do the same as one that was slow, which is to fetch a new one.
    pub fn check(&self, nonce: &str, now: Duration) -> bool {
        let mut bytes = [0; SIGNED + SIGNATURE];
        if BASE64.decode_slice(nonce, &mut bytes) != Ok(bytes.len()) {
            return false;
        }
        let (signed, signature) = bytes.split_at(SIGNED);
        if !self.key.verifies(signed, signature) {
            return false;
        }
        let made = signed.first_chunk().expect("the moment comes first");
        let age = now.checked_sub(Duration::from_millis(u64::from_be_bytes(*made)));
        age.is_some_and(|age| age <= LIFETIME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1000);

    #[test]
    fn a_nonce_lives_a_minute() {
        let nonces = Nonces::new();
        let nonce = nonces.issue(NOW);
        assert!(nonces.check(&nonce, NOW));
        assert!(nonces.check(&nonce, NOW + LIFETIME));
        assert!(!nonces.check(&nonce, NOW + LIFETIME + Duration::from_millis(1)));
        assert!(!nonces.check(&nonce, NOW - Duration::from_secs(1)), "from the future");
    }

    #[test]
    fn no_two_nonces_are_equal() {
        let nonces = Nonces::new();
        assert_ne!(nonces.issue(NOW), nonces.issue(NOW));
    }

    #[test]
    fn another_start_and_any_other_text_are_refused() {
        let nonces = Nonces::new();
        let nonce = nonces.issue(NOW);
        assert!(!Nonces::new().check(&nonce, NOW));
        for at in 0..nonce.len() {
            let mut other = nonce.clone().into_bytes();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            assert!(!nonces.check(std::str::from_utf8(&other).unwrap(), NOW), "changed at {at}");
        }
        for other in ["", "eyJ0eXAi", &nonce[1..], &format!("{nonce}="), &format!("{nonce}A"), &"A".repeat(4096)] {
            assert!(!nonces.check(other, NOW), "{other}");
        }
    }
}
