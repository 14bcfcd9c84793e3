//! What meter and provider say to each other (the WebAPI's glossary, "Service Activation"): JSON objects in which unknown
//! members are ignored. Bytes in, bytes out; nothing is sent here.

use md5::{Digest, Md5};
use serde_json::{Map, Value, json};

use crate::drivers::wlan::Hidden;

/// Hexadecimal digits of a challenge; one of RSA with 8192 bits has 2048.
const MAX_CHALLENGE: usize = 4096;
/// Characters of a provider's own words that are passed on.
const MAX_WORDS: usize = 300;
/// Bytes of what the provider wants to be kept.
const MAX_MEMBER: usize = 2048;

/// What a provider answers. It has no Debug: it holds a password.
pub enum Reply {
    /// No, in the provider's words.
    Refusal(String),
    /// First prove who you are.
    Challenge(Challenge),
    /// The service is activated.
    Granted(Grant),
}

/// Proof that is asked for.
pub struct Challenge {
    /// What the meter's private key decrypts, in lower-case hexadecimal digits.
    pub nonce: String,
    /// The number by which the provider knows this again.
    pub request: u64,
}

/// What is to be kept.
pub struct Grant {
    /// Where to report.
    pub url: String,
    /// How to report: names and `name=value`, separated by commas.
    pub options: Option<String>,
    /// For HTTP's basic authentication.
    pub user: Option<String>,
    /// The password of that user.
    pub password: Option<Hidden>,
    /// Where somebody must go to complete the activation.
    pub signup: Option<String>,
}

/// The first words of a meter; `options` are those that it understands.
pub fn introduction(name: &str, serial: &str, options: &[String]) -> Vec<u8> {
    let mut res = json!({ "name": name, "sn": serial });
    if !options.is_empty() {
        res["opts"] = json!(options);
    }
    res.to_string().into_bytes()
}

/// The proof: `clear` is the decrypted challenge in hexadecimal digits, `nonce` a random number of the meter's own.
pub fn proof(clear: &[u8], nonce: &str, request: u64) -> Vec<u8> {
    let mut md5 = Md5::new();
    md5.update(clear);
    md5.update(b":");
    md5.update(nonce.as_bytes());
    let hash: String = md5.finalize().iter().map(|it| format!("{it:02x}")).collect();
    json!({ "cnnc": nonce, "hash": hash, "rid": request }).to_string().into_bytes()
}

/// Reads a provider's answer; the error says what is wrong with it, without quoting it.
pub fn read(body: &[u8]) -> Result<Reply, String> {
    let Ok(mut members) = serde_json::from_slice::<Map<String, Value>>(body) else {
        return Err("it is no JSON object".into());
    };
    if let Some(words) = text(&mut members, "error")?.filter(|it| !it.is_empty()) {
        return Ok(Reply::Refusal(harmless(&words)));
    }
    if members.get("nnc").is_some_and(|it| !it.is_null()) {
        let nonce = text(&mut members, "nnc")?.unwrap_or_default();
        let is_hex = nonce.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'));
        if nonce.is_empty() || MAX_CHALLENGE < nonce.len() || !is_hex {
            return Err(format!("nnc must be 1 to {MAX_CHALLENGE} lower-case hexadecimal digits"));
        }
        return match members.get("rid").and_then(Value::as_u64) {
            Some(request) => Ok(Reply::Challenge(Challenge { nonce, request })),
            None => Err("rid must be a whole number of at least 0".into()),
        };
    }
    let url = address(&mut members, "url")?;
    Ok(Reply::Granted(Grant {
        url: url.ok_or("it has neither error nor nnc nor url")?,
        options: short(&mut members, "options")?,
        user: short(&mut members, "user")?,
        password: short(&mut members, "pw")?.map(|it| Hidden::from(it.into_bytes())),
        signup: address(&mut members, "signup")?,
    }))
}

/// Takes a member that must be a string; `null` is none.
fn text(members: &mut Map<String, Value>, name: &str) -> Result<Option<String>, String> {
    match members.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("{name} must be a string")),
    }
}

/// A string for the program that will report: nothing that could break its lines or its memory.
fn short(members: &mut Map<String, Value>, name: &str) -> Result<Option<String>, String> {
    match text(members, name)? {
        Some(it) if MAX_MEMBER < it.len() => Err(format!("{name} is longer than {MAX_MEMBER} bytes")),
        Some(it) if it.contains(char::is_control) => Err(format!("{name} has control characters")),
        other => Ok(other.filter(|it| !it.is_empty())),
    }
}

/// A URL; `signup` is one that a browser will open, so that no other scheme will do.
fn address(members: &mut Map<String, Value>, name: &str) -> Result<Option<String>, String> {
    let is_http = |it: &String| {
        let host = it.strip_prefix("https://").or_else(|| it.strip_prefix("http://"));
        host.is_some_and(|it| !it.is_empty() && !it.starts_with('/')) && !it.contains(char::is_whitespace)
    };
    match short(members, name)? {
        Some(it) if !is_http(&it) => Err(format!("{name} is no http or https URL")),
        other => Ok(other),
    }
}

/// Somebody else's words on one line and of bearable length.
fn harmless(words: &str) -> String {
    words.chars().map(|it| if it.is_control() { ' ' } else { it }).take(MAX_WORDS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, expect: &str) {
        let show = |it: Option<String>| it.unwrap_or_else(|| "-".into());
        let got = match read(body.as_bytes()) {
            Err(text) => format!("bad: {text}"),
            Ok(Reply::Refusal(words)) => format!("no: {words}"),
            Ok(Reply::Challenge(it)) => format!("{} {}", it.nonce, it.request),
            Ok(Reply::Granted(it)) => {
                let password = it.password.map(|it| String::from_utf8_lossy(it.expose()).into_owned());
                format!("{} {} {} {} {}", it.url, show(it.options), show(it.user), show(password), show(it.signup))
            }
        };
        assert_eq!(got, expect);
    }

    #[test]
    fn what_a_meter_says_is_what_the_protocol_has() {
        let own = String::from_utf8(introduction("meter \"1\"", "0001", &[])).unwrap();
        assert_eq!(own, r#"{"name":"meter \"1\"","sn":"0001"}"#);
        let own = String::from_utf8(introduction("m", "1", &["json".into(), "gzip".into()])).unwrap();
        assert_eq!(own, r#"{"name":"m","opts":["json","gzip"],"sn":"1"}"#);
        // printf %s 00ff:beef | md5sum
        let own = String::from_utf8(proof(b"00ff", "beef", 7)).unwrap();
        assert_eq!(own, r#"{"cnnc":"beef","hash":"a5588b2c3a4ba26a3aca26ea2544a7fc","rid":7}"#);
    }

    #[test]
    fn the_three_answers_are_told_apart() {
        check(r#"{"error":"No such\nmeter."}"#, "no: No such meter.");
        check(r#"{"nnc":"00ff","rid":0,"other":[1]}"#, "00ff 0");
        check(r#"{"url":"https://x/y"}"#, "https://x/y - - - -");
        check(
            r#"{"url":"http://x","options":"json,max=9","user":"u","pw":"p","signup":"https://s/1","error":null}"#,
            "http://x json,max=9 u p https://s/1",
        );
        check(r#"{"error":"","url":"https://x","user":""}"#, "https://x - - - -");
        check(&format!(r#"{{"error":"{}"}}"#, "e".repeat(9999)), &format!("no: {}", "e".repeat(300)));
    }

    #[test]
    fn nonsense_is_named_and_not_quoted() {
        for body in ["", "[]", "null", "x", "{\"a\":", "\"error\""] {
            check(body, "bad: it is no JSON object");
        }
        check("{}", "bad: it has neither error nor nnc nor url");
        check(r#"{"error":7}"#, "bad: error must be a string");
        check(r#"{"nnc":"00","rid":-1}"#, "bad: rid must be a whole number of at least 0");
        check(r#"{"nnc":"00","rid":1.5}"#, "bad: rid must be a whole number of at least 0");
        for nonce in ["", "0G", "FF", &"0".repeat(4097)] {
            let body = format!(r#"{{"nnc":"{nonce}","rid":1}}"#);
            check(&body, "bad: nnc must be 1 to 4096 lower-case hexadecimal digits");
        }
        check(r#"{"url":"ftp://x"}"#, "bad: url is no http or https URL");
        check(r#"{"url":"https://"}"#, "bad: url is no http or https URL");
        check(r#"{"url":"https://x","signup":"javascript:alert(1)"}"#, "bad: signup is no http or https URL");
        check(r#"{"url":"https://x","pw":"a\nb"}"#, "bad: pw has control characters");
        check(r#"{"url":"https://x","pw":["p"]}"#, "bad: pw must be a string");
    }
}
