//! Attacks of somebody who has a token: they use up threads, places in queues and what is remembered of operations.

use std::io::BufReader;

use serde_json::Value;

use crate::meter::try_answer;
use crate::wire::{Front, attacker, dial};

/// The token of an operation that has begun, if it has.
fn begin(front: &Front, n: usize, path: &str, body: &str) -> Option<String> {
    let stream = front.say(n, &front.authorised("POST", path, body.as_bytes()))?;
    let (_, body) = try_answer(&mut BufReader::new(stream)).ok()?;
    let reply: Value = serde_json::from_slice(&body).ok()?;
    reply["token"].as_str().map(String::from)
}

fn cancel(front: &Front, n: usize, token: &str) {
    begin(front, n, "/cmd/cancel", &format!(r#"{{"token":"{token}"}}"#));
}

/// Each asks a device that never answers.
pub fn endless(front: &Front) {
    let body = format!(r#"{{"linktype":"modbus","address":"sunspec.1@{}"}}"#, front.silent);
    let mut running = Vec::new();
    while front.lasts() {
        running.extend((0..20).filter_map(|n| begin(front, n, "/cmd/test-remote", &body)));
    }
    running.iter().for_each(|it| cancel(front, 0, it));
}

pub fn database(front: &Front) {
    front.repeat(4, |n| {
        let body = match n % 3 {
            0 => r#"{"action":"split"}"#,
            1 => r#"{"action":"zero","from":"1","to":"2"}"#,
            _ => r#"{"action":"zero"}"#,
        };
        begin(front, n, "/cmd/db", body);
    });
}

/// Operations come and go, and everything that is known of them is asked for by many.
pub fn polled(front: &Front) {
    let body = format!(r#"{{"linktype":"tcp","address":"{}"}}"#, front.addr);
    let known: Vec<String> = (0..8).filter_map(|n| begin(front, n, "/cmd/test-remote", &body)).collect();
    front.repeat(4, |n| {
        if n % 50 == 0 {
            begin(front, n, "/cmd/test-remote", &body);
        }
        let Some(token) = known.get(n % known.len().max(1)) else { return };
        let Ok(mut stream) = dial(front.addr, attacker(n)).map(BufReader::new) else { return };
        let ask = front.authorised("GET", &format!("/sys/status/{token}?max-depth=2"), b"").repeat(5);
        let _ = std::io::Write::write_all(stream.get_mut(), &ask);
        (0..5).for_each(|_| drop(try_answer(&mut stream)));
    });
}

/// Every place is taken by somebody with a token whose backup has to wait for its turn, while two others do not read theirs.
pub fn queued(front: &Front) {
    let backup = front.authorised("GET", "/register?format=backup", b"");
    while front.lasts() {
        let _held = front.hold(12, 8, &backup);
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
}
