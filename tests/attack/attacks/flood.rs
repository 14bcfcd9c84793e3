//! Attacks that use up processor time and buffers with requests that are all in order.

use std::io::{BufReader, Write};

use crate::meter::try_answer;
use crate::wire::{Front, pour, request};

pub fn pipelined(front: &Front) {
    let piece = request("GET", "/auth/unauthorized", None, b"").repeat(500);
    front.repeat(2, |n| {
        let Some(stream) = front.dial(n) else { return };
        pour(front, &stream, &piece, 2000);
    });
}

/// Every place is taken by somebody who asks and asks, and takes no answer.
pub fn unread(front: &Front) {
    let piece = request("GET", "/auth/unauthorized", None, b"").repeat(100);
    let mut held = Vec::new();
    while front.lasts() {
        held.extend((held.len()..96).filter_map(|n| front.dial(n / 8)));
        held.iter().for_each(|it: &std::net::TcpStream| drop(it.set_nonblocking(true)));
        // An answer in between is what a closed connection looks like too; both are opened anew.
        held.retain_mut(|it| match it.write(&piece) {
            Ok(_) => true,
            Err(err) => err.kind() == std::io::ErrorKind::WouldBlock,
        });
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// As many as there are places and more, each of which waits for its answer before it asks again.
pub fn kept(front: &Front) {
    let ask = request("GET", "/auth/unauthorized", None, b"");
    std::thread::scope(|scope| {
        for client in 0..100 {
            let ask = &ask;
            scope.spawn(move || {
                while front.lasts() {
                    let Some(stream) = front.dial(client) else { continue };
                    let mut stream = BufReader::new(stream);
                    while front.lasts() && stream.get_mut().write_all(ask).is_ok() {
                        if try_answer(&mut stream).is_err() {
                            break;
                        }
                    }
                }
            });
        }
    });
}

/// Almost whole bodies, chunked ones in the smallest chunks, answers that nobody reads and halves of uploads.
pub fn full(front: &Front) {
    let body = b"POST /x HTTP/1.1\r\nHost: m\r\nContent-Length: 65536\r\n\r\n".to_vec();
    let body = [body, vec![b'x'; 65_535]].concat();
    let chunks = b"POST /x HTTP/1.1\r\nHost: m\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let chunks = [chunks, b"1\r\nx\r\n".repeat(65_535)].concat();
    let unread = front.authorised("GET", "/register?format=backup", b"").repeat(50);
    let upload = front.authorised("POST", "/cmd/db", &vec![b' '; 2_000_000]);
    let upload = upload[..1_000_000].to_vec();
    while front.lasts() {
        let mut held: Vec<_> = (0..64).filter_map(|n| Some((front.dial(n / 8)?, 0))).collect();
        held.iter().for_each(|it| drop(it.0.set_nonblocking(true)));
        // Each socket gets what it takes, for as long as any takes something.
        let mut quiet = 0;
        while quiet < 50 && front.lasts() {
            quiet += 1;
            for (n, (stream, sent)) in held.iter_mut().enumerate() {
                let bytes = [&body, &chunks, &unread, &upload][if n % 2 == 0 { 0 } else { n / 2 % 4 }];
                if let Ok(taken @ 1..) = stream.write(&bytes[*sent..]) {
                    *sent += taken;
                    quiet = 0;
                }
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}
