//! What is checked is in `checks/login_token.rs`, where `cargo test` can call it too.

#![no_main]

#[path = "../checks/login_token.rs"]
mod login_token;

libfuzzer_sys::fuzz_target!(|data: &[u8]| login_token::check(data));
