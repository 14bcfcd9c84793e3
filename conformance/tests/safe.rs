//! The suite does no more than it was allowed to: run against a meter that obeys everything, whatever its form, only what
//! belongs to the classes that were allowed is done.

mod support;

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::process::{Command, Output};

use meter_conformance::catalogue::areas;
use meter_conformance::danger::Class;
use support::lax_meter;

/// What only the tester knows, for areas that would do nothing without it. The meter is lax and the values are made up.
fn params() -> Vec<String> {
    let secret = env::temp_dir().join(format!("meter-conformance-{}-secret", std::process::id()));
    fs::write(&secret, "secret\n").unwrap();
    let value = |name: &str| match name {
        "db.from" => "1700000000".into(),
        "db.to" => "1700000060".into(),
        "factory.data" => "1700000000,1700000060".into(),
        "db.regs" | "db.net-register" => "0".into(),
        "companion.address" | "companion.bind" => "127.0.0.1".into(),
        "clear.excess" | "auth.local-here" => "yes".into(),
        "homeplug.targets" => "00:b0:52:ba:be:57/ABCD-EFGH-IJKL-MNOP".into(),
        "auth.nonce-lifetime" => "0.1".into(),
        name if name.ends_with("-file") => secret.display().to_string(),
        name if name.ends_with(".folder") => env::temp_dir().display().to_string(),
        // Waits, ports and limits: short, and whatever is free.
        name if name.ends_with(".wait") || name.ends_with("-wait") => "1".into(),
        name if name.ends_with("port") => "0".into(),
        name if name.starts_with("auth.") => "somebody".into(),
        _ => "1".into(),
    };
    let names: BTreeSet<&str> = areas().iter().flat_map(|it| it.params).map(|it| it.name).collect();
    names.into_iter().flat_map(|name| ["--with".to_string(), format!("{name}={}", value(name))]).collect()
}

fn run(url: &str, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meter-conformance"));
    command.args(["--url", url, "--user", "owner", "--quiet", "--rate", "2000", "--timeout", "2", "--max-wait", "2"]);
    command.args(params()).args(args).env("METER_PASSWORD", "secret").output().unwrap()
}

/// What a class may make a lax meter do.
fn deeds_of(class: Class) -> &'static [&'static str] {
    match class {
        Class::Safe => &["cancel", "clear the cache"],
        Class::Time => &["set-time"],
        Class::Mail => &["test-email"],
        Class::Remote => &["test-remote"],
        Class::Activate => &["activate", "end a service"],
        Class::Wlan => &["wlan"],
        Class::Homeplug => &["homeplug"],
        Class::Db => &["db", "clear the excess"],
        Class::UpdateList => &["list updates"],
        Class::UpdateInstall => &["install", "list updates"],
        Class::Reboot => &["reboot"],
        Class::FactoryRestore => &["factory-restore"],
    }
}

/// Runs with this class alone, and sees that a lax meter did nothing but what belongs to it.
fn check(class: Class) {
    let (url, deeds) = lax_meter();
    let output = run(&url, &["--allow", class.name()]);
    let errors = String::from_utf8_lossy(&output.stderr);
    // It is not a good meter, so some rules fail; but the run comes to its end and nothing was forbidden.
    assert_eq!(output.status.code(), Some(1), "{class}: {errors}");
    let done: BTreeSet<String> = deeds.lock().unwrap().clone();
    for deed in &done {
        let allowed = deeds_of(Class::Safe).contains(&deed.as_str()) || deeds_of(class).contains(&deed.as_str());
        assert!(allowed, "with {class} alone a lax meter did {deed:?}; in all {done:?}");
    }
    for deed in deeds_of(Class::Safe) {
        assert!(done.contains(*deed), "{class}: {deed:?} was not even tried");
    }
    let tried = areas().iter().any(|it| it.class == class);
    if tried && class != Class::Safe {
        assert!(deeds_of(class).iter().any(|it| done.contains(*it)), "{class} tried nothing: {done:?}");
    }
}

#[test]
fn without_leave_a_lax_meter_does_nothing_that_matters() {
    check(Class::Safe);
}

#[test]
fn a_class_that_is_allowed_alone_does_nothing_of_another() {
    // A few at a time: they mostly wait.
    for pair in Class::ALL[1..].chunks(6) {
        std::thread::scope(|scope| {
            for class in pair {
                scope.spawn(|| check(*class));
            }
        });
    }
}

#[test]
fn a_lax_meter_finds_out_every_disguise() {
    // The proof above is worth nothing if this meter overlooks a command.
    use std::io::{Read, Write};
    for (bytes, deed) in [
        ("GET /api/cmd/reboot HTTP/1.1\r\n\r\n", "reboot"),
        ("BREW /API/C%4DD/factory-restore HTTP/1.1\r\n\r\n", "factory-restore"),
        ("GET /api/sys/time HTTP/1.1\r\n\r\nPOST /api/cmd/db HTTP/1.1\r\n\r\n", "db"),
        ("POST /api/cmd/clear HTTP/1.1\r\nContent-Length: 3\r\n\r\n\"ex", "clear the excess"),
        ("POST /api/cmd/clear HTTP/1.1\r\nContent-Length: 11\r\n\r\n\"web_cache\"", "clear the cache"),
        ("POST /api/cmd/update HTTP/1.1\r\n\r\n{\"action\":\"list\",\"action\":\"install\"}", "install"),
        ("PUT /api/config HTTP/1.1\r\n\r\n{}", "change the configuration"),
        ("POST /api/cmd/set-time", "set-time"),
    ] {
        let (url, deeds) = lax_meter();
        let address = url.trim_start_matches("http://").trim_end_matches("/api");
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
        let done = deeds.lock().unwrap().clone();
        assert!(done.contains(deed), "{bytes:?}: {done:?}");
    }
}
