//! The body of a login: parsed, and its proof weighed against what is stored. No clock, no tables, no files; the order in
//! which a login is decided is in `mod.rs`.

use serde::Deserialize;

use super::digest::{Ha1, unhex};
use super::secret::{Secret, same};

/// Bytes of the longest body.
pub const MAX_BODY: usize = 8 * 1024;
/// Bytes of the longest client nonce; known clients send 16 to 128.
pub const MAX_CLIENT_NONCE: usize = 1024;

/// A login as its body states it.
pub struct Attempt {
    /// The realm.
    pub realm: String,
    /// The user.
    pub user: String,
    /// What shall show that it is the user.
    pub proof: Proof,
}

/// How a client shows that it knows the password.
pub enum Proof {
    /// A hash over the password and both nonces.
    Digest {
        /// Our nonce.
        nonce: String,
        /// The client's.
        client_nonce: String,
        /// The hash, hexadecimal in either case.
        hash: String,
    },
    /// The password itself.
    Password(Secret),
}

/// The members of both kinds; others are ignored, as real clients send some.
#[derive(Deserialize)]
struct Body {
    rlm: Option<String>,
    usr: Option<String>,
    nnc: Option<String>,
    cnnc: Option<String>,
    hash: Option<String>,
    pwd: Option<Secret>,
}

/// Reads a login body; nothing if it is malformed. With everything for a digest in it, a password is not looked at.
pub fn parse(body: &[u8]) -> Option<Attempt> {
    // Serde would take an array for the struct too.
    if MAX_BODY < body.len() || body.trim_ascii_start().first() != Some(&b'{') {
        return None;
    }
    let Body { rlm, usr, nnc, cnnc, hash, pwd } = serde_json::from_slice(body).ok()?;
    let proof = match (nnc, cnnc, hash, pwd) {
        (Some(nonce), Some(client_nonce), Some(hash), _) => Proof::Digest { nonce, client_nonce, hash },
        (_, _, _, Some(password)) => Proof::Password(password),
        _ => return None,
    };
    if matches!(&proof, Proof::Digest { client_nonce, .. } if MAX_CLIENT_NONCE < client_nonce.len()) {
        return None;
    }
    Some(Attempt { realm: rlm?, user: usr?, proof })
}

impl Attempt {
    /// Whether the proof is that of `ha1`'s password. The work is the same whatever the answer.
    pub fn proves(&self, ha1: &Ha1) -> bool {
        match &self.proof {
            Proof::Digest { nonce, client_nonce, hash } => {
                let expect = ha1.response(nonce, client_nonce);
                unhex(hash).is_some_and(|it| same(&it, &expect))
            }
            Proof::Password(password) => Ha1::of(&self.user, &self.realm, password).same(ha1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(body: &str) -> String {
        match parse(body.as_bytes()) {
            None => "malformed".into(),
            Some(Attempt { realm, user, proof: Proof::Password(it) }) => {
                format!("{realm} {user} pwd {}", String::from_utf8_lossy(it.expose()))
            }
            Some(Attempt { realm, user, proof: Proof::Digest { nonce, client_nonce, hash } }) => {
                format!("{realm} {user} digest {nonce} {client_nonce} {hash}")
            }
        }
    }

    #[test]
    fn bodies_are_one_of_two_kinds_or_malformed() {
        let cases = [
            (r#"{"rlm":"r","usr":"u","nnc":"n","cnnc":"c","hash":"h"}"#, "r u digest n c h"),
            (r#" {"rlm":"r","usr":"u","pwd":"p"} "#, "r u pwd p"),
            (r#"{"rlm":"r","usr":"u","pwd":"p","remember":[{}],"hash":null}"#, "r u pwd p"),
            (r#"{"rlm":"r","usr":"u","pwd":"p","nnc":"n","cnnc":"c","hash":"h"}"#, "r u digest n c h"),
            (r#"{"rlm":"r","usr":"u","pwd":"p","nnc":"n"}"#, "r u pwd p"),
            (r#"{"rlm":"","usr":"","pwd":""}"#, "  pwd "),
            (r#"{"rlm":"r","usr":"u","nnc":"n","cnnc":"c"}"#, "malformed"),
            (r#"{"rlm":"r","usr":null,"pwd":"p"}"#, "malformed"),
            (r#"{"usr":"u","pwd":"p"}"#, "malformed"),
            (r#"{"rlm":"r","usr":"u","pwd":7}"#, "malformed"),
            (r#"{"rlm":"r","usr":"u","usr":"v","pwd":"p"}"#, "malformed"),
            (r#"{"rlm":"r","usr":"u","pwd":"\ud800"}"#, "malformed"),
            (r#"{"rlm":"r","usr":"u","pwd":"p"}x"#, "malformed"),
            (r#"{"rlm":"r","usr":"u","pwd":"p""#, "malformed"),
            (r#"["r","u",null,null,null,"p"]"#, "malformed"),
            ("", "malformed"),
            ("null", "malformed"),
            ("{}", "malformed"),
        ];
        for (body, expect) in cases {
            assert_eq!(show(body), expect, "{body}");
        }
        assert!(parse(b"{\"rlm\":\"r\",\"usr\":\"u\",\"pwd\":\"\xff\"}").is_none());
    }

    #[test]
    fn client_nonces_may_be_long_but_not_endless() {
        for (length, good) in [(0, true), (128, true), (MAX_CLIENT_NONCE, true), (MAX_CLIENT_NONCE + 1, false)] {
            let body = format!(r#"{{"rlm":"r","usr":"u","nnc":"n","cnnc":"{}","hash":"h"}}"#, "c".repeat(length));
            assert_eq!(parse(body.as_bytes()).is_some(), good, "{length}");
        }
        let body = format!(r#"{{"rlm":"r","usr":"u","pwd":"p"}}{}"#, " ".repeat(MAX_BODY));
        assert!(parse(body.as_bytes()).is_none());
    }

    #[test]
    fn a_proof_fits_its_password_only() {
        let ha1 = Ha1::parse("251910de04f5eab86859939167d4fded").unwrap();
        let hash = super::super::digest::hex(&ha1.response("n", "c"));
        let digest = |cnnc: &str, hash: &str| {
            format!(r#"{{"rlm":"domain","usr":"jane","nnc":"n","cnnc":"{cnnc}","hash":"{hash}"}}"#)
        };
        let plain = |rlm: &str, usr: &str, pwd: &str| format!(r#"{{"rlm":"{rlm}","usr":"{usr}","pwd":"{pwd}"}}"#);
        let cases = [
            (digest("c", &hash), true),
            (digest("c", &hash.to_uppercase()), true),
            (digest("d", &hash), false),
            (digest("c", &hash[1..]), false),
            (digest("c", ""), false),
            (digest("c", ha1.text()), false),
            (plain("domain", "jane", "secret"), true),
            (plain("domain", "jane", "Secret"), false),
            (plain("domain", "june", "secret"), false),
            (plain("other", "jane", "secret"), false),
            (plain("domain", "jane", ""), false),
        ];
        for (body, good) in cases {
            assert_eq!(parse(body.as_bytes()).unwrap().proves(&ha1), good, "{body}");
        }
    }
}
