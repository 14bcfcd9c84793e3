//! slowhttptest, which others wrote to do harm: its four ways, with the rates and lengths that it uses by itself.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::wire::Front;

pub fn headers(front: &Front) {
    run(front, &["-H", "-i", "1", "-x", "24"]);
}

pub fn bodies(front: &Front) {
    run(front, &["-B", "-i", "1", "-s", "60000", "-x", "10"]);
}

pub fn reading(front: &Front) {
    run(front, &["-X", "-k", "3", "-w", "10", "-y", "20", "-n", "1", "-z", "4"]);
}

pub fn ranges(front: &Front) {
    run(front, &["-R", "-a", "5", "-b", "3000"]);
}

/// Aims it at a path that anybody may ask, with 500 connections, until the attack is over.
fn run(front: &Front, mode: &[&str]) {
    let left = front.until.saturating_duration_since(Instant::now()).as_secs().max(1);
    let url = format!("http://{}/auth/unauthorized", front.addr);
    let mut child = Command::new("slowhttptest")
        .args(mode)
        .args(["-c", "500", "-r", "300", "-p", "2", "-u", &url, "-l", &left.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("slowhttptest is needed: apt-get install slowhttptest");
    // It ends by itself, when it has had its time or no connection is left.
    while child.try_wait().unwrap().is_none() {
        if front.until + Duration::from_secs(2) < Instant::now() {
            let _ = child.kill();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
