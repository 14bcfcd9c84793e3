//! What is checked is in `checks/update_manifest.rs`, where `cargo test` can call it too.

#![no_main]

#[path = "../checks/update_manifest.rs"]
mod update_manifest;

libfuzzer_sys::fuzz_target!(|data: &[u8]| update_manifest::check(data));
