//! Bearer tokens: JSON Web Tokens with HS256, put together by hand because one header is all that exists here. Their age
//! is counted in run time (`bt`); `beg` is for clients to read, since a command may move the wall clock at any moment.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};

use super::digest::hex;
use super::secret::Key;
use crate::sys::random;

/// How long a token is good for. Known clients log in again after 540 s.
pub const LIFETIME: Duration = Duration::from_secs(600);

/// Characters of the longest text that is looked at as a token.
pub const MAX_TOKEN: usize = 2048;

/// The only header that is written and the only one that is accepted: `{"alg":"HS256","typ":"JWT"}`.
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

/// What a token says; the member names are those that clients of real meters read, `jti` and `bt` are our own.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// The realm.
    pub rlm: String,
    /// The user.
    pub usr: String,
    /// The user's privileges at login as a bit mask, for clients; nothing here decides by it.
    pub prv: u32,
    /// Wall clock time of the login, in seconds since 1970.
    pub beg: u64,
    /// Lifetime in seconds.
    pub ltm: u64,
    /// The user's generation at login; the token ends when the user has another one.
    #[serde(rename = "gen")]
    pub generation: u64,
    /// A name of its own, by which the token is revoked.
    pub jti: String,
    /// Run time of the login in milliseconds.
    pub bt: u64,
}

impl Claims {
    /// The run time at which the token ends by itself.
    pub fn end(&self) -> Duration {
        Duration::from_millis(self.bt).saturating_add(LIFETIME)
    }
}

/// Makes and opens tokens of one realm.
pub struct Tokens {
    key: Key,
    realm: String,
}

impl Tokens {
    /// A maker with a key of its own.
    pub fn new(realm: &str) -> Self {
        Tokens { key: Key::random(), realm: realm.into() }
    }

    /// A token for a user who has proved to be the one, made at run time `now` and wall clock time `wall`.
    pub fn issue(&self, user: &str, privileges: u32, generation: u64, now: Duration, wall: Duration) -> String {
        self.seal(&Claims {
            rlm: self.realm.clone(),
            usr: user.into(),
            prv: privileges,
            beg: wall.as_secs(),
            ltm: LIFETIME.as_secs(),
            generation,
            jti: hex(&random::bytes::<16>()),
            bt: now.as_millis() as u64,
        })
    }

    fn seal(&self, claims: &Claims) -> String {
        let payload = serde_json::to_vec(claims).expect("claims have no maps and no foreign types");
        let mut res = format!("{HEADER}.{}", BASE64.encode(payload));
        let signature = BASE64.encode(self.key.sign(res.as_bytes()));
        res.push('.');
        res.push_str(&signature);
        res
    }

    /// What a token says, if it was made here and is not too old. Whether its user still is the same is not known here.
    pub fn open(&self, token: &str, now: Duration) -> Option<Claims> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        let signature = BASE64.decode(signature).ok()?;
        if header != HEADER || !self.key.verifies(signed.as_bytes(), &signature) {
            return None;
        }
        let claims: Claims = serde_json::from_slice(&BASE64.decode(payload).ok()?).ok()?;
        let age = now.checked_sub(Duration::from_millis(claims.bt))?;
        (claims.rlm == self.realm && age < LIFETIME).then_some(claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(5000);
    const WALL: Duration = Duration::from_secs(1_700_000_000);

    fn tokens() -> Tokens {
        Tokens::new("realm")
    }

    #[test]
    fn a_token_says_what_clients_read() {
        let token = tokens().issue("jane", 5, 7, NOW, WALL);
        let parts: Vec<&str> = token.split('.').collect();
        assert_eq!(parts.len(), 3);
        assert_eq!(BASE64.decode(parts[0]).unwrap(), br#"{"alg":"HS256","typ":"JWT"}"#);
        let said: serde_json::Value = serde_json::from_slice(&BASE64.decode(parts[1]).unwrap()).unwrap();
        let jti = said["jti"].as_str().unwrap();
        assert_eq!((jti.len(), jti.contains(|it: char| !it.is_ascii_hexdigit())), (32, false));
        let expect = serde_json::json!({"rlm": "realm", "usr": "jane", "prv": 5, "beg": 1_700_000_000, "ltm": 600,
                                        "gen": 7, "jti": jti, "bt": 5_000_000});
        assert_eq!(said, expect);
    }

    #[test]
    fn a_token_lives_ten_minutes_of_run_time() {
        let tokens = tokens();
        // The wall clock stood in 1970 at login; nothing follows from it.
        let token = tokens.issue("jane", 5, 7, NOW, Duration::ZERO);
        for (age, good) in [(0, true), (599_999, true), (600_000, false), (86_400_000, false)] {
            assert_eq!(tokens.open(&token, NOW + Duration::from_millis(age)).is_some(), good, "{age} ms");
        }
        assert!(tokens.open(&token, NOW - Duration::from_millis(1)).is_none(), "from the future");
        assert_eq!(tokens.open(&token, NOW).unwrap().end(), NOW + LIFETIME);
    }

    #[test]
    fn every_changed_character_is_seen() {
        let tokens = tokens();
        let token = tokens.issue("jane", 5, 7, NOW, WALL);
        for at in 0..token.len() {
            let mut other = token.clone().into_bytes();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            assert!(tokens.open(std::str::from_utf8(&other).unwrap(), NOW).is_none(), "changed at {at}");
        }
    }

    #[test]
    fn other_headers_are_refused_even_under_a_good_signature() {
        let tokens = tokens();
        let token = tokens.issue("jane", 5, 7, NOW, WALL);
        let payload = token.split('.').nth(1).unwrap();
        let headers =
            [r#"{"alg":"none","typ":"JWT"}"#, r#"{"typ":"JWT","alg":"HS256"}"#, r#"{"alg":"HS512","typ":"JWT"}"#, "{}"];
        for header in headers {
            let signed = format!("{}.{payload}", BASE64.encode(header));
            let good = BASE64.encode(tokens.key.sign(signed.as_bytes()));
            for signature in [good.as_str(), ""] {
                assert!(tokens.open(&format!("{signed}.{signature}"), NOW).is_none(), "{header}");
            }
        }
    }

    #[test]
    fn texts_that_are_no_token_are_refused() {
        let tokens = tokens();
        let token = tokens.issue("jane", 5, 7, NOW, WALL);
        let (signed, _) = token.rsplit_once('.').unwrap();
        let long = format!("{HEADER}.{}.x", "A".repeat(MAX_TOKEN));
        for text in
            ["", ".", "..", "...", signed, &format!("{token}."), &format!("{token}="), &format!(" {token}"), &long]
        {
            assert!(tokens.open(text, NOW).is_none(), "{text}");
        }
        assert!(Tokens::new("realm").open(&token, NOW).is_none(), "of another start");
    }

    #[test]
    fn the_longest_names_fit() {
        let tokens = Tokens::new(&"\"".repeat(super::super::MAX_REALM));
        let token = tokens.issue(&"\\".repeat(super::super::users::MAX_NAME), u32::MAX, u64::MAX, NOW, WALL);
        assert!(tokens.open(&token, NOW).is_some(), "{} characters", token.len());
    }
}
