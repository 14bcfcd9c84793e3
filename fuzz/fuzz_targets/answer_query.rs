//! What is checked is in `checks/answer_query.rs`, where `cargo test` can call it too.

#![no_main]

#[path = "../checks/answer_query.rs"]
mod answer_query;
#[path = "../checks/limits.rs"]
mod limits;

libfuzzer_sys::fuzz_target!(|data: &[u8]| limits::within(answer_query::check, data));
