//! What the configuration says of remote devices: the meter's serial ports by name, and register maps of devices that
//! do not describe themselves. It checks names and numbers and knows nothing of Modbus frames.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Deserialize;

use super::platform::is_named_from_root;

/// The map that needs no configuration.
const SUNSPEC: &str = "sunspec";
/// Registers that one map may name.
const MAX_REGISTERS: usize = 256;
/// Modbus registers of the longest text.
const MAX_LENGTH: u16 = 32;
/// Characters of a name.
const MAX_NAME: usize = 64;

/// Where a device keeps what it measures.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoteMap {
    /// The TCP port of such devices, where an address names none; 502 if absent.
    #[serde(default)]
    pub tcp_port: Option<u16>,
    /// Its registers, in the order in which they are shown.
    pub registers: Vec<RemoteRegister>,
}

/// One value of a device.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoteRegister {
    /// What it is called.
    pub name: String,
    /// Its first Modbus register, counted from 0 as on the wire: 40001 of many manuals is 0 in the table `holding`.
    pub register: u16,
    /// Which table of registers it is in.
    #[serde(default)]
    pub table: RemoteTable,
    /// What the registers hold.
    #[serde(default)]
    pub format: RemoteFormat,
    /// Modbus registers that a text fills.
    #[serde(default)]
    pub length: Option<u16>,
    /// The type code of the WebAPI, such as `P` for power.
    #[serde(rename = "type")]
    pub kind: String,
    /// The unit of the scaled value.
    #[serde(default)]
    pub unit: String,
    /// What the device's number is multiplied by.
    #[serde(default = "one")]
    pub scale: f64,
}

/// A table of Modbus registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RemoteTable {
    /// Read by function 3.
    #[default]
    Holding,
    /// Read by function 4.
    Input,
}

/// How a value lies in its registers: high register first, or for the names that end in `le` low register first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // The names are the bits of the number.
pub enum RemoteFormat {
    #[default]
    Uint16,
    Int16,
    Uint32,
    Int32,
    Uint64,
    Int64,
    Float32,
    Float64,
    Uint32le,
    Int32le,
    Uint64le,
    Int64le,
    Float32le,
    Float64le,
    /// UTF-8, padded with zeros or blanks.
    String,
}

fn one() -> f64 {
    1.0
}

impl RemoteRegister {
    /// How many Modbus registers it fills.
    pub fn count(&self) -> u16 {
        use RemoteFormat::*;
        match self.format {
            Uint16 | Int16 => 1,
            Uint32 | Int32 | Float32 | Uint32le | Int32le | Float32le => 2,
            Uint64 | Int64 | Float64 | Uint64le | Int64le | Float64le => 4,
            String => self.length.unwrap_or(1),
        }
    }

    fn check(&self) -> Result<(), String> {
        check_name(&self.name).map_err(|reason| format!("name: {reason}"))?;
        let fail = |text: &str| Err(text.to_string());
        if self.kind.is_empty() || 8 < self.kind.len() || self.kind.chars().any(char::is_control) {
            return fail("type: must be a type code of the WebAPI, such as P");
        }
        if 16 < self.unit.len() || self.unit.chars().any(char::is_control) {
            return fail("unit: must be at most 16 bytes");
        }
        if !self.scale.is_finite() || self.scale == 0.0 {
            return fail("scale: must be a number other than 0");
        }
        match (self.format, self.length) {
            (RemoteFormat::String, Some(length)) if (1..=MAX_LENGTH).contains(&length) => {}
            (RemoteFormat::String, _) => return Err(format!("length: a string needs one of 1 to {MAX_LENGTH}")),
            (_, Some(_)) => return fail("length: only a string has one"),
            (_, None) => {}
        }
        if self.register.checked_add(self.count() - 1).is_none() {
            return fail("register: it ends beyond register 65535");
        }
        Ok(())
    }
}

/// Whether an address may name it: not empty, and free of what separates the parts of an address.
fn check_name(name: &str) -> Result<(), String> {
    let fits = |it: char| !it.is_control() && !"@|,".contains(it);
    if name.is_empty() || MAX_NAME < name.len() || !name.chars().all(fits) {
        return Err(format!("must have 1 to {MAX_NAME} characters, without @ | , and control characters"));
    }
    Ok(())
}

/// Checks both parts; the error begins with the key at fault.
pub(super) fn check(ports: &BTreeMap<String, PathBuf>, maps: &BTreeMap<String, RemoteMap>) -> Result<(), String> {
    for (name, path) in ports {
        let fits = |it: char| it.is_ascii_alphanumeric() || "._-".contains(it);
        if name.is_empty() || !name.chars().all(fits) {
            return Err(format!("serial_ports: \"{name}\" must have letters, digits and . _ - only"));
        }
        if !is_named_from_root(path) {
            let path = path.display();
            return Err(format!("serial_ports.{name}: \"{path}\" must be an absolute path, such as /dev/ttyUSB0"));
        }
    }
    for (name, map) in maps {
        let fail = |text: &str| Err(format!("remote_maps.{name}{text}"));
        if let Err(reason) = check_name(name) {
            return Err(format!("remote_maps: the name \"{name}\" {reason}"));
        }
        if name == SUNSPEC {
            return fail(": sunspec is the name of the map that devices bring along");
        }
        if map.tcp_port == Some(0) {
            return fail(".tcp_port: must be between 1 and 65535");
        }
        if map.registers.is_empty() || MAX_REGISTERS < map.registers.len() {
            return fail(&format!(".registers: must be 1 to {MAX_REGISTERS}"));
        }
        let mut seen = BTreeSet::new();
        for (at, register) in map.registers.iter().enumerate() {
            if let Err(reason) = register.check() {
                return fail(&format!(".registers[{at}].{reason}"));
            }
            if !seen.insert(&register.name) {
                return fail(&format!(".registers[{at}].name: \"{}\" is there twice", register.name));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    /// The error of a configuration, or nothing.
    fn load(text: &str) -> String {
        match serde_json::from_str::<Config>(text) {
            Err(err) => err.to_string(),
            Ok(config) => config.check().err().map(|err| err.to_string()).unwrap_or_default(),
        }
    }

    #[track_caller]
    fn register(members: &str, expect: &str) {
        let text = format!(r#"{{"remote_maps": {{"pump": {{"registers": [{{{members}}}]}}}}}}"#);
        let got = load(&text);
        assert!(if expect.is_empty() { got.is_empty() } else { got.contains(expect) }, "{got}");
    }

    #[test]
    fn ports_have_plain_names_and_whole_paths() {
        assert_eq!(load(r#"{"serial_ports": {"USB2": "/dev/ttyUSB2", "USB2.1": "/dev/ttyUSB3"}}"#), "");
        for path in ["ttyUSB2", "", "/", "/dev/../etc/passwd"] {
            let got = load(&format!(r#"{{"serial_ports": {{"USB2": "{path}"}}}}"#));
            assert!(got.contains("serial_ports.USB2: "), "{got}");
        }
        for name in ["", "a:b", "a@b", "a b"] {
            assert!(load(&format!(r#"{{"serial_ports": {{"{name}": "/dev/x"}}}}"#)).contains("serial_ports: "));
        }
    }

    #[test]
    fn registers_are_checked_and_named() {
        let at = "remote_maps.pump.registers[0]";
        register(r#""name": "Grid", "register": 5, "type": "P", "unit": "W", "scale": 0.1, "format": "int32le""#, "");
        register(r#""name": "Maker", "register": 65504, "type": "d", "format": "string", "length": 32"#, "");
        register(r#""name": "Grid", "type": "P""#, "`register`");
        register(r#""name": "Grid", "register": 70000, "type": "P""#, "70000");
        register(r#""name": "Grid", "register": 1, "type": "P", "format": "int24""#, "`int24`");
        register(r#""name": "Grid", "register": 1, "type": "P", "scal": 2"#, "`scal`");
        register(r#""name": "", "register": 1, "type": "P""#, &format!("{at}.name: "));
        register(r#""name": "Grid", "register": 1, "type": """#, &format!("{at}.type: "));
        register(r#""name": "Grid", "register": 1, "type": "P", "scale": 0"#, &format!("{at}.scale: "));
        register(r#""name": "Grid", "register": 1, "type": "P", "length": 2"#, &format!("{at}.length: "));
        register(r#""name": "Grid", "register": 1, "type": "d", "format": "string""#, &format!("{at}.length: "));
        let beyond = r#""name": "Grid", "register": 65535, "type": "P", "format": "uint32""#;
        register(beyond, &format!("{at}.register: "));
        let twice = r#""name": "A", "register": 1, "type": "P"}, {"name": "A", "register": 2, "type": "P""#;
        register(twice, "remote_maps.pump.registers[1].name: ");
    }

    #[test]
    fn maps_are_checked_and_named() {
        let one = r#""registers": [{"name": "A", "register": 1, "type": "P"}]"#;
        assert!(load(&format!(r#"{{"remote_maps": {{"sunspec": {{{one}}}}}}}"#)).contains("remote_maps.sunspec"));
        assert!(load(&format!(r#"{{"remote_maps": {{"a@b": {{{one}}}}}}}"#)).contains("remote_maps: the name"));
        assert!(load(r#"{"remote_maps": {"a": {"registers": []}}}"#).contains("remote_maps.a.registers"));
        let port = format!(r#"{{"remote_maps": {{"a": {{"tcp_port": 0, {one}}}}}}}"#);
        assert!(load(&port).contains("remote_maps.a.tcp_port"));
    }
}
