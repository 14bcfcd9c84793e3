//! Users of this machine, as /etc/passwd and /etc/group have them. No other source is asked: a meter has none, and a
//! static C library cannot load one.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

/// Somebody whom a process can become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The user id.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
}

/// Why there is no such user.
#[derive(Debug)]
pub enum UserError {
    /// The file cannot be read.
    Read(&'static str, io::Error),
    /// It has no such name.
    Unknown(String),
}

impl fmt::Display for UserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UserError::Read(path, err) => write!(f, "{path}: {err}"),
            UserError::Unknown(name) => write!(f, "there is no \"{name}\" in {PASSWD}"),
        }
    }
}

impl std::error::Error for UserError {}

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

/// The user of this name or number. A number need not be in the file: its group is then of the same number.
pub fn find(name: &str) -> Result<User, UserError> {
    let read = |path: &'static str| fs::read(Path::new(path)).map_err(|err| UserError::Read(path, err));
    let (passwd, group) = (read(PASSWD)?, read(GROUP).unwrap_or_default());
    let text = |it: &[u8]| String::from_utf8_lossy(it).into_owned();
    parse(name, &text(&passwd), &text(&group)).ok_or_else(|| UserError::Unknown(name.into()))
}

fn parse(name: &str, passwd: &str, group: &str) -> Option<User> {
    let number: Option<u32> = name.parse().ok();
    let known = passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let (own, uid) = (*fields.first()?, fields.get(2)?.parse().ok()?);
        (own == name || number == Some(uid)).then_some((own, uid, fields.get(3)?.parse().ok()?))
    });
    let Some((own, uid, gid)) = known else {
        return number.map(|number| User { uid: number, gid: number, groups: Vec::new() });
    };
    let member_of = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        fields.get(3)?.split(',').any(|it| it == own).then(|| fields[2].parse().ok())?
    };
    Some(User { uid, gid, groups: group.lines().filter_map(member_of).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbroken\nmeterd:x:990:991::/:/bin/false\n7:x:8:9::/:\n";
    const GROUP: &str = "root:x:0:\ndialout:x:20:other,meterd\nnetdev:x:30:meterd\nmeterd:x:991:\nx:y\n";

    #[test]
    fn names_and_numbers_are_found_with_their_groups() {
        let meterd = User { uid: 990, gid: 991, groups: vec![20, 30] };
        assert_eq!(parse("meterd", PASSWD, GROUP), Some(meterd.clone()));
        assert_eq!(parse("990", PASSWD, GROUP), Some(meterd));
        assert_eq!(parse("991", PASSWD, GROUP), Some(User { uid: 991, gid: 991, groups: vec![] }));
        for name in ["", "meter", "broken", "-1", "4294967296"] {
            assert_eq!(parse(name, PASSWD, GROUP), None, "{name}");
        }
    }

    #[test]
    fn root_is_on_every_machine() {
        assert_eq!(find("root").unwrap().uid, 0);
        assert!(find("nobody-of-this-name").unwrap_err().to_string().contains("nobody-of-this-name"));
    }
}
