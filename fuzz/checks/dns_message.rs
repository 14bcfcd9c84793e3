//! Whatever a name server sends: reading it ends, does not panic, and what is read keeps to the limits of the DNS.

use meterd::drivers::reach::dns::message::{BadAnswer, Data, Kind, Name, answer, question};

/// See the module.
pub fn check(data: &[u8]) {
    // The first byte says what was asked for; the rest is the answer as it came.
    let Some((&first, bytes)) = data.split_first() else { return };
    let kind = [Kind::A, Kind::Aaaa, Kind::Mx][usize::from(first) % 3];
    let name = Name::parse("host.example.test").unwrap();
    let id = bytes.first_chunk().map_or(0, |it| u16::from_be_bytes(*it));
    let as_it_came = answer(bytes, id, &name, kind);
    assert!(answer(bytes, id ^ 1, &name, kind) == Err(BadAnswer::Foreign), "another number's answer was taken");
    drop(as_it_came);
    // The records alone, behind a header and a question that fit, so that the fuzzer need not find these first.
    let mut message = question(7, &name, kind);
    message[2] = 0x81;
    message[7] = first;
    message.extend(bytes);
    let Ok(read) = answer(&message, 7, &name, kind) else { return };
    assert!(read.code == 0 && !read.truncated && read.records.len() <= usize::from(first));
    for (owner, data) in &read.records {
        promise(owner);
        match (data, kind) {
            (Data::Alias(target), _) | (Data::MailHost(_, target), Kind::Mx) => promise(target),
            (Data::Address(addr), Kind::A) => assert!(addr.is_ipv4()),
            (Data::Address(addr), Kind::Aaaa) => assert!(addr.is_ipv6()),
            _ => panic!("{data:?} for {kind:?}"),
        }
    }
}

/// A name as text is bounded, printable, and, if a host can have it, the same when it is parsed again.
fn promise(name: &Name) {
    let text = name.to_string();
    assert!(!text.is_empty() && text.len() <= 4 * 255 && text.bytes().all(|it| it.is_ascii_graphic()), "{text:?}");
    if let Some(host) = name.host() {
        assert!(host.len() <= 253 && Name::parse(&host).as_ref() == Some(name), "{host:?}");
    }
}
