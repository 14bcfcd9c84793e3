//! The users as the running service knows them. It looks at the file at most once a second and takes over what the
//! command line changed; a file that became unreadable changes nothing. Which generation a user is in decides which
//! tokens are good; generations are counted here for all users together, so that none ever returns.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use super::digest::Ha1;
use super::lock;
use super::rights::Privileges;
use super::users::{self, Entry, UsersError};

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The known users and where they come from.
pub struct Directory {
    own: PathBuf,
    factory: Option<PathBuf>,
    state: Mutex<State>,
}

struct State {
    users: BTreeMap<String, User>,
    generations: u64,
    source: Source,
    next_look: Duration,
}

/// A user at this moment.
#[derive(Clone)]
pub struct User {
    /// The password's hash; nothing if the account is disabled.
    pub ha1: Option<Ha1>,
    /// What the user may do.
    pub privileges: Privileges,
    /// Tokens of any other generation have ended.
    pub generation: u64,
    in_file: u64,
}

impl User {
    fn has_credentials_of(&self, entry: &Entry) -> bool {
        let same = match (&self.ha1, &entry.ha1) {
            (Some(left), Some(right)) => left.same(right),
            (None, None) => true,
            _ => false,
        };
        same && self.in_file == entry.generation
    }
}

/// Which file there was and in which version, or why that could not be seen.
type Source = Result<Option<Stamp>, io::ErrorKind>;

#[derive(Clone, Copy, PartialEq)]
struct Stamp {
    device: u64,
    inode: u64,
    changed: (i64, i64),
    size: u64,
}

impl Stamp {
    fn of(meta: &Metadata) -> Self {
        let changed = (meta.ctime(), meta.ctime_nsec());
        Stamp { device: meta.dev(), inode: meta.ino(), changed, size: meta.size() }
    }
}

impl Directory {
    /// Reads the users for the first time; a file that cannot be used is an error now, because nobody could log in.
    pub fn open(state_dir: &Path, factory: Option<&Path>, now: Duration) -> Result<Self, UsersError> {
        let state = State { users: BTreeMap::new(), generations: 0, source: Ok(None), next_look: now + LOOK_EVERY };
        let res =
            Directory { own: users::path(state_dir), factory: factory.map(Path::to_owned), state: Mutex::new(state) };
        res.load(&mut lock(&res.state))?;
        Ok(res)
    }

    /// The user of a name.
    pub fn find(&self, name: &str, now: Duration) -> Option<User> {
        self.fresh(now, |state| state.users.get(name).cloned())
    }

    /// Whether there is nobody who could log in.
    pub fn is_empty(&self, now: Duration) -> bool {
        self.fresh(now, |state| state.users.values().all(|it| it.ha1.is_none()))
    }

    /// Ends all tokens of a user.
    pub fn end_tokens(&self, name: &str) {
        let state = &mut *lock(&self.state);
        if let Some(user) = state.users.get_mut(name) {
            state.generations += 1;
            user.generation = state.generations;
        }
    }

    /// Reads the file now, whether it looks changed or not.
    pub fn reload(&self) {
        self.load_or_keep(&mut lock(&self.state));
    }

    fn fresh<T>(&self, now: Duration, then: impl FnOnce(&State) -> T) -> T {
        let mut state = lock(&self.state);
        if state.next_look <= now {
            state.next_look = now + LOOK_EVERY;
            let source = self.source();
            if source != state.source {
                self.load_or_keep(&mut state);
                // Also when that failed, so that it is tried and logged once for each change.
                state.source = source;
            }
        }
        then(&state)
    }

    fn load_or_keep(&self, state: &mut State) {
        match self.load(state) {
            Ok(()) => log::info!("users read again, {} known", state.users.len()),
            Err(err) => log::error!("the users stay as they were: {err}"),
        }
    }

    fn load(&self, state: &mut State) -> Result<(), UsersError> {
        let found = match (users::read(&self.own)?, &self.factory) {
            (None, Some(factory)) => users::read(factory)?,
            (own, _) => own,
        };
        let (source, entries) = found.map(|(meta, it)| (Stamp::of(&meta), it)).unzip();
        let mut old = std::mem::take(&mut state.users);
        for entry in entries.unwrap_or_default() {
            let generation = match old.remove(&entry.name) {
                Some(user) if user.has_credentials_of(&entry) => user.generation,
                _ => {
                    state.generations += 1;
                    state.generations
                }
            };
            let Entry { name, ha1, privileges, generation: in_file } = entry;
            state.users.insert(name, User { ha1, privileges, generation, in_file });
        }
        state.source = Ok(source);
        Ok(())
    }

    fn source(&self) -> Source {
        for path in [Some(&self.own), self.factory.as_ref()].into_iter().flatten() {
            match std::fs::metadata(path) {
                Ok(meta) => return Ok(Some(Stamp::of(&meta))),
                Err(err) if err.kind() == io::ErrorKind::NotFound => {}
                Err(err) => return Err(err.kind()),
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::secret::Secret;
    use super::super::tests::Folder;
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn set(dir: &Path, name: &str, password: &str) {
        users::set(dir, "r", name, &Secret::from(password.to_string()), Privileges::OWNER).unwrap();
    }

    /// Generation and hash, or nothing.
    fn state(directory: &Directory, name: &str, now: Duration) -> Option<(u64, String)> {
        directory.find(name, now).map(|it| (it.generation, it.ha1.map_or("".into(), |it| it.text().to_string())))
    }

    #[test]
    fn a_change_is_noticed_within_a_second_and_no_sooner_looked_for() {
        let dir = Folder::new();
        set(&dir, "jane", "one");
        let directory = Directory::open(&dir, None, NOW).unwrap();
        let first = state(&directory, "jane", NOW);
        set(&dir, "jane", "two");
        assert_eq!(state(&directory, "jane", NOW + Duration::from_millis(999)), first);
        let second = state(&directory, "jane", NOW + LOOK_EVERY);
        assert_ne!(second, first);
        set(&dir, "jane", "three");
        assert_eq!(state(&directory, "jane", NOW + LOOK_EVERY), second);
        directory.reload();
        assert_ne!(state(&directory, "jane", NOW + LOOK_EVERY), second);
    }

    #[test]
    fn only_changed_credentials_move_a_generation() {
        let dir = Folder::new();
        set(&dir, "jane", "one");
        set(&dir, "bob", "one");
        let directory = Directory::open(&dir, None, NOW).unwrap();
        let generation = |name: &str| {
            directory.reload();
            directory.find(name, NOW).map(|it| it.generation)
        };
        let (jane, bob) = (generation("jane"), generation("bob"));
        assert_eq!((generation("jane"), generation("bob")), (jane, bob), "an unchanged file");
        set(&dir, "jane", "one");
        assert!(jane < generation("jane"), "the same password, set again");
        assert_eq!(generation("bob"), bob);
        users::del(&dir, "bob").unwrap();
        assert_eq!(generation("bob"), None);
        set(&dir, "bob", "one");
        assert!(bob < generation("bob"), "removed and made again");

        let text = fs::read_to_string(users::path(&dir)).unwrap();
        let now = generation("bob");
        fs::write(users::path(&dir), text.replace("\"ctrl\"", "\"restricted_view\"")).unwrap();
        assert_eq!(generation("bob"), now, "other privileges only");
        directory.end_tokens("bob");
        directory.end_tokens("nobody");
        assert!(now < generation("bob"), "tokens ended");
    }

    #[test]
    fn a_broken_file_changes_nothing() {
        let dir = Folder::new();
        set(&dir, "jane", "one");
        let directory = Directory::open(&dir, None, NOW).unwrap();
        let before = state(&directory, "jane", NOW);
        fs::write(users::path(&dir), "{").unwrap();
        assert_eq!(state(&directory, "jane", NOW + LOOK_EVERY), before);
        directory.reload();
        assert_eq!(state(&directory, "jane", NOW + LOOK_EVERY * 2), before);
        fs::write(users::path(&dir), r#"{"users": []}"#).unwrap();
        assert_eq!(state(&directory, "jane", NOW + LOOK_EVERY * 3), None);
        fs::write(users::path(&dir), "{").unwrap();
        assert!(Directory::open(&dir, None, NOW).is_err(), "at the start nobody could log in");
    }

    #[test]
    fn without_an_own_file_the_factory_counts_again() {
        let dir = Folder::new();
        let factory = dir.join("factory.json");
        let directory = Directory::open(&dir, Some(&factory), NOW).unwrap();
        assert!(directory.is_empty(NOW));
        let text = r#"{"users": [{"name": "label", "ha1": "251910DE04F5EAB86859939167D4FDED", "privileges": []}]}"#;
        fs::write(&factory, text).unwrap();
        assert!(state(&directory, "label", NOW + LOOK_EVERY).is_some());
        assert!(!directory.is_empty(NOW + LOOK_EVERY));
        set(&dir, "jane", "one");
        assert!(state(&directory, "label", NOW + LOOK_EVERY * 2).is_none());
        assert!(state(&directory, "jane", NOW + LOOK_EVERY * 2).is_some());
        fs::remove_file(users::path(&dir)).unwrap();
        assert!(state(&directory, "label", NOW + LOOK_EVERY * 3).is_some());
        fs::remove_file(&factory).unwrap();
        assert!(directory.is_empty(NOW + LOOK_EVERY * 4));
    }

    #[test]
    fn disabled_accounts_alone_are_nobody() {
        let dir = Folder::new();
        let text = r#"{"users": [{"name": "jane", "ha1": "", "privileges": []}]}"#;
        fs::write(users::path(&dir), text).unwrap();
        assert!(Directory::open(&dir, None, NOW).unwrap().is_empty(NOW));
    }
}
