//! A connection's receiving side: from bytes to an order that may queue, and an upload's way through.
//! It decides what is collected, streamed, dropped or refused; it never touches a socket.

use std::time::Instant;

use super::{CONTINUE, Conn, Step, Upload};
use crate::gate::flow::Flow;
use crate::gate::head::{self, Framing, Parsed};
use crate::gate::house::House;
use crate::gate::peers::{Class, takes_uploads};
use crate::gate::refusals::Refusal;
use crate::gate::request::{Asked, Body, Order};
use crate::gate::work::Work;
use crate::sys::clock;

impl Conn {
    pub(super) fn head(&mut self, house: &mut House, now: Instant) -> bool {
        // Some clients send an empty line behind a body; it is nobody's request.
        while self.input.starts_with(b"\r\n") {
            self.input.drain(..2);
        }
        if self.input.is_empty() {
            self.input = Vec::new();
            return false;
        }
        match head::parse(&self.input, &house.limits) {
            Parsed::More => return false,
            Parsed::Refused(refusal) => self.refuse(refusal, now),
            Parsed::Head(head) => {
                self.input.drain(..head.len);
                (self.http11, self.keep) = (head.http11, head.keep_alive);
                match self.rules.admits(&head, self.ip) {
                    Err(refusal) => self.refuse(refusal, now),
                    Ok((peer, who)) => self.body(Box::new(Asked { head, peer, who }), house, now),
                }
            }
        }
        true
    }

    /// Decides what becomes of the body that the head announces.
    fn body(&mut self, asked: Box<Asked>, house: &mut House, now: Instant) {
        self.since = now;
        match asked.head.framing {
            Framing::Length(n) if n > house.limits.upload_bytes.max(house.limits.body_bytes as u64) => {
                self.refuse(Refusal::TooLarge, now);
            }
            Framing::Length(n) if n > house.limits.body_bytes as u64 => {
                self.begin_upload(asked, Flow::Length(n), Vec::new(), house, now);
            }
            framing => {
                let flow = match framing {
                    Framing::Length(n) => Flow::Length(n),
                    Framing::Chunked => Flow::chunked(),
                };
                if asked.head.expects_continue && !flow.done() && self.input.is_empty() {
                    self.out.push(CONTINUE);
                }
                self.step = Step::Collect { asked, flow, body: Vec::new() };
            }
        }
    }

    /// A body above the small limit: streamed with a valid token, dropped without one, refused elsewhere.
    fn begin_upload(&mut self, asked: Box<Asked>, flow: Flow, first: Vec<u8>, house: &mut House, now: Instant) {
        let head = &asked.head;
        if !takes_uploads(&head.method, head.path()) {
            self.refuse(Refusal::TooLarge, now);
        } else if head.bearer.as_deref().is_some_and(|it| (house.verify)(it)) {
            self.queue(*asked, Body::Streamed { first, flow }, house, now);
        } else if head.expects_continue && first.is_empty() && self.input.is_empty() {
            // The client waits for leave to send its body. It gets the answer instead, and may or may not send it yet.
            self.keep = false;
            self.queue(*asked, Body::Withheld, house, now);
        } else {
            self.rate.restart();
            self.step = Step::Drop { asked, flow, dropped: first.len() as u64 };
        }
    }

    pub(super) fn collect(
        &mut self,
        asked: Box<Asked>,
        mut flow: Flow,
        mut body: Vec<u8>,
        house: &mut House,
        now: Instant,
    ) -> bool {
        let Ok(used) = flow.take(&self.input, &mut body) else {
            self.refuse(Refusal::BadRequest("The chunked body is malformed."), now);
            return true;
        };
        self.use_up(used);
        if body.len() > house.limits.body_bytes {
            self.begin_upload(asked, flow, body, house, now);
        } else if flow.done() {
            self.queue(*asked, Body::Whole(body), house, now);
        } else {
            self.step = Step::Collect { asked, flow, body };
            return false;
        }
        true
    }

    pub(super) fn drop_body(
        &mut self,
        asked: Box<Asked>,
        mut flow: Flow,
        dropped: u64,
        house: &mut House,
        now: Instant,
    ) -> bool {
        let mut data = Vec::new();
        let Ok(used) = flow.take(&self.input, &mut data) else {
            self.refuse(Refusal::BadRequest("The chunked body is malformed."), now);
            return true;
        };
        self.use_up(used);
        self.rate.add(used);
        let dropped = dropped + data.len() as u64;
        if dropped > house.limits.upload_bytes {
            self.refuse(Refusal::TooLarge, now);
        } else if flow.done() {
            self.queue(*asked, Body::Withheld, house, now);
        } else {
            self.step = Step::Drop { asked, flow, dropped };
            return false;
        }
        true
    }

    /// Many connections may wait for more of a body, so that none keeps an empty buffer meanwhile.
    fn use_up(&mut self, n: usize) {
        self.input.drain(..n);
        if self.input.is_empty() {
            self.input = Vec::new();
        }
    }

    fn queue(&mut self, asked: Asked, body: Body, house: &mut House, now: Instant) {
        let Asked { head, peer, who } = asked;
        let class = match body {
            Body::Streamed { .. } => Class::Upload,
            // Without a body and a token it is answered at once.
            Body::Withheld => Class::Quick,
            Body::Whole(_) => Class::of(&head.method, &head.target),
        };
        house.turns += 1;
        let (received, turn) = (clock::boottime(), house.turns);
        self.step = Step::Queue(Box::new(Order { head, peer, who, class, body, received, whole: now, turn }));
    }

    pub(super) fn upload(&mut self, mut work: Box<Work>, mut upload: Upload, house: &mut House, now: Instant) -> bool {
        if !upload.dropping && !work.hungry() {
            self.step = Step::Work(work, Some(upload));
            return false;
        }
        let mut data = Vec::new();
        let taken = upload.flow.take(&self.input, &mut data);
        let used = *taken.as_ref().unwrap_or(&0);
        self.input.drain(..used);
        self.rate.add(used);
        upload.taken += data.len() as u64;
        let fault = match taken {
            Err(_) => Some(Refusal::BadRequest("The chunked body is malformed.")),
            Ok(_) if upload.taken > house.limits.upload_bytes => Some(Refusal::TooLarge),
            Ok(_) => None,
        };
        match fault {
            // Whatever is wrong with a body that was answered already, the answer stands; only the connection ends.
            Some(_) if upload.dropping => self.end_upload(work, false, now),
            Some(refusal) => self.refuse(refusal, now),
            None => {
                let last = upload.flow.done();
                if !upload.dropping {
                    work.upload(&data, last);
                    upload.dropping = work.answered();
                    work.moved = now;
                }
                if last {
                    self.end_upload(work, true, now);
                } else {
                    self.step = Step::Work(work, Some(upload));
                    return used != 0 && !self.input.is_empty();
                }
            }
        }
        true
    }

    /// Nothing more of the body is wanted: from here on the answer counts.
    pub(super) fn end_upload(&mut self, mut work: Box<Work>, whole: bool, now: Instant) {
        self.keep &= whole;
        self.rate.restart();
        work.moved = now;
        self.step = Step::Work(work, None);
    }
}
