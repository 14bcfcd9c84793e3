use super::*;

/// A reader that gives at most `step` bytes at a time.
struct Drip<'a>(&'a [u8], usize);

impl Read for Drip<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.1.min(self.0.len()).min(buf.len());
        buf[..n].copy_from_slice(&self.0[..n]);
        self.0 = &self.0[n..];
        Ok(n)
    }
}

fn run(body: &[u8], step: usize, max: u64) -> Result<(Members, Vec<u8>), String> {
    let mut data = Vec::new();
    let res = scan(&mut Drip(body, step), max, &mut |it| {
        data.extend_from_slice(it);
        Ok(())
    });
    res.map(|it| (it, data)).map_err(|err| err.to_string())
}

#[track_caller]
fn check(body: &str, expect: &str) {
    for step in [1, 2, 3, 7, 1000] {
        let got = match run(body.as_bytes(), step, 40) {
            Err(text) => format!("error: {text}"),
            Ok((members, data)) => {
                let show = |it: &Option<Vec<u8>>| {
                    it.as_ref().map_or("-".into(), |it| String::from_utf8_lossy(it).into_owned())
                };
                format!(
                    "{} {} {} {} {} {:?}",
                    show(&members.action),
                    show(&members.from),
                    show(&members.to),
                    show(&members.regs),
                    show(&members.more_chunks),
                    members.data.map(|_| String::from_utf8_lossy(&data).into_owned())
                )
            }
        };
        assert!(got.contains(expect), "step {step}: {got}\nexpected {expect}");
    }
}

#[test]
fn members_come_in_any_order() {
    check(r#"{"action":"zero","from":"1.5","to":"2","regs":[1, 2]}"#, r#""zero" "1.5" "2" [1, 2] - None"#);
    check(r#" { "data" : "aGk=" , "more_chunks":true,"action":"restore"} "#, r#""restore" - - - true Some("hi")"#);
    check(r#"{"data":"","action":"restore"}"#, r#"Some("")"#);
}

#[test]
fn nothing_is_no_members() {
    for body in ["", "  ", "null", "{}", " { } "] {
        check(body, "- - - - - None");
    }
}

#[test]
fn escapes_in_names_and_data_are_decoded() {
    check(r#"{"d\u0061ta":"\u0061Gk\u003d"}"#, r#"Some("hi")"#);
    check(r#"{"data":"Pz8\/"}"#, r#"Some("???")"#);
}

#[test]
fn null_data_is_absent_data() {
    check(r#"{"data":null,"action":"zero"}"#, r#""zero" - - - - None"#);
}

#[test]
fn bad_bodies_are_refused_by_name() {
    check(r#"{"form":"1"}"#, "error: form: unknown member.");
    check(r#"{"from":"1","from":"2"}"#, "error: from: given more than once.");
    check(r#"{"data":"","data":null}"#, "error: data: given more than once.");
    check(r#"{"data":7}"#, "error: data: must be a string of base64.");
    check(r#"{"data":"a"}"#, "error: data: not base64");
    check(r#"{"data":"aGk"}"#, "error: data: not base64");
    check(r#"{"data":"aG=="}"#, "error: data: not base64");
    check(r#"{"data":"aGk=aGk="}"#, "error: data: not base64");
    check(r#"{"data":"aG\nk"}"#, "error: data: not base64");
    check(r#"{"data":"aGk\u0100"}"#, "error: data: not base64");
    check(&format!(r#"{{"data":"{}"}}"#, "AAAA".repeat(11)), "error: data: longer than 40 base64");
    check(r#"{"action":"zero""#, "error: The body ends before");
    check(r#"{"data":"aGk"#, "error: The body ends before");
    check(r#"["zero"]"#, "error: The body is not a JSON object: '{' expected.");
    check(r#"{"action":zero}"#, "error: The body is not a JSON object: a JSON value expected.");
    check(r#"{"action":"zero"}x"#, "nothing after the object");
    check(r#"{"action" "zero"}"#, "':' expected");
    check(r#"{"action":"zero" "to":"1"}"#, "a JSON value expected");
    check(r#"{,}"#, "a member's name");
    check(&format!(r#"{{"regs":[{}1]}}"#, "1,".repeat(8000)), "error: regs: longer than");
}

#[test]
fn padding_may_fall_on_any_block_boundary() {
    for len in [3071, 3072, 3073, 6143, 6144, 6145] {
        let data: Vec<u8> = (0..len).map(|it| (it % 251) as u8).collect();
        let body = format!(r#"{{"data":"{}"}}"#, STANDARD.encode(&data));
        let (members, got) = run(body.as_bytes(), 1000, 1 << 20).unwrap();
        assert_eq!(members.data, Some(len as u64));
        assert!(got == data, "length {len}");
    }
}
