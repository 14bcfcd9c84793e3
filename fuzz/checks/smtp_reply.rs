//! Whatever a mail server sends: lines and replies do not depend on how the bytes arrive, keep to their limits, and what
//! is shown of them is one line.

use meterd::drivers::smtp::reply::{Garbled, Reader, Reply};

/// Lines that one reply may have, and bytes of a line.
const LINES: usize = 100;
const LINE: usize = 2048;

/// See the module.
pub fn check(data: &[u8]) {
    // The first byte says how the rest is cut.
    let Some((&cut, bytes)) = data.split_first() else { return };
    let (whole, ended) = read(bytes.chunks(bytes.len().max(1)));
    assert_eq!((&whole, ended), (&read(bytes.chunks(usize::from(cut) + 1)).0, ended));
    for reply in &whole {
        promise(reply);
    }
}

/// The replies up to the first fault. A line that has no end yet is looked at when more comes, so that a long one may be
/// seen for what it is a piece earlier or later; that is not an outcome.
fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Reply>, Option<Garbled>) {
    let (mut reader, mut res) = (Reader::default(), Vec::new());
    for piece in pieces {
        reader.push(piece);
        loop {
            let line = match reader.line() {
                Ok(Some(line)) => line,
                Ok(None) => break,
                Err(garbled) => return (res, Some(garbled)),
            };
            assert!(line.len() <= 3 * LINE && !line.contains('\n'));
            match reader.add(&line) {
                Ok(reply) => res.extend(reply),
                Err(garbled) => return (res, Some(garbled)),
            }
        }
    }
    (res, None)
}

fn promise(reply: &Reply) {
    assert!((200..600).contains(&reply.code), "{}", reply.code);
    assert!((1..=LINES).contains(&reply.lines.len()));
    assert!(!(reply.is_good() && reply.is_transient()));
    let shown = reply.to_string();
    assert!(shown.starts_with(&reply.code.to_string()) && shown.chars().count() <= 310, "{shown}");
    assert!(!shown.contains(char::is_control), "{shown:?}");
    if let Some((subject, detail)) = reply.enhanced() {
        let class = reply.code / 100;
        let first = reply.lines[0].split_whitespace().next().unwrap_or_default();
        let parts: Vec<u16> = first.split('.').map(|it| it.parse().unwrap()).collect();
        assert_eq!(parts, [class, subject, detail]);
    }
}
