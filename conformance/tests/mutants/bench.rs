//! A healthy meter to put behind the proxy: the service in bench mode, on a folder and a port of its own. It knows the
//! service's configuration and command line, since nobody else can start one.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use meter_conformance::session::Credentials;
use serde_json::json;

use crate::publisher::{Publisher, VERSIONS};

/// The owner's name and password, and those of a user without rights.
pub const OWNER: (&str, &str) = ("owner", "correct horse");
/// See [`OWNER`].
pub const GUEST: (&str, &str) = ("guest", "battery staple");
/// The user on the meter's label.
pub const LABEL: (&str, &str) = ("label", "as printed");

/// A running meter; it ends and its folder goes with this.
pub struct Bench {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its folder.
    pub folder: PathBuf,
    /// Unix time where some of its demonstration data begin and end.
    pub window: (u64, u64),
    /// Where its provider is expected.
    pub provider_port: u16,
    /// Where it asks for updates.
    pub update_port: u16,
    /// What is to be found there.
    pub updates: PathBuf,
    process: Child,
}

impl Bench {
    /// Starts one below `folder`, which it makes.
    pub fn start(binary: &Path, folder: &Path, publisher: &Publisher) -> Result<Bench, String> {
        let failed = |what: &str, err: &dyn std::fmt::Display| format!("{}: {what}: {err}", folder.display());
        fs::create_dir_all(folder.join("cache")).map_err(|err| failed("no folder", &err))?;
        // Both at once, so that they are two.
        let ports =
            ["127.0.0.1:0"; 2].map(TcpListener::bind).map(|it| it.and_then(|it| Ok((it.local_addr()?.port(), it))));
        let [Ok((provider_port, one)), Ok((update_port, two))] = ports else {
            return Err(failed("no port", &"none is free"));
        };
        drop((one, two));
        let provider = json!([{"name": "Example", "control": format!("http://127.0.0.1:{provider_port}/activate")}]);
        // The label's users are what a factory restore leads back to.
        let label = folder.join("label.json");
        fs::write(&label, json!({"bench": true, "state_dir": folder.join("label-state")}).to_string())
            .map_err(|err| failed("no label", &err))?;
        add_user(binary, &label, LABEL, None).map_err(|err| failed("no user", &err))?;
        let file = folder.join("meterd.json");
        let config = json!({
            "bench": true, "factory_users": folder.join("label-state").join("users.json"),
            "providers": {"alert": provider, "push": provider},
            "listen": ["127.0.0.1:0"], "state_dir": folder.join("state"),
            "platform": {"web_cache_dir": folder.join("cache")},
            "allow_targets": ["127.0.0.0/8"],
            "identity": {
                "hostname": "bench", "serial": "0001", "model": "bench", "hardware": "1", "versions": {"fw": VERSIONS[0]},
                "branch": "stable",
            },
            "update": {"url": format!("http://127.0.0.1:{update_port}"), "public_key": publisher.public_key},
        });
        fs::write(&file, config.to_string()).map_err(|err| failed("no configuration", &err))?;
        for (user, rights) in [(OWNER, None), (GUEST, Some("view_settings"))] {
            add_user(binary, &file, user, rights).map_err(|err| failed("no user", &err))?;
        }
        for (name, password) in [OWNER, GUEST, LABEL] {
            fs::write(folder.join(name), password).map_err(|err| failed("no password", &err))?;
        }
        let log = fs::File::create(folder.join("log")).map_err(|err| failed("no log", &err))?;
        let mut command = Command::new(binary);
        command.args(["serve", "--config"]).arg(&file).stdout(Stdio::piped()).stderr(log);
        let mut process = command.spawn().map_err(|err| failed("the service does not start", &err))?;
        let mut line = String::new();
        let output = process.stdout.take().map(BufReader::new);
        let _ = output.map(|mut it| it.read_line(&mut line));
        let address = line.trim().rsplit_once("http://").and_then(|it| it.1.parse().ok());
        match address {
            Some(address) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs());
                // The last morning, when the demonstration's net register turns from growing to shrinking.
                let dawn = (now - 30_000) / 86_400 * 86_400 + 21_600;
                let window = (dawn, dawn + 2400);
                let (folder, updates) = (folder.into(), publisher.folder.clone());
                Ok(Bench { address, folder, window, provider_port, update_port, updates, process })
            }
            None => {
                let _ = process.kill();
                let _ = process.wait();
                Err(failed("the service does not listen", &fs::read_to_string(folder.join("log")).unwrap_or(line)))
            }
        }
    }

    /// The owner, who has all rights.
    pub fn owner(&self) -> Credentials {
        Credentials { user: OWNER.0.into(), password: OWNER.1.into() }
    }
}

fn add_user(binary: &Path, config: &Path, user: (&str, &str), rights: Option<&str>) -> io::Result<()> {
    let mut command = Command::new(binary);
    command.args(["user", "set", user.0, "--config"]).arg(config);
    command.args(rights.map(|it| ["--priv", it]).into_iter().flatten());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(user.1.as_bytes())?;
    }
    match child.wait()? {
        status if status.success() => Ok(()),
        status => Err(io::Error::other(status.to_string())),
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
