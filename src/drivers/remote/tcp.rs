//! Modbus over TCP: the header in front of each message (Modbus Messaging on TCP/IP V1.0b, 3.1.3). It is fed bytes and
//! knows no socket.

use super::frame::{Ask, FrameFault, Reply};

/// Bytes of the header: transaction, protocol, length, unit.
const HEADER: usize = 7;
/// Bytes of the longest message: the header and 253 bytes.
pub const LONGEST: usize = HEADER + 253;

/// How far the bytes of an answer have come.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded {
    /// It is not whole; so many bytes will make it so, as far as is known now.
    More(usize),
    /// A whole message of so many bytes, which answers an earlier request: to be passed over.
    Late(usize),
    /// A whole message of so many bytes, and what it says.
    Whole(usize, Reply),
}

/// The request as it goes over the wire, under the number `id`.
pub fn encode(id: u16, ask: &Ask) -> [u8; HEADER + 5] {
    let ([i, j], [a, b, c, d, e]) = (id.to_be_bytes(), ask.pdu());
    [i, j, 0, 0, 0, 6, ask.unit, a, b, c, d, e]
}

/// Reads the answer to the request number `id`, before which `earlier` requests were given up: their answers may still
/// come.
pub fn decode(bytes: &[u8], id: u16, earlier: u16, ask: &Ask) -> Result<Decoded, FrameFault> {
    // Whatever is no Modbus shows here, long before a length could be believed.
    if bytes.iter().skip(2).take(2).any(|it| *it != 0) {
        return Err(FrameFault::NotModbus);
    }
    let &[i, j, _, _, high, low, ref rest @ ..] = bytes else { return Ok(Decoded::More(HEADER)) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if !(3..=LONGEST - HEADER + 1).contains(&length) {
        return Err(FrameFault::NotModbus);
    }
    let used = HEADER - 1 + length;
    if rest.len() < length {
        return Ok(Decoded::More(used));
    }
    let got = u16::from_be_bytes([i, j]);
    if got != id {
        let age = id.wrapping_sub(got);
        return if age <= earlier { Ok(Decoded::Late(used)) } else { Err(FrameFault::Transaction { asked: id, got }) };
    }
    let (unit, pdu) = (rest[0], &rest[1..length]);
    if unit != ask.unit {
        return Err(FrameFault::Unit { asked: ask.unit, got: unit });
    }
    ask.answer(pdu).map(|reply| Decoded::Whole(used, reply))
}

#[cfg(test)]
mod tests {
    use super::super::frame::Table;
    use super::*;

    const ASK: Ask = Ask { unit: 7, table: Table::Holding, address: 40000, count: 1 };
    const GOOD: [u8; 11] = [0, 9, 0, 0, 0, 5, 7, 3, 2, 0x12, 0x34];

    #[track_caller]
    fn check(bytes: &[u8], expect: Result<Decoded, FrameFault>) {
        assert_eq!(decode(bytes, 9, 2, &ASK), expect);
    }

    #[test]
    fn a_request_has_number_length_and_unit() {
        assert_eq!(encode(0x0102, &ASK), [1, 2, 0, 0, 0, 6, 7, 3, 0x9c, 0x40, 0, 1]);
    }

    #[test]
    fn an_answer_is_whole_when_its_length_says_so() {
        for n in 0..GOOD.len() {
            check(&GOOD[..n], Ok(Decoded::More(if n < 6 { HEADER } else { GOOD.len() })));
        }
        let whole = Decoded::Whole(11, Reply::Registers(vec![0x1234]));
        check(&GOOD, Ok(whole));
        let mut more = GOOD.to_vec();
        more.extend([1, 2, 3]);
        check(&more, Ok(Decoded::Whole(11, Reply::Registers(vec![0x1234]))));
        check(&[0, 9, 0, 0, 0, 3, 7, 0x83, 2], Ok(Decoded::Whole(9, Reply::Exception(2))));
    }

    #[test]
    fn late_answers_are_told_from_foreign_ones() {
        let with = |id: [u8; 2]| [&id, &GOOD[2..]].concat();
        check(&with([0, 8]), Ok(Decoded::Late(11)));
        check(&with([0, 7]), Ok(Decoded::Late(11)));
        check(&with([0, 6]), Err(FrameFault::Transaction { asked: 9, got: 6 }));
        check(&with([0, 10]), Err(FrameFault::Transaction { asked: 9, got: 10 }));
    }

    #[test]
    fn what_is_no_modbus_shows_early() {
        check(b"HTT", Err(FrameFault::NotModbus));
        check(b"SSH-2.0", Err(FrameFault::NotModbus));
        check(&[0, 9, 0, 0, 0, 2, 7, 3], Err(FrameFault::NotModbus));
        check(&[0, 9, 0, 0, 0, 255], Err(FrameFault::NotModbus));
        check(&[0, 9, 0, 0, 0, 254], Ok(Decoded::More(260)));
        check(&[0, 9, 0, 0, 0, 3, 8, 0x83, 2], Err(FrameFault::Unit { asked: 7, got: 8 }));
    }
}
