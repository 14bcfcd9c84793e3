//! What a request could do to a meter that obeys too readily. Everything that is sent passes [`classes_of`], which looks at
//! the bytes alone and knows nothing of areas or rules, so that a mistake in choosing rules cannot do harm.

use std::collections::BTreeSet;
use std::fmt;

/// Danger classes, from harmless to final. A tester allows them one by one; `Safe` needs no leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Reads resources, logs in and out, cancels, clears the web cache.
    Safe,
    /// Sets the clock.
    Time,
    /// Sends mail.
    Mail,
    /// Connects to a device that the tester names.
    Remote,
    /// Registers the meter with a provider.
    Activate,
    /// Changes the wireless network.
    Wlan,
    /// Changes the password of the powerline network.
    Homeplug,
    /// Changes recorded data.
    Db,
    /// Asks the update server what there is.
    UpdateList,
    /// Replaces the firmware.
    UpdateInstall,
    /// Reboots.
    Reboot,
    /// Loses all data and settings.
    FactoryRestore,
}

impl Class {
    /// All, in the order in which they are tried: what ends the meter comes last.
    pub const ALL: [Class; 12] = [
        Class::Safe,
        Class::Time,
        Class::Mail,
        Class::Remote,
        Class::Activate,
        Class::Wlan,
        Class::Homeplug,
        Class::Db,
        Class::UpdateList,
        Class::UpdateInstall,
        Class::Reboot,
        Class::FactoryRestore,
    ];

    /// The word for it on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Class::Safe => "safe",
            Class::Time => "time",
            Class::Mail => "mail",
            Class::Remote => "remote",
            Class::Activate => "activate",
            Class::Wlan => "wlan",
            Class::Homeplug => "homeplug",
            Class::Db => "db",
            Class::UpdateList => "update-list",
            Class::UpdateInstall => "update-install",
            Class::Reboot => "reboot",
            Class::FactoryRestore => "factory-restore",
        }
    }

    /// The class of that name.
    pub fn parse(name: &str) -> Option<Class> {
        Class::ALL.into_iter().find(|it| it.name() == name)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The classes of what a lax meter might do with these bytes: one that does not look at the method, the login, the framing
/// or the whole of the body. Bytes that could be read as several requests are of the classes of all of them; bytes that
/// can do nothing are of none.
pub fn classes_of(bytes: &[u8]) -> BTreeSet<Class> {
    let text = normal(login_head(bytes).unwrap_or(bytes));
    let mut res = BTreeSet::new();
    let commands: Vec<_> = text.split("cmd/").skip(1).collect();
    for behind in &commands {
        res.extend(class_of_command(behind, &text));
    }
    if commands.is_empty() && text.lines().any(changes) {
        // Ending a stored service is the only change outside commands that a rule asks for.
        let path = text.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default();
        let service =
            ["/config/push/service", "/config/alert/reporter/web/service"].iter().any(|it| path.ends_with(it));
        let ends = service && text.starts_with("delete ") && text.matches("delete ").count() == 1;
        res.insert(if ends { Class::Activate } else { Class::FactoryRestore });
    }
    res.remove(&Class::Safe);
    res
}

/// The head of what is one login to the byte, and can be read as nothing else. Its body holds words of the meter's own, which
/// may look like anything.
fn login_head(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.windows(4).position(|it| it == b"\r\n\r\n")? + 4;
    let (head, body) = bytes.split_at(end);
    let text = std::str::from_utf8(head).ok()?;
    let target = text.strip_prefix("POST ")?.split_once(" HTTP/1.1\r\n")?.0;
    let plain = target.bytes().all(|it| it.is_ascii_alphanumeric() || b"/-_.".contains(&it)) && !target.contains("..");
    let fields: Vec<_> = text.lines().skip(1).filter_map(|it| it.split_once(": ")).collect();
    let lengths: Vec<_> = fields.iter().filter(|it| it.0.eq_ignore_ascii_case("content-length")).collect();
    let framed = matches!(lengths[..], [length] if length.1.parse() == Ok(body.len()))
        && !text.to_ascii_lowercase().contains("transfer-encoding");
    // Nothing that begins a line could be taken for another request.
    let flat = !body.contains(&b'\n') && !body.contains(&b'\r');
    let object = serde_json::from_slice::<serde_json::Value>(body).is_ok_and(|it| it.is_object());
    (plain && target.ends_with("/auth/login") && framed && flat && object).then_some(head)
}

/// Whether this could be the first line of a request that changes something. Logging in changes nothing.
fn changes(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split(['?', ';', '#']).next().unwrap_or_default();
    ["post", "put", "delete", "patch"].contains(&method) && (!path.contains("/auth/") || path.contains(".."))
}

/// A command's class by its name, which must be all that is left of the target; only a body that is right to the byte makes
/// it a smaller one.
fn class_of_command(behind: &str, text: &str) -> Option<Class> {
    let end = behind.find(|it: char| !it.is_ascii_alphanumeric() && it != '-').unwrap_or(behind.len());
    let (name, rest) = behind.split_at(end);
    if !rest.is_empty() && !rest.starts_with([' ', '?', '\r', '\n']) {
        // What follows may lead on to another command.
        return Some(Class::FactoryRestore);
    }
    let body = text.split_once("\r\n\r\n").map_or("", |it| it.1).trim();
    let posted = text.starts_with("post ") && text.matches("cmd/").count() == 1;
    // What was a backslash may have begun an escaped letter of another action.
    let lists = body.contains("\"action\":\"list\"") && !body.contains("install") && !body.contains('/');
    Some(match name {
        "cancel" => Class::Safe,
        "clear" if posted && body == "\"web_cache\"" => Class::Safe,
        "clear" | "db" => Class::Db,
        "set-time" => Class::Time,
        "test-email" => Class::Mail,
        "test-remote" | "remote" => Class::Remote,
        "activate" => Class::Activate,
        "wlan" => Class::Wlan,
        "homeplug" => Class::Homeplug,
        "update" if posted && lists => Class::UpdateList,
        "update" => Class::UpdateInstall,
        "reboot" => Class::Reboot,
        _ => Class::FactoryRestore,
    })
}

/// Lower case, percent escapes undone as often as there are any, `\` as `/`: the most that any server may make of a target.
fn normal(bytes: &[u8]) -> String {
    let mut res = bytes.to_vec();
    loop {
        let plain = unescaped(&res);
        if plain.len() == res.len() {
            break;
        }
        res = plain;
    }
    let mut text = String::from_utf8_lossy(&res).to_lowercase().replace('\\', "/");
    while text.contains("//") {
        text = text.replace("//", "/");
    }
    text
}

fn unescaped(bytes: &[u8]) -> Vec<u8> {
    let mut res = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%').then(|| bytes.get(at + 1..at + 3)).flatten();
        let hex = hex.filter(|it| it.iter().all(u8::is_ascii_hexdigit)).and_then(|it| std::str::from_utf8(it).ok());
        match hex.and_then(|it| u8::from_str_radix(it, 16).ok()) {
            Some(byte) => {
                res.push(byte);
                at += 3;
            }
            None => {
                res.push(bytes[at]);
                at += 1;
            }
        }
    }
    res
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &str, class: Class) {
        let expect = BTreeSet::from_iter(Some(class).filter(|it| *it != Class::Safe));
        assert_eq!(classes_of(bytes.as_bytes()), expect, "{bytes}");
    }

    #[test]
    fn reading_is_safe_and_every_command_has_its_class() {
        check("GET /api/sys/time HTTP/1.1\r\n\r\n", Class::Safe);
        check("POST /api/auth/login HTTP/1.1\r\n\r\n{}", Class::Safe);
        check("POST /api/cmd/cancel HTTP/1.1\r\n\r\n{}", Class::Safe);
        check("POST /api/cmd/clear HTTP/1.1\r\n\r\n\"web_cache\"", Class::Safe);
        check("POST /api/cmd/clear HTTP/1.1\r\n\r\n\"excess\"", Class::Db);
        check("POST /api/cmd/clear HTTP/1.1\r\n\r\n\"web_cache", Class::Db);
        check("POST /api/cmd/update HTTP/1.1\r\n\r\n{\"action\":\"list\",\"target\":\"fw\"}", Class::UpdateList);
        check(
            "POST /api/cmd/update HTTP/1.1\r\n\r\n{\"action\":\"list\",\"action\":\"install\"}",
            Class::UpdateInstall,
        );
        check("POST /api/cmd/reboot HTTP/1.1\r\n\r\n", Class::Reboot);
        check("POST /api/cmd/whatever HTTP/1.1\r\n\r\n", Class::FactoryRestore);
    }

    #[test]
    fn a_wrong_method_a_disguise_or_a_second_request_does_not_make_a_command_harmless() {
        check("GET /api/cmd/reboot HTTP/1.1\r\n\r\n", Class::Reboot);
        check("BREW /API/CMD/factory%2Drestore HTTP/1.1\r\n\r\n", Class::FactoryRestore);
        check("POST /api/%63md\\reboot HTTP/1.1\r\n\r\n", Class::Reboot);
        check("POST /api/cmd//reboot HTTP/1.1\r\n\r\n", Class::Reboot);
        check("GET /api/sys/time HTTP/1.1\r\n\r\nPOST /api/cmd/db HTTP/1.1\r\n\r\n", Class::Db);
        let second = "POST /api/cmd/clear HTTP/1.1\r\n\r\n\"web_cache\"POST /api/cmd/reboot HTTP/1.1\r\n\r\n";
        assert_eq!(classes_of(second.as_bytes()), BTreeSet::from([Class::Db, Class::Reboot]));
        check("GET /api/cmd/update HTTP/1.1\r\n\r\n{\"action\":\"list\"}", Class::UpdateInstall);
        check("PUT /api/config HTTP/1.1\r\n\r\n{}", Class::FactoryRestore);
        check("PUT /api/auth/../config HTTP/1.1\r\n\r\n{}", Class::FactoryRestore);
        check("PUT /api/config?x=/auth/ HTTP/1.1\r\n\r\n{}", Class::FactoryRestore);
        check("POST\t/api/config HTTP/1.1\r\n\r\n{}", Class::FactoryRestore);
        check("DELETE /api/config/push/service HTTP/1.1\r\n\r\n", Class::Activate);
        check("DELETE /api/config?/config/push/service HTTP/1.1\r\n\r\n", Class::FactoryRestore);
        check("DELETE /api/config HTTP/1.1\r\n\r\n/config/push/service", Class::FactoryRestore);
    }

    #[test]
    fn a_harmless_name_that_leads_on_to_another_is_not_harmless() {
        for target in [
            "/api/cmd/cancel/../reboot",
            "/api/cmd/cancel/%2e%2e/reboot",
            "/api/cmd/cancel;/../reboot",
            "/api/cmd/cancel%00reboot",
            "/api/cmd/./reboot",
            "/api/cmd///reboot",
        ] {
            let classes = classes_of(format!("POST {target} HTTP/1.1\r\n\r\n").as_bytes());
            assert!(classes.contains(&Class::FactoryRestore) || classes.contains(&Class::Reboot), "{target}");
        }
        check("POST /api/%2563md/reboot HTTP/1.1\r\n\r\n", Class::Reboot);
        check("POST /api/%25252563md/reboot?x=1 HTTP/1.1\r\n\r\n", Class::Reboot);
        check("POST /api/cmd/cancel HTTP/1.1\r\n\r\n{\"token\":\"%\"}", Class::Safe);
        check(
            "POST /api/cmd/update HTTP/1.1\r\n\r\n{\"action\":\"list\",\"action\":\"\\u0069nstall\"}",
            Class::UpdateInstall,
        );
    }

    #[test]
    fn what_a_meter_gives_for_a_login_does_not_make_it_a_command() {
        let body = r#"{"rlm":"r","nnc":"ab/cmd/reboot","cnnc":"x","usr":"o","hash":"0"}"#;
        let login = |more: &str, length: usize| {
            format!("POST /api/auth/login HTTP/1.1\r\nHost: m\r\n{more}Content-Length: {length}\r\n\r\n{body}")
        };
        check(&login("", body.len()), Class::Safe);
        // Unless that is all it can be read as.
        check(&login("", 2), Class::FactoryRestore);
        check(&login("Transfer-Encoding: chunked\r\n", body.len()), Class::FactoryRestore);
        check(&login("Content-Length: 2\r\n", body.len()), Class::FactoryRestore);
        check(&login("", body.len()).replace("login ", "login?x "), Class::FactoryRestore);
        check(&login("", body.len()).replace("nnc", "n\nnc"), Class::FactoryRestore);
        check(&login("", body.len()).replace("/auth/login", "/cmd/../auth/login"), Class::FactoryRestore);
    }

    #[test]
    fn several_requests_need_the_leave_for_each() {
        let both = "POST /api/cmd/db HTTP/1.1\r\n\r\n{}POST /api/cmd/reboot HTTP/1.1\r\n\r\n";
        assert_eq!(classes_of(both.as_bytes()), BTreeSet::from([Class::Db, Class::Reboot]));
    }
}
