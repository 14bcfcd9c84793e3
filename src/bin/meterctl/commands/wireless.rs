//! `wlan` and `homeplug`: networks of the meter. Their secrets are read by [`prompt`] and go into the body alone.

use serde_json::{Map, Value, json};

use crate::args::{Homeplug, Wlan};
use crate::failure::{Failure, Kind};
use crate::prompt::{self, Secret, Source};
use crate::session::Session;
use crate::watch;

/// Both by `MAC/DEK`, with blanks between.
const TARGETS: &str = "METERCTL_HOMEPLUG_TARGETS";

/// `wlan`
pub fn wlan(session: &mut Session, command: &Wlan) -> Result<(), Failure> {
    let (action, detach, mut body) = match command {
        Wlan::List => return list(session),
        Wlan::Add { ssid, open, key_file, hex, hidden, detach } => {
            let what = format!("Key of {ssid}");
            let source = Source {
                what: &what,
                file: key_file.as_ref(),
                option: "--key-file",
                variable: Some("METERCTL_WLAN_KEY"),
                is_new: false,
            };
            session.terminal.confirm(&format!(
                "Add the network {ssid:?} and select it? The meter may be reached another way then."
            ))?;
            let mut body = Map::new();
            body.insert("ssid".into(), json!(ssid));
            if !open {
                body.insert("key".into(), json!(source.read(session.terminal)?.expose()));
            }
            for (name, _) in [("hex", hex), ("hidden", hidden)].into_iter().filter(|(_, is_set)| **is_set) {
                body.insert(name.into(), json!(true));
            }
            ("add", detach, body)
        }
        Wlan::Select { network, detach } => {
            let id = find(session, network)?;
            session
                .terminal
                .confirm(&format!("Select the network {network}? The meter may be reached another way then."))?;
            ("select", detach, Map::from_iter([("id".to_string(), json!(id))]))
        }
        Wlan::Forget { network, detach } => {
            let id = find(session, network)?;
            session.terminal.confirm(&format!("Forget the network {network}?"))?;
            ("forget", detach, Map::from_iter([("id".to_string(), json!(id))]))
        }
    };
    body.insert("action".into(), json!(action));
    let reply = session.command("wlan", &Value::Object(body))?;
    if let Some(status) = watch::conclude(session, &format!("wlan {action}"), &reply, detach.detach, |_, _| {})? {
        session.terminal.result("Done.", &status.json)?;
    }
    Ok(())
}

fn list(session: &mut Session) -> Result<(), Failure> {
    let found = session.result("/sys/net/wlan")?;
    let each = |name: &str| found.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |it: &Value, name: &str| match it.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let mut words = String::from("known networks:\n");
    for it in each("net") {
        words += &format!("  {:>3}  {}  {}\n", text(&it, "network_id"), text(&it, "ssid"), text(&it, "flags"));
    }
    words += "on the air:\n";
    for it in each("ap") {
        let (level, ssid) = (text(&it, "signal_level"), text(&it, "ssid"));
        words += &format!("  {level:>4} dB  {}  {ssid}  {}\n", text(&it, "bssid"), text(&it, "flags"));
    }
    session.terminal.result(&words, &found)
}

/// The id of a known network. Ids may change when a meter starts anew, so a name is looked up just before it is used.
fn find(session: &mut Session, network: &str) -> Result<u64, Failure> {
    let known = session.result("/sys/net/wlan");
    let known = match (known, network.parse::<u64>()) {
        (Ok(found), _) => found.get("net").and_then(Value::as_array).cloned().unwrap_or_default(),
        (Err(_), Ok(id)) => return Ok(id),
        (Err(failure), _) => return Err(failure),
    };
    let id_of = |it: &Value| it.get("network_id").and_then(Value::as_u64);
    let named: Vec<u64> =
        known.iter().filter(|it| it.get("ssid").and_then(Value::as_str) == Some(network)).filter_map(id_of).collect();
    match (named.as_slice(), network.parse::<u64>()) {
        ([id], _) => Ok(*id),
        ([], Ok(id)) => Ok(id),
        ([], Err(_)) => Err(Failure::new(Kind::Usage, format!("The meter knows no network {network:?}."))
            .hint("See meterctl wlan list; new ones come with wlan add.")),
        (several, _) => {
            Err(Failure::new(Kind::Usage, format!("Several networks are called {network:?}: {several:?}."))
                .hint("Give the id."))
        }
    }
}

/// `homeplug`
pub fn homeplug(session: &mut Session, command: &Homeplug) -> Result<(), Failure> {
    let Homeplug::SetPassword { bridges, targets_file, new_password_file, detach } = command;
    let terminal = session.terminal;
    let given: Vec<Secret> = match targets_file {
        Some(path) => prompt::lines_of(path)?,
        None if !bridges.is_empty() => Vec::new(),
        None => prompt::words_of(TARGETS)?,
    };
    if given.is_empty() && bridges.is_empty() {
        return Err(Failure::new(Kind::Usage, "No bridge is named.")
            .hint(format!("Name MAC addresses, or a --targets-file, or set {TARGETS}.")));
    }
    if let Some(bridge) = bridges.iter().find(|it| it.contains('/')) {
        let mac = bridge.split('/').next().unwrap_or_default();
        return Err(Failure::new(
            Kind::Usage,
            format!("{mac}: the DEK does not belong on the command line, where all can see it."),
        )
        .hint("Name the MAC address alone; the DEK is asked for, or comes from --targets-file."));
    }
    let n = given.len() + bridges.len();
    terminal
        .confirm(&format!("Give {n} bridges and the meter's own a new password? One that is left out is cut off."))?;
    let mut targets: Vec<String> = given.iter().map(|it| it.expose().to_string()).collect();
    for bridge in bridges {
        let what = format!("DEK of {bridge}, as on its label");
        // Which bridge it belongs to would not be clear from a variable.
        let source = Source { what: &what, file: None, option: "--targets-file", variable: None, is_new: false };
        targets.push(format!("{bridge}/{}", source.read(terminal)?.expose().trim().to_ascii_uppercase()));
    }
    let source = Source {
        what: "New HomePlug password",
        file: new_password_file.as_ref(),
        option: "--new-password-file",
        variable: Some("METERCTL_HOMEPLUG_PASSWORD"),
        is_new: true,
    };
    let body = json!({ "action": "setpwd", "password": source.read(terminal)?.expose(), "targets": targets });
    let reply = session.command("homeplug", &body)?;
    if let Some(status) = watch::conclude(session, "homeplug", &reply, detach.detach, |_, _| {})? {
        let outcome = status.json.get("result").cloned().unwrap_or(Value::Null);
        let words =
            if outcome.is_null() { "Done.".into() } else { serde_json::to_string_pretty(&outcome).unwrap_or_default() };
        terminal.result(&words, &status.json)?;
    }
    Ok(())
}
