//! What is checked is in `checks/gate_head.rs`, where `cargo test` can call it too.

#![no_main]

#[path = "../checks/gate_head.rs"]
mod gate_head;
#[path = "../checks/limits.rs"]
mod limits;

libfuzzer_sys::fuzz_target!(|data: &[u8]| limits::within(gate_head::check, data));
