//! Unix listeners for the meter's own web server, and what TCP clients may not claim.

use crate::client::*;
use crate::support::*;
use meterd::config::{Forwarded, Listen, UnixListen};
use meterd::sys::process::own_uid;
use std::os::unix::net::UnixStream;
use std::path::Path;

fn unix(dir: &Path, forwarded: Forwarded, front_uids: Vec<u32>) -> Listen {
    Listen::Unix(UnixListen { unix: dir.join("front.sock"), forwarded, front_uids })
}

/// Starts a house with one Unix listener and returns what the handler sees of a request with these fields there.
fn seen(forwarded: Forwarded, fields: &str) -> (serde_json::Value, serde_json::Value) {
    let mut path = None;
    let house = house_with(limits(), true, |dir| {
        path = Some(dir.join("front.sock"));
        vec![unix(dir, forwarded, vec![own_uid()])]
    })
    .unwrap();
    let mut client = Client::over(UnixStream::connect(path.unwrap()).unwrap());
    let got = client.ask(&format!("GET /x HTTP/1.1\r\nHost: x\r\n{fields}\r\n")).json();
    drop(house);
    (got["ip"].clone(), got["secure"].clone())
}

#[test]
fn a_believed_front_says_who_the_peer_is() {
    for (fields, ip, secure) in [
        ("X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n", Some("192.0.2.7"), true),
        ("X-Forwarded-For: 10.0.0.1, 192.0.2.7\r\nX-Forwarded-Proto: http\r\n", Some("192.0.2.7"), false),
        ("X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-For: 2001:db8::7\r\n", Some("2001:db8::7"), false),
        ("X-Forwarded-For: 192.0.2.7, nonsense\r\nX-Forwarded-Proto: https\r\n", None, true),
        ("X-Forwarded-Proto: https\r\nX-Forwarded-Proto: https\r\n", None, false),
        ("X-Forwarded-Proto: https, https\r\n", None, false),
        ("X-Meter-Peer: 192.0.2.7\r\nX-Meter-Secure: yes\r\n", None, false),
    ] {
        assert_eq!(seen(Forwarded::Last, fields), (ip.into(), secure.into()), "{fields}");
    }
}

#[test]
fn a_front_that_is_not_believed_has_an_unknown_peer() {
    let fields = "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: https\r\n";
    assert_eq!(seen(Forwarded::None, fields), (serde_json::Value::Null, false.into()));
}

#[test]
fn another_user_is_turned_away() {
    let mut path = None;
    let house = house_with(limits(), false, |dir| {
        path = Some(dir.join("front.sock"));
        vec![unix(dir, Forwarded::Last, vec![own_uid().wrapping_add(1)])]
    })
    .unwrap();
    let mut client = Client::over(UnixStream::connect(path.unwrap()).unwrap());
    let got = client.ask(&get("/x"));
    assert_eq!((got.status, got.field("Connection")), (403, Some("close")));
    client.assert_end();
    house.assert_healthy();
}

#[test]
fn secure_only_closes_the_tcp_listeners_and_no_other() {
    let mut path = None;
    let house = house_with(limits(), true, |dir| {
        path = Some(dir.join("front.sock"));
        vec![unix(dir, Forwarded::Last, vec![own_uid()])]
    })
    .unwrap();
    let mut client = house.client();
    let got = client.ask(&get("/x"));
    assert_eq!(got.status, 403);
    assert!(got.json()["error"].as_str().unwrap().contains("https"));
    client.assert_end();
    let mut client = Client::over(UnixStream::connect(path.unwrap()).unwrap());
    assert_eq!(client.ask(&get("/x")).status, 200);
    meterd::http::self_probe(&house.http.as_ref().unwrap().probe_path(), PATIENCE).unwrap();
}

#[test]
fn the_caps_of_work_use_the_peer_behind_the_front() {
    let mut path = None;
    let house = house_with(limits(), false, |dir| {
        path = Some(dir.join("front.sock"));
        vec![unix(dir, Forwarded::Last, vec![own_uid()])]
    })
    .unwrap();
    let path = path.unwrap();
    let ask = |target: &str, ip: &str| {
        let mut client = Client::over(UnixStream::connect(&path).unwrap());
        client.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {ip}\r\n\r\n"));
        client
    };
    let mut hanging = [ask("/hang", "192.0.2.1"), ask("/hang", "192.0.2.1")];
    until("both are in work", || house.world.seen.load(std::sync::atomic::Ordering::SeqCst) == 2);
    let mut third = ask("/x", "192.0.2.1");
    assert_eq!(ask("/x", "192.0.2.2").answer().status, 200);
    assert_eq!(house.world.seen.load(std::sync::atomic::Ordering::SeqCst), 3);
    house.world.latch.open();
    for client in hanging.iter_mut().chain([&mut third]) {
        assert_eq!(client.answer().status, 200);
    }
}

#[test]
fn an_old_front_is_told_instead_of_given_what_it_cannot_check() {
    let mut path = None;
    let house = house_with(limits(), false, |dir| {
        path = Some(dir.join("front.sock"));
        vec![unix(dir, Forwarded::None, Vec::new())]
    })
    .unwrap();
    let path = path.unwrap();
    let mut client = Client::over(UnixStream::connect(&path).unwrap());
    client.send("GET /register?format=backup&n=200000 HTTP/1.0\r\n\r\n");
    assert_eq!(client.answer().status, 505);
    let mut client = Client::over(UnixStream::connect(&path).unwrap());
    client.send("GET /register/cut?format=backup&n=200000 HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(client.try_answer(false).is_err());
    house.assert_healthy();
}
