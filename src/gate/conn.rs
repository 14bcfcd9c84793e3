//! One client connection as a state machine: head, body, queue, work, answer, and a close that loses nothing.
//! It owns the client's socket and its deadlines. What comes in is judged in `intake`, what it gives up for others is in `giving`; how
//! an answer is read and worded is `work`'s.

mod giving;
mod intake;

use std::io::{ErrorKind, Read};
use std::net::{IpAddr, Shutdown};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::Socket;

use super::flow::Flow;
use super::house::{House, PIECE};
use super::listen::Rules;
use super::outbox::Outbox;
use super::peers::Seat;
use super::rate::Rate;
use super::refusals::Refusal;
use super::request::{Asked, Body, Order};
use super::upstream::Link;
use super::work::{Audience, Cut, Delivery, HOLD, Work};
use crate::sys::poll::Entry;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Why a connection ends.
pub(super) enum End {
    /// There is nobody, or nothing, to say something to.
    Quiet,
    /// An answer was cut: the client must not take what it has for the whole.
    Reset,
}

/// Where a connection stands.
enum Step {
    /// Between requests, or in a head.
    Head,
    /// In a body that is collected whole.
    Collect { asked: Box<Asked>, flow: Flow, body: Vec<u8> },
    /// In an upload without a valid token, which is read and dropped.
    Drop { asked: Box<Asked>, flow: Flow, dropped: u64 },
    /// Waiting for a slot.
    Queue(Box<Order>),
    /// Worked on; an upload may still be coming.
    Work(Box<Work>, Option<Upload>),
    /// The answer is in the outbox.
    Leave,
    /// Everything was said; what the client still sends is dropped, lest a reset overtakes the answer.
    Linger { left: u64 },
}

/// What is still to come of an upload in work.
struct Upload {
    flow: Flow,
    taken: u64,
    /// It was answered before its end, so that the rest is dropped.
    dropping: bool,
}

/// One client connection.
pub(super) struct Conn {
    socket: Socket,
    ip: Option<IpAddr>,
    rules: Arc<Rules>,
    pub(super) seat: Seat,
    pub(super) accepted: Instant,
    input: Vec<u8>,
    out: Outbox,
    step: Step,
    /// When the step began, or a head's first byte came.
    since: Instant,
    rate: Rate,
    http11: bool,
    keep: bool,
}

impl Conn {
    pub(super) fn new(socket: Socket, ip: Option<IpAddr>, rules: Arc<Rules>, seat: Seat, house: &House) -> Conn {
        let now = Instant::now();
        Conn {
            socket,
            ip,
            rules,
            seat,
            accepted: now,
            input: Vec::new(),
            out: Outbox::default(),
            step: Step::Head,
            since: now,
            rate: Rate::new(&house.limits),
            http11: true,
            keep: true,
        }
    }

    /// What to wait for: at the client's socket, and at the connection to tiny_http.
    pub(super) fn entries(&self, house: &House) -> [Entry; 2] {
        let client = Entry::new(self.socket.as_raw_fd(), self.reads(house), !self.out.is_empty());
        let link = match &self.step {
            Step::Work(work, _) => work.entry(self.out.len() < HOLD),
            _ => Entry::NONE,
        };
        [client, link]
    }

    /// Whether the client may send now.
    fn reads(&self, house: &House) -> bool {
        match &self.step {
            Step::Head => self.input.len() < house.limits.head_bytes,
            Step::Collect { .. } | Step::Drop { .. } | Step::Linger { .. } => true,
            Step::Work(work, Some(upload)) => {
                self.input.len() < PIECE && !upload.flow.done() && (upload.dropping || work.hungry())
            }
            Step::Queue(_) | Step::Work(_, None) | Step::Leave => false,
        }
    }

    /// The place in the queue of a request that waits for a slot.
    pub(super) fn waiting(&self) -> Option<u64> {
        if let Step::Queue(order) = &self.step { Some(order.turn) } else { None }
    }

    /// The waiting request itself.
    pub(super) fn order(&self) -> Option<&Order> {
        if let Step::Queue(order) = &self.step { Some(order) } else { None }
    }

    /// Whether the connection may go when the service stops.
    pub(super) fn unfinished(&self) -> bool {
        matches!(self.step, Step::Queue(_) | Step::Work(..) | Step::Leave)
    }

    /// Moves everything that the two entries, as [`Conn::entries`] gave them, are ready for.
    pub(super) fn turn(&mut self, [client, link]: [Entry; 2], house: &mut House, now: Instant) -> Result<(), End> {
        // Only what happens to a connection, or is overdue, gets it on; looking again for nothing would cost everybody else.
        let overdue = self.deadline(house).is_some_and(|it| it <= now);
        if client.quiet() && link.quiet() && !overdue {
            return Ok(());
        }
        let mut broken = false;
        if let Step::Work(work, upload) = &mut self.step {
            broken = matches!(work.pump(link, house, now), Err(Cut));
            if let Some(upload) = upload {
                upload.dropping |= work.answered();
            }
        }
        if broken {
            self.give_up(now)?;
        } else if client.readable() {
            self.read(house, now)?;
        } else if client.gone() {
            return Err(End::Quiet);
        }
        self.progress(house, now)?;
        if self.deadline(house).is_some_and(|it| it <= now) {
            self.expire(now)?;
            self.progress(house, now)?;
        }
        Ok(())
    }

    /// The waiting request has got its slot.
    pub(super) fn start(&mut self, link: Link, house: &mut House, now: Instant) -> Result<(), End> {
        match std::mem::replace(&mut self.step, Step::Head) {
            Step::Queue(order) => {
                let work = Box::new(Work::begin(&order, link));
                let order = *order;
                let upload = match order.body {
                    Body::Streamed { first, flow } => {
                        if order.head.expects_continue && first.is_empty() {
                            self.out.push(CONTINUE);
                        }
                        Some(Upload { flow, taken: first.len() as u64, dropping: false })
                    }
                    Body::Whole(_) | Body::Withheld => None,
                };
                self.rate.restart();
                self.step = Step::Work(work, upload);
            }
            other => self.step = other,
        }
        self.progress(house, now)
    }

    /// Answers with a refusal, whatever the connection was at, and closes.
    pub(super) fn refuse(&mut self, refusal: Refusal, now: Instant) {
        self.out.push(&refusal.bytes());
        self.keep = false;
        self.leave(now);
    }

    /// Ends the connection; what is in work and goes on without its client is handed on to those that do.
    pub(super) fn abandon(self, end: &End, house: &mut House, now: Instant) {
        if let End::Reset = end {
            // With a lingering time of zero, closing resets.
            let _ = self.socket.set_linger(Some(Duration::ZERO));
        }
        if let Step::Work(mut work, None) = self.step
            && work.outlives_client()
        {
            work.moved = now;
            house.orphans.push(*work);
        }
    }

    fn leave(&mut self, now: Instant) {
        self.step = Step::Leave;
        self.since = now;
        self.rate.restart();
    }

    /// Reads once, at most a piece.
    fn read(&mut self, house: &mut House, now: Instant) -> Result<(), End> {
        let room = match self.step {
            Step::Head => house.limits.head_bytes.saturating_sub(self.input.len()).min(PIECE / 4),
            Step::Linger { .. } => PIECE,
            _ => PIECE.saturating_sub(self.input.len()),
        };
        let n = match (&self.socket).read(&mut house.scratch[..room]) {
            Ok(0) => return Err(End::Quiet),
            Ok(n) => n,
            Err(err) if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(()),
            Err(_) => return Err(End::Quiet),
        };
        if let Step::Linger { left } = &mut self.step {
            *left = left.checked_sub(n as u64).ok_or(End::Quiet)?;
            return Ok(());
        }
        // Empty lines are dropped, and are no sign that a request has begun.
        let begins = house.scratch[..n].iter().any(|it| !b"\r\n".contains(it));
        if matches!(self.step, Step::Head) && self.input.is_empty() && begins {
            self.since = now;
        }
        self.input.reserve_exact(n);
        self.input.extend_from_slice(&house.scratch[..n]);
        Ok(())
    }

    /// Does all that can be done without waiting.
    fn progress(&mut self, house: &mut House, now: Instant) -> Result<(), End> {
        loop {
            let advanced = self.advance(house, now)?;
            let flushed = self.flush(house, now)?;
            if !advanced && !flushed {
                break;
            }
        }
        let clients_turn = match &self.step {
            Step::Drop { .. } => true,
            Step::Work(_, Some(_)) => self.reads(house),
            Step::Work(..) | Step::Leave => !self.out.is_empty(),
            _ => false,
        };
        self.rate.set_turn(clients_turn, now);
        Ok(())
    }

    /// One step on from what has come; says whether another try may bring more.
    fn advance(&mut self, house: &mut House, now: Instant) -> Result<bool, End> {
        match std::mem::replace(&mut self.step, Step::Head) {
            Step::Head => Ok(self.head(house, now)),
            Step::Collect { asked, flow, body } => Ok(self.collect(asked, flow, body, house, now)),
            Step::Drop { asked, flow, dropped } => Ok(self.drop_body(asked, flow, dropped, house, now)),
            Step::Work(work, Some(upload)) => Ok(self.upload(work, upload, house, now)),
            Step::Work(work, None) => self.deliver(work, house, now),
            other => {
                self.step = other;
                Ok(false)
            }
        }
    }

    fn deliver(&mut self, mut work: Box<Work>, house: &House, now: Instant) -> Result<bool, End> {
        self.keep &= !house.stopping;
        let audience = Audience { http11: self.http11, keep: self.keep, front: self.rules.is_unix() };
        match work.deliver(&audience, &mut self.out) {
            Delivery::Pending => {
                self.step = Step::Work(work, None);
                return Ok(false);
            }
            Delivery::Complete { close } => {
                self.keep &= !close;
                self.step = Step::Leave;
                self.since = now;
            }
            Delivery::Refused(refusal) => self.refuse(refusal, now),
            Delivery::Cut => return Err(End::Reset),
        }
        Ok(true)
    }

    /// Gives the client what it takes now; says whether that ended a step.
    fn flush(&mut self, house: &House, now: Instant) -> Result<bool, End> {
        if !self.out.is_empty() {
            let n = self.out.flush(&self.socket).map_err(|_| End::Quiet)?;
            self.rate.add(n);
            match &mut self.step {
                Step::Work(work, None) if 0 < n => work.moved = now,
                Step::Leave if 0 < n => self.since = now,
                _ => {}
            }
        }
        if !matches!(self.step, Step::Leave) || !self.out.is_empty() {
            return Ok(false);
        }
        self.since = now;
        if self.keep {
            self.step = Step::Head;
        } else {
            let _ = self.socket.shutdown(Shutdown::Write);
            self.input = Vec::new();
            self.step = Step::Linger { left: house.limits.upload_bytes };
        }
        Ok(true)
    }

    /// By when the connection must have got on.
    pub(super) fn deadline(&self, house: &House) -> Option<Instant> {
        let limits = &house.limits;
        let after = |since: Instant, seconds: u64| Some(since + Duration::from_secs(seconds));
        match &self.step {
            Step::Head if self.input.is_empty() => after(self.since, limits.idle_seconds),
            Step::Head => after(self.since, limits.head_seconds),
            Step::Collect { .. } | Step::Linger { .. } => after(self.since, limits.body_seconds),
            Step::Queue(order) => after(order.whole, limits.answer_seconds),
            // While it is not the client's turn it is tiny_http's.
            Step::Drop { .. } | Step::Leave => self.rate.due(),
            Step::Work(work, _) => self.rate.due().or_else(|| after(work.moved, limits.answer_seconds)),
        }
    }

    /// The deadline has come.
    fn expire(&mut self, now: Instant) -> Result<(), End> {
        if self.rate.due().is_some_and(|it| it <= now) && self.rate.suffices(now) {
            return Ok(());
        }
        match std::mem::replace(&mut self.step, Step::Head) {
            Step::Head if self.input.is_empty() => return Err(End::Quiet),
            Step::Head | Step::Collect { .. } | Step::Drop { .. } => self.refuse(Refusal::Timeout, now),
            Step::Work(work, Some(upload)) if upload.dropping && work.done() => self.end_upload(work, false, now),
            Step::Work(work, Some(upload)) if self.rate.due().is_some() => {
                drop((work, upload));
                self.refuse(Refusal::Timeout, now);
            }
            Step::Queue(_) => self.refuse(Refusal::Busy, now),
            Step::Work(work, upload) => {
                self.step = Step::Work(work, upload);
                self.give_up(now)?;
            }
            Step::Leave => return Err(End::Reset),
            Step::Linger { .. } => return Err(End::Quiet),
        }
        Ok(())
    }

    /// No answer, or no more of it, will come: another one is given if none has begun to leave.
    fn give_up(&mut self, now: Instant) -> Result<(), End> {
        match &self.step {
            Step::Work(work, _) if work.relaying() => Err(End::Reset),
            _ => {
                self.refuse(Refusal::Busy, now);
                Ok(())
            }
        }
    }
}
