//! How the machine itself is touched: `platform`, `wlan` and `homeplug`.

use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::{Config, Install};

/// A program with its arguments; run without a shell.
pub type Command = Vec<String>;

/// How the machine itself is touched. A command whose part is missing answers with an error that names the key.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Platform {
    /// Reboots the machine, such as `["/sbin/reboot"]`.
    pub reboot: Option<Command>,
    /// Writes the system time to the real-time clock, such as `["hwclock", "-w", "-u"]`.
    pub hwclock: Option<Command>,
    /// Folder of compressed files that the web server keeps; `clear` empties it.
    pub web_cache_dir: Option<PathBuf>,
    /// The NTP service.
    pub ntp: Option<TimeService>,
    /// The PTP service.
    pub ptp: Option<TimeService>,
    /// What installs updates.
    pub install: Install,
    /// Files and folders beyond the state folder that a factory restore removes.
    pub factory_restore: Vec<PathBuf>,
}

/// A service that disciplines the clock, and is stopped while somebody sets it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeService {
    /// Stops it.
    pub stop: Command,
    /// Starts it.
    pub start: Command,
    /// Prints chrony's sources as `chronyc -c -n sources` does; one that is reachable will override a time that is set.
    #[serde(default)]
    pub sources: Option<Command>,
}

/// Where wpa_supplicant is reached.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wlan {
    /// Its control socket for the interface; the file's name is the interface's.
    pub control: PathBuf,
    /// Its configuration file, which it must be allowed to rewrite (`update_config=1`).
    pub config: PathBuf,
}

/// Where the meter's HomePlug bridge is reached.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Homeplug {
    /// The network interface that leads to it.
    pub interface: String,
    /// The bridge's MAC address, where more than one may answer.
    #[serde(default)]
    pub bridge: Option<String>,
}

impl Platform {
    /// Whether there is any program at all.
    pub fn has_programs(&self) -> bool {
        self.commands().next().is_some()
    }

    /// Every program, with its key.
    fn commands(&self) -> impl Iterator<Item = (&'static str, &Command)> {
        let ntp = self.ntp.iter().flat_map(|it| {
            let sources = it.sources.iter().map(|it| ("ntp.sources", it));
            [("ntp.stop", &it.stop), ("ntp.start", &it.start)].into_iter().chain(sources)
        });
        let ptp = self.ptp.iter().flat_map(|it| [("ptp.stop", &it.stop), ("ptp.start", &it.start)]);
        let single = [
            ("reboot", &self.reboot),
            ("hwclock", &self.hwclock),
            ("install.fw", &self.install.fw),
            ("install.kernel", &self.install.kernel),
        ];
        single.into_iter().filter_map(|(key, it)| Some((key, it.as_ref()?))).chain(ntp).chain(ptp)
    }
}

fn is_mac(text: &str) -> bool {
    let pair = |it: &str| it.len() == 2 && it.bytes().all(|it| it.is_ascii_hexdigit());
    text.split(':').count() == 6 && text.split(':').all(pair)
}

/// Whether a path is absolute, names something below the root, and does so without detours.
pub(super) fn is_named_from_root(path: &Path) -> bool {
    let mut parts = path.components();
    parts.next() == Some(Component::RootDir) && {
        let mut names = parts.peekable();
        names.peek().is_some() && names.all(|it| matches!(it, Component::Normal(_)))
    }
}

/// What is wrong with these keys, in words that name the key.
pub(super) fn check(config: &Config) -> Result<(), String> {
    // These are emptied or removed whole, so a slip must not name the root or whatever folder the service runs in.
    let folders = [("web_cache_dir", config.platform.web_cache_dir.as_slice())];
    for (key, paths) in folders.into_iter().chain([("factory_restore", &config.platform.factory_restore[..])]) {
        if let Some(path) = paths.iter().find(|it| !is_named_from_root(it)) {
            return Err(format!("platform.{key}: \"{}\" must be an absolute path below the root", path.display()));
        }
        // The state folder has its own order of removal, and the users on the label are the way back in.
        let holds_state = |it: &&PathBuf| it.starts_with(&config.state_dir) || config.state_dir.starts_with(it);
        let holds_label = |it: &&PathBuf| config.factory_users.iter().any(|users| users.starts_with(it));
        if let Some(path) = paths.iter().find(|it| holds_state(it) || holds_label(it)) {
            let what = "must have nothing in common with state_dir and not hold factory_users";
            return Err(format!("platform.{key}: \"{}\" {what}", path.display()));
        }
    }
    if let Some(bridge) = config.homeplug.as_ref().and_then(|it| it.bridge.as_ref())
        && !is_mac(bridge)
    {
        return Err(format!("homeplug.bridge: \"{bridge}\" is no MAC address, such as 00:b0:52:00:00:01"));
    }
    for (key, command) in config.platform.commands() {
        if command.is_empty() {
            return Err(format!("platform.{key}: must name a program"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::load;
    use super::*;

    #[test]
    fn what_is_removed_must_be_named_in_full() {
        for path in ["/", "cache", "", "./x", "/var/..", "/var/../x", "//"] {
            assert!(!is_named_from_root(Path::new(path)), "{path}");
            let err = load(&format!(r#"{{"platform": {{"web_cache_dir": "{path}"}}}}"#)).unwrap_err();
            assert!(err.contains("platform.web_cache_dir"), "{err}");
            let err = load(&format!(r#"{{"platform": {{"factory_restore": ["/x", "{path}"]}}}}"#)).unwrap_err();
            assert!(err.contains("platform.factory_restore"), "{err}");
        }
        load(r#"{"platform": {"web_cache_dir": "/var/cache/www", "factory_restore": ["/data/log/"]}}"#).unwrap();
        for path in ["/data", "/data/meterd", "/data/meterd/x", "/etc/label", "/etc/label/users.json"] {
            let platform = format!(r#""platform": {{"factory_restore": ["{path}"]}}"#);
            let text =
                format!(r#"{{"state_dir": "/data/meterd", "factory_users": "/etc/label/users.json", {platform}}}"#);
            assert!(load(&text).unwrap_err().contains("nothing in common"), "{path}");
        }
    }

    #[test]
    fn programs_and_commands_are_checked() {
        let err = load(r#"{"platform": {"ntp": {"stop": ["x"], "start": []}}}"#).unwrap_err();
        assert!(err.contains("platform.ntp.start"), "{err}");
        assert!(load(r#"{"platform": {"reboot": []}}"#).unwrap_err().contains("platform.reboot"));
        assert!(load(r#"{"disabled": ["fly"]}"#).unwrap_err().contains("\"fly\""));
        load(r#"{"disabled": ["homeplug", "db"]}"#).unwrap();
        let err = load(r#"{"homeplug": {"interface": "eth1", "bridge": "00:b0:52"}}"#).unwrap_err();
        assert!(err.contains("homeplug.bridge"), "{err}");
    }
}
