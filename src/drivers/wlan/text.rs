//! What wpa_supplicant says, as values: names with escapes, the list of networks, blocks of KEY=VALUE. Bytes in, values
//! out; it asks nobody.

use std::fmt;

/// Bytes of a network's name (IEEE 802.11).
const MAX_SSID: usize = 32;

/// A network's name: 1 to 32 bytes, usually UTF-8. NL and NUL are not in it, since the API does not allow them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ssid(Vec<u8>);

impl Ssid {
    /// The name that a client asks for; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Ssid, String> {
        if text.is_empty() || text.len() > MAX_SSID {
            return Err(format!("must be 1 to {MAX_SSID} bytes long as UTF-8; these are {}.", text.len()));
        }
        if text.contains(['\n', '\0']) {
            return Err("must not contain a newline or NUL.".into());
        }
        Ok(Ssid(text.into()))
    }

    /// The name as it goes over the air.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Hexadecimal digits, the form without quotes and escapes.
    pub fn hex(&self) -> String {
        self.0.iter().map(|it| format!("{it:02x}")).collect()
    }
}

/// A network that the supplicant knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The supplicant's number for it.
    pub id: u32,
    /// Its name.
    pub ssid: Vec<u8>,
    /// The one access point that it is limited to, or `any`.
    pub bssid: String,
    /// What the supplicant says of it, in brackets.
    pub flags: String,
}

impl Network {
    /// Whether the meter is in it.
    pub fn is_current(&self) -> bool {
        self.flags.contains("[CURRENT]")
    }

    /// Whether the supplicant may choose it.
    pub fn is_enabled(&self) -> bool {
        !self.flags.contains("[DISABLED]") && !self.is_group()
    }

    /// Whether it failed to authenticate so that it is left alone for some seconds.
    pub fn is_suspended(&self) -> bool {
        self.flags.contains("[TEMP-DISABLED]")
    }

    /// Whether it is a record of a Wi-Fi Direct group, which is not to be enabled or disabled.
    pub fn is_group(&self) -> bool {
        self.flags.contains("[P2P-PERSISTENT]")
    }
}

/// An access point that was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessPoint {
    /// The supplicant's own number for it, growing with each that it meets.
    pub id: u32,
    /// Its hardware address.
    pub bssid: String,
    /// In MHz.
    pub frequency: u32,
    /// In dBm.
    pub level: i32,
    /// Seconds since it was last heard.
    pub age: u64,
    /// How it is secured, in brackets.
    pub flags: String,
    /// The name of its network.
    pub ssid: Vec<u8>,
}

/// A reply that is not what the protocol says.
#[derive(Debug)]
pub struct Strange;

impl fmt::Display for Strange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a reply makes no sense")
    }
}

/// The rows of `LIST_NETWORKS`: a headline, then columns separated by tabs.
pub fn networks(reply: &str) -> Result<Vec<Network>, Strange> {
    let row = |line: &str| {
        let mut columns = line.split('\t');
        let mut next = || columns.next().map(str::to_string);
        let id = next()?.parse().ok()?;
        let (ssid, bssid, flags) = (next()?, next()?, next()?);
        Some(Network { id, ssid: unescape(&ssid), bssid, flags })
    };
    reply.lines().skip(1).map(|it| row(it).ok_or(Strange)).collect()
}

/// The access points of `BSS RANGE=...`: lines `name=value`, each access point beginning with its `id`.
pub fn access_points(reply: &str) -> Result<Vec<AccessPoint>, Strange> {
    let mut res: Vec<AccessPoint> = Vec::new();
    for (name, value) in pairs(reply) {
        if name == "id" {
            let id = value.parse().map_err(|_| Strange)?;
            let (bssid, flags) = (String::new(), String::new());
            res.push(AccessPoint { id, bssid, frequency: 0, level: 0, age: 0, flags, ssid: Vec::new() });
            continue;
        }
        let it = res.last_mut().ok_or(Strange)?;
        match name {
            "bssid" => it.bssid = value.into(),
            "freq" => it.frequency = value.parse().map_err(|_| Strange)?,
            "level" => it.level = value.parse().map_err(|_| Strange)?,
            "age" => it.age = value.parse().map_err(|_| Strange)?,
            "flags" => it.flags = value.into(),
            "ssid" => it.ssid = unescape(value),
            // A newer supplicant may say more than it was asked for.
            _ => {}
        }
    }
    Ok(res)
}

/// The value of a name in a reply of lines `name=value`.
pub fn value<'a>(reply: &'a str, name: &str) -> Option<&'a str> {
    pairs(reply).find(|(it, _)| *it == name).map(|(_, value)| value)
}

fn pairs(reply: &str) -> impl Iterator<Item = (&str, &str)> {
    reply.lines().filter_map(|it| it.split_once('='))
}

/// Undoes the escapes of the supplicant's lists (`printf_encode` in its utils/common.c): `\"`, `\\`, `\e`, `\n`, `\r`,
/// `\t` and `\xHH`. What is no such escape stands for itself.
pub fn unescape(text: &str) -> Vec<u8> {
    let mut res = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'\\' {
            res.push(*first);
            continue;
        }
        let (byte, len) = match tail {
            [it @ (b'"' | b'\\'), ..] => (*it, 1),
            [b'e', ..] => (0x1b, 1),
            [b'n', ..] => (b'\n', 1),
            [b'r', ..] => (b'\r', 1),
            [b't', ..] => (b'\t', 1),
            [b'x', high, low, ..] => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, 3),
                _ => (b'\\', 0),
            },
            _ => (b'\\', 0),
        };
        res.push(byte);
        rest = &rest[len..];
    }
    res
}

/// Bytes of an even count of hexadecimal digits.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

fn digit(text: u8) -> Option<u8> {
    (text as char).to_digit(16).map(|it| it as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone() {
        #[track_caller]
        fn check(text: &str, expect: &[u8]) {
            assert_eq!(unescape(text), expect, "{text}");
        }
        check("Meter-Lab", b"Meter-Lab");
        check(r#"C\xc3\xa9 \", \\"#, "Cé \", \\".as_bytes());
        check(r"\e\n\r\t\x00\xff", b"\x1b\n\r\t\0\xff");
        check(r"\\x41", br"\x41");
        check(r"\x4", br"\x4");
        check(r"\xg1\q\", b"\\xg1\\q\\");
        check("", b"");
    }

    #[test]
    fn names_have_a_length_in_bytes() {
        #[track_caller]
        fn check(text: &str, expect: &str) {
            let got = match Ssid::parse(text) {
                Ok(it) => it.hex(),
                Err(err) => format!("error: {err}"),
            };
            assert_eq!(got, expect, "{text:?}");
        }
        check("é\"\\\t", "c3a9225c09");
        check(&"é".repeat(16), &"c3a9".repeat(16));
        check("", "error: must be 1 to 32 bytes long as UTF-8; these are 0.");
        check(&"é".repeat(17), "error: must be 1 to 32 bytes long as UTF-8; these are 34.");
        check("a\nb", "error: must not contain a newline or NUL.");
        check("a\0b", "error: must not contain a newline or NUL.");
    }

    #[test]
    fn the_list_of_networks_has_columns() {
        let reply =
            "network id / ssid / bssid / flags\n0\tC\\xc3\\xa9\tany\t[CURRENT]\n7\t\t02:00:00:00:01:00\t[DISABLED]\n";
        let list = networks(reply).unwrap();
        let show = |it: &Network| (it.id, it.ssid.clone(), it.bssid.clone(), it.is_current(), it.is_enabled());
        assert_eq!(show(&list[0]), (0, "Cé".into(), "any".into(), true, true));
        assert_eq!(show(&list[1]), (7, vec![], "02:00:00:00:01:00".into(), false, false));
        assert!(networks("head\n0\tx\n").is_err());
        assert!(networks("").unwrap().is_empty());
    }

    #[test]
    fn access_points_begin_with_their_id() {
        let reply = "id=3\nbssid=02:00:00:00:01:00\nfreq=2437\nlevel=-30\nage=2\nflags=[WPA2-PSK-CCMP][ESS]\n\
                     ssid=a\\x3d=b\n====\nid=4\nbssid=02:00:00:00:02:00\nfreq=5180\nlevel=-81\nage=0\nflags=[ESS]\n\
                     ssid=\n####\n";
        let list = access_points(reply).unwrap();
        assert_eq!(list.len(), 2);
        assert_eq!((list[0].frequency, list[0].level, list[0].age), (2437, -30, 2));
        assert_eq!(list[0].ssid, b"a==b");
        assert_eq!((list[1].id, list[1].ssid.as_slice()), (4, &b""[..]));
        assert!(access_points("freq=1\n").is_err());
        assert!(access_points("id=x\n").is_err());
    }
}
