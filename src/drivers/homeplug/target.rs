//! Whom a command names: bridges by MAC address, each with its device encryption key.
//! It does not know how they are reached.

use std::fmt;

use super::keys::{Dek, Key, Password};

/// Bridges that one command may name; a network has at most 253 stations, and each that is silent costs six seconds.
pub const MAX_TARGETS: usize = 64;

/// The hardware address of one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

/// A remote bridge.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Its powerline address.
    pub mac: Mac,
    dek: Dek,
}

/// The command: give the network of the meter's bridge and of the targets a new password.
#[derive(Debug, PartialEq)]
pub struct SetPassword {
    /// The new password.
    pub password: Password,
    /// The bridges beside the meter's own, in the order in which they are asked; no address twice.
    pub targets: Vec<Target>,
}

impl Mac {
    /// Where every bridge on this side of the powerline listens, and none beyond it.
    pub const LOCAL_BRIDGES: Mac = Mac([0x00, 0xb0, 0x52, 0x00, 0x00, 0x01]);

    /// Takes `xx:xx:xx:xx:xx:xx` in either case; an address of no or of many devices is refused.
    pub fn parse(text: &str) -> Result<Mac, String> {
        let wrong = || "the MAC address must have the form xx:xx:xx:xx:xx:xx in hexadecimal digits".to_string();
        let mut res = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut res {
            let part = parts.next().filter(|it| it.len() == 2 && it.bytes().all(|it| it.is_ascii_hexdigit()));
            *byte = part.and_then(|it| u8::from_str_radix(it, 16).ok()).ok_or_else(wrong)?;
        }
        match parts.next() {
            Some(_) => Err(wrong()),
            None if res[0] & 1 == 1 || res == [0; 6] || Mac(res) == Mac::LOCAL_BRIDGES => {
                Err("the MAC address is not that of one device".into())
            }
            None => Ok(Mac(res)),
        }
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl Target {
    /// Takes `MAC/DEK`. The reason of a refusal holds nothing of the DEK.
    pub fn parse(text: &str) -> Result<Target, String> {
        let Some((mac, dek)) = text.split_once('/') else {
            return Err("must be the bridge's MAC address, a slash and its DEK".into());
        };
        Ok(Target { mac: Mac::parse(mac.trim())?, dek: Dek::parse(dek)? })
    }

    /// The key under which the bridge takes commands over the powerline.
    pub fn access_key(&self) -> Key {
        self.dek.access_key()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: &str) {
        let got = Target::parse(text).map_or_else(|err| err, |it| it.mac.to_string());
        assert!(got.contains(expect), "{got}\nexpected {expect}");
        assert!(!got.contains("MNOP"), "{got}");
    }

    #[test]
    fn a_target_is_an_address_and_a_dek() {
        check("00:b0:52:BA:be:57/ABCD-EFGH-IJKL-MNOP", "00:b0:52:ba:be:57");
        check(" 00:b0:52:ba:be:57 / abcdefghijklmnop ", "00:b0:52:ba:be:57");
        check("ABCD-EFGH-IJKL-MNOP", "a slash");
        check("00-b0-52-ba-be-57/ABCD-EFGH-IJKL-MNOP", "form xx:xx");
        check("00:b0:52:ba:be/ABCD-EFGH-IJKL-MNOP", "form xx:xx");
        check("00:b0:52:ba:be:57:58/ABCD-EFGH-IJKL-MNOP", "form xx:xx");
        check("00:b0:52:ba:be:+7/ABCD-EFGH-IJKL-MNOP", "form xx:xx");
        check("00:b0:52:00:00:01/ABCD-EFGH-IJKL-MNOP", "one device");
        check("ff:ff:ff:ff:ff:ff/ABCD-EFGH-IJKL-MNOP", "one device");
        check("00:00:00:00:00:00/ABCD-EFGH-IJKL-MNOP", "one device");
        check("00:b0:52:ba:be:57/ABCD-EFGH-IJKL-MNOP/", "four groups");
        check("00:b0:52:ba:be:57/", "four groups");
    }
}
