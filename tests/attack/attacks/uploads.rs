//! Attacks that use up memory, disk and the two places of uploads.

use std::io::{BufReader, Write};
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::meter::try_answer;
use crate::wire::{Front, request};

const SIZE: usize = 2 * 1024 * 1024;

/// Sends all of it and looks at the answer, as the official client does.
fn send(front: &Front, n: usize, bytes: &[u8]) {
    if let Some(stream) = front.say(n, bytes) {
        let _ = try_answer(&mut BufReader::new(stream));
    }
}

pub fn without_token(front: &Front) {
    let upload = request("POST", "/cmd/db", None, &vec![b'x'; SIZE]);
    front.repeat(3, |n| send(front, n, &upload));
}

/// A restore whose data is good base64 of nothing; every second one ends in the middle.
pub fn garbage(front: &Front) {
    let body = format!(r#"{{"action":"restore","data":"{}"}}"#, "QUJD".repeat(SIZE / 4));
    let upload = front.authorised("POST", "/cmd/db", body.as_bytes());
    front.repeat(3, |n| {
        if n % 2 == 0 {
            send(front, n, &upload);
        } else {
            drop(front.say(n, &upload[..upload.len() / 2]));
        }
    });
}

/// A backup of so many rows that the file is far larger unpacked than it may be.
static BOMB: LazyLock<String> = LazyLock::new(|| {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(b"meterd-backup,1\nts,Grid:P\n").unwrap();
    let rows: Vec<u8> = (0..200_000).rev().flat_map(|ts| format!("{ts},000000000000000\n").into_bytes()).collect();
    gzip.write_all(&rows).unwrap();
    for _ in 0..200 {
        gzip.write_all(&[b'0'; 1 << 20]).unwrap();
    }
    STANDARD.encode(gzip.finish().unwrap())
});

pub fn bombs(front: &Front) {
    let body = format!(r#"{{"action":"restore","data":"{}"}}"#, *BOMB);
    let upload = front.authorised("POST", "/cmd/db", body.as_bytes());
    front.repeat(3, |n| send(front, n, &upload));
}

/// Both places are taken, a few bytes at a time.
pub fn crawling(front: &Front) {
    let upload = front.authorised("POST", "/cmd/db", &vec![b' '; SIZE]);
    front.drip(4, 4, &upload[..4096], b' ');
}
