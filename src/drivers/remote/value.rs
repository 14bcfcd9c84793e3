//! Numbers and texts out of registers, high register first. What a device marks as not implemented is no value
//! (SunSpec Information Model Specification, "Not Implemented").

use serde_json::{Number, Value};

use super::models::Kind;

/// The value of a point, multiplied by ten to the power of `scale`; `None` if the device does not implement it, or if
/// it is nothing that JSON can hold. Fewer registers than its kind needs are no value either.
pub(super) fn read(kind: Kind, words: &[u16], scale: i32) -> Option<Value> {
    if words.len() != kind.size() {
        return None;
    }
    let bits = words.iter().take(4).fold(0u64, |sum, word| sum << 16 | u64::from(*word));
    match kind {
        Kind::Text(_) => text(words).map(Value::String),
        Kind::Float32 => real(f64::from(f32::from_bits(bits as u32)), scale),
        Kind::Pad | Kind::Scale => None,
        _ if bits == absent(kind) => None,
        Kind::Int16 => whole(i128::from(bits as u16 as i16), scale),
        Kind::Int32 => whole(i128::from(bits as u32 as i32), scale),
        _ => whole(i128::from(bits), scale),
    }
}

/// A scale factor; `None` if it is not implemented or senseless.
pub(super) fn scale(word: u16) -> Option<i32> {
    Some(i32::from(word as i16)).filter(|it| (-10..=10).contains(it))
}

/// The bits that mean "not implemented". An accumulator that never counted is not told from one that is not there.
fn absent(kind: Kind) -> u64 {
    match kind {
        Kind::Int16 | Kind::Scale => 0x8000,
        Kind::Int32 => 0x8000_0000,
        Kind::Uint16 | Kind::Count | Kind::Enum16 | Kind::Bits16 => 0xffff,
        Kind::Uint32 | Kind::Enum32 | Kind::Bits32 => 0xffff_ffff,
        Kind::Uint64 => u64::MAX,
        Kind::Acc32 | Kind::Acc64 | Kind::Pad | Kind::Float32 | Kind::Text(_) => 0,
    }
}

/// A whole number times a power of ten, as near as a double comes: by way of its digits, because multiplying by 0.1
/// adds an error of its own.
pub(super) fn whole(number: i128, scale: i32) -> Option<Value> {
    if scale == 0
        && let Some(number) = Number::from_i128(number)
    {
        return Some(Value::Number(number));
    }
    format!("{number}e{scale}").parse().ok().and_then(Number::from_f64).map(Value::Number)
}

/// A real number times a power of ten.
pub(super) fn real(number: f64, scale: i32) -> Option<Value> {
    let number = if scale == 0 { number } else { number * 10f64.powi(scale) };
    Number::from_f64(number).map(Value::Number)
}

/// A text without its padding; `None` if nothing is left, if it begins with a zero byte, or if it was never written.
pub(super) fn text(words: &[u16]) -> Option<String> {
    let bytes: Vec<u8> = words.iter().flat_map(|it| it.to_be_bytes()).collect();
    let end = bytes.iter().position(|it| *it == 0).unwrap_or(bytes.len());
    if bytes.iter().all(|it| *it == 0xff) {
        return None;
    }
    let text = String::from_utf8_lossy(&bytes[..end]).replace(char::is_control, " ");
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: Kind, words: &[u16], scale: i32, expect: &str) {
        assert_eq!(read(kind, words, scale).map(|it| it.to_string()).unwrap_or_default(), expect);
    }

    #[test]
    fn numbers_have_their_signs_and_scales() {
        check(Kind::Int16, &[0xfe5c], 0, "-420");
        check(Kind::Int16, &[2301], -1, "230.1");
        check(Kind::Int16, &[0xfc1f], -1, "-99.3");
        check(Kind::Uint16, &[0xfffe], 0, "65534");
        check(Kind::Uint16, &[7], 3, "7000.0");
        check(Kind::Acc32, &[0x075b, 0xcd15], 0, "123456789");
        check(Kind::Acc32, &[0x075b, 0xcd15], -2, "1234567.89");
        check(Kind::Int32, &[0xffff, 0xffff], 0, "-1");
        check(Kind::Uint64, &[0xffff, 0xffff, 0xffff, 0xfffe], 0, "18446744073709551614");
        check(Kind::Float32, &[0x4148, 0], 0, "12.5");
    }

    #[test]
    fn what_is_not_implemented_is_no_value() {
        for (kind, words) in [
            (Kind::Int16, &[0x8000][..]),
            (Kind::Uint16, &[0xffff]),
            (Kind::Count, &[0xffff]),
            (Kind::Enum16, &[0xffff]),
            (Kind::Int32, &[0x8000, 0]),
            (Kind::Bits32, &[0xffff, 0xffff]),
            (Kind::Acc32, &[0, 0]),
            (Kind::Acc64, &[0, 0, 0, 0]),
            (Kind::Uint64, &[0xffff, 0xffff, 0xffff, 0xffff]),
            (Kind::Float32, &[0x7fc0, 0]),
            (Kind::Float32, &[0xffff, 0xffff]),
            (Kind::Float32, &[0x7f80, 0]),
            (Kind::Text(2), &[0, 0x4142]),
            (Kind::Text(2), &[0xffff, 0xffff]),
            (Kind::Pad, &[1]),
            (Kind::Scale, &[1]),
            (Kind::Int32, &[1]),
        ] {
            check(kind, words, 0, "");
        }
    }

    #[test]
    fn a_text_ends_where_its_padding_begins() {
        check(Kind::Text(4), &[0x4142, 0x4300, 0, 0], 0, "\"ABC\"");
        check(Kind::Text(2), &[0x4142, 0x2020], 0, "\"AB\"");
        check(Kind::Text(2), &[0x41ff, 0x0d0a], 0, "\"A\u{fffd}\"");
    }

    #[test]
    fn a_senseless_scale_is_none() {
        assert_eq!((scale(0xfffe), scale(10), scale(0)), (Some(-2), Some(10), Some(0)));
        assert_eq!((scale(0x8000), scale(11), scale(0xfff5)), (None, None, None));
    }
}
