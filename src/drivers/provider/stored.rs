//! What is kept of an activation: a file in the state folder for the program that reports, `service-alert.json` or
//! `service-push.json`, readable by its owner alone. It is there as a whole or not at all.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Service;
use super::handshake::Grant;
use crate::drivers::wlan::Hidden;
use crate::sys::fs as files;

/// Bytes of the file.
const MAX_BYTES: u64 = 64 * 1024;

fn path(state_dir: &Path, service: Service) -> PathBuf {
    state_dir.join(format!("service-{}.json", service.word()))
}

/// Keeps what `provider` granted, in the place of what was there.
pub(super) fn keep(state_dir: &Path, service: Service, provider: &str, grant: &Grant) -> io::Result<()> {
    let password = grant.password.as_ref().map(|it| String::from_utf8_lossy(it.expose()));
    let members = [("options", &grant.options), ("user", &grant.user)];
    let mut value = json!({ "provider": provider, "url": grant.url });
    for (name, text) in members {
        if let Some(text) = text {
            value[name] = json!(text);
        }
    }
    if let Some(password) = password {
        value["pw"] = json!(password);
    }
    let text = Hidden::from(format!("{value}\n").into_bytes());
    files::replace(&path(state_dir, service), text.expose(), 0o600)
}

/// The provider with which a service is activated; nothing if it is not.
pub fn name(state_dir: &Path, service: Service) -> io::Result<Option<String>> {
    let mut text = Vec::new();
    match File::open(path(state_dir, service)) {
        Err(err) if err.kind() == ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(err),
        Ok(file) => file.take(MAX_BYTES).read_to_end(&mut text)?,
    };
    let text = Hidden::from(text);
    let value: Value = serde_json::from_slice(text.expose())?;
    Ok(value["provider"].as_str().map(str::to_owned))
}

/// Ends a service; the meter does not report there any more. One that is not activated is fine.
pub fn end(state_dir: &Path, service: Service) -> io::Result<()> {
    match fs::remove_file(path(state_dir, service)) {
        Err(err) if err.kind() == ErrorKind::NotFound => Ok(()),
        Err(err) => Err(err),
        Ok(()) => files::sync_dir(state_dir),
    }
}
