//! Who holds what: connections per peer, and slots for requests in work.
//! Both are guards that give back what they stand for when they are dropped, so that no path can forget to.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

use crate::config::Limits;

/// Quick requests in work at once; tiny_http's pool never has fewer threads, so none of their connections is parked.
pub(super) const QUICK: usize = 4;
/// Slow requests in work at once that are neither uploads nor downloads, and how many of them one peer may have.
pub(super) const SLOW: usize = 4;
const SLOW_PER_PEER: usize = 2;
/// Quick requests that may turn out to have a long answer and be relayed at the client's pace.
const QUICK_LONG: usize = 2;

/// Under which name a connection, or a request, is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Who {
    /// An address, or the /64 it is in.
    Ip(IpAddr),
    /// Whoever is behind the Unix listener of this number.
    Front(usize),
    /// The service asking itself whether it is alive.
    Probe,
    /// Whoever is only told that there is no place.
    Turned,
}

/// What kind of work a request is, as far as its method and path tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Answered by a worker without waiting.
    Quick,
    /// A command, or a question to another daemon: its answer may wait for seconds.
    Slow,
    /// A large body for the register database.
    Upload,
    /// The register database's content.
    Download,
}

impl Class {
    /// The class of a request with a small body. The path must be matched undecoded by the router too.
    pub(super) fn of(method: &str, target: &str) -> Class {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = bare(path);
        // Without a format it is the short list of registers, which nobody has to wait for. A name may come encoded.
        let is_long = query.contains("format") || query.contains('%');
        match method {
            // It must not wait behind the commands that it is to end, and waits for nothing itself.
            "POST" if path == "/cmd/cancel" => Class::Quick,
            "POST" if path.starts_with("/cmd/") => Class::Slow,
            "GET" if path.starts_with("/sys/net/") => Class::Slow,
            "GET" | "HEAD" if path.starts_with("/register") && is_long => Class::Download,
            _ => Class::Quick,
        }
    }
}

/// Whether a large body may be taken at all.
pub(super) fn takes_uploads(method: &str, path: &str) -> bool {
    method == "POST" && bare(path) == "/cmd/db"
}

fn bare(path: &str) -> &str {
    path.strip_prefix("/api").filter(|it| it.starts_with('/')).unwrap_or(path)
}

/// The tables behind all guards; clones are the same tables.
#[derive(Clone, Default)]
pub(super) struct Peers(Rc<RefCell<Tables>>);

#[derive(Default)]
struct Tables {
    seats: HashMap<Who, usize>,
    quick: HashMap<Who, usize>,
    slow: HashMap<Who, usize>,
    uploads: usize,
    downloads: HashMap<Who, usize>,
    quick_long: usize,
}

fn leave(table: &mut HashMap<Who, usize>, who: Who) {
    if let Some(n) = table.get_mut(&who) {
        *n -= 1;
        if *n == 0 {
            table.remove(&who);
        }
    }
}

fn held(table: &HashMap<Who, usize>, who: Who) -> usize {
    table.get(&who).copied().unwrap_or(0)
}

fn total(table: &HashMap<Who, usize>) -> usize {
    table.values().sum()
}

/// Takes a place in a table that has `all`, of which one peer may have `own`; false if there is none.
fn enter(table: &mut HashMap<Who, usize>, who: Who, all: usize, own: usize) -> bool {
    let free = total(table) < all && held(table, who) < own;
    if free {
        *table.entry(who).or_default() += 1;
    }
    free
}

impl Peers {
    /// Connections that a peer holds.
    pub(super) fn seats(&self, who: Who) -> usize {
        held(&self.0.borrow().seats, who)
    }

    /// Counts a connection until the guard is dropped.
    pub(super) fn seat(&self, who: Who) -> Seat {
        *self.0.borrow_mut().seats.entry(who).or_default() += 1;
        Seat { peers: self.clone(), who }
    }

    /// A slot for a request, if its class and its peer have one left.
    pub(super) fn slot(&self, class: Class, who: Who, limits: &Limits) -> Option<Slot> {
        let mut tables = self.0.borrow_mut();
        let entered = match class {
            Class::Quick => {
                let own = if who == Who::Probe { QUICK } else { limits.in_work_per_peer };
                enter(&mut tables.quick, who, QUICK, own)
            }
            Class::Slow => enter(&mut tables.slow, who, SLOW, SLOW_PER_PEER),
            Class::Upload => {
                let free = tables.uploads < limits.uploads;
                tables.uploads += usize::from(free);
                free
            }
            Class::Download => {
                // Who reads slowly holds a place for as long as it takes; a front reads for many.
                let own = if let Who::Ip(_) = who { limits.downloads.div_ceil(2) } else { limits.downloads };
                enter(&mut tables.downloads, who, limits.downloads, own)
            }
        };
        entered.then(|| Slot { peers: self.clone(), class, who, long: false })
    }
}

/// One connection's place in the count.
pub(super) struct Seat {
    peers: Peers,
    pub(super) who: Who,
}

impl Drop for Seat {
    fn drop(&mut self) {
        leave(&mut self.peers.0.borrow_mut().seats, self.who);
    }
}

/// The right to be in work.
pub(super) struct Slot {
    peers: Peers,
    pub(super) class: Class,
    who: Who,
    long: bool,
}

impl Slot {
    /// To be asked before an answer is relayed at the client's pace: a quick slot must not be held that long by many.
    pub(super) fn may_be_long(&mut self) -> bool {
        let mut tables = self.peers.0.borrow_mut();
        if self.class != Class::Quick || self.long {
            return true;
        }
        self.long = tables.quick_long < QUICK_LONG;
        tables.quick_long += usize::from(self.long);
        self.long
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut tables = self.peers.0.borrow_mut();
        tables.quick_long -= usize::from(self.long);
        match self.class {
            Class::Quick => leave(&mut tables.quick, self.who),
            Class::Slow => leave(&mut tables.slow, self.who),
            Class::Upload => tables.uploads -= 1,
            Class::Download => leave(&mut tables.downloads, self.who),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> Who {
        Who::Ip(IpAddr::from([127, 0, 0, last]))
    }

    #[test]
    fn slow_classes_never_take_quick_slots() {
        let (peers, limits) = (Peers::default(), Limits::default());
        let take = |class| peers.slot(class, ip(1), &limits);
        let held: Vec<_> = [Class::Upload, Class::Upload, Class::Download, Class::Slow, Class::Slow]
            .map(|it| take(it).unwrap())
            .into();
        for class in [Class::Upload, Class::Download, Class::Slow] {
            assert!(take(class).is_none(), "{class:?}");
        }
        let quick = take(Class::Quick).unwrap();
        assert!(take(Class::Quick).is_some());
        drop((held, quick));
        assert!(take(Class::Upload).is_some());
    }

    #[test]
    fn one_peer_cannot_have_every_quick_slot() {
        let (peers, limits) = (Peers::default(), Limits::default());
        let take = |last| peers.slot(Class::Quick, ip(last), &limits);
        let first = [take(1), take(1)];
        assert!(first.iter().all(Option::is_some) && take(1).is_none());
        let second = [take(2), take(2)];
        assert!(second.iter().all(Option::is_some) && take(3).is_none());
        drop(first);
        assert!(take(3).is_some());
    }

    #[test]
    fn one_peer_cannot_have_every_download() {
        let (peers, limits) = (Peers::default(), Limits::default());
        let take = |who| peers.slot(Class::Download, who, &limits);
        let first = take(ip(1)).unwrap();
        assert!(take(ip(1)).is_none());
        let second = take(ip(2)).unwrap();
        assert!(take(ip(3)).is_none());
        drop((first, second));
        let front = [take(Who::Front(0)), take(Who::Front(0))];
        assert!(front.iter().all(Option::is_some) && take(ip(1)).is_none());
    }

    #[test]
    fn few_quick_slots_may_be_held_by_long_answers() {
        let (peers, limits) = (Peers::default(), Limits::default());
        let mut slots: Vec<_> = (1..4).map(|it| peers.slot(Class::Quick, ip(it), &limits).unwrap()).collect();
        assert!(slots[0].may_be_long() && slots[0].may_be_long() && slots[1].may_be_long());
        assert!(!slots[2].may_be_long());
        slots.remove(0);
        assert!(slots[1].may_be_long());
        assert!(peers.slot(Class::Slow, ip(1), &limits).unwrap().may_be_long());
    }

    #[test]
    fn seats_are_given_back() {
        let peers = Peers::default();
        let seats = [peers.seat(ip(1)), peers.seat(ip(1)), peers.seat(Who::Front(0))];
        assert_eq!((peers.seats(ip(1)), peers.seats(ip(2))), (2, 0));
        drop(seats);
        assert!(peers.0.borrow().seats.is_empty());
    }

    #[test]
    fn the_class_follows_method_and_path() {
        for (method, path, expect) in [
            ("POST", "/cmd/db", Class::Slow),
            ("POST", "/api/cmd/reboot", Class::Slow),
            ("GET", "/cmd/db", Class::Quick),
            ("GET", "/api/sys/net/wlan/ap", Class::Slow),
            ("GET", "/register", Class::Quick),
            ("GET", "/register?virtual=value", Class::Quick),
            ("GET", "/register?format=backup", Class::Download),
            ("HEAD", "/api/register?from=1&%66ormat=backup", Class::Download),
            ("GET", "/sys/net/wlan/ap?max-depth=1", Class::Slow),
            ("POST", "/register", Class::Quick),
            ("POST", "/auth/login", Class::Quick),
            ("GET", "/apiregister", Class::Quick),
        ] {
            assert_eq!(Class::of(method, path), expect, "{method} {path}");
        }
        assert!(takes_uploads("POST", "/api/cmd/db") && !takes_uploads("PUT", "/cmd/db"));
    }
}
