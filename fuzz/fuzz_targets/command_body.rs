//! What is checked is in `checks/command_body.rs`, where `cargo test` can call it too.

#![no_main]

#[path = "../checks/command_body.rs"]
mod command_body;
#[path = "../checks/limits.rs"]
mod limits;

libfuzzer_sys::fuzz_target!(|data: &[u8]| limits::within(command_body::check, data));
