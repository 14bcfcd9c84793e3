//! wpa_supplicant's configuration file, as far as it must be known whether a network will be there after a restart.
//! The supplicant alone writes it; this side only reads.

use std::fs::File;
use std::io::{self, Read};

use super::key::{Hidden, Key};
use super::text::{unescape, unhex};

/// Bytes of the file.
const MAX_BYTES: u64 = 1024 * 1024;

/// A network block.
pub(super) struct Block {
    pub ssid: Vec<u8>,
    pub disabled: bool,
    key_mgmt: String,
    psk: Option<Hidden>,
}

impl Block {
    /// Whether it holds this key, in the form in which the supplicant writes one.
    pub fn has(&self, key: &Key) -> bool {
        let psk = self.psk.as_ref().map(Hidden::expose);
        match (key, psk) {
            (Key::Open, None) => self.key_mgmt == "NONE",
            (Key::Passphrase(key), Some([b'"', psk @ .., b'"'])) => psk == key.expose(),
            (Key::Hex(key), Some(psk)) => psk.eq_ignore_ascii_case(key.expose()),
            _ => false,
        }
    }
}

/// The networks of the file.
pub(super) fn networks(mut file: File) -> io::Result<Vec<Block>> {
    let size = file.metadata()?.len();
    if size > MAX_BYTES {
        return Err(io::Error::other("it is too long"));
    }
    // Room for all of it, since a growing buffer would leave copies of the keys behind.
    let mut text = Vec::with_capacity(size as usize + 1);
    Read::by_ref(&mut file).take(MAX_BYTES).read_to_end(&mut text)?;
    Ok(blocks(&Hidden::from(text)))
}

fn blocks(text: &Hidden) -> Vec<Block> {
    let mut res = Vec::new();
    let mut open: Option<Block> = None;
    for line in text.expose().split(|it| *it == b'\n') {
        let line = line.trim_ascii();
        if line.starts_with(b"network=") {
            open = Some(Block { ssid: Vec::new(), disabled: false, key_mgmt: String::new(), psk: None });
        } else if line == b"}" {
            res.extend(open.take());
        } else if let Some(block) = &mut open
            && let Some(at) = line.iter().position(|it| *it == b'=')
        {
            let (name, value) = (&line[..at], &line[at + 1..]);
            let text = || String::from_utf8_lossy(value);
            match name {
                b"ssid" => block.ssid = ssid(value),
                b"disabled" => block.disabled = value != b"0",
                b"key_mgmt" => block.key_mgmt = text().into_owned(),
                b"psk" => block.psk = Some(Hidden::from(value.to_vec())),
                _ => {}
            }
        }
    }
    res
}

/// A name is in quotes without any escapes, in quotes after a `P` with escapes, or bare hexadecimal digits.
fn ssid(value: &[u8]) -> Vec<u8> {
    match value {
        [b'"', name @ .., b'"'] => name.to_vec(),
        [b'P', b'"', name @ .., b'"'] => unescape(&String::from_utf8_lossy(name)),
        _ => unhex(&String::from_utf8_lossy(value)).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Vec<Block> {
        blocks(&Hidden::from(text.as_bytes().to_vec()))
    }

    #[test]
    fn names_come_in_three_forms() {
        let list = parse(
            "update_config=1\n\nnetwork={\n\tssid=\"a\"b\\c\"\n\tkey_mgmt=NONE\n\tdisabled=1\n}\n\
             network={\n\tssid=4d6fc3a9\n}\nnetwork={\n\tssid=P\"T\\x09\\\"\"\n}\n",
        );
        let names: Vec<_> = list.iter().map(|it| it.ssid.as_slice()).collect();
        assert_eq!(names, [&b"a\"b\\c"[..], "Moé".as_bytes(), b"T\t\""]);
        assert_eq!(list.iter().map(|it| it.disabled).collect::<Vec<_>>(), [true, false, false]);
    }

    #[test]
    fn a_block_holds_one_key_and_no_other() {
        let hex = "0aF1".repeat(16);
        let cases = [
            "key_mgmt=NONE".to_string(),
            "psk=\"a\"b c=d#\"".into(),
            format!("psk={}", hex.to_lowercase()),
            "key_mgmt=WPA-PSK".into(),
        ];
        let keys = [Key::Open, Key::passphrase(b"a\"b c=d#").unwrap(), Key::hex(hex.as_bytes()).unwrap()];
        for (i, case) in cases.iter().enumerate() {
            let list = parse(&format!("network={{\n\tssid=\"x\"\n\t{case}\n}}\n"));
            for (j, key) in keys.iter().enumerate() {
                assert_eq!(list[0].has(key), i == j, "{case} {j}");
            }
        }
    }
}
