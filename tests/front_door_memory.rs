//! The memory of a front door whose every buffer is full; alone in its process, so that nothing else is measured.

#[path = "front_door/client.rs"]
#[allow(dead_code)]
mod client;
#[path = "front_door/support.rs"]
#[allow(dead_code)]
mod support;

use std::io::Write;

use client::*;
use support::*;

/// Bytes that the process has resident, or had at most.
fn resident(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|it| it.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn all_buffers_full_cost_less_than_four_megabytes() {
    let house = house(meterd::config::Limits { rate_seconds: 20, body_seconds: 10, ..limits() });
    // Almost whole bodies from all sides, pipelined requests behind answers that nobody reads, and half an upload.
    let body = "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 65536\r\n\r\n".to_string() + &"x".repeat(65_535);
    let chunks = "POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".to_string();
    let chunks = chunks + &"1\r\nx\r\n".repeat(65_535);
    let unread = get("/big?n=64000").repeat(100);
    let upload = "POST /cmd/db HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer good\r\nContent-Length: 2000000\r\n\r\n";
    let upload = upload.to_string() + &"x".repeat(1_000_000);
    house.assert_healthy();
    let before = resident("VmRSS:");
    let mut held = Vec::new();
    for from in 2..6 {
        for n in 0..16 {
            let stream = connect(house.addr, from);
            stream.set_nonblocking(true).unwrap();
            let bytes = [&body, &chunks, &unread, &upload][if n < 8 { 0 } else { n % 4 }].as_bytes();
            held.push((stream, bytes));
        }
    }
    // Rounds that give each socket what it takes, until none takes any more.
    let mut quiet = 0;
    while quiet < 20 {
        quiet += 1;
        for (stream, bytes) in &mut held {
            if let Ok(n) = stream.write(bytes) {
                *bytes = &bytes[n..];
                quiet = if n > 0 { 0 } else { quiet };
            }
        }
        house.assert_healthy();
    }
    let kept = held.iter_mut().filter(|(stream, _)| !matches!(stream.peek(&mut [0]), Ok(0))).count();
    assert!(kept > 55, "the buffers were not full: {kept}");
    let most = resident("VmHWM:");
    println!("{} KiB more than {} KiB", (most - before) / 1024, before / 1024);
    assert!(most - before < 4_000_000, "{} more than {before}", most - before);
}
