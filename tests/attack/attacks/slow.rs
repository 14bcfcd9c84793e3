//! Attacks that use up connections and time, at almost no cost to whoever makes them.

use std::io::Read;
use std::net::Shutdown;
use std::time::Duration;

use socket2::SockRef;

use crate::wire::{Front, request};

const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: m\r\nX: ";
const UPLOAD: &[u8] = b"POST /cmd/db HTTP/1.1\r\nHost: m\r\nContent-Length: 60000\r\n\r\n";

pub fn idle(front: &Front) {
    let _held = front.hold(20, 50, b"");
    front.wait();
}

pub fn half_closed(front: &Front) {
    let held = front.hold(20, 10, b"GET");
    held.iter().for_each(|it| drop(it.shutdown(Shutdown::Write)));
    front.wait();
}

pub fn heads(front: &Front) {
    front.drip(20, 25, HEAD, b'a');
}

pub fn bodies(front: &Front) {
    front.drip(20, 25, UPLOAD, b'a');
}

/// One connection a peer is what an honest client has too.
pub fn everywhere(front: &Front) {
    front.drip(1000, 1, HEAD, b'a');
}

/// Backups and plain answers over connections with hardly any buffer, read very slowly.
pub fn readers(front: &Front) {
    let backup = front.authorised("GET", "/register?format=backup", b"");
    let mut held = front.hold(10, 10, &backup);
    held.extend(front.hold(10, 6, &request("GET", "/auth/unauthorized", None, b"").repeat(20)));
    held.iter().for_each(|it| drop(SockRef::from(it).set_recv_buffer_size(1024)));
    held.iter().for_each(|it| drop(it.set_nonblocking(true)));
    while front.lasts() {
        held.retain_mut(|it| !matches!(it.read(&mut [0]), Ok(0)));
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub fn deaf(front: &Front) {
    let backup = front.authorised("GET", "/register?format=backup", b"");
    while front.lasts() {
        let _backups = front.hold(12, 2, &backup.repeat(4));
        let _others = front.hold(20, 2, &request("GET", "/auth/unauthorized", None, b"").repeat(50));
        std::thread::sleep(Duration::from_millis(500));
    }
}
