//! What is checked is in `checks/login_token.rs`, where `cargo test` can call it too.

#![no_main]

#[path = "../checks/limits.rs"]
mod limits;
#[path = "../checks/login_token.rs"]
mod login_token;

libfuzzer_sys::fuzz_target!(|data: &[u8]| limits::within(login_token::check, data));
