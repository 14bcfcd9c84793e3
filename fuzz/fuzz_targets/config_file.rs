//! What is checked is in `checks/config_file.rs`, where `cargo test` can call it too.

#![no_main]

#[path = "../checks/config_file.rs"]
mod config_file;
#[path = "../checks/limits.rs"]
mod limits;

libfuzzer_sys::fuzz_target!(|data: &[u8]| limits::within(config_file::check, data));
