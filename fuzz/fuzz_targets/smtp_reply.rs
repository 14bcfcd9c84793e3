//! What is checked is in `checks/smtp_reply.rs`, where `cargo test` can call it too.

#![no_main]

#[path = "../checks/limits.rs"]
mod limits;
#[path = "../checks/smtp_reply.rs"]
mod smtp_reply;

libfuzzer_sys::fuzz_target!(|data: &[u8]| limits::within(smtp_reply::check, data));
