//! Modbus on a serial line: frames without a header, told by their checksum and by silence (Modbus over Serial Line
//! V1.02, 2.5.1). It is fed bytes and knows no port.

use super::frame::{Ask, FrameFault, Reply, is_refusal};

/// Bytes of the longest frame.
const LONGEST: usize = 256;
/// Bytes in front of an answer that are passed over: transceivers often make one or two when they turn around.
const NOISE: usize = 8;
/// Bytes of a request.
const REQUEST: usize = 8;
/// Bytes that are looked at for one answer: also the request itself, which two-wire adapters hear, and noise before
/// both.
pub const LOOKED_AT: usize = NOISE + REQUEST + NOISE + LONGEST;

/// The request as it goes over the wire.
pub fn encode(ask: &Ask) -> [u8; REQUEST] {
    let [a, b, c, d, e] = ask.pdu();
    let [low, high] = crc(&[ask.unit, a, b, c, d, e]).to_le_bytes();
    [ask.unit, a, b, c, d, e, low, high]
}

/// Reads the answer to `ask` out of what has come since; `None` while it may still become one. `quiet` says that
/// nothing more is to come, because the line has fallen silent: then it is said what is wrong, and `None` means that
/// nothing came at all.
pub fn decode(bytes: &[u8], ask: &Ask, quiet: bool) -> Result<Option<Reply>, FrameFault> {
    let rest = after_echo(bytes, &encode(ask));
    // An answer may, by a rare chance, begin like the request.
    for bytes in [bytes, rest] {
        for start in 0..bytes.len().min(NOISE + 1) {
            if let Some(frame) = frame_of(&bytes[start..], ask.unit, |it| ask.expects(it)) {
                return ask.answer(&frame[1..frame.len() - 2]).map(Some);
            }
        }
    }
    let bytes = rest;
    if NOISE + LONGEST <= bytes.len() {
        return Err(FrameFault::Endless);
    }
    if !quiet || bytes.is_empty() {
        return Ok(None);
    }
    Err(blame(bytes, ask))
}

/// What stands behind the request itself, if that was heard.
fn after_echo<'a>(bytes: &'a [u8], request: &[u8]) -> &'a [u8] {
    let behind = |start| bytes.get(start..)?.strip_prefix(request);
    (0..=NOISE).find_map(behind).unwrap_or(bytes)
}

/// The frame that begins here, if it is whole and its checksum is right.
fn frame_of(bytes: &[u8], unit: u8, expected: impl Fn(u8) -> bool) -> Option<&[u8]> {
    let length = length(bytes, expected)?;
    let frame = bytes.get(..length)?;
    (bytes[0] == unit && is_sound(frame)).then_some(frame)
}

/// How long the frame that begins here has to be.
fn length(bytes: &[u8], expected: impl Fn(u8) -> bool) -> Option<usize> {
    match *bytes {
        [_, function, ..] if expected(function) && is_refusal(function) => Some(5),
        [_, function, n, ..] if expected(function) => Some(5 + usize::from(n)),
        _ => None,
    }
}

/// What is wrong with bytes that are no answer and after which nothing came.
fn blame(bytes: &[u8], ask: &Ask) -> FrameFault {
    let (got, asked) = (bytes[0], ask.unit);
    if is_sound(bytes) {
        return match bytes[1] {
            _ if got != asked => FrameFault::Unit { asked, got },
            function if !ask.expects(function) => FrameFault::Function { asked: ask.function(), got: function },
            _ => FrameFault::Length { asked: ask.bytes(), got: bytes.len() },
        };
    }
    match length(bytes, |it| ask.expects(it)) {
        Some(of) if got == asked && bytes.len() < of => FrameFault::Short { got: bytes.len(), of },
        None if got == asked && bytes.len() < 5 => FrameFault::Short { got: bytes.len(), of: 5 + ask.bytes() },
        _ => FrameFault::Crc,
    }
}

/// Whether the bytes are a whole frame with the right checksum at its end.
fn is_sound(frame: &[u8]) -> bool {
    match frame {
        [body @ .., low, high] if 4 <= frame.len() => crc(body).to_le_bytes() == [*low, *high],
        _ => false,
    }
}

/// The checksum, which is sent low byte first (2.5.1.2).
pub fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xffff, |sum, byte| {
        (0..8).fold(sum ^ u16::from(*byte), |sum, _| if sum & 1 == 1 { (sum >> 1) ^ 0xa001 } else { sum >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::super::frame::Table;
    use super::*;

    const ASK: Ask = Ask { unit: 7, table: Table::Holding, address: 40000, count: 1 };

    fn sealed(body: &[u8]) -> Vec<u8> {
        [body, &crc(body).to_le_bytes()].concat()
    }

    #[track_caller]
    fn check(bytes: &[u8], quiet: bool, expect: Result<Option<Reply>, FrameFault>) {
        assert_eq!(decode(bytes, &ASK, quiet), expect, "{bytes:02x?}");
    }

    fn good() -> Vec<u8> {
        sealed(&[7, 3, 2, 0x12, 0x34])
    }

    fn value() -> Result<Option<Reply>, FrameFault> {
        Ok(Some(Reply::Registers(vec![0x1234])))
    }

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        // The example of its appendix B: 02 07 gives 0x1241.
        assert_eq!(crc(&[0x02, 0x07]), 0x1241);
        assert_eq!(encode(&ASK)[..6], [7, 3, 0x9c, 0x40, 0, 1]);
    }

    #[test]
    fn an_answer_is_found_as_soon_as_it_is_whole() {
        let good = good();
        for n in 0..good.len() {
            check(&good[..n], false, Ok(None));
        }
        check(&good, false, value());
        check(&sealed(&[7, 0x83, 2]), false, Ok(Some(Reply::Exception(2))));
        check(&[], true, Ok(None));
    }

    #[test]
    fn an_echo_and_some_noise_are_passed_over() {
        check(&[&encode(&ASK)[..], &good()].concat(), false, value());
        check(&[&[0, 0xff][..], &good()].concat(), false, value());
        check(&[&[7, 3][..], &good()].concat(), false, value());
        check(&[&[0; 9][..], &good()].concat(), true, Err(FrameFault::Crc));
        check(&encode(&ASK), true, Ok(None));
        check(&[&[0][..], &encode(&ASK), &[0xff], &good()].concat(), false, value());
    }

    #[test]
    fn faults_are_told_apart_when_the_line_falls_silent() {
        let good = good();
        let mut bad = good.clone();
        bad[3] ^= 1;
        check(&bad, false, Ok(None));
        check(&bad, true, Err(FrameFault::Crc));
        check(&good[..5], true, Err(FrameFault::Short { got: 5, of: 7 }));
        check(&good[..2], true, Err(FrameFault::Short { got: 2, of: 7 }));
        check(&sealed(&[8, 3, 2, 0, 0]), true, Err(FrameFault::Unit { asked: 7, got: 8 }));
        check(&sealed(&[7, 4, 2, 0, 0]), true, Err(FrameFault::Function { asked: 3, got: 4 }));
        check(&sealed(&[7, 3, 4, 0, 0, 0, 0]), false, Err(FrameFault::Length { asked: 2, got: 4 }));
        check(&[0x55; 20], true, Err(FrameFault::Crc));
        check(&[0x55; LOOKED_AT], false, Err(FrameFault::Endless));
    }
}
