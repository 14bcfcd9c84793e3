//! `meterd.json` becomes a [`Config`]: every default in one place, every unknown key an error that names it.
//! It reads one file and knows nothing of who uses its values.

mod outward;
mod update;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::sys::net::Subnet;
pub use outward::{Provider, Providers, Tls};
pub use update::{Install, Target, Update, check_branch};

/// The commands of `/cmd`, as they are named in its paths.
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

/// The whole configuration; without a file, [`Config::bench`].
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Bench mode: demo registers, a generated owner password, and commands that would change the machine are only logged.
    pub bench: bool,
    /// The public listeners.
    pub listen: Vec<Listen>,
    /// Where users, database and staged files live; made with mode 0700 if it is missing.
    pub state_dir: PathBuf,
    /// Read-only users file of the device's label, used while the state folder has none.
    pub factory_users: Option<PathBuf>,
    /// The realm of the digest login; part of every stored password hash.
    pub realm: String,
    /// Refuse every request on TCP listeners, so that only the TLS front is served.
    pub secure_only: bool,
    /// What the meter says of itself.
    pub identity: Identity,
    /// How the machine itself is touched: its clock, its power, its caches.
    pub platform: Platform,
    /// The WLAN interface's supplicant; without it the WLAN commands say that it is missing.
    pub wlan: Option<Wlan>,
    /// The HomePlug bridge's interface; without it the HomePlug command says that it is missing.
    pub homeplug: Option<Homeplug>,
    /// Addresses to which the meter may connect though they are loopback, link-local, multicast or its own.
    #[serde(deserialize_with = "outward::targets")]
    pub allow_targets: Vec<Subnet>,
    /// How other sides of encrypted connections are verified.
    pub tls: Tls,
    /// Providers with which a service can be activated.
    pub providers: Providers,
    /// Where updates come from; without it the update command says that it is missing.
    pub update: Option<Update>,
    /// Commands of `/cmd` that this meter does not offer, by their names.
    pub disabled: Vec<String>,
    /// Sizes and times of the front door and of the database.
    pub limits: Limits,
}

/// One public listener: `"0.0.0.0:80"`, or an object for a Unix socket behind a TLS front.
#[derive(Clone, Debug, PartialEq)]
pub enum Listen {
    /// A TCP address; forwarding fields of its clients are stripped.
    Tcp(SocketAddr),
    /// A Unix socket for the meter's own web server.
    Unix(UnixListen),
}

impl<'de> Deserialize<'de> for Listen {
    /// By hand, because serde's own words for "one of these" name neither the address nor the key at fault.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Listen;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address such as \"0.0.0.0:80\", or an object with the key unix")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Listen, E> {
                let wrong = |_| E::custom(format!("listen: \"{text}\" is no address with a port, such as 0.0.0.0:80"));
                text.parse().map(Listen::Tcp).map_err(wrong)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Listen, A::Error> {
                UnixListen::deserialize(MapAccessDeserializer::new(map)).map(Listen::Unix)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// A Unix listener and how far its client is believed.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct UnixListen {
    /// Path of the socket.
    pub unix: PathBuf,
    /// Whether the front's `X-Forwarded-*` fields say who the peer is.
    #[serde(default)]
    pub forwarded: Forwarded,
    /// User ids that may connect (`SO_PEERCRED`); required with `"forwarded": "last"`.
    #[serde(default)]
    pub front_uids: Vec<u32>,
}

/// How `X-Forwarded-For` and `X-Forwarded-Proto` are read on a Unix listener.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Forwarded {
    /// Not at all: the peer is unknown, never local, and gets no password login.
    #[default]
    None,
    /// The last element of the last `X-Forwarded-For` line is the peer.
    Last,
}

/// What the meter says of itself under `/sys` and `/config/net/hostname`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Identity {
    /// Host name; the system's if absent.
    pub hostname: Option<String>,
    /// Serial number.
    pub serial: Option<String>,
    /// Model name.
    pub model: Option<String>,
    /// Hardware revision, a member of `/sys/version`.
    pub hardware: Option<String>,
    /// Further members of `/sys/version`, such as `fw` and `kernel`.
    pub versions: BTreeMap<String, String>,
    /// The release branch that the running system came from.
    pub branch: Option<String>,
}

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

/// Every limit that a firmware builder may want to move; the defaults suit a 32 MB device.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Open client connections.
    pub connections: usize,
    /// Open connections of one peer (IPv6: of one /64).
    pub per_peer: usize,
    /// Quick requests of one peer that are worked on at once.
    pub in_work_per_peer: usize,
    /// Bytes of a request's head.
    pub head_bytes: usize,
    /// Seconds for a whole head.
    pub head_seconds: u64,
    /// Fields in a head.
    pub fields: usize,
    /// Bytes of the request target.
    pub target_bytes: usize,
    /// Bytes of a body that is not an upload.
    pub body_bytes: usize,
    /// Seconds for a whole body.
    pub body_seconds: u64,
    /// Seconds that a kept connection may be silent.
    pub idle_seconds: u64,
    /// Seconds from the whole request to the first byte of its answer.
    pub answer_seconds: u64,
    /// Uploads (`POST /cmd/db` above `body_bytes`) at once.
    pub uploads: usize,
    /// Bytes of an upload's body; more is refused unread.
    pub upload_bytes: u64,
    /// Long answers at once.
    pub downloads: usize,
    /// Bytes per second below which an upload or a long answer is cut, averaged over `rate_seconds`.
    pub rate_floor: u64,
    /// Window of `rate_floor`.
    pub rate_seconds: u64,
    /// Base64 characters of a restore's `data`.
    pub data_chars: u64,
    /// Bytes that `data` may unpack to.
    pub unpacked_bytes: u64,
    /// Seconds from a body's last byte after which a long command answers "in progress".
    pub reply_seconds: u64,
    /// Database operations that may wait, staged on flash.
    pub waiting_operations: usize,
    /// Bytes that staged files may hold together.
    pub staged_bytes: u64,
    /// Bytes that must stay free on the state folder's file system.
    pub reserve_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 64,
            per_peer: 16,
            in_work_per_peer: 2,
            head_bytes: 8 * 1024,
            head_seconds: 5,
            fields: 64,
            target_bytes: 2 * 1024,
            body_bytes: 64 * 1024,
            body_seconds: 10,
            idle_seconds: 15,
            answer_seconds: 10,
            uploads: 2,
            upload_bytes: 4 * 1024 * 1024,
            downloads: 2,
            rate_floor: 8 * 1024,
            rate_seconds: 20,
            data_chars: 2 * 1024 * 1024,
            unpacked_bytes: 64 * 1024 * 1024,
            reply_seconds: 8,
            waiting_operations: 8,
            staged_bytes: 16 * 1024 * 1024,
            reserve_bytes: 4 * 1024 * 1024,
        }
    }
}

impl Limits {
    /// Seconds that a long command may hold its reply back.
    pub fn reply_within(&self) -> Duration {
        Duration::from_secs(self.reply_seconds)
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            bench: false,
            listen: vec![Listen::Tcp(SocketAddr::from(([0, 0, 0, 0], 80)))],
            state_dir: PathBuf::from("/var/lib/meterd"),
            factory_users: None,
            realm: "Meter Administration".into(),
            secure_only: false,
            identity: Identity::default(),
            platform: Platform::default(),
            wlan: None,
            homeplug: None,
            allow_targets: Vec::new(),
            tls: Tls::default(),
            providers: Providers::default(),
            update: None,
            disabled: Vec::new(),
            limits: Limits::default(),
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug)]
pub enum ConfigError {
    /// The file cannot be read.
    Read(PathBuf, std::io::Error),
    /// The file is not the JSON that is expected; serde names the key and the place.
    Parse(PathBuf, serde_json::Error),
    /// A value makes no sense; the text names the key.
    Value(String),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Read(path, err) => write!(f, "cannot read {}: {err}", path.display()),
            ConfigError::Parse(path, err) => write!(f, "{}: {err}", path.display()),
            ConfigError::Value(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// What runs without a file: everything below the current folder, on loopback, nothing real touched.
    pub fn bench() -> Self {
        Config {
            bench: true,
            listen: vec![Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 8080)))],
            state_dir: PathBuf::from("./meterd-state"),
            ..Config::default()
        }
    }

    /// Reads and checks a file. Keys that a bench file leaves out have [`Config::bench`]'s values.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|err| ConfigError::Read(path.into(), err))?;
        let parse = |err| ConfigError::Parse(path.into(), err);
        let mut res: Config = serde_json::from_str(&text).map_err(parse)?;
        if res.bench {
            // Which keys the file names decides, not their values: a bench file may well say "listen": ["0.0.0.0:80"].
            let named: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).map_err(parse)?;
            let bench = Config::bench();
            if !named.contains_key("listen") {
                res.listen = bench.listen;
            }
            if !named.contains_key("state_dir") {
                res.state_dir = bench.state_dir;
            }
        }
        res.check()?;
        Ok(res)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let fail = |text: String| Err(ConfigError::Value(text));
        if self.listen.is_empty() {
            return fail("listen: at least one address is needed".into());
        }
        for it in &self.listen {
            if let Listen::Unix(unix) = it
                && unix.forwarded == Forwarded::Last
                && unix.front_uids.is_empty()
            {
                return fail(format!(
                    "listen: {}: \"forwarded\": \"last\" needs front_uids, the user ids of the TLS front",
                    unix.unix.display()
                ));
            }
        }
        if self.realm.is_empty() || self.realm.contains(|it: char| it == ':' || it.is_control()) {
            return fail("realm: must be non-empty, without ':' and control characters".into());
        }
        self.providers.check().map_err(ConfigError::Value)?;
        self.update.as_ref().map_or(Ok(()), Update::check).map_err(ConfigError::Value)?;
        if let Some(Err(reason)) = self.identity.branch.as_deref().map(check_branch) {
            return fail(format!("identity.branch: {reason}"));
        }
        if let Some(name) = self.disabled.iter().find(|it| !COMMANDS.contains(&it.as_str())) {
            return fail(format!("disabled: \"{name}\" is no command of /cmd"));
        }
        // These are emptied or removed whole, so a slip must not name the root or whatever folder the service runs in.
        let folders = [("web_cache_dir", self.platform.web_cache_dir.as_slice())];
        for (key, paths) in folders.into_iter().chain([("factory_restore", &self.platform.factory_restore[..])]) {
            if let Some(path) = paths.iter().find(|it| !is_named_from_root(it)) {
                return fail(format!("platform.{key}: \"{}\" must be an absolute path below the root", path.display()));
            }
        }
        for (key, command) in self.platform.commands() {
            if command.is_empty() {
                return fail(format!("platform.{key}: must name a program"));
            }
        }
        let limits = &self.limits;
        let positive = [
            ("connections", limits.connections as u64),
            ("per_peer", limits.per_peer as u64),
            ("in_work_per_peer", limits.in_work_per_peer as u64),
            ("fields", limits.fields as u64),
            ("uploads", limits.uploads as u64),
            ("downloads", limits.downloads as u64),
            ("head_seconds", limits.head_seconds),
            ("body_seconds", limits.body_seconds),
            ("idle_seconds", limits.idle_seconds),
            ("answer_seconds", limits.answer_seconds),
            ("rate_seconds", limits.rate_seconds),
            ("data_chars", limits.data_chars),
            ("unpacked_bytes", limits.unpacked_bytes),
        ];
        for (key, value) in positive {
            if value == 0 {
                return fail(format!("limits.{key}: must be at least 1"));
            }
        }
        if limits.upload_bytes <= limits.data_chars {
            return fail("limits.upload_bytes: must be above limits.data_chars".into());
        }
        // An upload stages the backup as it came and its rows.
        if limits.staged_bytes < 2 * limits.data_chars {
            return fail("limits.staged_bytes: must be at least twice limits.data_chars".into());
        }
        if limits.head_bytes < 1024 || limits.head_bytes > 64 * 1024 {
            return fail("limits.head_bytes: must be between 1024 and 65536".into());
        }
        if limits.body_bytes < 4096 || limits.body_bytes > 1024 * 1024 {
            return fail("limits.body_bytes: must be between 4096 and 1048576".into());
        }
        if limits.reply_seconds >= limits.answer_seconds {
            return fail("limits.reply_seconds: must be below limits.answer_seconds".into());
        }
        Ok(())
    }
}

impl Platform {
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

/// Whether a path is absolute, names something below the root, and does so without detours.
fn is_named_from_root(path: &Path) -> bool {
    let mut parts = path.components();
    parts.next() == Some(Component::RootDir) && {
        let mut names = parts.peekable();
        names.peek().is_some() && names.all(|it| matches!(it, Component::Normal(_)))
    }
}

#[cfg(test)]
mod tests {
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
    }

    #[test]
    fn programs_and_commands_are_checked() {
        let err = load(r#"{"platform": {"ntp": {"stop": ["x"], "start": []}}}"#).unwrap_err();
        assert!(err.contains("platform.ntp.start"), "{err}");
        assert!(load(r#"{"platform": {"reboot": []}}"#).unwrap_err().contains("platform.reboot"));
        assert!(load(r#"{"disabled": ["fly"]}"#).unwrap_err().contains("\"fly\""));
        load(r#"{"disabled": ["homeplug", "db"]}"#).unwrap();
    }

    #[test]
    fn targets_and_providers_are_checked() {
        for (text, expect) in [
            (r#"{"allow_targets": ["10.0.0.0/8", "10.0.0.0/99"]}"#, "allow_targets: \"10.0.0.0/99\""),
            (r#"{"tls": {"ca": "/x"}}"#, "`ca`"),
            (r#"{"providers": {"push": [{"name": "a", "control": "ftp://x"}]}}"#, "providers.push: \"a\": control"),
            (r#"{"providers": {"alert": [{"name": "", "control": "https://x"}]}}"#, "providers.alert: a name"),
            (r#"{"providers": {"alert": [{"name": "a"}]}}"#, "`control`"),
            (r#"{"providers": {"decrypt": []}}"#, "providers.decrypt"),
        ] {
            let err = load(text).unwrap_err();
            assert!(err.contains(expect), "{err}");
        }
        let twice = r#"{"name": "a", "control": "https://x"}"#;
        let err = load(&format!(r#"{{"providers": {{"push": [{twice}, {twice}]}}}}"#)).unwrap_err();
        assert!(err.contains("\"a\" is there twice"), "{err}");
        let config = load(r#"{"allow_targets": ["192.0.2.1"], "tls": {"ca_file": "/x"}}"#).unwrap();
        assert_eq!((config.allow_targets[0].prefix, config.tls.ca_file.as_deref()), (32, Some(Path::new("/x"))));
    }

    #[track_caller]
    fn load(text: &str) -> Result<Config, String> {
        let dir =
            std::env::temp_dir().join(format!("meterd-config-{:x}", u64::from_ne_bytes(crate::sys::random::bytes())));
        std::fs::write(&dir, text).unwrap();
        let res = Config::load(&dir).map_err(|err| err.to_string());
        std::fs::remove_file(&dir).unwrap();
        res
    }

    #[test]
    fn an_unknown_key_is_named() {
        let err = load(r#"{"state_dirr": "/x"}"#).unwrap_err();
        assert!(err.contains("state_dirr"), "{err}");
        let err = load(r#"{"limits": {"conections": 3}}"#).unwrap_err();
        assert!(err.contains("conections"), "{err}");
    }

    #[test]
    fn listeners_are_addresses_or_unix_sockets() {
        let config =
            load(r#"{"listen": ["[::1]:80", {"unix": "/run/f.sock", "forwarded": "last", "front_uids": [33]}]}"#);
        let config = config.unwrap();
        assert_eq!(config.listen[0], Listen::Tcp("[::1]:80".parse().unwrap()));
        let Listen::Unix(unix) = &config.listen[1] else { panic!("{:?}", config.listen) };
        assert_eq!((unix.forwarded, unix.front_uids.as_slice()), (Forwarded::Last, &[33][..]));
    }

    #[test]
    fn trusting_a_front_needs_to_know_its_uid() {
        let err = load(r#"{"listen": [{"unix": "/run/f.sock", "forwarded": "last"}]}"#).unwrap_err();
        assert!(err.contains("front_uids"), "{err}");
    }

    #[test]
    fn a_bench_file_keeps_what_it_names() {
        let config = load(r#"{"bench": true, "listen": ["0.0.0.0:80"]}"#).unwrap();
        assert_eq!(config.listen, vec![Listen::Tcp("0.0.0.0:80".parse().unwrap())]);
        assert_eq!(config.state_dir, Path::new("./meterd-state"));
    }

    #[test]
    fn a_bad_listener_is_named() {
        let err = load(r#"{"listen": ["127.0.0.1"]}"#).unwrap_err();
        assert!(err.contains("\"127.0.0.1\" is no address"), "{err}");
        let err = load(r#"{"listen": [{"unix": "/x", "forward": "last"}]}"#).unwrap_err();
        assert!(err.contains("`forward`"), "{err}");
        let err = load(r#"{"listen": [80]}"#).unwrap_err();
        assert!(err.contains("expected an address"), "{err}");
    }

    #[test]
    fn senseless_limits_are_refused() {
        let err = load(r#"{"limits": {"reply_seconds": 30}}"#).unwrap_err();
        assert!(err.contains("limits.reply_seconds"), "{err}");
        for key in ["head_seconds", "data_chars", "rate_seconds"] {
            let err = load(&format!(r#"{{"limits": {{"{key}": 0}}}}"#)).unwrap_err();
            assert!(err.contains(&format!("limits.{key}")), "{err}");
        }
        let err = load(r#"{"limits": {"data_chars": 33554432, "upload_bytes": 67108864}}"#).unwrap_err();
        assert!(err.contains("limits.staged_bytes"), "{err}");
    }
}
