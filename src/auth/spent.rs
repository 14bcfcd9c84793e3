//! Digest hashes that have logged in: each works once, so that a login that was overheard cannot be repeated while its
//! nonce still lives. Bounded and first in, first out, because all entries live equally long.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use super::{lock, nonce};

/// Hashes that are remembered at most: 17 good logins a second.
pub const LIMIT: usize = 1024;

/// The hashes, oldest first.
#[derive(Default)]
pub struct Spent {
    queue: Mutex<VecDeque<(Duration, [u8; 16])>>,
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
    /// Uses a hash whose nonce has been checked at `now`.
    pub fn spend(&self, hash: [u8; 16], now: Duration) -> Use {
        let mut queue = lock(&self.queue);
        // The nonce is at least as old as the entry: when the entry goes, its nonce has expired.
        while queue.front().is_some_and(|(at, _)| nonce::LIFETIME < now.saturating_sub(*at)) {
            queue.pop_front();
        }
        if queue.iter().any(|(_, it)| *it == hash) {
            return Use::Again;
        }
        match queue.front() {
            Some((oldest, _)) if LIMIT <= queue.len() => Use::NoRoom((*oldest + nonce::LIFETIME).saturating_sub(now)),
            _ => {
                queue.push_back((now, hash));
                Use::First
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_used_once_while_its_nonce_lives() {
        let spent = Spent::default();
        let now = Duration::from_secs(100);
        assert_eq!(spent.spend([1; 16], now), Use::First);
        assert_eq!(spent.spend([1; 16], now), Use::Again);
        assert_eq!(spent.spend([1; 16], now + nonce::LIFETIME), Use::Again);
        assert_eq!(spent.spend([2; 16], now + nonce::LIFETIME), Use::First);
    }

    #[test]
    fn a_full_queue_says_when_there_is_room() {
        let spent = Spent::default();
        let now = Duration::from_secs(100);
        let hash = |it: usize| (it as u128).to_be_bytes();
        for it in 0..LIMIT {
            assert_eq!(spent.spend(hash(it), now), Use::First);
        }
        let later = now + Duration::from_secs(20);
        assert_eq!(spent.spend(hash(LIMIT), later), Use::NoRoom(Duration::from_secs(40)));
        assert_eq!(spent.spend(hash(0), later), Use::Again, "a known hash is told even then");
        assert_eq!(spent.spend(hash(LIMIT), now + Duration::from_millis(60_001)), Use::First);
    }
}
