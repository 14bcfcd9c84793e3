//! The token of an operation: 128 random bits in hexadecimal, of which only the SHA-256 is ever kept.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::sys::random;

/// Hexadecimal digits of a token (webapi `TokenObject`: at least 32, typically 32).
pub const TOKEN_CHARS: usize = 32;

/// A token as the client holds it.
#[derive(Clone)]
pub struct Token(String);

/// What the service keeps of a token. Looking it up compares hashes, so timing says nothing about the token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenKey([u8; 32]);

impl Token {
    /// A fresh token that nobody can guess.
    pub fn new() -> Self {
        Token(hex(&random::bytes::<{ TOKEN_CHARS / 2 }>()))
    }

    /// A token from a request; `None` if it is not hexadecimal of the right length. Upper case is the same token.
    pub fn parse(text: &str) -> Option<Self> {
        let well_formed = text.len() == TOKEN_CHARS && text.bytes().all(|it| it.is_ascii_hexdigit());
        well_formed.then(|| Token(text.to_ascii_lowercase()))
    }

    /// The form in which it is stored.
    pub fn key(&self) -> TokenKey {
        TokenKey(Sha256::digest(self.0.as_bytes()).into())
    }

    /// The text for the client that began the operation.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Token {
    fn default() -> Self {
        Token::new()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl TokenKey {
    /// The hash for a journal row.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The hash from a journal row; `None` if the column was damaged.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(TokenKey)
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|it| format!("{it:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_32_hex_digits_and_parses_back() {
        let token = Token::new();
        assert_eq!(token.as_str().len(), TOKEN_CHARS);
        assert!(Token::parse(token.as_str()).unwrap().key() == token.key());
        assert!(Token::parse(&token.as_str().to_uppercase()).unwrap().key() == token.key());
        assert!(Token::new().key() != token.key());
    }

    #[test]
    fn malformed_tokens_are_refused() {
        for text in ["", "12", &"g".repeat(32), &"a".repeat(33), &"é".repeat(16)] {
            assert!(Token::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn debug_output_hides_the_token() {
        assert_eq!(format!("{:?}", Token::new()), "Token(..)");
    }
}
