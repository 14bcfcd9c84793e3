//! Logging in to a mail server (RFC 4954): which mechanism to take, and what it sends. Every form of a secret is
//! [`Hidden`]; nothing here talks to anybody.

use base64::prelude::{BASE64_STANDARD, Engine};
use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;

use crate::drivers::wlan::Hidden;

/// Bytes of a user name.
pub const USER: usize = 320;
/// Bytes of a password.
pub const PASSWORD: usize = 512;
/// Bytes of a command with its end (RFC 5321, 4.5.3.1.4).
const COMMAND: usize = 512;

/// Who logs in.
pub struct Login {
    /// The user name.
    pub user: String,
    /// The password.
    pub password: Hidden,
}

/// How to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mechanism {
    /// RFC 4616: user and password in one.
    Plain,
    /// Never standardised and still all that some servers have: user, then password.
    Login,
    /// RFC 2195: only a keyed hash of the server's challenge leaves the meter.
    CramMd5,
}

impl Mechanism {
    /// Its name on the wire.
    pub(super) fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
            Mechanism::CramMd5 => "CRAM-MD5",
        }
    }

    /// The best of those that a server offers. Under TLS that is the simplest; in the clear the one that keeps the
    /// password to itself.
    pub(super) fn choose(offered: &[String], encrypted: bool) -> Option<Mechanism> {
        let order = match encrypted {
            true => [Mechanism::Plain, Mechanism::Login, Mechanism::CramMd5],
            false => [Mechanism::CramMd5, Mechanism::Plain, Mechanism::Login],
        };
        order.into_iter().find(|it| offered.iter().any(|offer| offer.eq_ignore_ascii_case(it.name())))
    }
}

impl Login {
    /// What PLAIN sends, and whether it is short enough to go with the command itself.
    pub(super) fn plain(&self) -> (Hidden, bool) {
        let parts: [&[u8]; 4] = [b"\0", self.user.as_bytes(), b"\0", self.password.expose()];
        let token = base64(&join(&parts));
        let fits = "AUTH PLAIN \r\n".len() + token.expose().len() <= COMMAND;
        (token, fits)
    }

    /// The second answer of LOGIN; the first is the user's name in base64.
    pub(super) fn login_password(&self) -> Hidden {
        base64(&self.password)
    }

    /// The answer to a challenge as it came, in base64; nothing if it is none.
    pub(super) fn cram_md5(&self, challenge: &str) -> Option<Hidden> {
        let challenge = BASE64_STANDARD.decode(challenge.trim()).ok()?;
        let mut mac = Hmac::<Md5>::new_from_slice(self.password.expose()).ok()?;
        mac.update(&challenge);
        let digest: String = mac.finalize().into_bytes().iter().map(|it| format!("{it:02x}")).collect();
        Some(base64(&join(&[self.user.as_bytes(), b" ", digest.as_bytes()])))
    }
}

/// The parts as one secret, in memory of its exact size: growing would leave copies behind.
pub(super) fn join(parts: &[&[u8]]) -> Hidden {
    let mut res = Vec::with_capacity(parts.iter().map(|it| it.len()).sum());
    for part in parts {
        res.extend_from_slice(part);
    }
    Hidden::from(res)
}

fn base64(secret: &Hidden) -> Hidden {
    let mut res = vec![0; secret.expose().len().div_ceil(3) * 4];
    // The room is what base64 takes with its padding, so this cannot fail.
    let n = BASE64_STANDARD.encode_slice(secret.expose(), &mut res).unwrap_or(0);
    res.truncate(n);
    Hidden::from(res)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(user: &str, password: &str) -> Login {
        Login { user: user.into(), password: Hidden::from(password.as_bytes().to_vec()) }
    }

    fn text(secret: &Hidden) -> &str {
        std::str::from_utf8(secret.expose()).unwrap()
    }

    #[test]
    fn cram_md5_answers_as_in_the_standard() {
        // RFC 2195, section 2.
        let challenge = BASE64_STANDARD.encode("<1896.697170952@postoffice.reston.mci.net>");
        let answer = login("tim", "tanstaaftanstaaf").cram_md5(&challenge).unwrap();
        assert_eq!(text(&answer), "dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw");
        assert!(login("tim", "x").cram_md5("not base64!").is_none());
    }

    #[test]
    fn the_keyed_hash_is_hmac_md5_for_keys_of_every_length() {
        // RFC 2202, cases 2 and 6; a key above 64 bytes is hashed first.
        let hash = |password: &[u8], challenge: &str| {
            let login = Login { user: "u".into(), password: Hidden::from(password.to_vec()) };
            let answer = login.cram_md5(&BASE64_STANDARD.encode(challenge)).unwrap();
            String::from_utf8(BASE64_STANDARD.decode(answer.expose()).unwrap()).unwrap()
        };
        assert_eq!(hash(b"Jefe", "what do ya want for nothing?"), "u 750c783e6ab0b503eaa86e310a5db738");
        let text = "Test Using Larger Than Block-Size Key - Hash Key First";
        assert_eq!(hash(&[0xaa; 80], text), "u 6b1ab7fe4bd7bf8f0b62e6ce61b9d0cd");
    }

    #[test]
    fn plain_and_login_are_utf8_in_base64() {
        // RFC 4616's second example has the same form.
        let (token, fits) = login("tim", "tanstaaftanstaaf").plain();
        assert_eq!((text(&token), fits), ("AHRpbQB0YW5zdGFhZnRhbnN0YWFm", true));
        assert_eq!(text(&login("x", "pässw0rd \"x\"").login_password()), "cMOkc3N3MHJkICJ4Ig==");
        assert!(!login("u", &"p".repeat(PASSWORD)).plain().1);
        assert_eq!(text(&login("", "").login_password()), "");
    }

    #[test]
    fn the_choice_depends_on_what_is_offered_and_on_tls() {
        let choose = |offered: &str, encrypted| {
            let offered: Vec<String> = offered.split(' ').map(String::from).collect();
            Mechanism::choose(&offered, encrypted)
        };
        assert_eq!(choose("LOGIN PLAIN CRAM-MD5", true), Some(Mechanism::Plain));
        assert_eq!(choose("LOGIN CRAM-MD5", true), Some(Mechanism::Login));
        assert_eq!(choose("cram-md5 GSSAPI", true), Some(Mechanism::CramMd5));
        assert_eq!(choose("LOGIN PLAIN CRAM-MD5", false), Some(Mechanism::CramMd5));
        assert_eq!(choose("LOGIN PLAIN", false), Some(Mechanism::Plain));
        assert_eq!(choose("XOAUTH2 GSSAPI", true), None);
        assert_eq!(choose("", true), None);
    }
}
