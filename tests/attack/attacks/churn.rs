//! Attacks that come and go, so that whatever is made for a connection is made in vain.

use std::process::Command;

use crate::wire::{Front, request, reset};

pub fn closing(front: &Front) {
    front.repeat(3, |n| drop(front.dial(n)));
}

pub fn resets(front: &Front) {
    let ask = request("GET", "/auth/unauthorized", None, b"");
    front.repeat(3, |n| {
        let stream = if n % 2 == 0 { front.say(n, &ask) } else { front.dial(n) };
        stream.into_iter().for_each(reset);
    });
}

pub fn versions(front: &Front) {
    front.repeat(2, |n| drop(front.say(n, b"GET / HTTP/2.0\r\nHost: m\r\n\r\n")));
}

/// The service has hardly a descriptor more than it uses, and everybody calls.
pub fn descriptors(front: &Front) {
    let used = std::fs::read_dir(format!("/proc/{}/fd", front.pid)).map_or(0, |it| it.count());
    let now = descriptor_limit(front.pid, None);
    descriptor_limit(front.pid, Some(&(used + 12).to_string()));
    let held = front.hold(20, 10, b"GET / HTTP/1.1\r\nHost: m\r\n");
    front.wait();
    drop(held);
    descriptor_limit(front.pid, Some(&now));
}

/// Reads the soft limit, or sets it.
fn descriptor_limit(pid: u32, to: Option<&str>) -> String {
    let set = to.map_or("--nofile".to_string(), |it| format!("--nofile={it}:"));
    let pid = pid.to_string();
    let out = Command::new("prlimit").args(["--pid", &pid, "--noheadings", "--output=SOFT", &set]).output();
    let out = out.expect("prlimit is needed: apt-get install util-linux");
    String::from_utf8_lossy(&out.stdout).trim().to_string()
}
