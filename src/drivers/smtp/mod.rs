//! A test mail and the dialogue that delivered it, or did not: a mail client of the meter's own (RFC 5321), which
//! tells a technician what was said and what to try next. How it gets to a server is `reach`'s business.

pub mod address;
mod advice;
mod auth;
mod deliver;
mod message;
mod punycode;
pub mod reply;
mod session;
#[cfg(test)]
mod tests;
mod transcript;

pub use address::Address;
pub use auth::{Login, PASSWORD, USER};
pub use deliver::{MailError, Order, Smarthost, send};
pub use message::Meter;
