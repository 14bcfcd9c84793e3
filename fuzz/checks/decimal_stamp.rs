//! Decimal stamps against arithmetic on their digits: what is a stamp, in which order two of them are, and between which
//! whole seconds each lies.

use std::cmp::Ordering;

use meterd::drivers::register_db::Stamp;

/// The largest whole seconds.
const LATEST: u128 = 1_000_000_000_000_000_000;

/// See the module.
pub fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (one, other) = text.split_once(' ').unwrap_or((&text, "1679104389.5"));
    let (first, second) = (both(one), both(other));
    if let (Some((stamp, nanos)), Some((other, others))) = (first, second) {
        assert_eq!(stamp.cmp(&other), nanos.cmp(&others), "{text}");
        assert_eq!(stamp == other, nanos.cmp(&others) == Ordering::Equal, "{text}");
    }
}

/// A text as a stamp and as a count of nanoseconds, if it is one.
fn both(text: &str) -> Option<(Stamp, u128)> {
    let expect = by_digits(text);
    let stamp = match (Stamp::parse(text), expect) {
        (Ok(stamp), Some(_)) => stamp,
        (Err(_), None) => return None,
        (got, expect) => panic!("{text:?}: {got:?}, by digits {expect:?}"),
    };
    let nanos = expect?;
    let (seconds, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    assert_eq!(stamp.floor() as u128, seconds, "{text}");
    assert_eq!(stamp.ceil() as u128, seconds + u128::from(rest != 0), "{text}");
    assert_eq!(stamp.since_epoch().as_nanos(), nanos, "{text}");
    assert!(stamp == Stamp::from_nanos(nanos) || LATEST * 1_000_000_000 < nanos, "{text}");
    assert_eq!(Stamp::parse(&stamp.to_string()), Ok(stamp), "{text}");
    Some((stamp, nanos))
}

/// Nanoseconds, by hand: digits, and perhaps a point and further digits, of which nine count.
fn by_digits(text: &str) -> Option<u128> {
    let mut parts = text.splitn(2, '.');
    let (whole, fraction) = (parts.next()?, parts.next().unwrap_or("0"));
    let is_number = |it: &str| !it.is_empty() && it.chars().all(|it| it.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let significant = whole.trim_start_matches('0');
    let seconds: u128 = if significant.is_empty() { 0 } else { significant.parse().ok()? };
    let padded = format!("{fraction}000000000");
    let nanos: u128 = padded[..9].parse().ok()?;
    (seconds <= LATEST).then(|| seconds * 1_000_000_000 + nanos)
}
