//! The gate's one thread: waits for every socket at once, admits callers, hands out slots, ends what is overdue.
//! What a connection does with its turn is `conn`'s.

use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::conn::Conn;
use super::house::{House, PIECE};
use super::listen::{Caller, Door};
use super::peers::Who;
use super::places::Places;
use super::refusals::Refusal;
use super::upstream::SETTLE;
use crate::sys::poll::{self, Entry};
use crate::sys::process;

/// How long accepting pauses when the machine is out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Callers that one listener may bring in a turn, so that a flood does not keep the others waiting.
const CALLERS: usize = 16;
/// Connections beyond the limits that are told so; further ones are closed without a word.
pub(super) const TURNED_AWAY: usize = 16;
/// Connections of the self-probe.
pub(super) const PROBES: usize = 4;
/// How long answers in progress may take to leave when the service stops.
const STOP: Duration = Duration::from_secs(2);
/// The longest wait, for its own sake.
const LONGEST: Duration = Duration::from_secs(30);

/// Everything the thread owns.
pub(super) struct Run {
    pub(super) house: House,
    pub(super) doors: Vec<Door>,
    pub(super) conns: Vec<Conn>,
    pub(super) places: Places,
    /// Closed, or written to, when the service stops.
    pub(super) wake: UnixStream,
    /// A request has its turn but no connection to tiny_http yet.
    pub(super) retry: bool,
}

impl Run {
    /// Serves until it is told to stop.
    pub(super) fn serve(mut self) -> std::io::Result<()> {
        let mut entries = Vec::new();
        let mut paused: Option<Instant> = None;
        let mut stop_by: Option<Instant> = None;
        loop {
            let now = Instant::now();
            paused = paused.filter(|it| now < *it);
            if stop_by.is_some_and(|it| it <= now || self.conns.is_empty()) {
                return Ok(());
            }
            let doors = self.entries(&mut entries, paused.is_some());
            let wait = [paused, stop_by].into_iter().flatten().chain(self.deadlines(now)).min();
            poll::wait(&mut entries, wait.map_or(LONGEST, |it| it.saturating_duration_since(now).min(LONGEST)))?;

            let now = Instant::now();
            if stop_by.is_none() && entries[0].readable() {
                let _ = (&self.wake).read(&mut [0; 8]);
                stop_by = Some(now + STOP);
                self.house.stopping = true;
                self.doors.clear();
            }
            let rest = self.turns(&entries[1 + doors..], now);
            self.house.pool.sweep(rest);
            if stop_by.is_some() {
                self.conns.retain(Conn::unfinished);
            } else if self.callers(&entries[1..1 + doors], now).is_err() {
                paused = Some(now + ACCEPT_PAUSE);
            }
            self.free_memory(now);
            self.hand_out_slots(now);
        }
    }

    /// Lists what to wait for: the wake-up, the listeners, two entries for each connection, one for each orphan, the
    /// idle connections to tiny_http. Returns the number of listeners.
    fn entries(&self, res: &mut Vec<Entry>, paused: bool) -> usize {
        res.clear();
        res.push(if self.house.stopping { Entry::NONE } else { Entry::new(self.wake.as_raw_fd(), true, false) });
        res.extend(
            self.doors.iter().map(
                |it| {
                    if paused { Entry::NONE } else { Entry::new(it.socket.as_raw_fd(), true, false) }
                },
            ),
        );
        res.extend(self.conns.iter().flat_map(|it| it.entries(&self.house)));
        res.extend(self.house.orphans.iter().map(|it| it.entry(true)));
        res.extend(self.house.pool.entries());
        self.doors.len()
    }

    fn deadlines(&self, now: Instant) -> impl Iterator<Item = Instant> {
        let answer = Duration::from_secs(self.house.limits.answer_seconds);
        let conns = self.conns.iter().filter_map(|it| it.deadline(&self.house));
        let orphans = self.house.orphans.iter().map(move |it| it.moved + answer);
        conns.chain(orphans).chain(self.retry.then_some(now + SETTLE))
    }

    /// Gives every connection and orphan its turn; returns the entries that are left over.
    fn turns<'a>(&mut self, entries: &'a [Entry], now: Instant) -> &'a [Entry] {
        let house = &mut self.house;
        let (of_conns, rest) = entries.split_at(2 * self.conns.len());
        let (of_orphans, rest) = rest.split_at(house.orphans.len());
        let mut ended = Vec::new();
        for (at, (conn, entries)) in self.conns.iter_mut().zip(of_conns.chunks_exact(2)).enumerate() {
            if let Err(end) = conn.turn([entries[0], entries[1]], house, now) {
                ended.push((at, end));
            }
        }
        let answer = Duration::from_secs(house.limits.answer_seconds);
        let orphans = std::mem::take(&mut house.orphans);
        for (mut work, entry) in orphans.into_iter().zip(of_orphans) {
            let ok = work.pump(*entry, house, now).is_ok();
            work.discard();
            if ok && !work.done() && now < work.moved + answer {
                house.orphans.push(work);
            }
        }
        for (at, end) in ended.into_iter().rev() {
            self.conns.swap_remove(at).abandon(&end, house, now);
        }
        rest
    }

    fn callers(&mut self, entries: &[Entry], now: Instant) -> std::io::Result<()> {
        self.places.recover(self.house.limits.connections, now);
        for (at, entry) in entries.iter().enumerate() {
            for _ in 0..if entry.readable() { CALLERS } else { 0 } {
                match self.doors[at].accept() {
                    Ok(Some(caller)) => self.admit(caller),
                    Ok(None) => break,
                    // The caller waits on, and the listener is looked at again at once.
                    Err(err) if process::out_of_descriptors(&err) && self.free_descriptors(now) => break,
                    Err(err) => {
                        log::warn!("gate: accepting pauses: {err}");
                        return Err(err);
                    }
                }
            }
        }
        Ok(())
    }

    fn admit(&mut self, caller: Caller) {
        let peers = &self.house.peers;
        let crowded = matches!(caller.who, Who::Ip(_)) && peers.seats(caller.who) >= self.house.limits.per_peer;
        let full = self.conns.len() - peers.seats(Who::Turned) - peers.seats(Who::Probe) >= self.places.now();
        let refused = match caller.who {
            _ if caller.refused.is_some() => caller.refused,
            Who::Probe if peers.seats(Who::Probe) < PROBES => None,
            Who::Probe | Who::Turned => return,
            who if crowded || (full && !self.evict(who)) => Some(Refusal::Busy),
            _ => None,
        };
        let peers = &self.house.peers;
        let who = if refused.is_some() { Who::Turned } else { caller.who };
        if who == Who::Turned && peers.seats(Who::Turned) >= TURNED_AWAY {
            return;
        }
        let mut conn = Conn::new(caller.socket, caller.ip, caller.rules, peers.seat(who), &self.house);
        if let Some(refusal) = refused {
            conn.refuse(refusal, conn.accepted);
        }
        self.conns.push(conn);
    }

    /// Starts the requests that wait, the longest waiting first, as far as there are slots for them.
    fn hand_out_slots(&mut self, now: Instant) {
        let mut waiting: Vec<_> =
            self.conns.iter().enumerate().filter_map(|(at, it)| Some((it.waiting()?, at))).collect();
        waiting.sort_unstable();
        let mut ended = Vec::new();
        self.retry = false;
        for (_, at) in waiting {
            let (conn, house) = (&mut self.conns[at], &mut self.house);
            let slot = conn.order().and_then(|it| house.peers.slot(it.class, it.who, &house.limits));
            let Some(slot) = slot else { continue };
            let Some(link) = house.pool.link(slot, now) else {
                self.retry = true;
                continue;
            };
            if let Err(end) = conn.start(link, house, now) {
                ended.push((at, end));
            }
        }
        ended.sort_unstable_by_key(|(at, _)| *at);
        for (at, end) in ended.into_iter().rev() {
            self.conns.swap_remove(at).abandon(&end, &mut self.house, now);
        }
    }
}

/// The buffer that all reads go through.
pub(super) fn scratch() -> Box<[u8]> {
    vec![0; PIECE].into()
}
