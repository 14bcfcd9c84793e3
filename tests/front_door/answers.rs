//! Answers on their way out: cut ones, slow readers, clients that leave, an orderly stop, and the self-probe.

use crate::client::*;
use crate::support::*;
use meterd::config::Limits;
use meterd::http::self_probe;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[test]
fn a_cut_answer_never_looks_whole() {
    let house = house(limits());
    let mut clients = Vec::new();
    for path in ["/register/cut?format=backup&n=200000", "/register/stall?format=backup&n=200000"] {
        for version in ["1.1", "1.0"] {
            clients.push(house.client_from(1 + clients.len() as u8));
            clients.last_mut().unwrap().send(format!("GET {path} HTTP/{version}\r\nHost: x\r\n\r\n"));
        }
    }
    for mut client in clients {
        assert_eq!(client.try_answer(false).unwrap_err(), "connection reset");
    }
    // As long as nothing has left there is a better way to say it.
    assert_eq!(house.client().ask(&get("/register/cut?format=backup&n=1000")).status, 503);
    house.assert_healthy();
}

#[test]
fn a_slow_reader_is_cut_and_holds_nobody_up() {
    let house = house(limits());
    let mut slow: Vec<_> = (2..4).map(|from| house.client_from(from)).collect();
    for client in &mut slow {
        client.send(get("/register?format=backup&n=50000000"));
    }
    until("both are in work", || house.world.seen.load(Ordering::SeqCst) == 2);
    // The third one waits until one of them is cut.
    let mut third = house.client();
    assert_eq!(third.ask(&get("/register?format=backup&n=100000")).body.len(), 100_000);
    until("the handlers have noticed", || house.world.cut.load(Ordering::SeqCst) == 2);
    for client in &mut slow {
        assert!(client.try_answer(false).is_err());
    }
}

#[test]
fn long_quick_answers_cannot_hold_every_quick_slot() {
    let house = house(Limits { rate_seconds: 20, ..limits() });
    let mut slow: Vec<_> = (2..6).map(|from| house.client_from(from)).collect();
    for client in &mut slow {
        client.send(get("/big?n=50000000"));
    }
    until("they are in work", || house.world.seen.load(Ordering::SeqCst) >= 3);
    for _ in 0..20 {
        house.assert_healthy();
    }
    until("all but two are cut", || slow.iter().filter(|it| it.is_cut()).count() == 2);
    let whole = slow.iter_mut().filter_map(|it| it.try_answer(false).ok()).count();
    assert_eq!(whole, 2);
}

#[test]
fn a_download_ends_with_its_client() {
    let house = house(Limits { rate_seconds: 20, ..limits() });
    let mut client = house.client();
    client.send(get("/register?format=backup&n=50000000"));
    until("it is in work", || house.world.seen.load(Ordering::SeqCst) == 1);
    drop(client);
    until("the handler has noticed", || house.world.cut.load(Ordering::SeqCst) == 1);
}

#[test]
fn a_command_goes_on_without_its_client_and_keeps_its_slot() {
    let house = house(Limits { answer_seconds: 10, reply_seconds: 8, ..limits() });
    for n in 1..=2 {
        let stream = connect(house.addr, 5);
        let mut client = &stream;
        std::io::Write::write_all(&mut client, post("/cmd/wait", "good", "{}").as_bytes()).unwrap();
        until("it is in work", || house.world.seen.load(Ordering::SeqCst) == n);
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
    let mut third = house.client_from(5);
    third.send(post("/cmd/wait", "good", "{}"));
    house.assert_healthy();
    assert_eq!(house.world.seen.load(Ordering::SeqCst), 3, "two commands and the healthy one");
    house.world.latch.open();
    assert_eq!(third.answer().json()["waited"], true);
}

#[test]
fn a_stop_lets_answers_leave_and_takes_nobody_in() {
    let mut house = house(limits());
    let mut idle = house.client();
    assert_eq!(idle.ask(&get("/x")).status, 200);
    let mut client = house.client();
    client.send(post("/cmd/wait", "good", "{}"));
    until("it is in work", || house.world.seen.load(Ordering::SeqCst) == 2);
    let gate = house.gate.take().unwrap();
    let ended = gate.ended();
    drop(house.listeners.take());
    let stopper = std::thread::spawn(move || gate.stop());
    // Its end tells that the gate has begun to stop.
    idle.assert_end();
    assert!(ended.try_recv().is_err_and(|it| it.is_empty()), "an answer is still in progress");
    house.world.latch.open();
    let got = client.answer();
    assert_eq!((got.status, got.field("Connection")), (200, Some("close")));
    stopper.join().unwrap();
    assert!(ended.recv_timeout(PATIENCE).is_err_and(|it| it.is_disconnected()));
    // The listeners outlive the gate, so that a newcomer could wait for the next one; with them the door is closed.
    drop(house.listeners.take());
    assert!(std::net::TcpStream::connect(house.addr).is_err());
}

#[test]
fn a_stop_does_not_wait_for_ever() {
    let mut house = house(Limits { answer_seconds: 60, ..limits() });
    let mut client = house.client();
    client.send(post("/cmd/wait", "good", "{}"));
    until("it is in work", || house.world.seen.load(Ordering::SeqCst) == 1);
    let began = std::time::Instant::now();
    house.gate.take().unwrap().stop();
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn the_self_probe_tells_life_from_death() {
    let mut house = house(limits());
    let probe = house.http.as_ref().unwrap().probe_path();
    self_probe(&probe, PATIENCE).unwrap();
    // Its way is its own: neither a full house nor a busy peer is in it.
    let _held: Vec<_> = (2..7).flat_map(|from| (0..16).map(move |_| from)).map(|it| connect(house.addr, it)).collect();
    self_probe(&probe, PATIENCE).unwrap();
    let clients: Vec<_> = (12..16).map(|from| house.client_from(from)).collect();
    for mut client in clients {
        client.send(get("/hang"));
    }
    until("every worker hangs", || house.world.seen.load(Ordering::SeqCst) >= 6);
    self_probe(&probe, PATIENCE).unwrap_err();
    house.world.latch.open();
    until("it lives again", || self_probe(&probe, PATIENCE).is_ok());
    house.gate.take().unwrap().stop();
    self_probe(&probe, PATIENCE).unwrap_err();
}
