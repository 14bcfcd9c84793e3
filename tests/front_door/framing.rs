//! Requests and answers: framing, keep-alive, pipelining, versions, refusals.

use crate::client::*;
use crate::support::*;
use std::sync::atomic::Ordering;

#[test]
fn a_request_reaches_the_handler_with_its_true_peer() {
    let house = house(limits());
    let got = house.client_from(9).ask(
        "PUT /a/b?filter={hostname} HTTP/1.1\r\nHost: x\r\nauthorization: bearer tok.en\r\nX-Meter-Peer: 1.2.3.4\r\n\
         X-Meter-Secure: yes\r\nX-Meter-Body: withheld\r\nX-Forwarded-For: 5.6.7.8\r\nX-Forwarded-Proto: https\r\n\
         Content-Length: 5\r\n\r\nhello",
    );
    assert_eq!(got.status, 200);
    assert_eq!(got.field("Content-Type"), Some("application/json"));
    assert_eq!(got.field("Connection"), Some("keep-alive"));
    assert!(got.field("Server").is_none());
    let expect = serde_json::json!({
        "method": "PUT", "path": "/a/b", "query": "filter={hostname}", "bearer": "tok.en", "ip": "127.0.0.9",
        "secure": false, "withheld": false, "body": "hello", "length": 5,
    });
    assert_eq!(got.json(), expect);
}

#[test]
fn a_connection_is_kept_and_pipelined_requests_are_answered_in_order() {
    let house = house(limits());
    let mut client = house.client();
    for n in 0..20 {
        assert_eq!(client.ask(&get(&format!("/{n}"))).json()["path"], format!("/{n}"));
    }
    let all: String = (0..20)
        .map(|n| match n % 3 {
            0 => get(&format!("/{n}")),
            1 => format!("POST /{n} HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc\r\n"),
            _ => format!("POST /{n} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
        })
        .collect();
    client.send(all);
    for n in 0..20 {
        let got = client.answer().json();
        assert_eq!((&got["path"], &got["length"]), (&format!("/{n}").into(), &(if n % 3 == 0 { 0 } else { 3 }).into()));
    }
    assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").field("Connection"), Some("close"));
    client.assert_end();
}

#[test]
fn bytes_may_come_one_by_one() {
    let house = house(limits());
    let mut client = house.client();
    for byte in b"POST /drip HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n" {
        client.send([*byte]);
    }
    assert_eq!(client.answer().json()["body"], "abc");
}

#[test]
fn what_is_not_http_is_refused_once_and_the_connection_ends() {
    let house = house(limits());
    let head = |fields: &str| {
        format!("POST /x HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
    };
    for (request, status) in [
        (head("Content-Length: 5\r\nContent-Length: 6"), 400),
        (head("Content-Length: 5, 5"), 400),
        (head("Content-Length: +5"), 400),
        (head("Content-Length: -1"), 400),
        (head("Content-Length: abc"), 400),
        (head("Content-Length: 18446744073709551616"), 413),
        (head("Content-Length: 18446744073709551615"), 413),
        (head("Content-Length: 1000000000000000000"), 413),
        (head("Content-Length: 200000000"), 413),
        (head("Content-Length: 65537"), 413),
        (head("Transfer-Encoding: gzip, chunked"), 501),
        (head("Transfer-Encoding: identity"), 501),
        (head("Transfer-Encoding: chunked\r\nContent-Length: 3"), 400),
        (head("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), 501),
        (head("Transfer-Encoding: chunked"), 400),
        (head("X: a\nY: b"), 400),
        (head("X: a\rY: b"), 400),
        (head("X: a\r\n folded"), 400),
        (head("X: \u{e4}"), 400),
        (head("X : a"), 400),
        (head("Host: y"), 400),
        (head("Expect: something"), 417),
        ("GET / HTTP/1.1\r\n\r\n".into(), 400),
        ("GET / HTTP/2.0\r\nHost: x\r\n\r\n".into(), 505),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), 505),
        ("GET /\r\n".into(), 400),
        ("GET / HTTP/0.9\r\n\r\n".into(), 505),
        ("\u{16}\u{3}\u{1}\u{0}\u{a5}\u{1}\n".into(), 400),
        (format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(3000)), 414),
        (format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "a: b\r\n".repeat(100)), 431),
        (format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "a".repeat(9000)), 431),
    ] {
        let mut client = house.client();
        client.send(&request);
        let got = client.answer();
        assert_eq!(got.status, status, "{request}");
        assert_eq!(got.field("Connection"), Some("close"), "{request}");
        assert!(got.json()["error"].is_string(), "{request}");
        client.assert_end();
    }
    assert_eq!(house.world.seen.load(Ordering::SeqCst), 0);
    house.assert_healthy();
}

#[test]
fn unknown_methods_are_the_handlers_to_refuse() {
    let house = house(limits());
    for method in ["DELETE", "PATCH", "brew", "M-SEARCH"] {
        let got = house.client().ask(&format!("{method} /x HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert_eq!(got.json()["method"], method);
    }
}

#[test]
fn head_is_answered_without_a_body_and_the_connection_stays_in_step() {
    let house = house(limits());
    let mut client = house.client();
    for path in ["/x", "/register?format=backup&n=100", "/register?format=backup&n=100000"] {
        client.send(format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert_eq!(client.try_answer(true).unwrap().status, 200);
        assert_eq!(client.ask(&get("/next")).json()["path"], "/next");
    }
}

#[test]
fn http_1_0_gets_a_length_or_the_connections_end() {
    let house = house(limits());
    let mut client = house.client();
    let got = client.ask("GET /x HTTP/1.0\r\n\r\n");
    assert_eq!((got.status, got.field("Connection")), (200, Some("close")));
    client.assert_end();

    let mut client = house.client();
    let got = client.ask("GET /register?format=backup&n=1000 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!((got.field("Content-Length"), got.field("Connection")), (Some("1000"), Some("keep-alive")));
    let got = client.ask("GET /register?format=backup&n=1000000 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!((got.field("Transfer-Encoding"), got.body.len()), (None, 1_000_000));
    client.assert_end();
}

#[test]
fn answers_of_every_length_arrive_whole() {
    let house = house(limits());
    let mut client = house.client();
    for n in [0, 1, 1023, 1024, 1025, 32_768, 65_535, 65_536, 1_000_000] {
        let got = client.ask(&get(&format!("/big?n={n}")));
        assert_eq!((got.field("Content-Length"), got.body.len()), (Some(n.to_string().as_str()), n));
        for path in ["/register", "/stream"] {
            let got = client.ask(&get(&format!("{path}?n={n}")));
            assert_eq!((got.body.len(), got.field("Content-Length").is_some()), (n, n <= 65_536), "{path} {n}");
            assert!(got.body.iter().all(|it| *it == b'y'));
        }
    }
}

#[test]
fn a_half_closed_client_still_gets_its_answers() {
    let house = house(limits());
    let mut client = house.client();
    client.send(get("/one") + &get("/two"));
    client.stream.shut();
    assert_eq!(client.answer().json()["path"], "/one");
    assert_eq!(client.answer().json()["path"], "/two");
    client.assert_end();
}

#[test]
fn small_bodies_with_expect_are_asked_for() {
    let house = house(limits());
    let mut client = house.client();
    client.send("POST /x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    assert_eq!(client.answer().status, 100);
    client.send("abc");
    assert_eq!(client.answer().json()["body"], "abc");
}

#[test]
fn a_panic_costs_one_answer_and_no_worker() {
    let house = house(limits());
    let mut client = house.client();
    for path in ["/panic", "/panic", "/panic", "/panic", "/panic"] {
        let got = client.ask(&get(path));
        assert_eq!(got.status, 500);
        assert!(got.json()["error"].is_string());
    }
    for path in ["/cmd/panic", "/cmd/forget"] {
        assert_eq!(client.ask(&post(path, "good", "")).status, 500, "{path}");
    }
    house.assert_healthy();
}
