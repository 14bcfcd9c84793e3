//! Whatever is sent to a command: its body is understood or refused in words that repeat no secret; what is understood is
//! JSON, means the same however it is spaced, and with every `null` left out.

use std::path::PathBuf;
use std::sync::LazyLock;

use meterd::api::cmd::understand;
use meterd::config::Config;
use serde_json::{Map, Value};

const COMMANDS: [&str; 12] = [
    "activate",
    "cancel",
    "clear",
    "db",
    "factory-restore",
    "homeplug",
    "reboot",
    "set-time",
    "test-email",
    "test-remote",
    "update",
    "wlan",
];
/// Members whose value must not be repeated, whatever is wrong with them.
const SECRETS: [&str; 3] = ["key", "mailpass", "password"];

static CONFIG: LazyLock<Config> = LazyLock::new(|| {
    let serial_ports = [("USB2".to_string(), PathBuf::from("/dev/ttyUSB2"))].into();
    Config { serial_ports, ..Config::default() }
});

/// See the module.
pub fn check(data: &[u8]) {
    // The first byte says which command it is.
    let Some((&which, body)) = data.split_first() else { return };
    let command = COMMANDS[usize::from(which) % COMMANDS.len()];
    let said: Option<Value> = serde_json::from_slice(body).ok();
    match ask(command, body) {
        Ok(()) => {
            let Some(said) = said else {
                return assert!(body.trim_ascii().is_empty(), "{command}: what is understood is no JSON");
            };
            let Value::Object(members) = said else { return };
            let rest: Map<String, Value> = members.into_iter().filter(|(_, it)| !it.is_null()).collect();
            let again = serde_json::to_vec_pretty(&rest).unwrap();
            assert_eq!(ask(command, &again), Ok(()), "{command}: {}", String::from_utf8_lossy(&again));
        }
        Err(text) => {
            assert!(!text.is_empty());
            for name in SECRETS {
                let Some(said) = &said else { continue };
                assert!(!repeats(command, &text, said, name), "{text:?}");
            }
        }
    }
    assert_eq!(understand("remote", body, &CONFIG), None);
}

fn ask(command: &str, body: &[u8]) -> Result<(), String> {
    understand(command, body, &CONFIG).expect("a command")
}

/// Whether an error holds the secret of this name: then it is another one with another secret of the same length. What is
/// shorter than any good secret stands in many a message by chance.
fn repeats(command: &str, text: &str, said: &Value, name: &str) -> bool {
    let Some(secret) = said.get(name).and_then(Value::as_str) else { return false };
    if secret.len() < 8 || !text.contains(secret) {
        return false;
    }
    let mut other = said.clone();
    other[name] = Value::from("~".repeat(secret.len()));
    // Both written anew, since serde's messages have columns in them.
    let [this, that] = [said, &other].map(|it| ask(command, &serde_json::to_vec(it).unwrap()));
    this != that
}
