//! The digest login (WebAPI, /auth/login). Its own reading of the formula; it knows no connections.

use md5::{Digest, Md5};
use serde_json::{Value, json};

/// A user who can log in.
#[derive(Clone)]
pub struct Credentials {
    /// The name.
    pub user: String,
    /// The password; never shown.
    pub password: String,
}

impl Credentials {
    /// The body of a digest login that answers a challenge.
    pub fn answer(&self, realm: &str, nonce: &str, client_nonce: &str) -> Value {
        let ha1 = md5(&format!("{}:{realm}:{}", self.user, self.password));
        let hash = md5(&format!("{ha1}:{nonce}:{client_nonce}"));
        json!({"rlm": realm, "usr": self.user, "nnc": nonce, "cnnc": client_nonce, "hash": hash})
    }
}

/// MD5 as lower-case hexadecimal digits.
pub fn md5(text: &str) -> String {
    Md5::digest(text).iter().map(|it| format!("{it:02x}")).collect()
}

/// The members of a token's payload, if it has the form of one.
pub fn payload(token: &str) -> Option<Value> {
    use base64::prelude::*;
    let part = token.split('.').nth(1)?.trim_end_matches('=');
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(part).ok()?;
    serde_json::from_slice(&bytes).ok().filter(Value::is_object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_documents_vector() {
        assert_eq!(md5("jane:domain:secret"), "251910de04f5eab86859939167d4fded");
    }
}
