//! Digest hashes that have logged in: each works once, so that a login that was overheard cannot be repeated while its
//! nonce still lives. Bounded and first in, first out, because all entries live equally long; for each user too, so that
//! one whose program logs in all the time keeps nobody else out.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use super::{lock, nonce};

/// Hashes that are remembered at most: 17 good logins a second.
pub const LIMIT: usize = 1024;
/// Those of one user: ten a second, and some to spare.
pub const PER_USER: usize = 640;

/// The hashes, oldest first.
#[derive(Default)]
pub struct Spent {
    queue: Mutex<VecDeque<Entry>>,
}

struct Entry {
    at: Duration,
    hash: [u8; 16],
    user: Box<str>,
}

/// What became of a hash.
#[derive(Debug, PartialEq)]
pub enum Use {
    /// It is used now, for the first time.
    First,
    /// It was used before.
    Again,
    /// Nobody can tell later, so it must not be used now; there is room after this time.
    NoRoom(Duration),
}

impl Spent {
    /// Uses a hash of this user's, whose nonce has been checked at `now`.
    pub fn spend(&self, user: &str, hash: [u8; 16], now: Duration) -> Use {
        let mut queue = lock(&self.queue);
        // The nonce is at least as old as the entry: when the entry goes, its nonce has expired.
        while queue.front().is_some_and(|it| nonce::LIFETIME < now.saturating_sub(it.at)) {
            queue.pop_front();
        }
        if queue.iter().any(|it| it.hash == hash) {
            return Use::Again;
        }
        let own = || queue.iter().filter(|it| *it.user == *user);
        let oldest =
            if PER_USER <= own().count() { own().next() } else { queue.front().filter(|_| LIMIT <= queue.len()) };
        if let Some(oldest) = oldest {
            return Use::NoRoom((oldest.at + nonce::LIFETIME).saturating_sub(now));
        }
        queue.push_back(Entry { at: now, hash, user: user.into() });
        Use::First
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_used_once_while_its_nonce_lives() {
        let spent = Spent::default();
        let now = Duration::from_secs(100);
        assert_eq!(spent.spend("jane", [1; 16], now), Use::First);
        assert_eq!(spent.spend("jane", [1; 16], now), Use::Again);
        assert_eq!(spent.spend("jane", [1; 16], now + nonce::LIFETIME), Use::Again);
        assert_eq!(spent.spend("jane", [2; 16], now + nonce::LIFETIME), Use::First);
    }

    #[test]
    fn a_full_queue_says_when_there_is_room() {
        let spent = Spent::default();
        let now = Duration::from_secs(100);
        let hash = |it: usize| (it as u128).to_be_bytes();
        let later = now + Duration::from_secs(20);
        for it in 0..PER_USER {
            assert_eq!(spent.spend("jane", hash(it), now), Use::First);
        }
        assert_eq!(spent.spend("jane", hash(LIMIT), later), Use::NoRoom(Duration::from_secs(40)));
        for it in PER_USER..LIMIT {
            assert_eq!(spent.spend("joe", hash(it), later), Use::First, "the others have room");
        }
        assert_eq!(spent.spend("owner", hash(LIMIT), later), Use::NoRoom(Duration::from_secs(40)));
        assert_eq!(spent.spend("jane", hash(0), later), Use::Again, "a known hash is told even then");
        assert_eq!(spent.spend("owner", hash(LIMIT), now + Duration::from_millis(60_001)), Use::First);
    }
}
