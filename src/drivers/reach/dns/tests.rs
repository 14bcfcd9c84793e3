//! The client against name servers that play a part.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use super::*;
use crate::drivers::reach::testing::{AT_ONCE, Person, name_server};
use crate::sys::clock;

const A: u8 = 1;
const CNAME: u8 = 5;
const AAAA: u8 = 28;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn settings(servers: &[SocketAddr], millis: u64) -> Settings {
    Settings { servers: servers.to_vec(), search: vec![], timeout: Duration::from_millis(millis), attempts: 2 }
}

/// The answer to a question as it came: a code, and records of the question's name or, with text, of another.
fn reply(question: &[u8], code: u8, records: &[(&str, u8, Vec<u8>)]) -> Vec<u8> {
    let mut res = question.to_vec();
    res[2] = 0x81;
    res[3] = 0x80 | code;
    res[7] = records.len() as u8;
    for (owner, kind, data) in records {
        res.extend(if owner.is_empty() { vec![0xc0, 12] } else { wire(owner) });
        res.extend([0, *kind, 0, 1, 0, 0, 0, 9, 0, data.len() as u8]);
        res.extend(data);
    }
    res
}

fn wire(text: &str) -> Vec<u8> {
    let mut res: Vec<u8> = text.split('.').flat_map(|it| [&[it.len() as u8], it.as_bytes()].concat()).collect();
    res.push(0);
    res
}

fn kind(question: &[u8]) -> u8 {
    question[question.len() - 3]
}

fn asks_for(question: &[u8], host: &str) -> bool {
    question[12..].starts_with(&wire(host))
}

fn address(text: &str) -> Data {
    Data::Address(text.parse().unwrap())
}

#[track_caller]
fn check(servers: &[SocketAddr], millis: u64, expect: &str) {
    let got = match both(&settings(servers, millis), &name("host.test"), &Person::default().look()) {
        Ok(found) => format!("{found:?}"),
        Err(err) => err.to_string(),
    };
    assert!(got.contains(expect), "{got}\nexpected {expect}");
}

#[test]
fn both_families_are_asked_for() {
    let server = name_server(|question| {
        vec![match kind(question) {
            AAAA => reply(question, 0, &[("", AAAA, vec![0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])]),
            _ => reply(question, 0, &[("", A, vec![192, 0, 2, 1])]),
        }]
    });
    let both = both(&settings(&[server], 9000), &name("host.test"), &Person::default().look()).unwrap();
    assert_eq!(both, Found::Records(vec![address("192.0.2.1"), address("2001:db8::1")]));
    let mixed = ["192.0.2.1", "2001:db8::1", "192.0.2.1", "2001:db8::2"].map(|it| it.parse().unwrap());
    let ordered: Vec<_> = in_order(mixed.to_vec()).iter().map(|it| it.to_string()).collect();
    assert_eq!(ordered, ["2001:db8::1", "2001:db8::2", "192.0.2.1"]);
}

#[test]
fn one_family_is_enough_if_the_other_is_never_answered() {
    let server = name_server(|question| match kind(question) {
        AAAA => vec![],
        _ => vec![reply(question, 0, &[("", A, vec![192, 0, 2, 1])])],
    });
    check(&[server], 50, "Records([Address(192.0.2.1)])");
}

#[test]
fn the_next_server_is_asked_when_one_is_of_no_use() {
    let good = name_server(|question| vec![reply(question, 0, &[("", A, vec![192, 0, 2, 7])])]);
    let refusing = name_server(|question| vec![reply(question, 5, &[])]);
    let silent = name_server(|_| vec![]);
    let broken = name_server(|question| {
        let mut bad = reply(question, 0, &[("", A, vec![1])]);
        bad[7] = 9;
        vec![bad]
    });
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for bad in [refusing, silent, broken, nobody] {
        check(&[bad, good], 200, "192.0.2.7");
    }
    check(&[refusing], 200, "refused to answer");
    check(&[silent], 20, "no answer in time");
    check(&[broken], 200, "broken");
    check(&[nobody], 200, "there is no name server");
}

#[test]
fn what_answers_another_question_is_passed_over() {
    let server = name_server(|question| {
        let right = reply(question, 0, &[("", A, vec![192, 0, 2, 1])]);
        let mut other_number = reply(question, 0, &[("", A, vec![192, 0, 2, 66])]);
        other_number[0] ^= 1;
        let mut other_name = reply(question, 0, &[("", A, vec![192, 0, 2, 66])]);
        other_name[13] = b'x';
        vec![other_number, other_name, vec![], right]
    });
    check(&[server], 2000, "[Address(192.0.2.1)");
}

#[test]
fn no_name_and_no_address_are_told_apart() {
    let no_name = name_server(|question| vec![reply(question, 3, &[])]);
    let no_data = name_server(|question| vec![reply(question, 0, &[])]);
    check(&[no_name], 2000, "NoName");
    check(&[no_data], 2000, "NoData");
}

#[test]
fn aliases_are_followed_within_and_across_answers() {
    let server = name_server(|question| {
        vec![if asks_for(question, "host.test") {
            reply(question, 0, &[("", CNAME, wire("b.test")), ("b.test", CNAME, wire("c.test"))])
        } else if asks_for(question, "c.test") && kind(question) == A {
            reply(question, 0, &[("", CNAME, wire("d.test")), ("d.test", A, vec![192, 0, 2, 4])])
        } else {
            reply(question, 0, &[("evil.test", A, vec![192, 0, 2, 66])])
        }]
    });
    check(&[server], 2000, "Records([Address(192.0.2.4)])");
    let looping = name_server(|question| vec![reply(question, 0, &[("", CNAME, wire("host.test"))])]);
    check(&[looping], 2000, "aliases in a row");
    let dead_end = name_server(|question| vec![reply(question, 3, &[("", CNAME, wire("gone.test"))])]);
    check(&[dead_end], 2000, "NoName");
}

#[test]
fn what_does_not_fit_is_asked_for_over_tcp() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = tcp.local_addr().unwrap();
    let udp = UdpSocket::bind(addr).unwrap();
    std::thread::spawn(move || {
        let mut buf = [0; 600];
        while let Ok((length, peer)) = udp.recv_from(&mut buf) {
            let mut short = reply(&buf[..length], 0, &[]);
            short[2] |= 2;
            let _ = udp.send_to(&short, peer);
        }
    });
    std::thread::spawn(move || {
        for mut stream in tcp.incoming().flatten() {
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut question).unwrap();
            let records: Vec<_> = (0..60).map(|it| ("", A, vec![192, 0, 2, it])).collect();
            let long = reply(&question, 0, if kind(&question) == A { &records } else { &[] });
            // In two pieces, because nothing says that it comes as one.
            let message = [&(long.len() as u16).to_be_bytes(), &long[..]].concat();
            stream.write_all(&message[..1]).unwrap();
            std::thread::sleep(Duration::from_millis(20));
            stream.write_all(&message[1..]).unwrap();
        }
    });
    let found = both(&settings(&[addr], 5000), &name("host.test"), &Person::default().look()).unwrap();
    let Found::Records(records) = found else { panic!("{found:?}") };
    assert_eq!((records.len(), &records[59]), (60, &address("192.0.2.59")));
}

#[test]
fn numbers_differ_from_question_to_question() {
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let keep = std::sync::Arc::clone(&seen);
    let server = name_server(move |question| {
        keep.lock().unwrap().push([question[0], question[1]]);
        vec![reply(question, 0, &[])]
    });
    for _ in 0..8 {
        check(&[server], 2000, "NoData");
    }
    let mut numbers = seen.lock().unwrap().clone();
    numbers.sort();
    numbers.dedup();
    assert!(numbers.len() > 12, "{numbers:?}");
}

#[test]
fn a_cancellation_or_the_deadline_ends_the_wait() {
    let silent = name_server(|_| vec![]);
    let person = Person::default();
    let (res, late) = person.cancel(|look| both(&settings(&[silent], 60_000), &name("host.test"), look));
    assert!(matches!(res, Err(ReachError::Stopped(Stop::Cancelled))), "{res:?}");
    assert!(late < AT_ONCE, "{late:?}");
    let person = Person::default();
    let begin = clock::boottime();
    let look = Lookout::new(&person, Duration::from_millis(150));
    let res = both(&settings(&[silent], 60_000), &name("host.test"), &look);
    assert!(matches!(res, Err(ReachError::Stopped(Stop::Late))), "{res:?}");
    assert!(clock::boottime() - begin < Duration::from_secs(10));
}

#[test]
fn a_short_name_is_looked_for_in_the_systems_domains() {
    let settings = Settings { search: vec!["a.test".into(), "b.test".into()], ..settings(&[], 2000) };
    let names = |host: &str| candidates(host, &settings).unwrap().iter().map(|it| it.to_string()).collect::<Vec<_>>();
    assert_eq!(names("nas"), ["nas.a.test", "nas.b.test", "nas"]);
    assert_eq!(names("nas.home"), ["nas.home"]);
    assert!(candidates("n as", &settings).is_err());
}
