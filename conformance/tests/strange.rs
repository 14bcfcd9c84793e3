//! Meters that no rule was made for: they hang, hang up, talk nonsense, never end, or repeat whatever they are told. The
//! program comes to its end with each, says what it met, and shows no secret.

use std::env;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const PASSWORD: &str = "correct \"horse\" battery";

/// A meter that does this with each connection; it ends with the process. Returns its URL.
fn meter(serve: fn(TcpStream)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/api", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || serve(stream));
        }
    });
    url
}

fn run(url: &str, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meter-conformance"));
    command.args(["--url", url, "--user", "owner", "--quiet", "--rate", "2000", "--timeout", "1", "--max-wait", "1"]);
    command.args(args).env("METER_PASSWORD", PASSWORD).output().unwrap()
}

/// What came of one request: its text, up to the end of its body or as much as comes at once.
fn request(stream: &mut TcpStream) -> String {
    let _ = stream.set_read_timeout(Some(Duration::from_millis(100)));
    let (mut all, mut chunk) = (Vec::new(), [0; 65536]);
    while let Ok(length) = stream.read(&mut chunk)
        && length != 0
    {
        all.extend_from_slice(&chunk[..length]);
    }
    String::from_utf8_lossy(&all).into_owned()
}

fn reply(stream: &mut TcpStream, status: u16, body: &str) {
    let head = format!("HTTP/1.1 {status} So\r\nContent-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    let _ = stream.write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes());
}

/// A login that is good for ten minutes.
fn let_in(stream: &mut TcpStream) {
    reply(stream, 200, r#"{"jwt":"e30.eyJiZWciOjQwMDAwMDAwMDAsImx0bSI6NjAwfQ.c2ln"}"#);
}

fn challenge(stream: &mut TcpStream) {
    reply(stream, 401, r#"{"rlm":"r","nnc":"n","error":"Authentication required."}"#);
}

#[track_caller]
fn check(serve: fn(TcpStream), status: i32, says: &str) {
    let begun = Instant::now();
    let output = run(&meter(serve), &["--only", "auth,sys,cmd/cancel"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{said}");
    assert!(said.contains(says), "{said}");
    assert!(begun.elapsed() < Duration::from_secs(120), "it took {:?}", begun.elapsed());
}

#[test]
fn who_never_answers_is_told_apart_by_what_he_does_instead() {
    let hang = |stream: TcpStream| {
        thread::sleep(Duration::from_secs(60));
        drop(stream);
    };
    check(hang, 2, "no reply in time");
    check(drop, 2, "never answered");
    check(
        |mut stream| drop(stream.write_all(&[0x16, 3, 1, 0, 2, 13, 10, 13, 10])),
        2,
        "no HTTP reply that can be read",
    );
    let flood = |mut stream: TcpStream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(&[b'x'; 1 << 16]).is_ok() {}
    };
    check(flood, 2, "never answered");
}

#[test]
fn who_stops_answering_ends_the_run() {
    static WORN_OUT: AtomicBool = AtomicBool::new(false);
    let first = |mut stream: TcpStream| {
        // It lets in, and has no more to say once somebody is in.
        let text = request(&mut stream);
        match WORN_OUT.fetch_or(text.contains("Bearer "), Ordering::SeqCst) || text.contains("Bearer ") {
            true => thread::sleep(Duration::from_secs(60)),
            false if text.contains("/auth/login") => {
                let_in(&mut stream);
            }
            false => challenge(&mut stream),
        }
    };
    check(first, 1, "The run ended early: the meter stopped answering");
}

#[test]
fn a_meter_that_repeats_everything_gives_no_secret_away() {
    let parrot = |mut stream: TcpStream| {
        let text = request(&mut stream);
        match text.contains("/auth/unauthorized") {
            true => challenge(&mut stream),
            // Whoever it did not let in would not stay.
            false => reply(&mut stream, 200, &serde_json::json!({ "error": text, "jwt": "e30.e30.e30" }).to_string()),
        }
    };
    let url = meter(parrot);
    let path = |name: &str| env::temp_dir().join(format!("meter-conformance-parrot-{}-{name}", std::process::id()));
    let (record, old) = (path("record"), path("old"));
    let files = ["--record", record.to_str().unwrap(), "--report", "json", "--out", old.to_str().unwrap()];
    let output = run(&url, &[&["--only", "auth/form"][..], &files].concat());
    assert_eq!(output.status.code(), Some(1));
    let mut shown = vec![fs::read_to_string(&record).unwrap(), fs::read_to_string(&old).unwrap()];
    for form in ["text", "junit", "markdown", "json"] {
        let args = ["--only", "auth/form", "--report", form, "--compare", old.to_str().unwrap()];
        let output = run(&url, &args);
        shown.push(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned());
    }
    for text in &shown {
        assert!(text.contains("auth/form"), "{text}");
        for part in ["horse", "battery"] {
            assert!(!text.contains(part), "{part}: {text}");
        }
    }
    assert!(shown[1].contains("it holds a secret that was sent"), "{}", shown[1]);
    let _ = (fs::remove_file(record), fs::remove_file(old));
}

#[test]
fn who_is_silent_only_to_what_is_malformed_has_not_gone() {
    let proud = |mut stream: TcpStream| {
        let text = request(&mut stream);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
        match text.contains("/cmd/") && (body.is_empty() || serde_json::from_str::<serde_json::Value>(body).is_err()) {
            true => thread::sleep(Duration::from_secs(60)),
            false if text.contains("/auth/login") => {
                let_in(&mut stream);
            }
            false if head.contains("Bearer ") => reply(&mut stream, 200, r#"{"error":"no"}"#),
            false => challenge(&mut stream),
        }
    };
    let output = run(&meter(proud), &["--only", "cmd/cancel,sys/status", "--timeout", "0.3"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!said.contains("ended early") && said.contains("cmd/cancel/06"), "{said}");
}

#[test]
fn a_token_that_looks_like_a_command_ends_no_run() {
    let odd = |mut stream: TcpStream| {
        let text = request(&mut stream);
        match text.contains("/auth/login") {
            true => let_in(&mut stream),
            false if text.contains("/cmd/test-remote") => reply(&mut stream, 200, r#"{"token":"0/cmd/reboot"}"#),
            false => challenge(&mut stream),
        }
    };
    let args = ["--allow", "remote", "--only", "cmd/test-remote", "--with", "companion.address=127.0.0.1"];
    let output = run(&meter(odd), &args);
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && !said.contains("guard"), "{said}");
}

#[test]
fn a_nonce_that_looks_like_a_command_ends_nothing() {
    let odd = |mut stream: TcpStream| {
        let text = request(&mut stream);
        match text.contains("/auth/login") {
            true => let_in(&mut stream),
            false => {
                reply(&mut stream, 401, r#"{"rlm":"cmd/","nnc":"ab/cmd/reboot","error":"Authentication required."}"#)
            }
        }
    };
    let output = run(&meter(odd), &["--only", "auth/login/02,http/requests/02"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
}

#[test]
fn a_password_that_is_a_word_of_the_api_fails_no_rule() {
    let good = |mut stream: TcpStream| {
        let text = request(&mut stream);
        match text.contains("/auth/login") {
            true => let_in(&mut stream),
            false if text.contains("Bearer ") => reply(&mut stream, 200, r#"{"usr":"owner","rights":["save","ctrl"]}"#),
            false => challenge(&mut stream),
        }
    };
    let record = env::temp_dir().join(format!("meter-conformance-word-{}-record", std::process::id()));
    let url = meter(good);
    let run = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meter-conformance"));
        command.args([
            "--url",
            &url,
            "--user",
            "owner",
            "--quiet",
            "--rate",
            "2000",
            "--only",
            "auth/rights/02,auth/rights/03",
        ]);
        command.args(more).env("METER_PASSWORD", "save").output().unwrap()
    };
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    // A record could not say so without the password.
    let output = run(&["--record", record.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("give that user another one"));
    assert!(!record.exists());
}
