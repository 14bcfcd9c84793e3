//! Exit statuses, as a build server sees them: 0, 1 and 2, each from a run of the program itself.

mod support;

use std::env;
use std::fs;
use std::net::TcpListener;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use support::lax_meter;

fn program(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meter-conformance"));
    command.args(["--quiet", "--timeout", "2"]).args(args).env("METER_PASSWORD", "secret").output().unwrap()
}

fn file(name: &str) -> PathBuf {
    env::temp_dir().join(format!("meter-conformance-exit-{}-{name}", std::process::id()))
}

#[track_caller]
fn check(args: &[&str], status: i32, says: &str) {
    let output = program(args);
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{args:?}: {said}");
    assert!(said.contains(says), "{args:?}: {said}");
}

#[test]
fn a_run_that_cannot_be_made_is_a_two() {
    check(&[], 2, "--url and --user are needed");
    check(&["--nonsense"], 2, "--nonsense is no option");
    check(&["--list", "--only", "no/such/rule"], 2, "no rule's id begins with");
    check(&["--replay", "/no/such/file"], 2, "/no/such/file");
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}/api");
    let meter = ["--url", &url, "--user", "owner"];
    let with = |more: &[&'static str]| [&meter[..], more].concat();
    check(&with(&["--only", "auth/login"]), 2, "never answered");
    check(&with(&["--only", "cmd/reboot"]), 2, "class reboot, which --allow does not name");
    check(&with(&["--only", "auth/login/01", "--skip", "auth/login"]), 2, "--skip leaves nothing");
    // Before the meter is asked at all.
    check(&with(&["--out", "/no/such/folder/report"]), 2, "/no/such/folder/report");
    check(&with(&["--record", "/no/such/folder/record"]), 2, "/no/such/folder/record");
    check(&with(&["--compare", "/no/such/report"]), 2, "/no/such/report");
}

#[test]
fn rules_that_fail_are_a_one_and_rules_that_pass_a_zero() {
    let (url, _) = lax_meter();
    let meter = ["--url", &url, "--user", "owner", "--rate", "2000"];
    let with = |more: &[&'static str]| [&meter[..], more].concat();
    // It lets in whoever asks, with whatever password.
    check(&with(&["--only", "auth/login/04"]), 1, "FAIL  auth/login/04");
    check(&with(&["--only", "auth/login/02"]), 0, "1 pass, 0 fail");
    check(&["--list"], 0, "auth/login/04");
}

#[test]
fn what_makes_no_sense_is_told_and_not_panicked_about() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meter-conformance"));
    let output = command.arg(std::ffi::OsString::from_vec(b"--url=\xff".to_vec())).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let (url, _) = lax_meter();
    let meter = ["--url", &url, "--user", "owner", "--rate", "2000", "--allow", "db"];
    let with = |more: &[&'static str]| [&meter[..], more].concat();
    for nonsense in ["-1", "nan", "inf"] {
        let param = format!("auth.nonce-lifetime={nonsense}");
        let args = [&with(&["--only", "auth/nonces/05", "--with"])[..], &[&param]].concat();
        check(&args, 2, "a number of seconds is expected");
    }
    let from = format!("db.from={}", "9".repeat(35));
    let args = [&with(&["--only", "cmd/db/zero", "--with", "db.to=1", "--with"])[..], &[&from]].concat();
    check(&args, 2, "a Unix time is expected");
    check(&with(&["--only", "auth/login/02", "--url", "http://u:secret@m/api"]), 2, "the URL names a user");
}

#[test]
fn a_tester_who_is_not_let_in_hears_that_and_nothing_else() {
    use std::io::{Read, Write};
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/api", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut chunk = [0; 4096];
            let length = stream.read(&mut chunk).unwrap_or(0);
            let (status, body) = match String::from_utf8_lossy(&chunk[..length]).contains("/auth/login") {
                true => (200, r#"{"error":"Wrong password."}"#),
                false => (401, r#"{"rlm":"r","nnc":"n","error":"Authentication required."}"#),
            };
            let head = format!("HTTP/1.1 {status} So\r\nContent-Length: {}\r\nConnection: close\r\n", body.len());
            let _ = stream.write_all(format!("{head}\r\n{body}").as_bytes());
        }
    });
    check(&["--url", &url, "--user", "owner", "--rate", "2000"], 2, "is the password right?");
}

#[test]
fn a_reader_who_has_seen_enough_is_no_error() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meter-conformance"));
    let mut child = command.arg("--list").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn a_record_is_judged_like_the_run_that_it_was_made_of() {
    let (url, _) = lax_meter();
    let (record, one, two) = (file("record"), file("one.json"), file("two.json"));
    let [record, one, two] = [&record, &one, &two].map(|it| it.to_str().unwrap());
    let meter = ["--url", &url, "--user", "owner", "--rate", "2000", "--only", "auth/login,sys/status"];
    let live = program(&[&meter[..], &["--record", record, "--report", "json", "--out", one]].concat());
    let replayed = program(&["--replay", record, "--only", "auth/login,sys/status", "--report", "json", "--out", two]);
    assert_eq!((live.status.code(), replayed.status.code()), (Some(1), Some(1)));
    assert_eq!(fs::read_to_string(one).unwrap(), fs::read_to_string(two).unwrap());
    // Others have no business with it, and a part of it is no record.
    assert_eq!(fs::metadata(record).unwrap().permissions().mode() & 0o777, 0o600);
    let whole = fs::read_to_string(record).unwrap();
    for end in whole.match_indices('\n').map(|it| it.0 + 1).filter(|it| *it < whole.len()) {
        fs::write(record, &whole[..end]).unwrap();
        if end < 4000 || whole.len() < end + 4000 {
            check(&["--replay", record], 2, "the record is not whole");
        }
    }
    fs::write(record, whole).unwrap();
    // The same report again has no changes, and no secret is in the record.
    check(&["--replay", record, "--only", "auth/login,sys/status", "--compare", one], 1, "nothing changed");
    assert!(!fs::read_to_string(record).unwrap().contains("secret"));
    for form in ["junit", "markdown"] {
        check(&["--replay", record, "--only", "auth/login,sys/status", "--report", form], 1, "auth/login/04");
    }
    for path in [record, one, two] {
        fs::remove_file(path).unwrap();
    }
}
