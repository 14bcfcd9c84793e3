//! What is checked is in `checks/wlan_text.rs`, where `cargo test` can call it too.

#![no_main]

#[path = "../checks/limits.rs"]
mod limits;
#[path = "../checks/wlan_text.rs"]
mod wlan_text;

libfuzzer_sys::fuzz_target!(|data: &[u8]| limits::within(wlan_text::check, data));
