//! The drivers: plain modules of functions that do the work of a command.
//! None of them knows the meter's own HTTP, its bodies or its tokens.

pub mod clock;
pub mod factory;
pub mod homeplug;
pub mod power;
pub mod provider;
pub mod reach;
pub mod register_db;
pub mod remote;
pub mod smtp;
pub mod update;
pub mod wlan;

use std::sync::Arc;

use serde_json::Value;

/// The question whether somebody wants the work to stop, for what outlives a borrow of [`Watch`].
pub type CancelFlag = Arc<dyn Fn() -> bool + Send + Sync>;

/// How a driver whose work takes time looks back at whoever runs it.
pub trait Watch: Sync {
    /// Somebody wants it to stop; to be asked at least every 250 ms.
    fn cancelled(&self) -> bool;
    /// How far it is, between 0 and 1.
    fn progress(&self, share: f64);
    /// What it does now, in a tag of the WebAPI with its arguments; for work that has such tags.
    fn info(&self, _tag: &'static str, _args: Vec<String>) {}
    /// What is known of the result so far; shown while the work goes on, and as a rule on disk when this returns, so
    /// that it is known even if the power fails next.
    fn result(&self, value: Value);
    /// The same for work that is not begun if somebody wants it to stop: then this does not wait for the disk. So look
    /// at [`Watch::cancelled`] behind it.
    fn intent(&self, value: Value) {
        self.result(value);
    }
    /// A result that grows: shown at once, on disk some time later, and waiting for nothing.
    fn growing(&self, value: Value) {
        self.result(value);
    }
    /// Why it is to stop, as the beginning of a sentence; to be asked once [`Watch::cancelled`] has said so.
    fn reason(&self) -> &'static str {
        "Cancelled"
    }
    /// [`Watch::cancelled`] for a library that keeps what it asks, which the HTTP client does. A watch that is never given
    /// to one need not have it.
    fn flag(&self) -> CancelFlag {
        Arc::new(|| false)
    }
}
