//! What is checked is in `checks/update_manifest.rs`, where `cargo test` can call it too.

#![no_main]

#[path = "../checks/limits.rs"]
mod limits;
#[path = "../checks/update_manifest.rs"]
mod update_manifest;

libfuzzer_sys::fuzz_target!(|data: &[u8]| limits::within(update_manifest::check, data));
