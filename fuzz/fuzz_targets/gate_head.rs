//! What is checked is in `checks/gate_head.rs`, where `cargo test` can call it too.

#![no_main]

#[path = "../checks/gate_head.rs"]
mod gate_head;

libfuzzer_sys::fuzz_target!(|data: &[u8]| gate_head::check(data));
