//! Keys of networks, and what keeps them out of sight: no Debug, no Display, memory wiped when dropped.
//! It checks their form alone; whether one is right only the access point can say.

use std::hint::black_box;

/// Secret bytes that nothing prints.
pub struct Hidden(Vec<u8>);

impl Hidden {
    /// The bytes themselves; whoever asks for them answers for where they go.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Hidden {
    fn from(bytes: Vec<u8>) -> Self {
        Hidden(bytes)
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        self.0.fill(0);
        // Without a reader the compiler may leave out the overwriting of memory that is about to be freed.
        black_box(self.0.as_slice());
    }
}

/// What opens a network.
pub enum Key {
    /// Nothing: no encryption at all.
    Open,
    /// A passphrase, for WPA2 and WPA3.
    Passphrase(Hidden),
    /// The 256-bit key that WPA2 derives from a passphrase, as hexadecimal digits.
    Hex(Hidden),
}

impl Key {
    /// A passphrase: 8 to 63 printable ASCII characters (IEEE 802.11, annex on passphrases). The error says what is
    /// wrong, without the key.
    pub fn passphrase(text: &[u8]) -> Result<Key, String> {
        if !(8..=63).contains(&text.len()) || !text.iter().all(|it| matches!(it, b' '..=b'~')) {
            let hint = if is_hex_key(text) { "; with hex set to true 64 hexadecimal digits are a key." } else { "." };
            return Err(format!("must be a passphrase of 8 to 63 printable ASCII characters{hint}"));
        }
        Ok(Key::Passphrase(Hidden(text.to_vec())))
    }

    /// A key of 64 hexadecimal digits; the error says what is wrong, without the key.
    pub fn hex(text: &[u8]) -> Result<Key, String> {
        if !is_hex_key(text) {
            return Err("must be 64 hexadecimal digits, because hex is true.".into());
        }
        Ok(Key::Hex(Hidden(text.to_vec())))
    }
}

fn is_hex_key(text: &[u8]) -> bool {
    text.len() == 64 && text.iter().all(u8::is_ascii_hexdigit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, passphrase: bool, hex: bool) {
        assert_eq!(Key::passphrase(text.as_bytes()).is_ok(), passphrase, "{text}");
        assert_eq!(Key::hex(text.as_bytes()).is_ok(), hex, "{text}");
    }

    #[test]
    fn length_and_characters_decide() {
        check("12345678", true, false);
        check(&"~".repeat(63), true, false);
        check("a \"b\" \\c#", true, false);
        check(&"0aF1".repeat(16), false, true);
        check("1234567", false, false);
        check(&"x".repeat(64), false, false);
        check("käseglocke", false, false);
        check("with\ttab", false, false);
        check("with\nline", false, false);
        check("", false, false);
    }

    #[test]
    fn no_error_repeats_the_key() {
        let err = Key::passphrase(&b"0123456789abcdef".repeat(4)).err().unwrap();
        assert!(err.contains("hex") && !err.contains("0123"), "{err}");
        let err = Key::hex(b"swordfish!").err().unwrap();
        assert!(!err.contains("sword"), "{err}");
    }
}
