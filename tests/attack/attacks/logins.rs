//! Attacks that use up what a login costs, and what the service remembers of those who failed.

use std::io::BufReader;

use crate::meter::try_answer;
use crate::wire::{Front, request};

fn ask(front: &Front, from: usize, bytes: &[u8]) {
    if let Some(stream) = front.say(from, bytes) {
        let _ = try_answer(&mut BufReader::new(stream));
    }
}

/// Also for the owner's name: that must not lock the owner out.
pub fn guesses(front: &Front) {
    front.repeat(4, |n| {
        let user = if n % 2 == 0 { "owner".to_string() } else { format!("user{n}") };
        let (rlm, nnc) = ("Meter Administration", "x".repeat(64));
        let body = format!(r#"{{"rlm":"{rlm}","usr":"{user}","nnc":"{nnc}","cnnc":"c","hash":"{n:032x}"}}"#);
        ask(front, n % 5000, &request("POST", "/auth/login", None, body.as_bytes()));
    });
}

pub fn tokens(front: &Front) {
    front.repeat(4, |n| {
        // A token whose signature is a bit off costs the most.
        let mut forged = front.token.clone().into_bytes();
        let at = forged.len() - 1 - n % 40;
        forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8_lossy(&forged).into_owned();
        let path = format!("/sys/status/{n:032x}/result/trace");
        let token = if n % 2 == 0 { &forged } else { &front.token };
        ask(front, n, &request("GET", &path, Some(token), b""));
    });
}
