//! Downloads from a server on loopback that has every fault of a mirror; a real one is in `tests/counterparts`.

use std::net::TcpStream;
use std::sync::Mutex;

use super::super::testing::{Person, TempDir, image, server};
use super::*;
use crate::config::Config;

/// The longest time from a cancellation to its effect: 250 ms are owed, and a busy machine needs some more.
const AT_ONCE: Duration = Duration::from_millis(1500);

fn content() -> Vec<u8> {
    (0..100_000u32).map(|it| b'a' + (it % 23) as u8).collect()
}

struct Bench {
    dir: TempDir,
    folder: Folder,
    image: Image,
    person: Person,
}

impl Bench {
    fn new() -> Bench {
        let dir = TempDir::new();
        let folder = Folder::open(&dir.0).unwrap();
        Bench { dir, folder, image: image("fw.bin", &content()), person: Person::default() }
    }

    fn fetch(&self, url: &str, patience: u64) -> Result<(), Failure> {
        let reach = Reach::new(&Config::bench());
        let (patience, stall) = (Duration::from_secs(patience), Duration::from_secs(2));
        let fetch = Fetch { reach: &reach, url: url.into(), patience, stall, on_progress: &|_| {} };
        super::fetch(&fetch, &self.image, &self.folder, &self.person.look())
    }

    fn stored(&self) -> Option<Vec<u8>> {
        std::fs::read(self.dir.0.join("update/image/fw.bin")).ok()
    }

    #[track_caller]
    fn check_whole(&self, res: Result<(), Failure>) {
        assert!(res.is_ok(), "{res:?}");
        assert!(self.stored() == Some(content()));
    }
}

/// What of a range request the server is to know: the first byte.
fn first_byte(head: &str) -> Option<usize> {
    head.split("range: bytes=").nth(1)?.split('-').next()?.parse().ok()
}

/// A well-behaved answer, with `cut` bytes of the body at most.
fn answer(stream: &mut TcpStream, head: &str, cut: usize) {
    let all = content();
    let first = first_byte(head).unwrap_or(0);
    let status = match first_byte(head) {
        Some(first) => format!("206 Partial\r\nContent-Range: bytes {first}-{}/{}", all.len() - 1, all.len()),
        None => "200 OK".into(),
    };
    let length = all.len() - first;
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nETag: \"v1\"\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(&all[first..all.len().min(first.saturating_add(cut))]);
}

fn plain(stream: &mut TcpStream, status: &str, body: &[u8]) {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(body);
}

#[test]
fn a_lost_link_is_taken_up_where_it_broke_off() {
    let bench = Bench::new();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    let url = server(move |stream, head, _| {
        seen.lock().unwrap().push(head.to_owned());
        answer(stream, head, 40_000);
    });
    bench.check_whole(bench.fetch(&url, 10));
    let heads = heads.lock().unwrap();
    let ranges: Vec<_> = heads.iter().map(|it| first_byte(it)).collect();
    assert_eq!(ranges, [None, Some(40_000), Some(80_000)]);
    assert!(heads[1..].iter().all(|it| it.contains("if-range: \"v1\"")), "{heads:?}");
}

#[test]
fn what_an_earlier_run_has_fetched_is_not_fetched_again() {
    let bench = Bench::new();
    bench.folder.draft(&bench.image).unwrap().file.write_all(&content()[..70_000]).unwrap();
    bench.folder.note_validator(&bench.image, Some("\"v1\"")).unwrap();
    let url = server(|stream, head, _| match first_byte(head) {
        Some(70_000) if head.contains("if-range: \"v1\"") => answer(stream, head, usize::MAX),
        _ => plain(stream, "500 Wrong question", b""),
    });
    bench.check_whole(bench.fetch(&url, 0));
    // And what is whole needs no server at all.
    bench.check_whole(bench.fetch("http://127.0.0.1:1/", 0));
}

#[test]
fn servers_that_send_the_whole_instead_of_a_range_are_understood() {
    for status in ["200 OK", "200 If-Range was stale"] {
        let bench = Bench::new();
        bench.folder.draft(&bench.image).unwrap().file.write_all(&content()[..70_000]).unwrap();
        let url = server(move |stream, _, _| plain(stream, status, &content()));
        bench.check_whole(bench.fetch(&url, 0));
    }
}

#[test]
fn a_range_that_is_not_to_be_had_begins_anew() {
    let replies = ["416 Range\r\nContent-Range: bytes */5", "206 X\r\nContent-Range: bytes 5-9/10", "206 X"];
    for status in replies {
        let bench = Bench::new();
        bench.folder.draft(&bench.image).unwrap().file.write_all(&content()[..70_000]).unwrap();
        let url = server(move |stream, head, _| match first_byte(head) {
            Some(_) => plain(stream, status, b"wrong"),
            None => answer(stream, head, usize::MAX),
        });
        bench.check_whole(bench.fetch(&url, 10));
    }
}

#[test]
fn pieces_that_do_not_fit_are_fetched_anew_once() {
    let bench = Bench::new();
    bench.folder.draft(&bench.image).unwrap().file.write_all(&[b'?'; 70_000]).unwrap();
    let url = server(|stream, head, _| answer(stream, head, usize::MAX));
    bench.check_whole(bench.fetch(&url, 10));
}

#[test]
fn another_file_than_the_manifest_names_is_refused_and_removed() {
    let mut same_length = content();
    same_length[99_999] ^= 1;
    let bodies = [same_length, content()[..99_999].to_vec(), [content(), vec![b'x']].concat(), Vec::new()];
    for body in bodies {
        let bench = Bench::new();
        let url = server(move |stream, _, _| plain(stream, "200 OK", &body));
        assert!(matches!(bench.fetch(&url, 0), Err(Failure::WrongImage)));
        assert_eq!(bench.stored(), None);
    }
    // Without a length, it is the bytes that tell.
    let bench = Bench::new();
    let url = server(|stream, _, _| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
        let _ = stream.write_all(&[content(), content()].concat());
    });
    assert!(matches!(bench.fetch(&url, 0), Err(Failure::WrongImage)));
}

#[test]
fn a_refusal_ends_it_and_a_busy_server_is_asked_again() {
    for status in ["404 Not Found", "410 Gone", "401 Who", "302 Found\r\nLocation: /image"] {
        let bench = Bench::new();
        let url = server(move |stream, _, _| plain(stream, status, b""));
        let before = clock::boottime();
        assert!(matches!(bench.fetch(&url, 60), Err(Failure::Download(..))), "{status}");
        assert!(clock::boottime() - before < Duration::from_secs(10), "{status}");
    }
    for fault in ["503 Busy\r\nRetry-After: 1", "500 Oops", "429 Slowly\r\nRetry-After: soon", ""] {
        let bench = Bench::new();
        let url = server(move |stream, head, nth| match nth {
            0 if fault.is_empty() => {}
            0 => plain(stream, fault, b""),
            _ => answer(stream, head, usize::MAX),
        });
        bench.check_whole(bench.fetch(&url, 10));
    }
}

#[test]
fn a_connection_that_brings_nothing_any_more_is_given_up() {
    let bench = Bench::new();
    let url = server(|stream, head, nth| {
        answer(stream, head, if nth == 0 { 30_000 } else { usize::MAX });
        if nth == 0 {
            // Held open by a copy, so that the next connection can be served.
            std::mem::forget(stream.try_clone().unwrap());
        }
    });
    let before = clock::boottime();
    bench.check_whole(bench.fetch(&url, 30));
    let took = clock::boottime() - before;
    assert!(Duration::from_secs(2) <= took && took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn patience_ends() {
    let bench = Bench::new();
    let url = server(|stream, _, _| plain(stream, "503 Busy\r\nRetry-After: 1", b""));
    let before = clock::boottime();
    let res = bench.fetch(&url, 2);
    assert!(matches!(&res, Err(Failure::Download(_, why)) if why.contains("503")), "{res:?}");
    assert!(clock::boottime() - before < Duration::from_secs(15));
}

#[test]
fn a_cancelled_download_ends_at_once_and_keeps_what_it_has() {
    // In the middle of the body, before the head, and in a wait for the next attempt.
    for fault in ["body", "head", "wait"] {
        let bench = Bench::new();
        let url = server(move |stream, head, _| match fault {
            "body" => {
                answer(stream, head, 50_000);
                thread::sleep(Duration::from_secs(3));
            }
            "head" => thread::sleep(Duration::from_secs(3)),
            _ => plain(stream, "503 Busy\r\nRetry-After: 30", b""),
        });
        let person = bench.person.clone();
        let canceller = thread::spawn(move || {
            thread::sleep(Duration::from_millis(500));
            person.cancel.store(true, Ordering::Relaxed);
            clock::boottime()
        });
        let res = bench.fetch(&url, 60);
        let late = clock::boottime().saturating_sub(canceller.join().unwrap());
        assert!(matches!(res, Err(Failure::Cancelled)) && late < AT_ONCE, "{fault}: {res:?} after {late:?}");
        let expect = if fault == "body" { 50_000 } else { 0 };
        assert_eq!(bench.folder.bytes_of(&bench.image), expect, "{fault}");
    }
}

#[test]
fn ranges_are_read() {
    for (text, expect) in [
        ("bytes 5-9/10", Some((5, Some(10)))),
        ("bytes 5-9/*", Some((5, None))),
        ("bytes */10", None),
        ("5-9/10", None),
        ("bytes 5-9", None),
        ("bytes -5-9/10", None),
        ("bytes 5-9/x", None),
    ] {
        assert_eq!(parse_range(text), expect, "{text}");
    }
}
