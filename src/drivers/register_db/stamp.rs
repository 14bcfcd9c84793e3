//! Points in time: [`Stamp`] is what a client writes, exact to the nanosecond; [`Range`] turns two of them into the
//! whole seconds that rows are stamped with. Floats are deliberately absent, and so is every clock.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

const NANOS: i128 = 1_000_000_000;

/// Whole seconds that a stamp may have at most; far beyond any row, far below an overflow.
const MAX_SECONDS: i128 = 1_000_000_000_000_000_000;

/// A point in time as nanoseconds since 1970, never negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Stamp(i128);

/// Why a text is not a stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StampError {
    /// It is not digits, with or without a point and further digits.
    Form,
    /// It lies beyond the end of time.
    TooLarge,
}

impl fmt::Display for StampError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StampError::Form => "not a decimal number of seconds since 1970, such as \"1679104389.5\"",
            StampError::TooLarge => "too large for a time stamp",
        })
    }
}

impl std::error::Error for StampError {}

impl Stamp {
    /// Parses a decimal string. Sign, exponent, blanks and an empty part are refused; digits below a nanosecond are cut.
    pub fn parse(text: &str) -> Result<Stamp, StampError> {
        let (whole, fraction) = match text.split_once('.') {
            Some((whole, fraction)) => (whole, fraction),
            None => (text, "0"),
        };
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|it| it.is_ascii_digit());
        if !digits(whole) || !digits(fraction) {
            return Err(StampError::Form);
        }
        let mut seconds: i128 = 0;
        for digit in whole.bytes() {
            seconds = seconds * 10 + i128::from(digit - b'0');
            if MAX_SECONDS < seconds {
                return Err(StampError::TooLarge);
            }
        }
        let nanos = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
        Ok(Stamp(nanos.fold(seconds, |sum, digit| sum * 10 + i128::from(digit - b'0'))))
    }

    /// A stamp on a whole second; times before 1970 become 1970.
    pub fn from_seconds(seconds: i64) -> Stamp {
        Stamp(i128::from(seconds.max(0)) * NANOS)
    }

    /// A stamp from nanoseconds since 1970.
    pub fn from_nanos(nanos: u128) -> Stamp {
        Stamp(i128::try_from(nanos).unwrap_or(i128::MAX).min(MAX_SECONDS * NANOS))
    }

    /// The time since 1970; the last moment that a duration holds if it is later.
    pub fn since_epoch(self) -> Duration {
        let seconds = u64::try_from(self.0 / NANOS).unwrap_or(u64::MAX);
        Duration::new(seconds, (self.0 % NANOS) as u32)
    }

    /// The last whole second that is not younger.
    pub fn floor(self) -> i64 {
        self.0.div_euclid(NANOS) as i64 // At most MAX_SECONDS.
    }

    /// The first whole second that is not older.
    pub fn ceil(self) -> i64 {
        (self.0 + NANOS - 1).div_euclid(NANOS) as i64
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = (self.0 / NANOS, self.0 % NANOS);
        if nanos == 0 {
            return write!(f, "{seconds}");
        }
        let fraction = format!("{nanos:09}");
        write!(f, "{seconds}.{}", fraction.trim_end_matches('0'))
    }
}

impl From<Stamp> for String {
    fn from(stamp: Stamp) -> String {
        stamp.to_string()
    }
}

impl TryFrom<String> for Stamp {
    type Error = StampError;

    fn try_from(text: String) -> Result<Stamp, StampError> {
        Stamp::parse(&text)
    }
}

/// The time that a command is limited to; both ends belong to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// Nothing older than this.
    pub from: Option<Stamp>,
    /// Nothing younger than this.
    pub to: Option<Stamp>,
}

impl Range {
    /// The first and last whole second inside the range; the first is above the last if there is none.
    pub fn seconds(&self) -> (i64, i64) {
        (self.from.map_or(0, Stamp::ceil), self.to.map_or(i64::MAX - 1, Stamp::floor))
    }

    /// Whether the ends are in order.
    pub fn is_ordered(&self) -> bool {
        match (self.from, self.to) {
            (Some(from), Some(to)) => from <= to,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_parsed_exactly() {
        for (text, expect) in [
            ("0", Ok((0, 0, "0"))),
            ("1679104389.095469", Ok((1679104389, 1679104390, "1679104389.095469"))),
            ("1679104389", Ok((1679104389, 1679104389, "1679104389"))),
            ("1679104389.000000000", Ok((1679104389, 1679104389, "1679104389"))),
            ("0007.5", Ok((7, 8, "7.5"))),
            ("9007199254740993.000000001", Ok((9007199254740993, 9007199254740994, "9007199254740993.000000001"))),
            ("5.0000000019", Ok((5, 6, "5.000000001"))),
            ("1000000000000000000", Ok((1000000000000000000, 1000000000000000000, "1000000000000000000"))),
            ("1000000000000000001", Err(StampError::TooLarge)),
            ("", Err(StampError::Form)),
            (".5", Err(StampError::Form)),
            ("5.", Err(StampError::Form)),
            ("-1", Err(StampError::Form)),
            ("+1", Err(StampError::Form)),
            ("1e9", Err(StampError::Form)),
            (" 1", Err(StampError::Form)),
            ("1.2.3", Err(StampError::Form)),
            ("0x10", Err(StampError::Form)),
            ("١", Err(StampError::Form)),
        ] {
            let got = Stamp::parse(text);
            let got = got.map(|it| (it.floor(), it.ceil(), it.to_string()));
            assert_eq!(got, expect.map(|(a, b, c)| (a, b, c.to_string())), "{text}");
        }
    }

    #[test]
    fn the_ends_of_a_range_round_inwards() {
        let stamp = |it| Some(Stamp::parse(it).unwrap());
        assert_eq!(Range { from: stamp("10.1"), to: stamp("20.9") }.seconds(), (11, 20));
        assert_eq!(Range { from: stamp("10"), to: stamp("10") }.seconds(), (10, 10));
        assert!(Range { from: stamp("10"), to: stamp("10") }.is_ordered());
        assert!(!Range { from: stamp("10.000000001"), to: stamp("10") }.is_ordered());
    }

    #[test]
    fn a_range_survives_the_journal() {
        let range = Range { from: Some(Stamp::parse("1.5").unwrap()), to: None };
        let text = serde_json::to_string(&range).unwrap();
        assert_eq!(text, r#"{"from":"1.5","to":null}"#);
        assert_eq!(serde_json::from_str::<Range>(&text).unwrap(), range);
    }
}
