//! Whatever a provider answers: what is kept or shown of it is short, harmless and of the kind that it says to be, and an
//! error does not repeat it.

use meterd::drivers::provider::handshake::{Reply, read};
use serde_json::Value;

/// See the module.
pub fn check(data: &[u8]) {
    let said: Option<Value> = serde_json::from_slice(data).ok();
    let member = |name: &str| said.as_ref().and_then(|it| it.get(name)).and_then(Value::as_str);
    match read(data) {
        Ok(Reply::Refusal(words)) => assert!(is_line(&words) && words.chars().count() <= 300),
        Ok(Reply::Challenge(it)) => {
            let is_hex = it.nonce.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'));
            assert!(is_hex && (1..=4096).contains(&it.nonce.len()) && member("nnc") == Some(it.nonce.as_str()));
            assert_eq!(said.as_ref().and_then(|it| it["rid"].as_u64()), Some(it.request));
        }
        Ok(Reply::Granted(it)) => {
            for (name, url) in [("url", Some(&it.url)), ("signup", it.signup.as_ref())] {
                let Some(url) = url else { continue };
                assert!(url.starts_with("http://") || url.starts_with("https://"), "{name}: {url}");
                assert!(is_line(url) && url.len() <= 2048 && !url.contains(' ') && member(name) == Some(url.as_str()));
            }
            for (name, text) in [("options", &it.options), ("user", &it.user)] {
                let Some(text) = text else { continue };
                assert!(is_line(text) && text.len() <= 2048 && member(name) == Some(text.as_str()), "{name}");
            }
            if let Some(password) = &it.password {
                assert_eq!(member("pw").map(str::as_bytes), Some(password.expose()));
            }
        }
        Err(reason) => {
            assert!(is_line(&reason) && reason.len() < 200, "{reason}");
            for name in ["pw", "user"] {
                let Some(said) = said.as_ref().filter(|_| member(name).is_some_and(|it| 12 < it.len())) else {
                    continue;
                };
                assert!(!repeats(&reason, said, name), "{reason}");
            }
        }
    }
}

/// Whether an error holds the text of this name: then it is another one with another text of the same length. A text that
/// only stands in the message by chance does not change it.
fn repeats(reason: &str, said: &Value, name: &str) -> bool {
    let Some(secret) = said[name].as_str().filter(|it| reason.contains(it)) else { return false };
    let mut other = said.clone();
    other[name] = Value::from("~".repeat(secret.len()));
    let [this, that] = [said, &other].map(|it| read(&serde_json::to_vec(it).unwrap()).err());
    this != that
}

fn is_line(text: &str) -> bool {
    !text.is_empty() && !text.contains(char::is_control)
}
