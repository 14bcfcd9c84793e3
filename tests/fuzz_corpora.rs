//! What the fuzz targets check, over their corpora: each seed as it is, cut off at every place, and with every byte changed
//! in one bit. It does not look for new inputs; that is the fuzzer's business.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Places of a seed that are tried at most.
const PLACES: usize = 256;
/// Characters of the name that a fuzzer gives to what it has found. Those are many, and made of such changes already.
const FOUND: usize = 40;

#[path = "../fuzz/checks/answer_query.rs"]
mod answer_query;
#[path = "../fuzz/checks/backup_rows.rs"]
mod backup_rows;
#[path = "../fuzz/checks/command_body.rs"]
mod command_body;
#[path = "../fuzz/checks/config_file.rs"]
mod config_file;
#[path = "../fuzz/checks/decimal_stamp.rs"]
mod decimal_stamp;
#[path = "../fuzz/checks/dns_message.rs"]
mod dns_message;
#[path = "../fuzz/checks/gate_head.rs"]
mod gate_head;
#[path = "../fuzz/checks/homeplug_frame.rs"]
mod homeplug_frame;
#[path = "../fuzz/checks/limits.rs"]
mod limits;
#[path = "../fuzz/checks/login_token.rs"]
mod login_token;
#[path = "../fuzz/checks/provider_reply.rs"]
mod provider_reply;
#[path = "../fuzz/checks/remote_device.rs"]
mod remote_device;
#[path = "../fuzz/checks/smtp_reply.rs"]
mod smtp_reply;
#[path = "../fuzz/checks/update_manifest.rs"]
mod update_manifest;
#[path = "../fuzz/checks/upload_body.rs"]
mod upload_body;
#[path = "../fuzz/checks/wlan_text.rs"]
mod wlan_text;

/// One input at a time, since the heap that it takes is measured for the whole process.
static TURN: Mutex<()> = Mutex::new(());

/// Runs a check over the corpus of its target.
#[track_caller]
fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut seeds: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|it| it.unwrap().path()).collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "{} is empty", folder.display());
    for seed in seeds {
        let bytes = std::fs::read(&seed).unwrap();
        let run = |what: &str, bytes: &[u8]| {
            let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
            let res = catch_unwind(AssertUnwindSafe(|| limits::within(check, bytes)));
            assert!(res.is_ok(), "{}, {what}: {bytes:?}", seed.display());
        };
        run("as it is", &bytes);
        if seed.file_name().is_some_and(|it| it.len() == FOUND) {
            continue;
        }
        for at in (0..bytes.len()).step_by(bytes.len().div_ceil(PLACES).max(1)) {
            run("cut off", &bytes[..at]);
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            run("with a changed bit", &changed);
        }
    }
}

#[test]
fn what_comes_from_the_network_before_a_login_is_harmless() {
    replay("gate_head", gate_head::check);
    replay("login_token", login_token::check);
    replay("upload_body", upload_body::check);
}

#[test]
fn what_clients_ask_for_is_understood_or_refused() {
    replay("answer_query", answer_query::check);
    replay("backup_rows", backup_rows::check);
    replay("command_body", command_body::check);
    replay("decimal_stamp", decimal_stamp::check);
}

#[test]
fn what_servers_answer_is_harmless() {
    replay("dns_message", dns_message::check);
    replay("provider_reply", provider_reply::check);
    replay("smtp_reply", smtp_reply::check);
    replay("update_manifest", update_manifest::check);
}

#[test]
fn what_devices_answer_is_harmless() {
    replay("homeplug_frame", homeplug_frame::check);
    replay("remote_device", remote_device::check);
    replay("wlan_text", wlan_text::check);
}

#[test]
fn a_configuration_is_used_or_refused() {
    replay("config_file", config_file::check);
}
