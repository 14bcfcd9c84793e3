//! Whether a text is signed by the configured key, with minisign. Only the prehashed kind of signature counts: minisign
//! has made no other since 2021.

use minisign_verify::{PublicKey, Signature};

/// Whether `signature`, the text of a `.minisig` file, is that of `key` for `text`. Why it is not tells a technician
/// nothing that "bad signature" does not, so that there is no error but false.
pub fn is_good(key: &str, text: &[u8], signature: &[u8]) -> bool {
    let Ok(key) = PublicKey::from_base64(key) else { return false };
    let Some(signature) = std::str::from_utf8(signature).ok().and_then(|it| Signature::decode(it).ok()) else {
        return false;
    };
    key.verify(text, &signature, false).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made with Debian's minisign 0.11: `minisign -G -W`, `minisign -S -m` and, for the third, `minisign -S -l -m`.
    const KEY: &str = "RWRWvmCsZqvVi7qzqEje2AMQwuxFqCpWEseUqDJuasn9GoXvIC5PvMzH";
    const TEXT: &[u8] = b"{\"signed\":\"text\"}\n";
    const SIGNATURE: &str = "untrusted comment: signature from minisign secret key\n\
        RURWvmCsZqvVi9Wl2LY5VeYZ9Pzeiy9IN+MX34AOO1CNmBc3kDxcJK6lN4H6CTgphNnnlJz9IV/M5sM7lrLrIxRjBB+SgHHdSw4=\n\
        trusted comment: meterd test\n\
        pAlPNoCNlw/tem9UHoe6lH4si7XOr8MhPKLTmE3taPaGqkp0spPQfVEPRzdu9gn2jQWHxH4Tv5v/uliWH8e1DA==";
    const BY_ANOTHER: &str = "untrusted comment: signature from minisign secret key\n\
        RUT1FMl6SWSc1AdAxIqueHPEOFEN1n4rLEmIkbJyQ1jrzRp0zfLpGkY8SbcaonpBikOPMA8S8/2ahKReS6wunl/0/OBjFDcC4A8=\n\
        trusted comment: other\n\
        bDiaEfUNiFIeduleYZUnbVxQntwctL4HwL2XPWlYOI6bSMUEguqU3yDL5bt4wZY+PqULsupsiqChv/EDN72rDA==";
    const LEGACY: &str = "untrusted comment: signature from minisign secret key\n\
        RWRWvmCsZqvVi8n7cOrVDxo9IeGV9JW1FqVC7Tk6CdOvr+lK820TUyPJQI6jbzOl0Uxc9fGhxTPKAUhZjKMtTet0mkLo9IJU7AY=\n\
        trusted comment: legacy\n\
        +QFtxPIFOTc+wm0YvuNeCeHU8U939iT2ACS6Uf/dYpFBtgw2N6iZZirtRpWRoY/8Ppwa5JnrFbaxIc5hu+y8BQ==";

    #[test]
    fn a_good_signature_is_good_for_one_text() {
        assert!(is_good(KEY, TEXT, SIGNATURE.as_bytes()));
        assert!(!is_good(KEY, b"{\"signed\":\"test\"}\n", SIGNATURE.as_bytes()));
        assert!(!is_good(KEY, &TEXT[..TEXT.len() - 1], SIGNATURE.as_bytes()));
    }

    #[test]
    fn every_flipped_character_of_a_signature_makes_it_bad() {
        for at in 0..SIGNATURE.len() {
            let mut signature = SIGNATURE.as_bytes().to_vec();
            signature[at] ^= 1;
            let is_comment = at < SIGNATURE.find('\n').unwrap();
            // The first line is a comment that nobody signs.
            assert!(is_comment || !is_good(KEY, TEXT, &signature), "{}", String::from_utf8_lossy(&signature));
        }
    }

    #[test]
    fn other_keys_and_legacy_signatures_do_not_count() {
        assert!(!is_good(KEY, TEXT, BY_ANOTHER.as_bytes()));
        assert!(!is_good(KEY, TEXT, LEGACY.as_bytes()));
        for text in ["", "untrusted comment: x", "untrusted comment: x\n\n\n\n", "\u{0}", "RWQ"] {
            assert!(!is_good(KEY, TEXT, text.as_bytes()), "{text}");
        }
        assert!(!is_good(KEY, TEXT, b"\xff\xfe"));
    }
}
