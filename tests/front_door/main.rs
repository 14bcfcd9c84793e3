//! The front door as its clients meet it: a real gate, real tiny_http, bytes written by hand.

mod answers;
mod attacks;
mod client;
mod framing;
mod limits;
mod support;
mod unix;
mod uploads;
