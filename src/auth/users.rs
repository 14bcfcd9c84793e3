//! The users file: its format, and the verbs of `meterd user`. A running service notices the change by itself (see
//! `directory`). The first `set` begins an own file that holds just that user: from then on the factory's users, which
//! are only a way in, are no longer looked at.

use std::fmt;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::digest::Ha1;
use super::rights::Privileges;
use super::secret::Secret;
use crate::sys;

/// Bytes of the longest user name.
pub const MAX_NAME: usize = 64;
/// Bytes of the longest password.
pub const MAX_PASSWORD: usize = 128;
/// Users in a file.
pub const MAX_USERS: usize = 64;
/// Bytes of a file; far more than 64 users need.
const MAX_FILE: u64 = 64 * 1024;

/// One user as the file has it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The name.
    pub name: String,
    /// The password's hash; without one (an empty text in the file) the account is disabled.
    #[serde(deserialize_with = "read_ha1", serialize_with = "write_ha1")]
    pub ha1: Option<Ha1>,
    /// What the user may do.
    #[serde(serialize_with = "write_privileges")]
    pub privileges: Privileges,
    /// Moves on whenever the password is set, even to the same one, which ends the user's tokens.
    #[serde(rename = "gen", default)]
    pub generation: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    users: Vec<Entry>,
}

/// Why a users file could not be read or changed.
#[derive(Debug)]
pub enum UsersError {
    /// The file cannot be read.
    Read(PathBuf, io::Error),
    /// The file cannot be written.
    Write(PathBuf, io::Error),
    /// The file is not the JSON that is expected.
    Parse(PathBuf, serde_json::Error),
    /// The file says something that cannot be.
    Content(PathBuf, String),
    /// The name cannot be a user's.
    Name,
    /// The password cannot be one.
    Password,
    /// There is no such user.
    Unknown(String),
    /// The file has as many users as it may have.
    Full,
    /// Another command is changing the file at this moment.
    Busy,
}

impl fmt::Display for UsersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UsersError::Read(path, err) => write!(f, "cannot read {}: {err}", path.display()),
            UsersError::Write(path, err) => write!(f, "cannot write {}: {err}", path.display()),
            UsersError::Parse(path, err) => write!(f, "{}: {err}", path.display()),
            UsersError::Content(path, text) => write!(f, "{}: {text}", path.display()),
            UsersError::Name => {
                write!(f, "a user name has 1 to {MAX_NAME} bytes, without ':' and control characters")
            }
            UsersError::Password => {
                write!(f, "a password has 1 to {MAX_PASSWORD} bytes of UTF-8, without control characters")
            }
            UsersError::Unknown(name) => write!(f, "there is no user {name:?}"),
            UsersError::Full => write!(f, "there are {MAX_USERS} users already"),
            UsersError::Busy => f.write_str("another command is changing the users at this moment"),
        }
    }
}

impl std::error::Error for UsersError {}

/// The users file of a state folder.
pub fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("users.json")
}

/// Makes a user or changes its password and privileges. As root, become the folder's owner first
/// ([`sys::privilege::become_owner_of`]), or the service may be unable to read the file.
pub fn set(
    state_dir: &Path,
    realm: &str,
    name: &str,
    password: &Secret,
    privileges: Privileges,
) -> Result<(), UsersError> {
    if !good_name(name) {
        return Err(UsersError::Name);
    }
    if !good_password(password) {
        return Err(UsersError::Password);
    }
    let ha1 = Some(Ha1::of(name, realm, password));
    change(state_dir, |users| {
        let at = users.iter().position(|it| it.name == name);
        let generation = at.map_or(0, |at| users[at].generation.wrapping_add(1));
        let entry = Entry { name: name.into(), ha1, privileges, generation };
        match at {
            Some(at) => users[at] = entry,
            None if users.len() < MAX_USERS => users.push(entry),
            None => return Err(UsersError::Full),
        }
        Ok(())
    })
}

/// Removes a user. The last one leaves an empty file behind, so that the factory's users do not come back unasked.
pub fn del(state_dir: &Path, name: &str) -> Result<(), UsersError> {
    change(state_dir, |users| {
        let at = users.iter().position(|it| it.name == name);
        users.remove(at.ok_or_else(|| UsersError::Unknown(name.into()))?);
        Ok(())
    })
}

/// The users that may log in now: those of the state folder's file, or of the factory's while there is none.
pub fn list(state_dir: &Path, factory: Option<&Path>) -> Result<Vec<Entry>, UsersError> {
    let found = match (read(&path(state_dir))?, factory) {
        (None, Some(factory)) => read(factory)?,
        (own, _) => own,
    };
    Ok(found.map(|(_, users)| users).unwrap_or_default())
}

/// Reads and checks a file; nothing if there is none.
pub fn read(path: &Path) -> Result<Option<(Metadata, Vec<Entry>)>, UsersError> {
    let fail = |err| UsersError::Read(path.into(), err);
    let file = match File::open(path) {
        Ok(it) => it,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(fail(err)),
    };
    let meta = file.metadata().map_err(fail)?;
    let mut text = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut text).map_err(fail)?;
    let text = Secret::from(text);
    let content = |text: String| UsersError::Content(path.into(), text);
    if MAX_FILE < text.expose().len() as u64 {
        return Err(content(format!("longer than {MAX_FILE} bytes")));
    }
    let Document { users } =
        serde_json::from_slice(text.expose()).map_err(|err| UsersError::Parse(path.into(), err))?;
    if MAX_USERS < users.len() {
        return Err(content(format!("more than {MAX_USERS} users")));
    }
    for (at, user) in users.iter().enumerate() {
        if !good_name(&user.name) {
            return Err(content(format!("{:?}: {}", user.name, UsersError::Name)));
        }
        if users[..at].iter().any(|it| it.name == user.name) {
            return Err(content(format!("{:?} is there twice", user.name)));
        }
    }
    Ok(Some((meta, users)))
}

/// Reads the own file, lets `edit` change it, and replaces it; two commands at once cannot undo each other.
fn change(state_dir: &Path, edit: impl FnOnce(&mut Vec<Entry>) -> Result<(), UsersError>) -> Result<(), UsersError> {
    let fail = |path: &Path| {
        let path = path.to_owned();
        move |err| UsersError::Write(path, err)
    };
    sys::fs::private_dir(state_dir).map_err(fail(state_dir))?;
    let guard = state_dir.join("users.lock");
    let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&guard);
    let lock = lock.map_err(fail(&guard))?;
    // The lock ends with `lock`, or with the process.
    lock.try_lock().map_err(|err| match err {
        std::fs::TryLockError::WouldBlock => UsersError::Busy,
        std::fs::TryLockError::Error(err) => fail(&guard)(err),
    })?;
    let path = path(state_dir);
    let mut users = read(&path)?.map(|(_, users)| users).unwrap_or_default();
    edit(&mut users)?;
    let text = serde_json::to_vec_pretty(&Document { users }).map_err(io::Error::from).map_err(fail(&path))?;
    sys::fs::replace(&path, Secret::from(text).expose(), 0o600).map_err(fail(&path))
}

fn good_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && !name.contains(|it: char| it == ':' || it.is_control())
}

fn good_password(password: &Secret) -> bool {
    let bytes = password.expose();
    (1..=MAX_PASSWORD).contains(&bytes.len())
        && std::str::from_utf8(bytes).is_ok_and(|it| !it.contains(char::is_control))
}

fn read_ha1<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Ha1>, D::Error> {
    let text = Secret::deserialize(from)?;
    if text.expose().is_empty() {
        return Ok(None);
    }
    let ha1 = std::str::from_utf8(text.expose()).ok().and_then(Ha1::parse);
    // The text stays out of the message, because it may be a password in the wrong place.
    ha1.map(Some).ok_or_else(|| serde::de::Error::custom("ha1 must be empty or have 32 hexadecimal digits"))
}

fn write_ha1<S: Serializer>(ha1: &Option<Ha1>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(ha1.as_ref().map_or("", Ha1::text))
}

fn write_privileges<S: Serializer>(privileges: &Privileges, to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(privileges.names())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::super::tests::Folder;
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::from(text.to_string())
    }

    #[track_caller]
    fn names(dir: &Path, factory: Option<&Path>) -> String {
        list(dir, factory).unwrap().iter().map(|it| it.name.as_str()).collect::<Vec<_>>().join(",")
    }

    #[test]
    fn users_are_made_changed_and_removed() {
        let dir = Folder::new();
        assert_eq!(names(&dir, None), "");
        set(&dir, "domain", "jane", &secret("secret"), Privileges::OWNER).unwrap();
        set(&dir, "domain", "bob", &secret("x"), Privileges::parse("ctrl").unwrap()).unwrap();
        let text = fs::read_to_string(path(&dir)).unwrap();
        let jane = &serde_json::from_str::<serde_json::Value>(&text).unwrap()["users"][0];
        let privileges = ["unlimited_save", "local_save", "view_settings", "ctrl"];
        let expect = serde_json::json!({"name": "jane", "ha1": "251910de04f5eab86859939167d4fded",
                                        "privileges": privileges, "gen": 0});
        assert_eq!(*jane, expect);
        assert_eq!(fs::metadata(path(&dir)).unwrap().permissions().mode() & 0o777, 0o600);

        set(&dir, "domain", "jane", &secret("secret"), Privileges::default()).unwrap();
        let users = list(&dir, None).unwrap();
        assert_eq!((users[0].generation, users[0].privileges), (1, Privileges::default()));
        assert_eq!((users[1].generation, users[1].name.as_str()), (0, "bob"));

        del(&dir, "jane").unwrap();
        assert_eq!(names(&dir, None), "bob");
        assert_eq!(del(&dir, "jane").unwrap_err().to_string(), "there is no user \"jane\"");
    }

    #[test]
    fn factory_users_count_only_until_there_is_an_own_file() {
        let dir = Folder::new();
        let factory = dir.join("factory.json");
        fs::write(&factory, r#"{"users": [{"name": "label", "ha1": "", "privileges": []}]}"#).unwrap();
        assert_eq!(names(&dir, Some(&factory)), "label");
        set(&dir, "r", "jane", &secret("x"), Privileges::OWNER).unwrap();
        assert_eq!(names(&dir, Some(&factory)), "jane");
        del(&dir, "jane").unwrap();
        assert_eq!(names(&dir, Some(&factory)), "", "the last removal does not bring the factory's users back");
    }

    #[test]
    fn names_and_passwords_have_limits() {
        let dir = Folder::new();
        let cases = [
            ("", "x", "user name"),
            ("a:b", "x", "user name"),
            ("a\nb", "x", "user name"),
            (&"n".repeat(65), "x", "user name"),
            ("a", "", "password"),
            ("a", "x\ny", "password"),
            ("a", &"p".repeat(129), "password"),
        ];
        for (name, password, expect) in cases {
            let err = set(&dir, "r", name, &secret(password), Privileges::OWNER).unwrap_err().to_string();
            assert!(err.contains(expect), "{name:?}: {err}");
        }
        let err = set(&dir, "r", "a", &Secret::from(vec![0xff]), Privileges::OWNER).unwrap_err().to_string();
        assert!(err.contains("UTF-8"), "{err}");
        set(&dir, "r", &"ñ".repeat(32), &secret(&"p".repeat(128)), Privileges::OWNER).unwrap();
        for it in 1..MAX_USERS {
            set(&dir, "r", &it.to_string(), &secret("x"), Privileges::OWNER).unwrap();
        }
        assert!(matches!(set(&dir, "r", "more", &secret("x"), Privileges::OWNER), Err(UsersError::Full)));
        set(&dir, "r", "1", &secret("y"), Privileges::OWNER).unwrap();
    }

    #[test]
    fn a_file_is_refused_with_its_reason_and_never_overwritten() {
        let user = r#"{"name": "a", "ha1": "", "privileges": []}"#;
        let cases = [
            ("".into(), "EOF"),
            ("[]".into(), "struct Document"),
            (r#"{"users": [], "admins": []}"#.into(), "admins"),
            (r#"{"users": [{"name": "a", "ha1": "", "privileges": [], "pwd": "x"}]}"#.into(), "pwd"),
            (r#"{"users": [{"name": "a", "ha1": "hunter2", "privileges": []}]}"#.into(), "32 hexadecimal digits"),
            (r#"{"users": [{"name": "a", "ha1": "", "privileges": ["root"]}]}"#.into(), "\"root\""),
            (r#"{"users": [{"name": "a:b", "ha1": "", "privileges": []}]}"#.into(), "\"a:b\""),
            (r#"{"users": [{"name": "a", "privileges": []}]}"#.into(), "ha1"),
            (format!(r#"{{"users": [{user}, {user}]}}"#), "twice"),
            (format!(r#"{{"users": [{}]}}"#, [user; MAX_USERS + 1].join(",")), "more than 64"),
            (format!(r#"{{"users": []{}}}"#, " ".repeat(MAX_FILE as usize)), "longer than"),
        ];
        for (text, expect) in cases {
            let dir = Folder::new();
            fs::write(path(&dir), &text).unwrap();
            let err = set(&dir, "r", "jane", &secret("x"), Privileges::OWNER).unwrap_err().to_string();
            assert!(err.contains(expect) && err.contains("users.json") && !err.contains("hunter2"), "{err}");
            assert_eq!(fs::read_to_string(path(&dir)).unwrap(), text);
        }
    }

    #[test]
    fn two_commands_at_once_do_not_undo_each_other() {
        let dir = Folder::new();
        let other = File::create(dir.join("users.lock")).unwrap();
        other.lock().unwrap();
        let res = set(&dir, "r", "jane", &secret("x"), Privileges::OWNER);
        assert!(matches!(res, Err(UsersError::Busy)));
        drop(other);
        set(&dir, "r", "jane", &secret("x"), Privileges::OWNER).unwrap();
    }
}
