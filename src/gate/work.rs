//! A request in work: the connection to tiny_http, and its answer on the way to the client.
//! It reads the answer and words it for the client; the client's own socket belongs to `conn`.

use std::io::{ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::time::Instant;

use super::answer::{Delimiter, Reader};
use super::house::House;
use super::outbox::Outbox;
use super::peers::Class;
use super::refusals::Refusal;
use super::request::{Body, Order};
use super::upstream::{self, Link};
use crate::http::chunked;
use crate::sys::poll::Entry;

/// Bytes of an answer that are held for the client; what fits is taken whole and frees its slot at once.
pub(super) const HOLD: usize = 64 * 1024;

/// The answer's stream ended early, or was no answer.
pub(super) struct Cut;

/// One request in work.
pub(super) struct Work {
    /// Gone as soon as the answer has come whole.
    link: Option<Link>,
    reader: Reader,
    /// The answer's decoded bytes that were not passed on yet.
    hold: Vec<u8>,
    /// How a long answer is delimited, once it is being passed on.
    relay: Option<Delimiter>,
    /// When anything last moved, or the request became whole: what the answer's deadline counts from.
    pub(super) moved: Instant,
}

/// What the client can be told, and how.
pub(super) struct Audience {
    pub(super) http11: bool,
    pub(super) keep: bool,
    /// The client is a front on a Unix socket, where a reset does not tell a cut from an end.
    pub(super) front: bool,
}

/// How far the answer has got.
pub(super) enum Delivery {
    /// More is to come.
    Pending,
    /// All of it is in the client's outbox. The connection can be kept only if its end is not the answer's end.
    Complete {
        /// The answer ends with the connection.
        close: bool,
    },
    /// It cannot be told to this client.
    Refused(Refusal),
    /// It is longer than this slot allows just now.
    Cut,
}

impl Work {
    /// Puts the head, and what is there of the body, on the way.
    pub(super) fn begin(order: &Order, mut link: Link) -> Work {
        link.out.push(&upstream::head(order));
        match &order.body {
            Body::Whole(body) => link.out.push(body),
            Body::Streamed { first, .. } if !first.is_empty() => push_chunk(&mut link.out, first),
            _ => {}
        }
        link.flush();
        let reader = Reader::new(order.head.method == "HEAD");
        Work { link: Some(link), reader, hold: Vec::new(), relay: None, moved: order.whole }
    }

    /// What to wait for at the connection to tiny_http; `room` says that the client takes more.
    pub(super) fn entry(&self, room: bool) -> Entry {
        let Some(link) = &self.link else { return Entry::NONE };
        let read = self.hold.len() <= HOLD && (self.relay.is_none() || room);
        // Without anything to wait for the entry must not be there at all, or its hang-up would be reported for ever.
        match (read, !link.out.is_empty()) {
            (false, false) => Entry::NONE,
            (read, write) => Entry::new(link.socket.as_raw_fd(), read, write),
        }
    }

    /// Moves what can be moved between tiny_http and here.
    pub(super) fn pump(&mut self, entry: Entry, house: &mut House, now: Instant) -> Result<(), Cut> {
        let Some(link) = &mut self.link else { return Ok(()) };
        if entry.writable() {
            let before = link.out.len();
            link.flush();
            if link.out.len() < before {
                self.moved = now;
            }
        }
        if !entry.readable() {
            return Ok(());
        }
        let n = match (&link.socket).read(&mut house.scratch) {
            Ok(0) => return Err(Cut),
            Ok(n) => n,
            Err(err) if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(()),
            Err(_) => return Err(Cut),
        };
        self.moved = now;
        self.reader.feed(&house.scratch[..n], &mut self.hold).map_err(|_| Cut)?;
        if self.reader.done()
            && let Some(link) = self.link.take()
        {
            house.pool.put(link);
        }
        Ok(())
    }

    /// Whether an answer is coming: then the rest of an upload is of no interest.
    pub(super) fn answered(&self) -> bool {
        self.reader.begun() || self.link.as_ref().is_none_or(|it| it.deaf)
    }

    /// Whether bytes of the answer have left, so that it is too late for another one.
    pub(super) fn relaying(&self) -> bool {
        self.relay.is_some()
    }

    pub(super) fn done(&self) -> bool {
        self.reader.done()
    }

    /// Whether tiny_http has taken all of an upload so far.
    pub(super) fn hungry(&self) -> bool {
        self.link.as_ref().is_some_and(|it| it.out.is_empty())
    }

    /// Passes a piece of an upload on.
    pub(super) fn upload(&mut self, data: &[u8], last: bool) {
        let Some(link) = &mut self.link else { return };
        if !data.is_empty() {
            push_chunk(&mut link.out, data);
        }
        if last {
            link.out.push(chunked::LAST);
        }
        link.flush();
    }

    /// Passes on what there is of the answer.
    pub(super) fn deliver(&mut self, audience: &Audience, out: &mut Outbox) -> Delivery {
        let Some(head) = self.reader.head() else { return Delivery::Pending };
        let done = self.reader.done();
        let relay = match self.relay {
            Some(relay) => relay,
            None if done => {
                let delimiter = match head.length {
                    _ if !head.bodiless => Delimiter::Length(self.hold.len() as u64),
                    Some(n) => Delimiter::Length(n),
                    None => Delimiter::Nothing,
                };
                out.push(&head.bytes(delimiter, audience.keep));
                out.push(&std::mem::take(&mut self.hold));
                return Delivery::Complete { close: false };
            }
            None if self.hold.len() > HOLD || head.length.is_some_and(|it| it > HOLD as u64) => {
                if self.link.as_mut().is_some_and(|it| !it.slot.may_be_long()) {
                    return Delivery::Cut;
                }
                let relay = match head.length {
                    Some(n) => Delimiter::Length(n),
                    None if audience.http11 => Delimiter::Chunked,
                    None if audience.front => return Delivery::Refused(Refusal::LongForOldFront),
                    None => Delimiter::Close,
                };
                out.push(&head.bytes(relay, audience.keep && relay != Delimiter::Close));
                *self.relay.insert(relay)
            }
            None => return Delivery::Pending,
        };
        match std::mem::take(&mut self.hold) {
            hold if hold.is_empty() => {}
            hold if relay == Delimiter::Chunked => push_chunk(out, &hold),
            hold => out.push(&hold),
        }
        if !done {
            return Delivery::Pending;
        }
        if relay == Delimiter::Chunked {
            out.push(chunked::LAST);
        }
        Delivery::Complete { close: relay == Delimiter::Close }
    }

    /// Whether the work goes on without its client, which is so for all but downloads: its slot must stay taken for as
    /// long, or clients that leave could have more in work than the limits allow.
    pub(super) fn outlives_client(&self) -> bool {
        self.link.as_ref().is_some_and(|it| it.slot.class != Class::Download)
    }

    /// Forgets what has come of an answer that nobody waits for.
    pub(super) fn discard(&mut self) {
        self.hold = Vec::new();
    }
}

fn push_chunk(out: &mut Outbox, data: &[u8]) {
    out.push(&[chunked::size_line(data.len()).as_bytes(), data, b"\r\n"].concat());
}
