//! What the configuration says about the world outside: which targets are permitted, whom to trust, and the providers.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use super::Command;
use crate::sys::net::{Subnet, canonical};

/// How other sides of encrypted connections are verified.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// PEM file of the roots that are trusted; without it the system's bundle, and without that built-in ones.
    pub ca_file: Option<PathBuf>,
}

/// Providers with which a service can be activated.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Providers {
    /// Those that report alerts.
    pub alert: Vec<Provider>,
    /// Those to which data is pushed.
    pub push: Vec<Provider>,
    /// Decrypts a provider's challenge with the meter's private key: gets the challenge in hexadecimal digits on standard
    /// input, prints the clear text in hexadecimal digits.
    pub decrypt: Option<Command>,
    /// Options that the program understands which will report, such as `json` or `gzip`; providers are told.
    pub options: Vec<String>,
}

/// One provider.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// The name by which `activate` calls it.
    pub name: String,
    /// The URL to which the meter introduces itself.
    pub control: String,
}

impl Providers {
    /// What makes no sense, with its key.
    pub(super) fn check(&self) -> Result<(), String> {
        for (key, list) in [("alert", &self.alert), ("push", &self.push)] {
            for (at, it) in list.iter().enumerate() {
                if it.name.is_empty() || it.name.contains(char::is_control) {
                    return Err(format!("providers.{key}: a name must be non-empty and without control characters"));
                }
                if list[..at].iter().any(|other| other.name == it.name) {
                    return Err(format!("providers.{key}: \"{}\" is there twice", it.name));
                }
                if !it.control.starts_with("https://") && !it.control.starts_with("http://") {
                    return Err(format!("providers.{key}: \"{}\": control must be an https URL", it.name));
                }
            }
        }
        match &self.decrypt {
            Some(command) if command.is_empty() => Err("providers.decrypt: must name a program".into()),
            _ => Ok(()),
        }
    }
}

/// `allow_targets`: single addresses and networks such as `192.0.2.0/24`.
pub(super) fn targets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Subnet>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let parse = |text: &String| {
        let wrong = || format!("allow_targets: \"{text}\" is no address and no network such as 192.0.2.0/24");
        parse_target(text).ok_or_else(|| D::Error::custom(wrong()))
    };
    texts.iter().map(parse).collect()
}

fn parse_target(text: &str) -> Option<Subnet> {
    let (addr, prefix) = text.split_once('/').map_or((text, None), |it| (it.0, Some(it.1)));
    let addr: IpAddr = addr.parse().ok()?;
    // A mapped address is compared as the IPv4 address that it is, with which its own prefix has nothing to do.
    if addr != canonical(addr) {
        return None;
    }
    let bits = if addr.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        None => bits,
        Some(text) => text.parse().ok().filter(|it| *it <= bits && text.bytes().all(|it| it.is_ascii_digit()))?,
    };
    Some(Subnet { addr, prefix })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_addresses_or_networks() {
        let subnet = |addr: &str, prefix| Some(Subnet { addr: addr.parse().unwrap(), prefix });
        assert_eq!(parse_target("192.0.2.1"), subnet("192.0.2.1", 32));
        assert_eq!(parse_target("127.0.0.0/8"), subnet("127.0.0.0", 8));
        assert_eq!(parse_target("2001:db8::/32"), subnet("2001:db8::", 32));
        assert_eq!(parse_target("::1"), subnet("::1", 128));
        for bad in ["", "x", "1.2.3", "1.2.3.4/33", "1.2.3.4/", "1.2.3.4/-1", "1.2.3.4/+1", "::/129", "::ffff:1.2.3.4"]
        {
            assert_eq!(parse_target(bad), None, "{bad}");
        }
    }
}
