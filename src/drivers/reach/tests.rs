//! Ways out against servers on loopback that play a part; real counterparts are in `tests/counterparts`.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;

use socket2::{Domain, Socket, Type};

use super::testing::{AT_ONCE, Person, bench, http, server};
use super::*;

#[test]
fn a_lookout_ends_with_either_side() {
    let person = Person::default();
    let look = person.look();
    assert_eq!(look.check(), Ok(()));
    assert_eq!(look.until(Duration::ZERO).check(), Err(Stop::Late));
    assert!(look.until(Duration::from_secs(999)).deadline == look.deadline);
    person.0.store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(look.check(), Err(Stop::Cancelled));
}

#[test]
fn what_is_not_allowed_is_not_connected_to() {
    let person = Person::default();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let strict = Reach::new(&Config::default());
    for host in ["127.0.0.1", "localhost", "[::1]", "::ffff:127.0.0.1", "0.0.0.0"] {
        let res = strict.connect(host, addr.port(), &person.look());
        assert!(matches!(res, Err(ReachError::Forbidden { .. })), "{host}: {:?}", res.err());
    }
    assert!(matches!(strict.connect_to(addr, &person.look()), Err(ReachError::Forbidden { .. })));
    let res = strict.agent(&person.look()).send(HttpRequest::get(&format!("http://{addr}/")));
    assert!(matches!(res, Err(ReachError::Forbidden { .. })), "{:?}", res.err());
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err());
    assert!(bench().connect("127.0.0.1", addr.port(), &person.look()).is_ok());
}

#[test]
fn a_closed_port_is_refused() {
    let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let res = bench().connect_to(addr, &Person::default().look());
    assert!(matches!(res, Err(ReachError::Refused(it)) if it == addr), "{:?}", res.err());
}

#[test]
fn the_next_address_is_tried() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let wire = connect::first(&[closed, addr], &Person::default().look()).unwrap();
    assert_eq!(wire.peer(), addr);
}

/// An address where nothing answers: a listener whose queue is full drops what comes.
fn silent() -> (Socket, Vec<Socket>, SocketAddr) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let addr = listener.local_addr().unwrap();
    let fill = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        let _ = socket.connect(&addr);
        socket
    };
    let queue = (0..4).map(|_| fill()).collect();
    (listener, queue, addr.as_socket().unwrap())
}

#[test]
fn a_silent_address_is_given_up() {
    let (_listener, _queue, addr) = silent();
    let person = Person::default();
    let res = connect::open(addr, Duration::from_millis(200), &person.look());
    assert!(matches!(res, Err(ReachError::Timeout(it)) if it == addr), "{:?}", res.err());
    let look = Lookout::new(&person, Duration::from_millis(200));
    assert!(matches!(bench().connect_to(addr, &look), Err(ReachError::Stopped(Stop::Late))));
    let (res, late) = person.cancel(|look| bench().connect_to(addr, look));
    assert!(matches!(res, Err(ReachError::Stopped(Stop::Cancelled))) && late < AT_ONCE, "{:?} {late:?}", res.err());
}

#[test]
fn a_wire_reads_and_writes_until_the_end() {
    let addr = server(|mut stream| {
        let mut word = [0; 5];
        stream.read_exact(&mut word).unwrap();
        stream.write_all(&word).unwrap();
    });
    let person = Person::default();
    let look = person.look();
    let mut wire = bench().connect_to(addr, &look).unwrap();
    assert!(wire.is_idle() && !wire.is_encrypted());
    wire.write_all(b"hello", &look).unwrap();
    let mut got = Vec::new();
    wire.with(&look).read_to_end(&mut got).unwrap();
    assert_eq!(got, b"hello");
    assert!(!wire.is_idle());
}

#[test]
fn reading_writing_and_handshakes_can_be_cancelled() {
    // Reads nothing and says nothing, but is there.
    let addr = server(std::mem::forget);
    for step in ["read", "write", "encrypt", "http"] {
        let person = Person::default();
        let (res, late) = person.cancel(|look| {
            let mut wire = bench().connect_to(addr, look)?;
            match step {
                "read" => wire.read(&mut [0; 9], look).map(drop),
                "write" => loop {
                    wire.write_all(&[0; 65536], look)?;
                },
                "encrypt" => bench().encrypt(wire, "localhost", look).map(drop),
                _ => bench().agent(look).send(HttpRequest::get(&format!("http://{addr}/"))).map(drop),
            }
        });
        assert!(matches!(res, Err(ReachError::Stopped(Stop::Cancelled))), "{step}: {res:?}");
        assert!(late < AT_ONCE, "{step}: {late:?}");
    }
}

#[test]
fn what_is_no_tls_is_told_as_such() {
    let addr = server(|mut stream| drop(stream.write_all(b"220 mail.example.test ESMTP at your service\r\n")));
    let person = Person::default();
    let wire = bench().connect_to(addr, &person.look()).unwrap();
    let res = bench().encrypt(wire, "localhost", &person.look());
    assert!(matches!(res, Err(ReachError::Tls(TlsFault::NotTls))), "{:?}", res.err());
}

#[test]
fn roots_that_are_of_no_use_are_named() {
    let path = std::env::temp_dir().join(format!("meterd-roots-{}", random::name()));
    fs::write(&path, "no certificate\n").unwrap();
    let tls = crate::config::Tls { ca_file: Some(path.clone()) };
    let reach = Reach::new(&Config { tls, ..Config::bench() });
    let addr = server(std::mem::forget);
    let person = Person::default();
    let wire = reach.connect_to(addr, &person.look()).unwrap();
    let text = reach.encrypt(wire, "localhost", &person.look()).err().unwrap().to_string();
    assert!(text.contains("tls.ca_file") && text.contains("no usable certificate"), "{text}");
    fs::remove_file(&path).unwrap();
}

/// What a request to a server with these rules ends in.
#[track_caller]
fn check(request: impl Fn(SocketAddr) -> HttpRequest<'static>, reply: &'static str, expect: &str) {
    let addr = http(move |head| match head {
        it if it.starts_with("GET /end") => "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nend".into(),
        it if it.starts_with("POST /end") => {
            let body = it.split("\r\n\r\n").nth(1).unwrap_or_default();
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        }
        _ => reply.into(),
    });
    let person = Person::default();
    let look = person.look();
    let agent = bench().agent(&look).with_plain_http();
    let got = agent.send(request(addr)).and_then(|mut reply| {
        let body = reply.bytes(20)?;
        Ok(format!("{} {}", reply.status, String::from_utf8_lossy(&body)))
    });
    let got = got.unwrap_or_else(|err| err.to_string());
    assert!(got.contains(expect), "{got}\nexpected {expect}");
}

#[test]
fn answers_are_read_whole_or_not_at_all() {
    let get = |addr: SocketAddr| HttpRequest::get(&format!("http://{addr}/x"));
    check(get, "HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno", "404 no");
    check(get, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "200 abc");
    check(get, "HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n", "longer than 20 bytes");
    check(get, "HTTP/1.0 200 OK\r\n\r\n123456789012345678901", "longer than 20 bytes");
    check(get, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "too early");
    check(get, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab", "too early");
    check(get, "HTTP/1.1 200", "too early");
    check(get, "SSH-2.0-x\r\n\r\n", "no proper HTTP");
    check(get, "", "too early");
}

#[test]
fn redirects_are_followed_by_our_rules() {
    let get = |addr: SocketAddr| HttpRequest::get(&format!("http://{addr}/a/x")).following();
    let post = |addr: SocketAddr| HttpRequest::post_json(&format!("http://{addr}/x"), b"{\"a\":1}").following();
    check(get, "HTTP/1.1 302 Go\r\nLocation: /end\r\nContent-Length: 0\r\n\r\n", "200 end");
    check(get, "HTTP/1.1 302 Go\r\nLocation: ../end\r\nContent-Length: 3\r\n\r\nabc", "200 end");
    check(post, "HTTP/1.1 307 Go\r\nLocation: /end\r\nContent-Length: 0\r\n\r\n", "200 {\"a\":1}");
    check(post, "HTTP/1.1 303 Go\r\nLocation: /end\r\nContent-Length: 0\r\n\r\n", "200 end");
    check(get, "HTTP/1.1 302 Go\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", "more than 5 redirects");
    check(get, "HTTP/1.1 302 Go\r\nLocation: ftp://x/\r\nContent-Length: 0\r\n\r\n", "only https and http");
    check(get, "HTTP/1.1 302 Go\r\nLocation: http://169.254.1.1/\r\nContent-Length: 0\r\n\r\n", "link-local");
    check(get, "HTTP/1.1 302 Go\r\nContent-Length: 0\r\n\r\n", "302 ");
    let plain = |addr: SocketAddr| HttpRequest::get(&format!("http://{addr}/x"));
    check(plain, "HTTP/1.1 302 Go\r\nLocation: /end\r\nContent-Length: 0\r\n\r\n", "302 ");
}

#[test]
fn plain_http_is_for_benches() {
    let addr = http(|_| "HTTP/1.1 302 Go\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n".into());
    let person = Person::default();
    let look = person.look();
    let agent = bench().agent(&look);
    assert_eq!(agent.send(HttpRequest::get(&format!("http://{addr}/"))).unwrap().status, 302);
    let res = agent.send(HttpRequest::get(&format!("http://{addr}/")).following());
    assert!(matches!(res, Err(ReachError::NotSecure(_))), "{:?}", res.err());
    // Nothing is sent there, so it does not matter whose address it is.
    let res = agent.send(HttpRequest::get("http://192.0.2.1/"));
    assert!(matches!(res, Err(ReachError::NotSecure(_))), "{:?}", res.err());
}

#[test]
fn an_endless_head_ends() {
    let addr = server(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        while stream.write_all(b"X-More: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n").is_ok() {}
    });
    let person = Person::default();
    let look = person.look();
    let res = bench().agent(&look).send(HttpRequest::get(&format!("http://{addr}/")));
    assert!(matches!(res, Err(ReachError::TooLarge(_) | ReachError::Http(_))), "{:?}", res.err());
    assert!(look.check().is_ok());
}
