//! What is checked is in `checks/dns_message.rs`, where `cargo test` can call it too.

#![no_main]

#[path = "../checks/dns_message.rs"]
mod dns_message;
#[path = "../checks/limits.rs"]
mod limits;

libfuzzer_sys::fuzz_target!(|data: &[u8]| limits::within(dns_message::check, data));
