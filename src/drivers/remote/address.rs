//! Where a remote device is, as the members `linktype` and `address` say it (WebAPI 4.6, "Link Types").
//! It takes addresses apart and reaches nothing.

use std::net::Ipv6Addr;
use std::path::PathBuf;

use crate::config::{Config, RemoteMap};
use crate::sys::serial::{Line, Parity, SPEEDS};

/// Link types of the WebAPI that this meter does not work.
const OTHER_LINKS: [&str; 7] = ["ailux", "coap", "ctrlbyweb", "po", "rtcoa", "tempalert", "udp"];
/// Protocols of the link type `slowd` that this meter does not work.
const OTHER_PROTOCOLS: [&str; 5] = ["alphatechnics", "po", "scpi", "sma", "sony"];
/// What may follow an address after `|`; it matters for recording, not for a test.
const OPTIONS: [&str; 3] = ["async", "sync", "spiky"];
/// The port of Modbus over TCP.
const MODBUS_PORT: u16 = 502;
/// The port of HTTP.
const HTTP_PORT: u16 = 80;
/// How serial devices talk where their address does not say otherwise.
const LINE: Line = Line { baud: 19200, parity: Parity::None, two_stops: false };

/// A device, and how it is read.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// Over Modbus.
    Modbus(Modbus),
    /// Another meter, over HTTP.
    Meter(Host),
}

/// A Modbus device.
#[derive(Clone, Debug, PartialEq)]
pub struct Modbus {
    /// What is in its registers.
    pub map: Map,
    /// Which of the devices on the line, or behind the gateway, it is.
    pub unit: u8,
    /// The way to it.
    pub way: Way,
}

/// What is in a device's registers.
#[derive(Clone, Debug, PartialEq)]
pub enum Map {
    /// The device itself says it.
    SunSpec,
    /// The configuration says it, under this name.
    Named(String, RemoteMap),
}

/// The way to a Modbus device.
#[derive(Clone, Debug, PartialEq)]
pub enum Way {
    /// Modbus over TCP.
    Tcp(Host),
    /// A serial port of this meter.
    Serial {
        /// The port's file.
        path: PathBuf,
        /// How bytes go over it.
        line: Line,
    },
    /// Serial frames over TCP, to a serial server.
    SerialServer(Host),
}

/// A host and a port, neither looked up nor reached.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    /// A name or an address; an IPv6 address without its brackets.
    pub name: String,
    /// The port.
    pub port: u16,
}

/// A member that cannot be used: its name and why.
#[derive(Debug, PartialEq)]
pub struct BadTarget(pub &'static str, pub String);

fn bad<T>(member: &'static str, reason: impl Into<String>) -> Result<T, BadTarget> {
    Err(BadTarget(member, reason.into()))
}

impl Target {
    /// The device that two members of a request name. Maps and serial ports are those of the configuration.
    pub fn parse(linktype: &str, address: &str, config: &Config) -> Result<Target, BadTarget> {
        match linktype {
            "modbus" => {
                let (device, at) = device(without_options(address)?, 255, u8::MAX, config)?;
                let port = match &device.0 {
                    Map::Named(_, map) => map.tcp_port.unwrap_or(MODBUS_PORT),
                    Map::SunSpec => MODBUS_PORT,
                };
                Ok(modbus(device, Way::Tcp(Host::parse(at, Some(port))?)))
            }
            "slowd" => slow(without_options(address)?, config),
            "tcp" => Ok(Target::Meter(Host::parse(without_options(address)?, Some(HTTP_PORT))?)),
            other if OTHER_LINKS.contains(&other) => {
                bad("linktype", format!("\"{other}\" is not supported by this meter; modbus, slowd and tcp are."))
            }
            _ => bad("linktype", "unknown; this meter supports modbus, slowd and tcp."),
        }
    }
}

fn modbus((map, unit): (Map, u8), way: Way) -> Target {
    Target::Modbus(Modbus { map, unit, way })
}

/// `proto://device`, the form of slow devices.
fn slow(address: &str, config: &Config) -> Result<Target, BadTarget> {
    let form = "must have the form modbus://MAP.UNIT@PORT, such as modbus://sunspec.1@USB2.";
    let Some((protocol, rest)) = address.split_once("://") else { return bad("address", form) };
    if OTHER_PROTOCOLS.contains(&protocol) {
        return bad("address", format!("the protocol \"{protocol}\" is not supported by this meter; modbus is."));
    }
    if protocol != "modbus" {
        return bad("address", format!("unknown protocol; it {form}"));
    }
    let (device, at) = device(rest, 0, 247, config)?;
    Ok(modbus(device, slow_way(at, config)?))
}

/// A serial port with its settings, or the host and port of a serial server.
fn slow_way(at: &str, config: &Config) -> Result<Way, BadTarget> {
    let (name, settings) = match at.split_once(':') {
        Some((name, settings)) => (name, Some(settings)),
        None => (at, None),
    };
    let path = match config.serial_ports.get(name) {
        Some(path) => path.clone(),
        // Any other path would let a caller have any file opened.
        None if is_usb_port(name) => PathBuf::from(name),
        None if name.starts_with('/') => {
            return bad("address", "of paths only /dev/ttyUSB and a number can be used; name others in serial_ports.");
        }
        None if settings.is_some() => return Ok(Way::SerialServer(Host::parse(at, None)?)),
        None => {
            let known: Vec<&str> = config.serial_ports.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "there is none".to_string() } else { known.join(", ") };
            return bad(
                "address",
                format!(
                    "no serial port of this name in serial_ports of the configuration ({known}), and no HOST:PORT."
                ),
            );
        }
    };
    Ok(Way::Serial { path, line: settings.map_or(Ok(LINE), line)? })
}

fn is_usb_port(name: &str) -> bool {
    let number = name.strip_prefix("/dev/ttyUSB").unwrap_or("");
    (1..=3).contains(&number.len()) && number.bytes().all(|it| it.is_ascii_digit())
}

/// `BAUD` or `BAUD/8ps`.
fn line(text: &str) -> Result<Line, BadTarget> {
    let (baud, framing) = text.split_once('/').unwrap_or((text, "8n1"));
    let baud = baud.bytes().all(|it| it.is_ascii_digit()).then(|| baud.parse().ok()).flatten();
    let Some(baud) = baud.filter(|it| SPEEDS.contains(it)) else {
        let known: Vec<String> = SPEEDS.iter().map(u32::to_string).collect();
        return bad("address", format!("the speed must be one of {}.", known.join(", ")));
    };
    let (parity, two_stops) = match framing.as_bytes() {
        [b'8', parity @ (b'n' | b'e' | b'o'), stops @ (b'1' | b'2')] => (*parity, *stops == b'2'),
        _ => {
            return bad("address", "after the speed there must be /8, n, e or o for the parity, and 1 or 2 stop bits.");
        }
    };
    let parity = match parity {
        b'e' => Parity::Even,
        b'o' => Parity::Odd,
        _ => Parity::None,
    };
    Ok(Line { baud, parity, two_stops })
}

/// `MAP.UNIT@REST`, or `MAP@REST` with the usual unit.
fn device<'a>(text: &'a str, usual: u8, last: u8, config: &Config) -> Result<((Map, u8), &'a str), BadTarget> {
    let Some((who, at)) = text.rsplit_once('@') else {
        return bad("address", "must begin with the map and the unit, such as sunspec.1, and an @.");
    };
    // A map's own name may have dots; what follows the last one is a unit if it is a number.
    let is_number = |it: &str| !it.is_empty() && it.bytes().all(|it| it.is_ascii_digit());
    let (name, unit) = match who.rsplit_once('.') {
        Some((name, unit)) if is_number(unit) => match unit.parse() {
            Ok(unit) if unit <= last => (name, unit),
            _ => return bad("address", format!("the unit must be between 0 and {last}.")),
        },
        _ => (who, usual),
    };
    let map = match (name, config.remote_maps.get(name)) {
        ("sunspec", _) => Map::SunSpec,
        (_, Some(map)) => Map::Named(name.to_string(), map.clone()),
        (_, None) => {
            let names: Vec<&str> = config.remote_maps.keys().map(String::as_str).collect();
            let more = if names.is_empty() { String::new() } else { format!(", {}", names.join(", ")) };
            return bad("address", format!("no such map; there are sunspec{more} (remote_maps of the configuration)."));
        }
    };
    Ok(((map, unit), at))
}

/// The address without `|option,...` at its end.
fn without_options(address: &str) -> Result<&str, BadTarget> {
    let Some((address, options)) = address.split_once('|') else { return Ok(address) };
    if options.split(',').all(|it| OPTIONS.contains(&it)) {
        return Ok(address);
    }
    bad("address", format!("after | only {} can be used.", OPTIONS.join(", ")))
}

impl Host {
    /// `HOST`, `HOST:PORT`, `[IPv6]` or `[IPv6]:PORT`; without a usual port one must be named.
    fn parse(text: &str, usual: Option<u16>) -> Result<Host, BadTarget> {
        let (name, port) = match text.strip_prefix('[').and_then(|it| it.split_once(']')) {
            Some((name, rest)) => match (name.parse::<Ipv6Addr>(), rest.strip_prefix(':')) {
                (Err(_), _) => return bad("address", "between the brackets there must be an IPv6 address."),
                (Ok(_), None) if !rest.is_empty() => {
                    return bad("address", "after the bracket only a port can follow.");
                }
                (Ok(_), port) => (name, port),
            },
            None => match text.split_once(':') {
                Some((_, more)) if more.contains(':') => {
                    return bad("address", "an IPv6 address must stand in brackets: [ADDRESS]:PORT.");
                }
                Some((name, port)) => (name, Some(port)),
                None => (text, None),
            },
        };
        let fits = |it: char| it.is_ascii_alphanumeric() || "-._:".contains(it);
        if name.is_empty() || 253 < name.len() || !name.chars().all(fits) || name.starts_with('-') {
            return bad("address", "must name a host, such as inverter.local or 192.168.1.20.");
        }
        let port = match port {
            None => usual,
            Some(text) if text.bytes().all(|it| it.is_ascii_digit()) => text.parse().ok().filter(|it| *it != 0),
            Some(_) => None,
        };
        match port {
            Some(port) => Ok(Host { name: name.to_string(), port }),
            None => bad("address", "the port must be a number between 1 and 65535."),
        }
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Host { name, port } = self;
        if name.contains(':') { write!(f, "[{name}]:{port}") } else { write!(f, "{name}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(linktype: &str, address: &str, expect: &str) {
        let config = serde_json::from_str::<Config>(
            r#"{"serial_ports": {"USB2": "/dev/ttyUSB2", "USB2.1": "/dev/ttyACM0"},
                "remote_maps": {"pump": {"tcp_port": 1502, "registers": []}, "a.b": {"registers": []}}}"#,
        );
        let got = match Target::parse(linktype, address, &config.unwrap()) {
            Err(BadTarget(member, reason)) => format!("{member}: {reason}"),
            Ok(Target::Meter(host)) => host.to_string(),
            Ok(Target::Modbus(Modbus { map, unit, way })) => {
                let map = if let Map::Named(name, _) = map { name } else { "SUNSPEC".into() };
                let way = match way {
                    Way::Tcp(host) => format!("tcp {host}"),
                    Way::SerialServer(host) => format!("rtu over {host}"),
                    Way::Serial { path, line: Line { baud, parity, two_stops } } => {
                        format!("{} {baud} {parity:?} {}", path.display(), 1 + u8::from(two_stops))
                    }
                };
                format!("{map} {unit} {way}")
            }
        };
        assert!(got.starts_with(expect), "{got}\nexpected {expect}");
    }

    #[test]
    fn modbus_over_tcp_has_map_unit_host_and_port() {
        check("modbus", "sunspec.1@inverter.local:1502", "SUNSPEC 1 tcp inverter.local:1502");
        check("modbus", "sunspec@10.0.0.1", "SUNSPEC 255 tcp 10.0.0.1:502");
        check("modbus", "pump@10.0.0.1", "pump 255 tcp 10.0.0.1:1502");
        check("modbus", "pump.0@[2001:db8::1]", "pump 0 tcp [2001:db8::1]:1502");
        check("modbus", "a.b.7@[::1]:502|spiky", "a.b 7 tcp [::1]:502");
        check("modbus", "a.b@h", "a.b 255 tcp h:502");
    }

    #[test]
    fn serial_devices_have_a_port_and_its_settings() {
        check("slowd", "modbus://sunspec.1@USB2", "SUNSPEC 1 /dev/ttyUSB2 19200 None 1");
        check("slowd", "modbus://sunspec@USB2.1:9600", "SUNSPEC 0 /dev/ttyACM0 9600 None 1");
        check("slowd", "modbus://pump.247@/dev/ttyUSB7:115200/8e2", "pump 247 /dev/ttyUSB7 115200 Even 2");
        check("slowd", "modbus://pump.1@USB2:1200/8o1", "pump 1 /dev/ttyUSB2 1200 Odd 1");
        check("slowd", "modbus://pump.1@gateway:4001", "pump 1 rtu over gateway:4001");
    }

    #[test]
    fn another_meter_is_a_host() {
        check("tcp", "meter2", "meter2:80");
        check("tcp", "meter2:8080|async,spiky", "meter2:8080");
    }

    #[test]
    fn link_types_of_other_meters_are_told_from_none_at_all() {
        for name in OTHER_LINKS {
            check(name, "x", &format!("linktype: \"{name}\" is not supported by this meter"));
        }
        check("http", "x", "linktype: unknown");
        check("", "x", "linktype: unknown");
        for name in OTHER_PROTOCOLS {
            check("slowd", &format!("{name}://1@USB2"), &format!("address: the protocol \"{name}\" is not supported"));
        }
        check("slowd", "bacnet://1@USB2", "address: unknown protocol");
        check("slowd", "sunspec.1@USB2", "address: must have the form");
    }

    #[test]
    fn what_is_wrong_with_an_address_is_said() {
        check("modbus", "host", "address: must begin with the map");
        check("modbus", "nomap.1@h", "address: no such map; there are sunspec, a.b, pump");
        check("modbus", "sunspec.256@h", "address: the unit must be between 0 and 255");
        check("slowd", "modbus://sunspec.248@USB2", "address: the unit must be between 0 and 247");
        for host in ["", ":502", "a b", "a\r\nb", "-x", "h\u{e9}"] {
            check("modbus", &format!("sunspec@{host}"), "address: must name a host");
        }
        for port in ["h:", "h:0", "h:65536", "h:+1", "h:x", "[::1]:"] {
            check("modbus", &format!("sunspec@{port}"), "address: the port must be");
        }
        check("modbus", "sunspec@::1", "address: an IPv6 address must stand in brackets");
        check("modbus", "sunspec@[x]:1", "address: between the brackets");
        check("modbus", "sunspec@[::1]x", "address: after the bracket");
        check("tcp", "h|fast", "address: after | only");
        check("slowd", "modbus://sunspec.1@/etc/passwd", "address: of paths only /dev/ttyUSB");
        check("slowd", "modbus://sunspec.1@/dev/ttyUSB0/../x", "address: of paths only /dev/ttyUSB");
        check("slowd", "modbus://sunspec.1@USB9", "address: no serial port of this name");
        check("slowd", "modbus://sunspec.1@USB2:9601", "address: the speed must be");
        check("slowd", "modbus://sunspec.1@USB2:9600/7e1", "address: after the speed");
        check("slowd", "modbus://sunspec.1@USB2:", "address: the speed must be");
    }
}
