//! Bodies above the small limit: streamed with a token, dropped without one, refused elsewhere, and never mistaken for
//! whole when they are not.

use crate::client::*;
use crate::support::*;
use meterd::config::Limits;
use std::sync::atomic::Ordering;

const SIZE: usize = 2 * 1024 * 1024;

fn body() -> Vec<u8> {
    (0..SIZE).map(|it| (it % 251) as u8).collect()
}

fn sum() -> u64 {
    body().iter().map(|it| u64::from(*it)).sum()
}

fn head(path: &str, token: &str, fields: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{fields}\r\n\r\n")
}

fn with_length(path: &str, token: &str) -> Vec<u8> {
    [head(path, token, &format!("Content-Length: {SIZE}")).into_bytes(), body()].concat()
}

fn chunked(path: &str, token: &str) -> Vec<u8> {
    let mut res = head(path, token, "Transfer-Encoding: chunked").into_bytes();
    for piece in body().chunks(10_007) {
        res.extend_from_slice(format!("{:X};x=y\r\n", piece.len()).as_bytes());
        res.extend_from_slice(piece);
        res.extend_from_slice(b"\r\n");
    }
    res.extend_from_slice(b"0\r\nTrailer: x\r\n\r\n");
    res
}

#[test]
fn with_a_token_an_upload_goes_through_whole_and_the_connection_is_kept() {
    let house = house(limits());
    let mut client = house.client();
    for request in [with_length("/cmd/db", "good"), chunked("/api/cmd/db", "good"), chunked("/cmd/db", "good")] {
        client.send(request);
        let got = client.answer();
        assert_eq!(got.field("Connection"), Some("keep-alive"));
        let expect = if got.json()["path"].is_string() { 0 } else { SIZE };
        assert!(expect == 0 || got.json() == serde_json::json!({"length": SIZE, "sum": sum()}), "{got:?}");
        assert_eq!(client.ask(&get("/next")).json()["path"], "/next");
    }
}

#[test]
fn without_a_valid_token_the_body_is_dropped_and_the_answer_survives() {
    let house = house(limits());
    for token in ["", "dead"] {
        for request in [with_length("/cmd/db", token), chunked("/cmd/db", token)] {
            // The client sends everything and only then reads, twice on one connection.
            let mut client = house.client();
            for _ in 0..2 {
                client.send(&request);
                let got = client.answer();
                assert_eq!((got.status, &got.json()["withheld"]), (401, &true.into()));
                assert_eq!(got.field("Connection"), Some("keep-alive"));
            }
            client.send(with_length("/cmd/db", "good"));
            assert_eq!(client.answer().json()["length"], SIZE);
        }
    }
}

#[test]
fn a_body_is_only_asked_for_after_the_check() {
    let house = house(limits());
    let expect = format!("Expect: 100-continue\r\nContent-Length: {SIZE}");
    let mut client = house.client();
    client.send(head("/cmd/db", "good", &expect));
    assert_eq!(client.answer().status, 100);
    client.send(body());
    assert_eq!(client.answer().json()["length"], SIZE);

    let mut client = house.client();
    client.send(head("/cmd/db", "bad", &expect));
    let got = client.answer();
    assert_eq!((got.status, got.field("Connection")), (401, Some("close")));
    client.assert_end();

    // A client that does not wait for leave loses nothing either.
    let mut client = house.client();
    client.send(head("/cmd/db", "bad", &expect));
    client.send(body());
    assert_eq!(client.answer().status, 401);
}

#[test]
fn elsewhere_a_large_body_is_refused_and_the_answer_survives() {
    let house = house(limits());
    for request in [with_length("/cmd/wlan", "good"), with_length("/", "good"), chunked("/auth/login", "good")] {
        let mut client = house.client();
        client.send(request);
        let got = client.answer();
        assert_eq!((got.status, got.field("Connection")), (413, Some("close")));
        client.assert_end();
    }
    assert_eq!(house.world.seen.load(Ordering::SeqCst), 0);
}

#[test]
fn even_an_upload_has_an_end() {
    let house = house(Limits { upload_bytes: 1024 * 1024, ..limits() });
    for token in ["good", "bad"] {
        for request in [with_length("/cmd/db", token), chunked("/cmd/db", token)] {
            let mut client = house.client();
            client.send(request);
            assert_eq!(client.answer().status, 413, "{token}");
        }
    }
    until("the handler has noticed the cut", || house.world.cut.load(Ordering::SeqCst) == 1);
    assert_eq!(house.world.whole.load(Ordering::SeqCst), 0);
}

#[test]
fn an_upload_that_is_refused_midway_costs_nothing_but_the_answer() {
    let house = house(limits());
    for (token, error) in [("good-midway", "Bad data."), ("good-refused", "Not now.")] {
        for request in [with_length("/cmd/db", token), chunked("/cmd/db", token)] {
            let mut client = house.client();
            client.send(request);
            let got = client.answer();
            assert_eq!((got.json()["error"].as_str(), got.field("Connection")), (Some(error), Some("keep-alive")));
            assert_eq!(client.ask(&get("/next")).json()["path"], "/next");
        }
    }
}

#[test]
fn a_client_that_vanishes_is_not_taken_for_one_that_has_finished() {
    let house = house(limits());
    let all = with_length("/cmd/db", "good");
    let pieces = chunked("/cmd/db", "good");
    let last_chunk = pieces.len() - b"0\r\nTrailer: x\r\n\r\n".len();
    let cuts = [
        &all[..all.len() - 1],
        &all[..all.len() / 2],
        &pieces[..pieces.len() / 2],
        &pieces[..last_chunk],
        &pieces[..last_chunk + 1],
        &pieces[..pieces.len() - 1],
    ];
    for (n, cut) in cuts.into_iter().enumerate() {
        let mut client = house.client();
        client.send(cut);
        drop(client);
        until("the handler has noticed", || house.world.cut.load(Ordering::SeqCst) == n + 1);
    }
    assert_eq!(house.world.whole.load(Ordering::SeqCst), 0);
}

#[test]
fn a_malformed_chunk_ends_an_upload_and_a_drop() {
    let house = house(limits());
    for token in ["good", "bad"] {
        let mut client = house.client();
        let mut request = chunked("/cmd/db", token);
        let at = request.len() / 2;
        request.truncate(at);
        request.extend_from_slice(&b"\r\nnonsense\r\n".repeat(2000));
        client.send(request);
        assert_eq!(client.answer().status, 400);
    }
    until("the handler has noticed", || house.world.cut.load(Ordering::SeqCst) == 1);
    assert_eq!(house.world.whole.load(Ordering::SeqCst), 0);
}

#[test]
fn a_third_upload_waits_for_a_slot_and_then_goes_on() {
    let house = house(Limits { rate_seconds: 20, answer_seconds: 10, reply_seconds: 2, ..limits() });
    let request = with_length("/cmd/db", "good");
    let (first, rest) = request.split_at(100_000);
    let mut running: Vec<_> = (0..2).map(|_| house.client()).collect();
    for client in &mut running {
        client.send(first);
    }
    until("both are in work", || house.world.seen.load(Ordering::SeqCst) == 2);
    let mut third = house.client();
    third.send(head("/cmd/db", "good", &format!("Expect: 100-continue\r\nContent-Length: {SIZE}")));
    house.assert_healthy();
    assert_eq!(house.world.seen.load(Ordering::SeqCst), 3, "two uploads and the healthy one");
    running[0].send(rest);
    assert_eq!(running[0].answer().json()["length"], SIZE);
    assert_eq!(third.answer().status, 100);
    third.send(body());
    assert_eq!(third.answer().json()["length"], SIZE);
    running[1].send(rest);
    assert_eq!(running[1].answer().json()["length"], SIZE);
}

#[test]
fn a_third_upload_that_finds_no_slot_is_told_so() {
    let house = house(Limits { rate_seconds: 20, ..limits() });
    let request = with_length("/cmd/db", "good");
    let mut running: Vec<_> = (0..2).map(|_| house.client()).collect();
    for client in &mut running {
        client.send(&request[..100_000]);
    }
    until("both are in work", || house.world.seen.load(Ordering::SeqCst) == 2);
    let mut third = house.client();
    third.send(&request);
    let got = third.answer();
    assert_eq!(got.status, 503);
    assert!(got.field("Retry-After").is_some());
    for client in &mut running {
        client.send(&request[100_000..]);
        assert_eq!(client.answer().json()["length"], SIZE);
    }
}

#[test]
fn who_sends_below_the_rate_floor_is_cut_and_who_waits_for_us_is_not() {
    let house = house(Limits { answer_seconds: 4, reply_seconds: 2, ..limits() });
    // One handler does not read: that is not its client's fault, so the answer is 503, after the answer's deadline.
    let mut stuck = house.client();
    let mut writer = stuck.stream.clone_box();
    let sender = std::thread::spawn(move || drop(writer.write_all(&with_length("/cmd/db", "good-stuck"))));
    let mut late: Vec<_> = ["good", "bad"].map(|it| (it, house.client())).into();
    for (token, client) in &mut late {
        client.send(&with_length("/cmd/db", token)[..SIZE / 2]);
    }
    for (token, client) in &mut late {
        assert_eq!(client.answer().status, 408, "{token}");
    }
    assert_eq!(stuck.answer().status, 503);
    drop(stuck);
    sender.join().unwrap();
}
