//! What ends, wedges or bloats a bare tiny_http, in bounded form; somebody else is answered all the while.

use crate::client::*;
use crate::support::*;
use meterd::config::Limits;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Writes as much as is taken, for a second at most, and never reads.
fn flood(mut stream: &TcpStream, piece: &[u8], times: usize) -> usize {
    stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    (0..times).take_while(|_| stream.write_all(piece).is_ok()).count()
}

/// Connections that send some bytes and then neither read nor send.
fn hold(house: &House, peers: std::ops::Range<u8>, each: usize, bytes: &str) -> Vec<TcpStream> {
    let mut res = Vec::new();
    for from in peers {
        for _ in 0..each {
            let mut stream = connect(house.addr, from);
            let _ = stream.write_all(bytes.as_bytes());
            res.push(stream);
        }
    }
    res
}

#[test]
fn hundreds_of_idle_or_dripping_connections() {
    let house = house(limits());
    for start in
        ["", "GET / HTTP/1.1\r\nHost: x\r\nX: ", "POST /cmd/db HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"]
    {
        let mut held = hold(&house, 2..22, 15, start);
        house.assert_healthy();
        for stream in &mut held {
            let _ = stream.write_all(b"a");
        }
        house.assert_healthy();
        // All of them are ended in time, whatever they go on dripping.
        for stream in &mut held {
            while matches!(stream.read(&mut [0; 512]), Ok(1..)) {}
        }
    }
}

#[test]
fn bodies_that_never_come() {
    let house = house(limits());
    for length in ["2000", "1000", "1000000000000000000", "200000000", "18446744073709551615"] {
        let start = format!("POST /cmd/db HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
        let _held = hold(&house, 2..6, 8, &start);
        house.assert_healthy();
    }
    assert_eq!(house.world.seen.load(Ordering::SeqCst), 5, "only the healthy ones");
}

#[test]
fn endless_heads() {
    let house = house(limits());
    for piece in ["x".repeat(1 << 16), "a:b\r\n".repeat(10_000)] {
        let stream = connect(house.addr, 2);
        let start = "GET / HTTP/1.1\r\nHost: x\r\n";
        (&stream).write_all(start.as_bytes()).unwrap();
        let taken = flood(&stream, piece.as_bytes(), 2000);
        assert!(taken < 2000, "all of it was taken");
        house.assert_healthy();
    }
}

#[test]
fn clients_that_never_read() {
    let house = house(limits());
    for path in ["/register?format=backup&n=16000000", "/big?n=16000000", "/x"] {
        let _held = hold(&house, 2..8, 4, &get(path).repeat(8));
        for _ in 0..10 {
            house.assert_healthy();
        }
    }
}

#[test]
fn one_client_that_pipelines_and_never_reads() {
    let house = house(limits());
    let stream = connect(house.addr, 2);
    let piece = get("/x").repeat(1000);
    let taken = flood(&stream, piece.as_bytes(), 2000);
    assert!(taken < 2000, "there is no back-pressure: {taken}");
    house.assert_healthy();
}

#[test]
fn many_wrong_versions_and_resets() {
    let house = house(limits());
    for _ in 0..150 {
        connect(house.addr, 2).write_all(b"GET / HTTP/2.0\r\nHost: x\r\n\r\n").unwrap();
    }
    house.assert_healthy();
    for n in 0..1000 {
        let mut stream = connect(house.addr, 3);
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        if n % 2 == 0 {
            let _ = stream.write_all(get("/x").as_bytes());
        }
    }
    house.assert_healthy();
}

#[test]
fn a_burst_of_clients_is_answered_to_the_last() {
    let house = house(limits());
    let mut clients: Vec<_> = (0..60).map(|n| house.client_from(2 + n % 10)).collect();
    for round in 0..5 {
        for client in &mut clients {
            client.send(get(&format!("/{round}")));
        }
        for client in &mut clients {
            assert_eq!(client.answer().json()["path"], format!("/{round}"));
        }
    }
}

#[test]
fn uploads_without_a_token_take_nothing_from_those_with_one() {
    let house = house(Limits { rate_seconds: 20, ..limits() });
    let start = "POST /cmd/db HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n";
    let _held = hold(&house, 2..6, 10, &(start.to_string() + &"x".repeat(100_000)));
    let mut client = house.client();
    client.send("POST /cmd/db HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer good\r\nContent-Length: 1000000\r\n\r\n");
    client.send(vec![1; 1_000_000]);
    assert_eq!(client.answer().json()["sum"], 1_000_000);
    house.assert_healthy();
}
