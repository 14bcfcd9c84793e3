//! The digest login's formula: `ha1 = MD5(user:realm:password)`, `hash = MD5(ha1:nonce:client nonce)`, each written as
//! hexadecimal text. MD5 is the API's choice; what keeps it bearable is that a nonce lives 60 s and a hash works once.

use md5::{Digest, Md5};

use super::secret::{Secret, same};
use crate::sys::random;

/// What the service stores of a password: 32 lower-case hexadecimal digits. It suffices to log in, so it is a secret.
#[derive(Clone)]
pub struct Ha1(Secret);

impl Ha1 {
    /// The hash of a password.
    pub fn of(user: &str, realm: &str, password: &Secret) -> Self {
        let mut md5 = Md5::new();
        for part in [user.as_bytes(), b":", realm.as_bytes(), b":", password.expose()] {
            md5.update(part);
        }
        Ha1(hex(&md5.finalize()).into())
    }

    /// One that belongs to no password; computing with it takes as long as with a real one.
    pub fn decoy() -> Self {
        Ha1(hex(&random::bytes::<16>()).into())
    }

    /// Reads 32 hexadecimal digits of either case.
    pub fn parse(text: &str) -> Option<Self> {
        unhex(text).map(|it| Ha1(hex(&it).into()))
    }

    /// The 32 digits, for the users file.
    pub fn text(&self) -> &str {
        std::str::from_utf8(self.0.expose()).expect("hexadecimal digits are ASCII")
    }

    /// The hash that a client must send for these nonces.
    pub fn response(&self, nonce: &str, client_nonce: &str) -> [u8; 16] {
        let mut md5 = Md5::new();
        for part in [self.0.expose(), b":", nonce.as_bytes(), b":", client_nonce.as_bytes()] {
            md5.update(part);
        }
        md5.finalize().into()
    }

    /// Whether both are the same, in constant time.
    pub fn same(&self, other: &Ha1) -> bool {
        same(self.0.expose(), other.0.expose())
    }
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |it: u8| char::from(DIGITS[usize::from(it)]);
    bytes.iter().flat_map(|it| [digit(it >> 4), digit(it & 15)]).collect()
}

/// The 16 bytes of 32 hexadecimal digits of either case; nothing for any other text.
pub fn unhex(text: &str) -> Option<[u8; 16]> {
    let digit = |it: u8| char::from(it).to_digit(16).map(|it| it as u8);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let mut res = [0; 16];
    if pairs.len() != res.len() || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in res.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(res)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_hash_is_the_one_of_the_documentation() {
        let ha1 = Ha1::of("jane", "domain", &Secret::from("secret".to_string()));
        assert_eq!(ha1.text(), "251910de04f5eab86859939167d4fded");
    }

    #[test]
    fn the_response_joins_hash_and_nonces_by_colons() {
        let ha1 = Ha1::parse("251910DE04F5EAB86859939167D4FDED").unwrap();
        let expect: [u8; 16] = Md5::digest(b"251910de04f5eab86859939167d4fded:nonce:client").into();
        assert_eq!(ha1.response("nonce", "client"), expect);
    }

    #[test]
    fn only_32_hexadecimal_digits_are_a_hash() {
        assert_eq!(unhex("000102030405060708090a0B0c0D0eFf").unwrap()[10..], [10, 11, 12, 13, 14, 255]);
        for text in
            ["", "00", "000102030405060708090a0b0c0d0e0", "000102030405060708090a0b0c0d0e0ff", "+0010203040506070809"]
        {
            assert!(unhex(text).is_none(), "{text}");
        }
        assert!(unhex("000102030405060708090a0b0c0d0eÿ").is_none(), "a letter of two bytes");
        assert!(unhex("g00102030405060708090a0b0c0d0e0f").is_none());
    }
}
