//! What is checked is in `checks/decimal_stamp.rs`, where `cargo test` can call it too.

#![no_main]

#[path = "../checks/decimal_stamp.rs"]
mod decimal_stamp;
#[path = "../checks/limits.rs"]
mod limits;

libfuzzer_sys::fuzz_target!(|data: &[u8]| limits::within(decimal_stamp::check, data));
