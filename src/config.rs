//! `meterd.json` becomes a [`Config`]: every default in one place, every unknown key an error that names it.
//! It reads one file and knows nothing of who uses its values.

mod limits;
mod mail;
mod outward;
mod platform;
mod remote;
mod update;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::sys::net::Subnet;
pub use limits::Limits;
pub use mail::Mail;
pub use outward::{Provider, Providers, Tls};
pub use platform::{Command, Homeplug, Platform, TimeService, Wlan};
pub use remote::{RemoteFormat, RemoteMap, RemoteRegister, RemoteTable};
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
    /// The user, by name or number, that the part of the service becomes which faces the network, if it is started as
    /// root; the state folder is given to it. Without one that part stays root, with few of root's rights.
    pub user: Option<String>,
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
    /// How test mail is sent.
    pub mail: Mail,
    /// How other sides of encrypted connections are verified.
    pub tls: Tls,
    /// Providers with which a service can be activated.
    pub providers: Providers,
    /// Serial ports by the names that addresses use, such as `"USB2": "/dev/ttyUSB2"`.
    pub serial_ports: BTreeMap<String, PathBuf>,
    /// Register maps of remote devices, by the names that addresses use.
    pub remote_maps: BTreeMap<String, RemoteMap>,
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
    /// Whether the front's `X-Forwarded-*` fields say who the peer is. With `none` all its clients count as one, also for
    /// those who guess passwords.
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

impl Default for Config {
    fn default() -> Self {
        Config {
            bench: false,
            listen: vec![Listen::Tcp(SocketAddr::from(([0, 0, 0, 0], 80)))],
            state_dir: PathBuf::from("/var/lib/meterd"),
            user: None,
            factory_users: None,
            realm: "Meter Administration".into(),
            secure_only: false,
            identity: Identity::default(),
            platform: Platform::default(),
            wlan: None,
            homeplug: None,
            allow_targets: Vec::new(),
            mail: Mail::default(),
            tls: Tls::default(),
            providers: Providers::default(),
            serial_ports: BTreeMap::new(),
            remote_maps: BTreeMap::new(),
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
        Config::parse(&text, path)
    }

    /// The same of a text that was read already; errors name `path`.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let parse = |err| ConfigError::Parse(path.into(), err);
        // serde would take a list for the keys in their order.
        if text.trim_ascii_start().starts_with('[') {
            return Err(ConfigError::Value(format!(
                "{}: must be an object with the keys of the configuration",
                path.display()
            )));
        }
        let mut res: Config = serde_json::from_str(text).map_err(parse)?;
        if res.bench {
            // Which keys the file names decides, not their values: a bench file may well say "listen": ["0.0.0.0:80"].
            let named: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).map_err(parse)?;
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
        if self.user.as_deref().is_some_and(|it| it.is_empty() || it == "root" || it.parse() == Ok(0u32)) {
            return fail("user: must be somebody else than root".into());
        }
        if self.realm.is_empty() || self.realm.contains(|it: char| it == ':' || it.is_control()) {
            return fail("realm: must be non-empty, without ':' and control characters".into());
        }
        self.providers.check().map_err(ConfigError::Value)?;
        self.mail.check().map_err(ConfigError::Value)?;
        self.update.as_ref().map_or(Ok(()), Update::check).map_err(ConfigError::Value)?;
        if let Some(Err(reason)) = self.identity.branch.as_deref().map(check_branch) {
            return fail(format!("identity.branch: {reason}"));
        }
        if let Some(name) = self.disabled.iter().find(|it| !COMMANDS.contains(&it.as_str())) {
            return fail(format!("disabled: \"{name}\" is no command of /cmd"));
        }
        platform::check(self).map_err(ConfigError::Value)?;
        remote::check(&self.serial_ports, &self.remote_maps).map_err(ConfigError::Value)?;
        self.limits.check().map_err(ConfigError::Value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    pub(super) fn load(text: &str) -> Result<Config, String> {
        let dir =
            std::env::temp_dir().join(format!("meterd-config-{:x}", u64::from_ne_bytes(crate::sys::random::bytes())));
        std::fs::write(&dir, text).unwrap();
        let res = Config::load(&dir).map_err(|err| err.to_string());
        std::fs::remove_file(&dir).unwrap();
        res
    }

    #[test]
    fn a_list_is_no_configuration() {
        for text in ["[]", " [true]", "[false, [\"0.0.0.0:80\"]]"] {
            assert!(load(text).unwrap_err().contains("must be an object"), "{text}");
        }
    }

    #[test]
    fn the_user_is_not_root() {
        for user in ["", "root", "0", "00"] {
            assert!(load(&format!(r#"{{"user": "{user}"}}"#)).unwrap_err().starts_with("user: must be"), "{user}");
        }
        assert_eq!(load(r#"{"user": "meterd"}"#).unwrap().user.as_deref(), Some("meterd"));
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
