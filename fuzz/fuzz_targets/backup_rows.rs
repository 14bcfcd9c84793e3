//! What is checked is in `checks/backup_rows.rs`, where `cargo test` can call it too.

#![no_main]

#[path = "../checks/backup_rows.rs"]
mod backup_rows;
#[path = "../checks/limits.rs"]
mod limits;

libfuzzer_sys::fuzz_target!(|data: &[u8]| limits::within(backup_rows::check, data));
