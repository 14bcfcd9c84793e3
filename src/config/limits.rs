//! Sizes and times, all in one place: `limits`.

use std::time::Duration;

use serde::Deserialize;

/// Every limit that a firmware builder may want to move; the defaults suit a 32 MB device.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Open client connections.
    pub connections: usize,
    /// Open connections of one peer (IPv6: of one /64).
    pub per_peer: usize,
    /// Quick requests of one peer that are worked on at once.
    pub in_work_per_peer: usize,
    /// Bytes of a request's head.
    pub head_bytes: usize,
    /// Seconds for a whole head.
    pub head_seconds: u64,
    /// Fields in a head.
    pub fields: usize,
    /// Bytes of the request target.
    pub target_bytes: usize,
    /// Bytes of a body that is not an upload; what waits on all connections together holds no more than 16 such bodies.
    pub body_bytes: usize,
    /// Seconds for a whole body.
    pub body_seconds: u64,
    /// Seconds that a kept connection may be silent.
    pub idle_seconds: u64,
    /// Seconds from the whole request to the first byte of its answer.
    pub answer_seconds: u64,
    /// Uploads (`POST /cmd/db` above `body_bytes`) at once.
    pub uploads: usize,
    /// Bytes of an upload's body; more is refused unread.
    pub upload_bytes: u64,
    /// Long answers at once, half of them for one address.
    pub downloads: usize,
    /// Bytes per second below which an upload or a long answer is cut, averaged over `rate_seconds`.
    pub rate_floor: u64,
    /// Window of `rate_floor`.
    pub rate_seconds: u64,
    /// Base64 characters of a restore's `data`.
    pub data_chars: u64,
    /// Bytes that `data` may unpack to.
    pub unpacked_bytes: u64,
    /// Seconds from a body's last byte after which a long command answers "in progress".
    pub reply_seconds: u64,
    /// Database operations that may wait, staged on flash.
    pub waiting_operations: usize,
    /// Bytes that staged files may hold together.
    pub staged_bytes: u64,
    /// Bytes that must stay free on the state folder's file system.
    pub reserve_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 64,
            per_peer: 16,
            in_work_per_peer: 2,
            head_bytes: 8 * 1024,
            head_seconds: 5,
            fields: 64,
            target_bytes: 2 * 1024,
            body_bytes: 64 * 1024,
            body_seconds: 10,
            idle_seconds: 15,
            answer_seconds: 10,
            uploads: 2,
            upload_bytes: 4 * 1024 * 1024,
            downloads: 2,
            rate_floor: 8 * 1024,
            rate_seconds: 20,
            data_chars: 2 * 1024 * 1024,
            unpacked_bytes: 64 * 1024 * 1024,
            reply_seconds: 8,
            waiting_operations: 8,
            staged_bytes: 16 * 1024 * 1024,
            reserve_bytes: 4 * 1024 * 1024,
        }
    }
}

impl Limits {
    /// Seconds that a long command may hold its reply back.
    pub fn reply_within(&self) -> Duration {
        Duration::from_secs(self.reply_seconds)
    }

    /// What makes no sense, in words that name the key.
    pub(super) fn check(&self) -> Result<(), String> {
        let positive = [
            ("connections", self.connections as u64),
            ("per_peer", self.per_peer as u64),
            ("in_work_per_peer", self.in_work_per_peer as u64),
            ("fields", self.fields as u64),
            ("uploads", self.uploads as u64),
            ("downloads", self.downloads as u64),
            ("head_seconds", self.head_seconds),
            ("body_seconds", self.body_seconds),
            ("idle_seconds", self.idle_seconds),
            ("answer_seconds", self.answer_seconds),
            ("rate_seconds", self.rate_seconds),
            ("data_chars", self.data_chars),
            ("unpacked_bytes", self.unpacked_bytes),
        ];
        for (key, value) in positive {
            if value == 0 {
                return Err(format!("limits.{key}: must be at least 1"));
            }
        }
        if self.upload_bytes <= self.data_chars {
            return Err("limits.upload_bytes: must be above limits.data_chars".into());
        }
        // An upload stages the backup as it came and its rows.
        if self.staged_bytes < 2 * self.data_chars {
            return Err("limits.staged_bytes: must be at least twice limits.data_chars".into());
        }
        if self.head_bytes < 1024 || self.head_bytes > 64 * 1024 {
            return Err("limits.head_bytes: must be between 1024 and 65536".into());
        }
        if self.body_bytes < 4096 || self.body_bytes > 1024 * 1024 {
            return Err("limits.body_bytes: must be between 4096 and 1048576".into());
        }
        if self.reply_seconds >= self.answer_seconds {
            return Err("limits.reply_seconds: must be below limits.answer_seconds".into());
        }
        Ok(())
    }
}
