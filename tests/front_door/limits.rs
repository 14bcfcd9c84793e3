//! Caps and deadlines: who waits, who is refused, who is dropped, and that slow never delays quick.

use crate::client::*;
use crate::support::*;
use meterd::config::Limits;
use std::sync::atomic::Ordering;

#[test]
fn slow_requests_never_delay_quick_ones_even_of_the_same_peer() {
    let house = house(Limits { rate_seconds: 20, answer_seconds: 10, reply_seconds: 8, ..limits() });
    let mut uploads: Vec<_> = (0..2).map(|_| house.client()).collect();
    for client in &mut uploads {
        client
            .send("POST /cmd/db HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer good\r\nContent-Length: 1000000\r\n\r\n");
        client.send(vec![0; 100_000]);
    }
    let mut downloads: Vec<_> = (1..3).map(|it| house.client_from(it)).collect();
    for client in &mut downloads {
        client.send(get("/register?format=backup&n=50000000"));
    }
    let mut waiting: Vec<_> = (0..2).map(|_| house.client()).collect();
    for client in &mut waiting {
        client.send(post("/cmd/wait", "good", "{}"));
    }
    until("all are in work", || house.world.seen.load(Ordering::SeqCst) == 6);
    let mut quick = house.client();
    let began = std::time::Instant::now();
    for _ in 0..200 {
        assert_eq!(quick.ask(&get("/quick")).status, 200);
    }
    assert!(began.elapsed() < std::time::Duration::from_secs(4), "{:?}", began.elapsed());
    assert_eq!(house.world.whole.load(Ordering::SeqCst), 0, "the slow ones are still at it");
    house.world.latch.open();
    for client in &mut waiting {
        assert_eq!(client.answer().json()["waited"], true);
    }
    for client in &mut uploads {
        client.send(vec![0; 900_000]);
        assert_eq!(client.answer().json()["length"], 1_000_000);
    }
    for client in &mut downloads {
        assert_eq!(client.answer().body.len(), 50_000_000);
    }
}

#[test]
fn a_peer_has_two_quick_requests_in_work_and_the_third_waits() {
    let house = house(limits());
    let mut hanging: Vec<_> = (0..2).map(|_| house.client()).collect();
    for client in &mut hanging {
        client.send(get("/hang"));
    }
    until("both are in work", || house.world.seen.load(Ordering::SeqCst) == 2);
    let mut third = house.client();
    third.send(get("/third"));
    house.assert_healthy();
    assert_eq!(house.world.seen.load(Ordering::SeqCst), 3, "two and the healthy one");
    house.world.latch.open();
    for client in hanging.iter_mut().chain([&mut third]) {
        assert_eq!(client.answer().status, 200);
    }
}

#[test]
fn a_peer_has_two_waiting_replies_and_a_third_finds_no_slot() {
    let house = house(Limits { answer_seconds: 5, ..limits() });
    let mut clients: Vec<_> = [1, 1, 1, 2, 3].map(|from| house.client_from(from)).into();
    for client in &mut clients {
        client.send(post("/cmd/wait", "good", "{}"));
    }
    // Two of the first peer, one each of the others: four in all.
    until("four are in work", || house.world.seen.load(Ordering::SeqCst) == 4);
    let mut statuses: Vec<_> = {
        let (left, right) = clients.split_at_mut(3);
        let waiters: Vec<_> = left.iter_mut().map(|it| it.answer().status).collect();
        house.world.latch.open();
        waiters.into_iter().chain(right.iter_mut().map(|it| it.answer().status)).collect()
    };
    statuses.sort_unstable();
    // The reply that waits is cut off by the answer's deadline too; that there is a 503 for each is all that counts here.
    assert_eq!(statuses.iter().filter(|it| **it == 503).count() + statuses.iter().filter(|it| **it == 200).count(), 5);
    assert_eq!(house.world.seen.load(Ordering::SeqCst), 4, "the one without a slot was never executed");
}

#[test]
fn a_request_that_gets_no_answer_in_time_is_told_so() {
    let house = house(limits());
    let mut clients: Vec<_> = (0..3).map(|_| house.client()).collect();
    let requests = [get("/hang"), post("/cmd/wait", "good", "{}"), get("/register/stall?format=backup&n=100")];
    for (client, request) in clients.iter_mut().zip(requests) {
        client.send(request);
    }
    for client in &mut clients {
        let got = client.answer();
        assert_eq!((got.status, got.field("Connection")), (503, Some("close")));
        client.assert_end();
    }
}

#[test]
fn heads_and_bodies_have_deadlines_and_silence_ends_quietly() {
    let house = house(limits());
    let mut late: Vec<_> = [
        "GET / HTTP/1.1\r\nHo",
        "POST /cmd/db HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n\r\nabc",
        "POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
    ]
    .map(|it| (it, house.client()))
    .into();
    let mut silent: Vec<_> = ["", "\r\n"].map(|it| (it, house.client())).into();
    for (start, client) in late.iter_mut().chain(&mut silent) {
        client.send(start);
    }
    // A kept connection that falls silent, also behind a stray line end, gets no second answer.
    let mut kept = house.client();
    assert_eq!(kept.ask(&(get("/x") + "\r\n")).status, 200);
    for (start, client) in &mut late {
        assert_eq!(client.answer().status, 408, "{start}");
    }
    for client in silent.iter_mut().map(|(_, it)| it).chain([&mut kept]) {
        client.assert_end();
    }
}

#[test]
fn drops_do_not_restart_a_deadline() {
    let house = house(limits());
    // Empty lines before a request are allowed, and no request.
    for (start, drop) in [("GET / HTTP/1.1\r\nX: ", "a"), ("", "\r\n")] {
        let mut client = house.client();
        client.send(start);
        let began = std::time::Instant::now();
        while client.stream.write_all(drop.as_bytes()).is_ok() && began.elapsed() < PATIENCE {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        assert!(began.elapsed() < PATIENCE, "still open");
    }
}

#[test]
fn a_peer_above_its_connections_is_told_so() {
    let house = house(Limits { per_peer: 3, idle_seconds: 10, ..limits() });
    let mut held: Vec<_> = (0..3).map(|_| house.client()).collect();
    for client in &mut held {
        assert_eq!(client.ask(&get("/x")).status, 200);
    }
    let mut one_more = house.client();
    let got = one_more.answer();
    assert_eq!((got.status, got.field("Connection")), (503, Some("close")));
    one_more.assert_end();
    house.assert_healthy();
    drop(held.pop());
    until("a place is free again", || house.client().ask(&get("/x")).status == 200);
}

#[test]
fn a_full_house_drops_the_oldest_idle_connection_of_the_peer_that_holds_most() {
    let house = house(Limits { connections: 6, per_peer: 4, idle_seconds: 10, ..limits() });
    let mut held: Vec<_> = [2, 2, 3, 2, 3, 2].map(|from| house.client_from(from)).into();
    // The very oldest one has a whole request, so it stays.
    held[0].send(post("/cmd/wait", "good", ""));
    for client in &mut held[1..] {
        assert_eq!(client.ask(&get("/x")).status, 200);
    }
    until("the oldest is in work", || house.world.seen.load(Ordering::SeqCst) == 6);
    let mut newcomer = house.client_from(4);
    assert_eq!(newcomer.ask(&get("/x")).status, 200);
    held.remove(1).assert_end();
    house.world.latch.open();
    assert_eq!(held[0].answer().json()["waited"], true);
    for client in &mut held[1..] {
        assert_eq!(client.ask(&get("/x")).status, 200);
    }
}

#[test]
fn a_house_full_of_work_refuses_newcomers() {
    let house = house(Limits { connections: 2, answer_seconds: 8, ..limits() });
    let mut held: Vec<_> = (2..4).map(|from| house.client_from(from)).collect();
    for client in &mut held {
        client.send(post("/cmd/wait", "good", ""));
    }
    until("both are in work", || house.world.seen.load(Ordering::SeqCst) == 2);
    assert_eq!(house.client_from(4).answer().status, 503);
    house.world.latch.open();
    for client in &mut held {
        assert_eq!(client.answer().json()["waited"], true);
    }
}

/// Limits under which nothing but the places is decided by the tests below.
fn places() -> Limits {
    Limits { connections: 12, per_peer: 4, rate_seconds: 30, answer_seconds: 30, reply_seconds: 20, ..limits() }
}

#[test]
fn requests_that_wait_for_their_turn_make_room_for_a_peer_that_holds_less() {
    let house = house(places());
    let mut held: Vec<_> = (0..12).map(|n| house.client_from(2 + n % 3)).collect();
    for client in &mut held {
        client.send(get("/register?format=backup&n=50000000"));
    }
    until("two are in work", || house.world.seen.load(Ordering::SeqCst) == 2);
    assert_eq!(house.client_from(9).ask(&get("/x")).status, 200);
}

#[test]
fn answers_that_nobody_reads_make_room_for_a_peer_that_holds_less() {
    let house = house(places());
    let mut held: Vec<_> = (0..12).map(|n| house.client_from(2 + n % 3)).collect();
    for client in &mut held {
        client.send(get("/big?n=60000").repeat(150));
    }
    // At first they are only slow.
    until("a newcomer is served", || house.client_from(9).try_answer_to(&get("/x")).is_ok_and(|it| it.status == 200));
}

#[test]
fn peers_whose_bodies_fill_the_memory_give_way_to_one_with_less() {
    let house = house(Limits { body_seconds: 10, ..limits() });
    let (start, rest) = ("x".repeat(60_000), "x".repeat(5_536));
    let mut greedy: Vec<_> = (0..32).map(|n| house.client_from(2 + n / 16)).collect();
    for client in &mut greedy {
        client.send(format!("POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 65536\r\n\r\n{start}"));
    }
    assert_eq!(house.client_from(9).ask(&post("/x", "good", &start)).status, 200);
    let statuses: Vec<_> = greedy
        .iter_mut()
        .map(|client| {
            client.send(rest.as_str());
            client.answer().status
        })
        .collect();
    // A mebibyte is kept of the 1.9 that came.
    let refused = statuses.iter().filter(|it| **it == 503).count();
    assert!((14..20).contains(&refused), "{statuses:?}");
    assert_eq!(statuses.iter().filter(|it| **it == 200).count(), 32 - refused, "{statuses:?}");
}
