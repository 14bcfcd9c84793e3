//! Attacks that use up memory by what a head announces or is, and bytes that two parsers might read differently.

use std::io::{Read, Write};

use crate::wire::{Front, pour};

pub fn endless(front: &Front) {
    let line = vec![b'x'; 100_000];
    let fields = b"a:b\r\n".repeat(20_000);
    front.repeat(4, |n| {
        let Some(stream) = front.say(n, b"GET / HTTP/1.1\r\nHost: m\r\nX: ") else { return };
        if n % 2 == 0 {
            pour(front, &stream, &line, 1000);
        } else {
            let _ = (&stream).write_all(b"\r\n");
            pour(front, &stream, &fields, 50);
        }
    });
}

pub fn lengths(front: &Front) {
    const LENGTHS: [&str; 6] = ["2000", "1000", "60000", "200000000", "1000000000000000000", "18446744073709551615"];
    let head = |it: &&str| format!("POST /cmd/db HTTP/1.1\r\nHost: m\r\nContent-Length: {it}\r\n\r\n");
    let mut held = Vec::new();
    while front.lasts() {
        held.clear();
        for (n, head) in LENGTHS.iter().map(head).enumerate() {
            held.extend((0..8).filter_map(|it| front.say(n * 8 + it, head.as_bytes())));
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}

/// Every one a reason for trouble in some server; none may get anything but a refusal, which is not looked at here.
const MALFORMED: [&[u8]; 28] = [
    b"\r\n\r\n",
    b"\0\0\0\0\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET /\r\n\r\n",
    b"GET / HTTP/0.9\r\n\r\n",
    b"GET / HTTP/1.2\r\nHost: m\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET / HTTP/1.1\nHost: m\n\n",
    b"GET / HTTP/1.1\r\nHost: m\rX: y\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: m\r\n folded\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: m\r\nHost: n\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: m\r\nX: \xff\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: m\r\nX: \0\r\n\r\n",
    b"GET /\xc3\xa4 HTTP/1.1\r\nHost: m\r\n\r\n",
    b"CONNECT m:80 HTTP/1.1\r\nHost: m\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: m\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: m\r\nExpect: tea\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: m\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: m\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    b"POST / HTTP/1.1\r\nHost: m\r\nContent-Length: -1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: m\r\nContent-Length: +5\r\n\r\nabcde",
    b"POST / HTTP/1.1\r\nHost: m\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: m\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: m\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    b"POST / HTTP/1.1\r\nHost: m\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
    b"POST /cmd/db HTTP/1.1\r\nHost: m\r\nTransfer-Encoding: chunked\r\n\r\n1;x=\"\n",
    b"GET /%00%2e%2e/%ff?filter={{{{&max-depth=-1 HTTP/1.1\r\nHost: m\r\n\r\n",
];

pub fn malformed(front: &Front) {
    front.repeat(2, |n| {
        let Some(mut stream) = front.say(n, MALFORMED[n % MALFORMED.len()]) else { return };
        let _ = stream.set_read_timeout(Some(std::time::Duration::from_millis(20)));
        let _ = stream.read(&mut [0; 512]);
    });
}
