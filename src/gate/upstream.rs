//! Connections to tiny_http's two private sockets: opened without blocking, kept where that helps, and the head that a
//! request gets there. It decides nothing about when a request may go.

use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use super::outbox::Outbox;
use super::peers::{Class, Slot};
use super::request::{Body, Order};
use crate::sys::poll::Entry;

/// How long a new quick connection has to itself. tiny_http counts a thread as free until it has woken up, so a burst of
/// connections could be parked behind one that is still answering.
pub(super) const SETTLE: Duration = Duration::from_millis(5);

/// One connection to tiny_http with a request in work.
pub(super) struct Link {
    pub(super) socket: Socket,
    pub(super) out: Outbox,
    pub(super) slot: Slot,
    /// tiny_http has stopped reading: its answer decides.
    pub(super) deaf: bool,
}

impl Link {
    /// Sends what waits. That tiny_http reads no further is no error, because it may have answered already.
    pub(super) fn flush(&mut self) {
        if self.deaf || self.out.flush(&self.socket).is_err() {
            self.deaf = true;
            self.out = Outbox::default();
        }
    }
}

/// The connections that no request uses, and the way to new ones.
pub(super) struct Pool {
    quick: PathBuf,
    slow: PathBuf,
    idle: Vec<Socket>,
    /// When the last quick connection was opened.
    opened: Option<Instant>,
    /// The last try to open one failed, which is said once.
    failing: bool,
}

impl Pool {
    pub(super) fn new(quick: &Path, slow: &Path) -> Pool {
        Pool { quick: quick.into(), slow: slow.into(), idle: Vec::new(), opened: None, failing: false }
    }

    /// A connection for the slot's class; if there is none just now, the slot is given back.
    pub(super) fn link(&mut self, slot: Slot, now: Instant) -> Option<Link> {
        let quick = slot.class == Class::Quick;
        let kept = if quick { self.idle.pop() } else { None };
        let socket = match kept {
            Some(socket) => socket,
            None if quick && self.opened.is_some_and(|it| now < it + SETTLE) => return None,
            None => match open(if quick { &self.quick } else { &self.slow }) {
                Ok(socket) => {
                    self.failing = false;
                    self.opened = if quick { Some(now) } else { self.opened };
                    socket
                }
                Err(err) => {
                    if !std::mem::replace(&mut self.failing, true) {
                        log::warn!("gate: cannot reach the workers: {err}");
                    }
                    return None;
                }
            },
        };
        Some(Link { socket, out: Outbox::default(), slot, deaf: false })
    }

    /// Takes a connection back whose answer has come whole.
    pub(super) fn put(&mut self, link: Link) {
        if link.slot.class == Class::Quick && !link.deaf && link.out.is_empty() {
            self.idle.push(link.socket);
        }
    }

    /// Entries that notice when tiny_http closes an idle connection.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> {
        self.idle.iter().map(|it| Entry::new(it.as_raw_fd(), true, false))
    }

    /// Drops idle connections on which anything happened, for nothing is expected there.
    pub(super) fn sweep(&mut self, entries: &[Entry]) {
        let mut entries = entries.iter();
        self.idle.retain(|_| entries.next().is_none_or(|it| !it.readable()));
    }
}

fn open(path: &Path) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    // On a Unix socket this is done or refused at once; a full backlog is an error like any other.
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket)
}

/// The head that tiny_http gets: of the client's fields only the token and one preference, so that
/// nothing else can be smuggled in.
pub(super) fn head(order: &Order) -> Vec<u8> {
    let head = &order.head;
    let mut res = Vec::with_capacity(256 + head.target.len() + head.bearer.as_ref().map_or(0, String::len));
    let mut line = |text: std::fmt::Arguments<'_>| {
        res.write_fmt(text).and_then(|()| res.write_all(b"\r\n")).expect("a Vec takes every write");
    };
    line(format_args!("{} {} HTTP/1.1", head.method, head.target));
    if let Some(bearer) = &head.bearer {
        line(format_args!("Authorization: Bearer {bearer}"));
    }
    if head.respond_async {
        line(format_args!("X-Meter-Prefer: respond-async"));
    }
    match order.peer.ip {
        Some(ip) => line(format_args!("X-Meter-Peer: {ip}")),
        None => line(format_args!("X-Meter-Peer: unknown")),
    }
    line(format_args!("X-Meter-Secure: {}", if order.peer.secure { "yes" } else { "no" }));
    line(format_args!("X-Meter-Received: {}", order.received.as_nanos()));
    match &order.body {
        Body::Whole(body) => line(format_args!("Content-Length: {}", body.len())),
        Body::Withheld => line(format_args!("X-Meter-Body: withheld")),
        // "upgrade" makes tiny_http hand its reader over as it is, so that the chunks are decoded by a decoder that tells
        // a cut body from a whole one; tiny_http's own does not.
        Body::Streamed { .. } => line(format_args!("X-Meter-Body: streamed\r\nConnection: close, upgrade")),
    }
    if order.class != Class::Quick && !matches!(order.body, Body::Streamed { .. }) {
        line(format_args!("Connection: close"));
    }
    line(format_args!(""));
    res
}
