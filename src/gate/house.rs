//! What every connection of the gate shares: limits, counts, connections to tiny_http, and one buffer for all reads.

use std::sync::Arc;

use super::peers::Peers;
use super::upstream::Pool;
use super::work::Work;
use crate::config::Limits;

/// Bytes that are read from a socket at a time, and that a connection holds unread at most.
pub(super) const PIECE: usize = 16 * 1024;

/// What all connections share.
pub(super) struct House {
    pub(super) limits: Limits,
    /// Whether a bearer token is valid.
    pub(super) verify: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    pub(super) peers: Peers,
    pub(super) pool: Pool,
    /// Commands whose clients are gone.
    pub(super) orphans: Vec<Work>,
    pub(super) scratch: Box<[u8]>,
    /// No further request is begun.
    pub(super) stopping: bool,
    /// Requests that have queued so far.
    pub(super) turns: u64,
}
