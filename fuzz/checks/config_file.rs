//! Whatever stands in the configuration: it is used, or refused in words; a key that nobody knows is named; and nothing
//! of it is used that the service could not live with.

use std::path::Path;

use meterd::config::Config;
use serde_json::{Map, Value};

/// See the module.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let path = Path::new("/etc/meterd/meterd.json");
    let config = match Config::parse(text, path) {
        Ok(config) => config,
        Err(err) => return assert!(!err.to_string().is_empty()),
    };
    assert!(text.trim_ascii().starts_with('{'), "no object");
    assert!(!config.listen.is_empty() && !config.realm.is_empty() && !config.realm.contains(':'));
    assert!(0 < config.limits.connections && 0 < config.limits.data_chars);
    assert!(config.limits.data_chars < config.limits.upload_bytes);
    assert_eq!(Config::parse(text, path).ok(), Some(config));
    let Ok(mut keys) = serde_json::from_str::<Map<String, Value>>(text) else { return };
    keys.insert("no_such_key".into(), Value::Null);
    let refused = Config::parse(&Value::Object(keys).to_string(), path).expect_err("an unknown key");
    assert!(refused.to_string().contains("no_such_key"), "{refused}");
}
