//! Guessing passwords made slow. Every failed login is a debt of its peer that six seconds pay off; who owes too much
//! waits. A user's debts are counted too, but only turn away peers that have failed themselves: a stranger who fails for
//! the owner's name cannot lock the owner out.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use super::{lock, users};
use crate::sys::net;

/// How long one failure is held against a peer and a user.
const PER_FAILURE: Duration = Duration::from_secs(6);
/// Failures in quick succession that a peer may have.
const PEER_BURST: u32 = 10;
/// Failures in quick succession for one user from anywhere, before peers that failed are turned away.
const USER_BURST: u32 = 20;
/// Peers that are remembered.
const PEERS: usize = 256;
/// User names that are remembered, existing or not.
const USERS: usize = 64;

/// Who has failed how much. A peer without an address is counted like one of its own.
pub struct Throttle {
    debts: Mutex<Debts>,
}

struct Debts {
    peers: Table<Option<IpAddr>>,
    users: Table<String>,
}

impl Throttle {
    /// Nobody has failed yet.
    pub fn new() -> Self {
        Throttle { debts: Mutex::new(Debts { peers: Table::new(PEERS), users: Table::new(USERS) }) }
    }

    /// How long a peer has to wait, if it has to, before its login is even read.
    pub fn peer(&self, peer: Option<IpAddr>, now: Duration) -> Option<Duration> {
        let owed = lock(&self.debts).peers.owed(&peer.map(net::group), now);
        over(owed, PEER_BURST)
    }

    /// How long a peer has to wait, if it has to, before it may log in as `user`.
    pub fn user(&self, user: &str, peer: Option<IpAddr>, now: Duration) -> Option<Duration> {
        let debts = lock(&self.debts);
        over(debts.users.owed(user, now), USER_BURST)?;
        let owed = debts.peers.owed(&peer.map(net::group), now);
        (!owed.is_zero()).then_some(owed)
    }

    /// Counts wrong credentials. Requests that are decided at the same moment may overshoot the burst by the number of
    /// workers, which does not matter.
    pub fn failed(&self, user: &str, peer: Option<IpAddr>, now: Duration) {
        let mut debts = lock(&self.debts);
        debts.peers.add(peer.map(net::group), now);
        // A longer name cannot exist, and keeping it would let a client fill the memory.
        if user.len() <= users::MAX_NAME {
            debts.users.add(user.into(), now);
        }
    }
}

/// The wait until one more failure fits into the burst.
fn over(owed: Duration, burst: u32) -> Option<Duration> {
    owed.checked_sub(PER_FAILURE * (burst - 1)).filter(|it| !it.is_zero())
}

/// For each key the moment at which everything is paid off.
struct Table<K> {
    limit: usize,
    clear: BTreeMap<K, Duration>,
}

impl<K: Ord + Clone> Table<K> {
    fn new(limit: usize) -> Self {
        Table { limit, clear: BTreeMap::new() }
    }

    fn owed<Q: Ord + ?Sized>(&self, key: &Q, now: Duration) -> Duration
    where
        K: std::borrow::Borrow<Q>,
    {
        self.clear.get(key).map_or(Duration::ZERO, |it| it.saturating_sub(now))
    }

    fn add(&mut self, key: K, now: Duration) {
        if self.limit <= self.clear.len() && !self.clear.contains_key(&key) {
            self.clear.retain(|_, it| now < *it);
            if self.limit <= self.clear.len()
                && let Some((least, _)) = self.clear.iter().min_by_key(|(_, it)| **it)
            {
                let least = least.clone();
                self.clear.remove(&least);
            }
        }
        let clear = self.clear.entry(key).or_default();
        *clear = now.max(*clear) + PER_FAILURE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1000);

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn ten_failures_are_free_and_one_comes_back_every_six_seconds() {
        let throttle = Throttle::new();
        let peer = ip("10.0.0.1");
        for it in 0..10 {
            assert_eq!(throttle.peer(peer, NOW), None, "failure {it}");
            throttle.failed(&it.to_string(), peer, NOW);
        }
        assert_eq!(throttle.peer(peer, NOW), Some(PER_FAILURE));
        assert_eq!(throttle.peer(ip("::ffff:10.0.0.1"), NOW), Some(PER_FAILURE), "the same peer in IPv6 clothes");
        assert_eq!(throttle.peer(peer, NOW + PER_FAILURE), None);
        throttle.failed("x", peer, NOW + PER_FAILURE);
        assert_eq!(throttle.peer(peer, NOW + PER_FAILURE), Some(PER_FAILURE));
        assert_eq!(throttle.peer(ip("10.0.0.2"), NOW), None);
        assert_eq!(throttle.peer(None, NOW), None);
    }

    #[test]
    fn peers_without_address_share_one_debt_and_a_slash_64_too() {
        for (first, second) in [(None, None), (ip("2001:db8::1"), ip("2001:db8::ffff:2"))] {
            let throttle = Throttle::new();
            for it in 0..10 {
                throttle.failed(&it.to_string(), first, NOW);
            }
            assert!(throttle.peer(second, NOW).is_some(), "{second:?}");
        }
    }

    #[test]
    fn failures_of_strangers_do_not_lock_the_owner_out() {
        let throttle = Throttle::new();
        for it in 0..100 {
            throttle.failed("owner", ip(&format!("10.0.1.{it}")), NOW);
        }
        assert_eq!(throttle.user("owner", ip("10.0.0.1"), NOW), None);
        assert_eq!(throttle.user("owner", ip("10.0.1.7"), NOW), Some(PER_FAILURE));
        assert_eq!(throttle.user("other", ip("10.0.1.7"), NOW), None);
        assert_eq!(throttle.user("owner", ip("10.0.1.7"), NOW + PER_FAILURE), None);
    }

    #[test]
    fn a_few_failures_for_a_user_turn_nobody_away() {
        let throttle = Throttle::new();
        for it in 0..USER_BURST - 1 {
            throttle.failed("owner", ip(&format!("10.0.1.{it}")), NOW);
        }
        assert_eq!(throttle.user("owner", ip("10.0.1.1"), NOW), None);
    }

    #[test]
    fn the_tables_forget_who_owes_least() {
        let throttle = Throttle::new();
        let guesser = ip("10.9.9.9");
        for _ in 0..10 {
            throttle.failed("owner", guesser, NOW);
        }
        for it in 0..1000 {
            throttle.failed(&format!("user{it}"), ip(&format!("10.1.{}.{}", it / 256, it % 256)), NOW);
        }
        throttle.failed(&"x".repeat(5000), guesser, NOW);
        assert!(throttle.peer(guesser, NOW).is_some());
        let debts = lock(&throttle.debts);
        assert_eq!((debts.peers.clear.len(), debts.users.clear.len()), (PEERS, USERS));
        assert!(debts.users.clear.contains_key("owner"));
    }
}
