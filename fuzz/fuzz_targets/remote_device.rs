//! What is checked is in `checks/remote_device.rs`, where `cargo test` can call it too.

#![no_main]

#[path = "../checks/limits.rs"]
mod limits;
#[path = "../checks/remote_device.rs"]
mod remote_device;

libfuzzer_sys::fuzz_target!(|data: &[u8]| limits::within(remote_device::check, data));
