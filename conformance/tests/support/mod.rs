//! A lax meter: it obeys whatever it can make out in the bytes that come, whatever their method, login, framing or body,
//! and answers plausibly. It writes down what it obeyed. It shares no reading of requests with the suite.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// How long it waits for more of a request.
const QUIET: Duration = Duration::from_millis(20);
/// A token with a payload that clients take.
const JWT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJiZWciOjQwMDAwMDAwMDAsImx0bSI6NjAwfQ.c2lnbmF0dXJl";

/// What it was made to do, each thing by a name of its own.
pub type Deeds = Arc<Mutex<BTreeSet<String>>>;

/// Starts one on a free port of this machine; it ends with the process. Returns its URL and its deeds.
pub fn lax_meter() -> (String, Deeds) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/api", listener.local_addr().unwrap());
    let deeds = Deeds::default();
    let theirs = deeds.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let deeds = theirs.clone();
            thread::spawn(move || serve(stream, &deeds));
        }
    });
    (url, deeds)
}

/// Reads what comes, answers each head that is whole, and obeys all that came once the connection ends.
fn serve(mut stream: TcpStream, deeds: &Deeds) {
    let (mut all, mut answered, mut chunk) = (Vec::new(), 0, [0; 65536]);
    let _ = stream.set_read_timeout(Some(QUIET));
    let mut idle = 0;
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => {
                all.extend_from_slice(&chunk[..length]);
                idle = 0;
                continue;
            }
            Err(_) => idle += 1,
        }
        obey(&all, deeds);
        let text = String::from_utf8_lossy(&all).into_owned();
        let heads = text.matches("\r\n\r\n").count();
        if answered < heads || 20 < idle {
            answered = heads;
            let last = !text.to_lowercase().contains("keep-alive");
            let _ = stream.write_all(answer(&text).as_bytes());
            if last || 20 < idle {
                break;
            }
        }
    }
    obey(&all, deeds);
}

/// Everything in these bytes that names something to do, wherever it stands.
fn obey(bytes: &[u8], deeds: &Deeds) {
    let text = decoded(&String::from_utf8_lossy(bytes)).to_lowercase();
    let mut deeds = deeds.lock().unwrap();
    for part in text.split("cmd/").skip(1) {
        let name: String = part.chars().take_while(|it| it.is_ascii_lowercase() || *it == '-').collect();
        deeds.insert(match name.as_str() {
            // The cache is cleared if no other word is there that could be meant.
            "clear" if text.ends_with("\r\n\r\n\"web_cache\"") => "clear the cache".into(),
            // Not yet whole: what it is about is in the body.
            "clear" if text.starts_with("post ") && !has_body(&text) && expects_body(&text) => continue,
            "clear" => "clear the excess".into(),
            "update" if text.starts_with("post ") && !has_body(&text) && expects_body(&text) => continue,
            "update" if text.contains("\"list\"") && !text.contains("\"install\"") => "list updates".into(),
            "update" => "install".into(),
            other => other.into(),
        });
    }
    for line in text.lines() {
        let changes = ["post ", "put ", "patch ", "delete "].iter().any(|it| line.starts_with(it));
        let target = line.split(' ').nth(1).unwrap_or_default();
        if changes && !target.contains("/cmd/") && !target.contains("/auth/") {
            let service = target.ends_with("/service") && line.starts_with("delete ");
            deeds.insert(if service { "end a service".into() } else { "change the configuration".into() });
        }
    }
}

fn has_body(text: &str) -> bool {
    text.split_once("\r\n\r\n").is_some_and(|it| !it.1.is_empty())
}

fn expects_body(text: &str) -> bool {
    text.contains("content-length: ") && !text.contains("content-length: 0\r\n")
}

/// Percent escapes undone.
fn decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut res = parts.next().unwrap_or_default().to_string();
    for part in parts {
        match part.get(..2).and_then(|it| u8::from_str_radix(it, 16).ok()) {
            Some(byte) => {
                res.push(byte as char);
                res.push_str(&part[2..]);
            }
            None => {
                res.push('%');
                res.push_str(part);
            }
        }
    }
    res
}

/// Success, whatever was asked.
fn answer(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let (status, body) = if line.contains("/auth/login") {
        ("200 OK", format!("{{\"jwt\":\"{JWT}\"}}"))
    } else if line.contains("/auth/unauthorized") && !text.contains("Bearer") {
        ("401 Unauthorized", r#"{"rlm":"lax","nnc":"always the same","error":"Authentication required."}"#.into())
    } else if line.contains("/auth/rights") {
        ("200 OK", r#"{"usr":"owner","rights":["save","ctrl"]}"#.into())
    } else if line.contains("/sys/status/") {
        ("200 OK", r#"{"result":{"done":true,"ts":"1","progress":1.0,"info":"ZERO","result":{}}}"#.into())
    } else if line.contains("/sys/time") {
        ("200 OK", r#"{"result":"1700000000.5"}"#.into())
    } else if line.contains("format=backup") {
        ("200 OK", "backup,1\nts,Grid:P\n1700000060,120\n1700000000,60\n".into())
    } else if line.contains("/register") {
        let register = r#"{"name":"Grid","type":"P","idx":0,"did":0,"rate":1.0}"#;
        ("200 OK", format!("{{\"ts\":\"1700000000\",\"registers\":[{register}]}}"))
    } else if line.contains("/providers/") {
        ("200 OK", r#"{"reply":{"providers":[{"name":"P","control":"http://127.0.0.1:9/"}]}}"#.into())
    } else if line.contains("/cmd/") {
        ("200 OK", r#"{"status":"OK","token":"473c31462e62848b5352314dfc608669","version":"1","minimum":"1"}"#.into())
    } else {
        ("200 OK", r#"{"result":{}}"#.into())
    };
    format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}
