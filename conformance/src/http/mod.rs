//! A small HTTP client that sends exactly the bytes it is given and says exactly what came back: broken replies are
//! findings here, not errors.

mod reply;
mod request;
mod wire;

pub use reply::{Framing, Reply};
pub use request::Request;
pub use wire::{Connection, Fault, Target};
