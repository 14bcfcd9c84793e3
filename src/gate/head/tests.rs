use super::*;

fn outcome(input: &[u8]) -> String {
    match parse(input, &Limits::default()) {
        Parsed::More => "more".into(),
        Parsed::Refused(it) => it.status().to_string(),
        Parsed::Head(head) => {
            let keep = if head.keep_alive { "keep" } else { "close" };
            format!("{} {} {:?} {keep}", head.method, head.target, head.framing)
        }
    }
}

#[track_caller]
fn check(input: &str, expect: &str) {
    let input = input.as_bytes();
    assert_eq!(outcome(input), expect);
    // Whatever the cut, the first outcome that is not "more" is the last.
    let first = (0..=input.len()).map(|cut| outcome(&input[..cut])).find(|it| it != "more");
    assert_eq!(first.as_deref().unwrap_or("more"), expect);
}

#[test]
fn plain_heads_are_understood() {
    check("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "GET / Length(0) keep");
    check("GET /a?b={c}|^ HTTP/1.1\r\nhost:x\r\nConnection: Close\r\n\r\n", "GET /a?b={c}|^ Length(0) close");
    check("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length:  007\t\r\n\r\n", "POST /a Length(7) keep");
    check("POST /a HTTP/1.1\r\nHost:\r\nTransfer-Encoding: Chunked\r\n\r\n", "POST /a Chunked keep");
    check("GET / HTTP/1.0\r\n\r\n", "GET / Length(0) close");
    check("GET / HTTP/1.0\r\nConnection: x, keep-alive\r\n\r\n", "GET / Length(0) keep");
    check("GET HTTP://x:80/a?b HTTP/1.1\r\nHost: x\r\n\r\n", "GET /a?b Length(0) keep");
    check("brew /pot HTTP/1.1\r\nHost: x\r\n\r\n", "brew /pot Length(0) keep");
    check("GET / HTTP/1.1\r\nHost: x\r\n", "more");
}

#[test]
fn bodies_have_one_length_or_one_coding() {
    let head = |fields: &str| format!("POST /a HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n");
    for (fields, expect) in [
        ("Content-Length: 5\r\nContent-Length: 5", "400"),
        ("Content-Length: 5\r\nContent-Length: 6", "400"),
        ("Content-Length: 5, 5", "400"),
        ("Content-Length: +5", "400"),
        ("Content-Length: -1", "400"),
        ("Content-Length: 0x5", "400"),
        ("Content-Length: 5 5", "400"),
        ("Content-Length: \u{c}5", "400"),
        ("Content-Length: abc", "400"),
        ("Content-Length:", "400"),
        ("Content-Length: 18446744073709551615", "POST /a Length(18446744073709551615) keep"),
        ("Content-Length: 18446744073709551616", "413"),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", "400"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", "400"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "501"),
        ("Transfer-Encoding: chunked, chunked", "501"),
        ("Transfer-Encoding: gzip, chunked", "501"),
        ("Transfer-Encoding: identity", "501"),
        ("Transfer-Encoding: xchunked", "501"),
        ("Transfer-Encoding:", "501"),
        ("Transfer-Encoding : chunked", "400"),
        ("Content-Length : 5", "400"),
        ("Content_Length: 5", "POST /a Length(0) keep"),
    ] {
        let text = head(fields);
        assert_eq!(outcome(text.as_bytes()), expect, "{fields}");
    }
    assert_eq!(outcome(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), "400");
}

#[test]
fn malformed_heads_are_refused() {
    for (input, expect) in [
        ("\r\n\r\n", "400"),
        ("GET /\r\n\r\n", "400"),
        ("GET / HTTP/0.9\r\n\r\n", "505"),
        ("GET / HTTP/2.0\r\nHost: x\r\n\r\n", "505"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505"),
        ("GET / HTTP/1.2\r\nHost: x\r\n\r\n", "505"),
        ("GET / http/1.1\r\nHost: x\r\n\r\n", "400"),
        ("GET / HTTP/1.1 \r\nHost: x\r\n\r\n", "400"),
        ("GET  / HTTP/1.1\r\nHost: x\r\n\r\n", "400"),
        (" GET / HTTP/1.1\r\nHost: x\r\n\r\n", "400"),
        ("GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n", "400"),
        ("G(T / HTTP/1.1\r\nHost: x\r\n\r\n", "400"),
        ("GET http://x HTTP/1.1\r\nHost: x\r\n\r\n", "400"),
        ("GET http://x?y HTTP/1.1\r\nHost: x\r\n\r\n", "400"),
        ("GET http:///y HTTP/1.1\r\nHost: x\r\n\r\n", "400"),
        ("GET https://x/ HTTP/1.1\r\nHost: x\r\n\r\n", "400"),
        ("GET http://\u{e4}/ HTTP/1.1\r\nHost: x\r\n\r\n", "400"),
        ("GET http://x\t/ HTTP/1.1\r\nHost: x\r\n\r\n", "400"),
        ("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "400"),
        ("GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n", "400"),
        ("GET /\u{e4} HTTP/1.1\r\nHost: x\r\n\r\n", "400"),
        ("GET / HTTP/1.1\nHost: x\n\n", "400"),
        ("GET / HTTP/1.1\r\nHost: x\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: x\rY: z\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: x\r\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: x\r\n Y: z\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: x\r\n\tfolded\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", "400"),
        ("GET / HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: x\r\nnocolon\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: x\r\n: empty\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: x\r\nA: \u{1}\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: x\r\nA:\u{c}b\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: x\r\nA: \u{e4}\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: x\r\nExpect: tea\r\n\r\n", "417"),
        ("GET / HTTP/1.1\r\nHost: x\r\nAuthorization: a\r\nAuthorization: a\r\n\r\n", "400"),
        ("\u{16}\u{3}\u{1}\u{2}garbage\n", "400"),
    ] {
        check(input, expect);
    }
}

#[test]
fn sizes_are_bounded() {
    check(&format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(2047)), &{
        format!("GET /{} Length(0) keep", "a".repeat(2047))
    });
    check(&format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(2048)), "414");
    check(&"a".repeat(8191), "more");
    check(&"a".repeat(8192), "431");
    let fields = |n: usize| format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "a:b\r\n".repeat(n));
    check(&fields(63), "GET / Length(0) keep");
    check(&fields(64), "431");
}

#[test]
fn a_preference_counts_wherever_it_stands() {
    for (fields, expect) in [
        ("Prefer: respond-async", true),
        ("Prefer: wait=5, Respond-Async\r\nPrefer: x", true),
        ("Prefer: return=minimal", false),
        ("X-Meter-Prefer: respond-async", false),
    ] {
        let text = format!("POST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n");
        let Parsed::Head(head) = parse(text.as_bytes(), &Limits::default()) else { panic!("{fields}") };
        assert_eq!(head.respond_async, expect, "{fields}");
    }
}

#[test]
fn the_token_is_taken_from_bearer_alone() {
    for (field, expect) in [
        ("Authorization: Bearer abc.def", Some("abc.def")),
        ("authorization: bEARER   abc", Some("abc")),
        ("Authorization: Basic abc", None),
        ("Authorization: Bearer", None),
        ("Authorization: Bearer a b", None),
        ("Authorization:", None),
    ] {
        let text = format!("GET / HTTP/1.1\r\nHost: x\r\n{field}\r\n\r\n");
        let Parsed::Head(head) = parse(text.as_bytes(), &Limits::default()) else { panic!("{field}") };
        assert_eq!(head.bearer.as_deref(), expect, "{field}");
    }
}

#[test]
fn only_one_forwarded_proto_counts_and_the_last_forwarded_for() {
    let head = |fields: &str| {
        let text = format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n");
        let Parsed::Head(head) = parse(text.as_bytes(), &Limits::default()) else { panic!("{fields}") };
        (head.forwarded_https, head.forwarded_for)
    };
    assert_eq!(head("X-Forwarded-Proto: https"), (true, None));
    assert_eq!(head("X-Forwarded-Proto: http"), (false, None));
    assert!(!head("X-Forwarded-Proto: https\r\nX-Forwarded-Proto: https").0);
    let last = head("X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2, 3.3.3.3").1;
    assert_eq!(last.as_deref(), Some("2.2.2.2, 3.3.3.3"));
}
