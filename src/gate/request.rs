//! A request on its way through the gate, before an answer is in sight.

use std::time::{Duration, Instant};

use super::flow::Flow;
use super::head::Head;
use super::peers::{Class, Who};
use crate::auth::Peer;

/// A request whose head is whole.
pub(super) struct Asked {
    pub(super) head: Head,
    pub(super) peer: Peer,
    /// Under which name its work is counted.
    pub(super) who: Who,
}

/// A request that can be worked on: it is whole, or an upload that may begin.
pub(super) struct Order {
    pub(super) head: Head,
    pub(super) peer: Peer,
    pub(super) who: Who,
    pub(super) class: Class,
    pub(super) body: Body,
    /// When its last byte came, on the clock that handlers use; for an upload, when its head did.
    pub(super) received: Duration,
    /// The same moment on the gate's own clock.
    pub(super) whole: Instant,
    /// Its place in the queue for a slot.
    pub(super) turn: u64,
}

/// What goes to tiny_http behind the head.
pub(super) enum Body {
    /// The whole body.
    Whole(Vec<u8>),
    /// Nothing: the body was an upload that nobody had the right to send.
    Withheld,
    /// What has come of an upload, and how the rest is cut out of what will come.
    Streamed {
        /// Decoded bytes that are here already.
        first: Vec<u8>,
        /// The state of the framing behind them.
        flow: Flow,
    },
}

impl Body {
    /// Bytes of memory that it holds.
    pub(super) fn held(&self) -> usize {
        match self {
            Body::Whole(bytes) | Body::Streamed { first: bytes, .. } => bytes.capacity(),
            Body::Withheld => 0,
        }
    }
}
