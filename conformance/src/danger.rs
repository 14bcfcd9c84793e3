//! What a request could do to a meter that obeys too readily. Everything that is sent passes [`class_of`], which looks at
//! the bytes alone and knows nothing of areas or rules, so that a mistake in choosing rules cannot do harm.

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

/// The class of the worst that a lax meter might do with these bytes: one that does not look at the method, the login, the
/// framing or the whole of the body. Bytes that could be read as several requests count as the worst of them.
pub fn class_of(bytes: &[u8]) -> Class {
    let text = normal(bytes);
    let mut worst = Class::Safe;
    let mut rest = text.as_str();
    let mut changes = false;
    for line in text.lines() {
        let method = line.split(' ').next().unwrap_or_default();
        changes |=
            ["post", "put", "delete", "patch"].contains(&method) && (!line.contains("/auth/") || line.contains(".."));
    }
    let mut commands = false;
    while let Some((_, behind)) = rest.split_once("cmd/") {
        commands = true;
        let name: String = behind.chars().take_while(|it| it.is_ascii_alphanumeric() || *it == '-').collect();
        worst = worst.max(class_of_command(&name, &text));
        rest = behind;
    }
    if !commands && changes {
        // Ending a stored service is the only change outside commands that a rule asks for.
        let service = text.contains("/config/push/service") || text.contains("/config/alert/reporter/web/service");
        worst = if service && text.starts_with("delete ") { Class::Activate } else { Class::FactoryRestore };
    }
    worst
}

/// A command's class by its name; only a body that is right to the byte makes it a smaller one.
fn class_of_command(name: &str, text: &str) -> Class {
    let body = text.split_once("\r\n\r\n").map_or("", |it| it.1).trim();
    let posted = text.starts_with("post ") && text.matches("cmd/").count() == 1;
    match name {
        "cancel" => Class::Safe,
        "clear" if posted && body == "\"web_cache\"" => Class::Safe,
        "clear" | "db" => Class::Db,
        "set-time" => Class::Time,
        "test-email" => Class::Mail,
        "test-remote" | "remote" => Class::Remote,
        "activate" => Class::Activate,
        "wlan" => Class::Wlan,
        "homeplug" => Class::Homeplug,
        "update" if posted && body.contains("\"action\":\"list\"") && !body.contains("install") => Class::UpdateList,
        "update" => Class::UpdateInstall,
        "reboot" => Class::Reboot,
        _ => Class::FactoryRestore,
    }
}

/// Lower case, percent escapes undone, `\` as `/`: the most that any server may make of a target.
fn normal(bytes: &[u8]) -> String {
    let mut res = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%').then(|| bytes.get(at + 1..at + 3)).flatten();
        match hex.and_then(|it| std::str::from_utf8(it).ok()).and_then(|it| u8::from_str_radix(it, 16).ok()) {
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
    String::from_utf8_lossy(&res).to_lowercase().replace('\\', "/").replace("//", "/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &str, class: Class) {
        assert_eq!(class_of(bytes.as_bytes()), class, "{bytes}");
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
        check("POST /api/cmd/clear HTTP/1.1\r\n\r\n\"web_cache\"POST /api/cmd/reboot HTTP/1.1\r\n\r\n", Class::Reboot);
        check("GET /api/cmd/update HTTP/1.1\r\n\r\n{\"action\":\"list\"}", Class::UpdateInstall);
        check("PUT /api/config HTTP/1.1\r\n\r\n{}", Class::FactoryRestore);
        check("PUT /api/auth/../config HTTP/1.1\r\n\r\n{}", Class::FactoryRestore);
        check("DELETE /api/config/push/service HTTP/1.1\r\n\r\n", Class::Activate);
    }
}
