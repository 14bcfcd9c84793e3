//! Tokens that were logged out before their time, remembered until they would have ended anyway. The list is bounded; what
//! happens when it is full is decided by its caller.

use std::sync::Mutex;
use std::time::Duration;

use super::lock;
use super::token::Claims;

/// Tokens that are remembered at most.
pub const LIMIT: usize = 64;

/// The list.
#[derive(Default)]
pub struct Revoked {
    list: Mutex<Vec<Entry>>,
}

struct Entry {
    jti: String,
    end: Duration,
}

impl Revoked {
    /// Puts a token on the list; false if there is no room.
    pub fn add(&self, claims: &Claims, now: Duration) -> bool {
        let mut list = lock(&self.list);
        list.retain(|it| now < it.end);
        let room = list.len() < LIMIT;
        if room {
            list.push(Entry { jti: claims.jti.clone(), end: claims.end() });
        }
        room
    }

    /// Whether a token is on the list.
    pub fn contains(&self, claims: &Claims) -> bool {
        lock(&self.list).iter().any(|it| it.jti == claims.jti)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(jti: usize, bt: u64) -> Claims {
        let text = String::new;
        Claims { rlm: text(), usr: text(), prv: 0, beg: 0, ltm: 600, generation: 0, jti: jti.to_string(), bt }
    }

    #[test]
    fn a_full_list_has_room_again_when_tokens_end() {
        let revoked = Revoked::default();
        let now = Duration::from_secs(10);
        for jti in 0..LIMIT {
            assert!(revoked.add(&claims(jti, 10_000), now));
        }
        assert!(!revoked.add(&claims(LIMIT, 10_000), now));
        assert!(revoked.contains(&claims(0, 10_000)) && !revoked.contains(&claims(LIMIT, 10_000)));
        let later = claims(LIMIT, 610_000);
        assert!(revoked.add(&later, Duration::from_secs(610)));
        assert!(revoked.contains(&later) && !revoked.contains(&claims(0, 10_000)));
    }
}
