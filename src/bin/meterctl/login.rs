//! The digest login: what a meter's challenge is answered with, and what the token says that comes back.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use md5::{Digest, Md5};
use serde_json::{Map, Value, json};

use super::state;

/// What a login answers to.
pub struct Challenge {
    realm: String,
    nonce: String,
}

impl Challenge {
    /// Finds both in the body of a 401.
    pub fn of(json: &Value) -> Option<Challenge> {
        let text = |name: &str| Some(json.get(name)?.as_str()?.to_string());
        Some(Challenge { realm: text("rlm")?, nonce: text("nnc")? })
    }

    /// The body of the login that answers it.
    pub fn answer(&self, user: &str, password: &str, client_nonce: &str) -> Value {
        let ha1 = md5(&[user, &self.realm, password]);
        json!({
            "rlm": self.realm,
            "usr": user,
            "nnc": self.nonce,
            "cnnc": client_nonce,
            "hash": md5(&[&ha1, &self.nonce, client_nonce]),
        })
    }
}

/// MD5 of parts with colons between, as lower-case hexadecimal text. MD5 is the API's choice.
fn md5(parts: &[&str]) -> String {
    state::hex(&Md5::digest(parts.join(":")))
}

/// Seconds that a token says it is good for; a number or a string of one.
pub fn lifetime(jwt: &str) -> Option<u64> {
    let payload = URL_SAFE_NO_PAD.decode(jwt.split('.').nth(1)?.trim_end_matches('=')).ok()?;
    let payload: Map<String, Value> = serde_json::from_slice(&payload).ok()?;
    let seconds = payload.get("ltm")?;
    let seconds = seconds.as_u64().or_else(|| seconds.as_str()?.parse().ok())?;
    (1..=86_400).contains(&seconds).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_the_one_of_the_documentation() {
        assert_eq!(md5(&["jane", "domain", "secret"]), "251910de04f5eab86859939167d4fded");
    }

    #[test]
    fn lifetimes_may_be_numbers_or_strings() {
        let token = |payload: &str| format!("e30.{}.x", URL_SAFE_NO_PAD.encode(payload));
        for (payload, expect) in [
            (r#"{"ltm":600}"#, Some(600)),
            (r#"{"ltm":"300"}"#, Some(300)),
            ("{}", None),
            (r#"{"ltm":0}"#, None),
            ("x", None),
        ] {
            assert_eq!(lifetime(&token(payload)), expect, "{payload}");
        }
        assert_eq!(lifetime("no-token"), None);
    }
}
