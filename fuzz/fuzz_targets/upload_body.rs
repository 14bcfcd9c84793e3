//! What is checked is in `checks/upload_body.rs`, where `cargo test` can call it too.

#![no_main]

#[path = "../checks/limits.rs"]
mod limits;
#[path = "../checks/upload_body.rs"]
mod upload_body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| limits::within(upload_body::check, data));
