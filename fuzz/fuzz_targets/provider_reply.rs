//! What is checked is in `checks/provider_reply.rs`, where `cargo test` can call it too.

#![no_main]

#[path = "../checks/limits.rs"]
mod limits;
#[path = "../checks/provider_reply.rs"]
mod provider_reply;

libfuzzer_sys::fuzz_target!(|data: &[u8]| limits::within(provider_reply::check, data));
