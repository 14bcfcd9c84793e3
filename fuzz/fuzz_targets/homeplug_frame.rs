//! What is checked is in `checks/homeplug_frame.rs`, where `cargo test` can call it too.

#![no_main]

#[path = "../checks/homeplug_frame.rs"]
mod homeplug_frame;
#[path = "../checks/limits.rs"]
mod limits;

libfuzzer_sys::fuzz_target!(|data: &[u8]| limits::within(homeplug_frame::check, data));
