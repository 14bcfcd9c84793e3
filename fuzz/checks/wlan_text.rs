//! Whatever wpa_supplicant says, or whoever has taken its place: lists of networks and of access points are read or
//! refused, every row makes one entry, and names survive their escapes.

use meterd::drivers::wlan::text::{access_points, networks, unescape, unhex, value};

/// See the module.
pub fn check(data: &[u8]) {
    names(data);
    let text = String::from_utf8_lossy(data);
    let rows = text.lines().count();
    if let Ok(list) = networks(&text) {
        assert_eq!(list.len(), rows.saturating_sub(1));
        for (network, row) in list.iter().zip(text.lines().skip(1)) {
            assert!(row.split('\t').next().is_some_and(|it| it.parse() == Ok(network.id)));
            assert!(network.ssid.len() <= row.len() && row.contains(&network.flags));
            assert!(!(network.is_group() && network.is_enabled()));
        }
    }
    if let Ok(list) = access_points(&text) {
        assert_eq!(list.len(), text.lines().filter(|it| it.starts_with("id=")).count());
        assert!(list.iter().all(|it| it.ssid.len() <= text.len() && text.contains(&it.bssid)));
    }
    if let Some(found) = value(&text, "wpa_state") {
        assert!(text.contains(&format!("wpa_state={found}")));
    }
}

/// A name that is written as the supplicant writes it, and in hexadecimal digits, is the same when it is read.
fn names(name: &[u8]) {
    let written: String = name.iter().map(|it| escape(*it)).collect();
    assert_eq!(unescape(&written), name, "{written}");
    let written: String = name.iter().map(|it| format!("{it:02X}")).collect();
    assert_eq!(unhex(&written).as_deref(), Some(name));
    assert_eq!(unhex(&(written + "0")), None);
}

/// What `printf_encode` of the supplicant makes of a byte.
fn escape(byte: u8) -> String {
    match byte {
        b'"' | b'\\' => format!("\\{}", byte as char),
        0x1b => "\\e".into(),
        b'\n' => "\\n".into(),
        b'\r' => "\\r".into(),
        b'\t' => "\\t".into(),
        32..=126 => (byte as char).into(),
        _ => format!("\\x{byte:02x}"),
    }
}
