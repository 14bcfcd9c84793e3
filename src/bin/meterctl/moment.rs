//! Points in time as people write and read them. What goes to a meter is a decimal string, kept to the digit; floats are
//! deliberately absent.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

const DAY: i64 = 86_400;

/// A point in time, never before 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Whole seconds since 1970.
    pub seconds: i64,
    nanos: u32,
}

impl Moment {
    /// This computer's time.
    pub fn now() -> Moment {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Moment { seconds: since.as_secs() as i64, nanos: since.subsec_nanos() }
    }

    /// Reads seconds since 1970 (`1677523091.5`), or a date with or without a time (`2023-02-27`, `2023-02-27T18:38:11Z`);
    /// UTC unless an offset such as `+01:00` is given.
    pub fn parse(text: &str) -> Result<Moment, String> {
        decimal(text).or_else(|| calendar(text)).ok_or_else(|| {
            "neither seconds since 1970, such as 1677523091.5, nor a date, such as 2023-02-27T18:38:11Z".to_string()
        })
    }

    /// The last whole second of the time that the text means: of a date alone, the end of that day.
    pub fn parse_end(text: &str) -> Result<Moment, String> {
        let moment = Moment::parse(text)?;
        let is_day = text.len() == 10 && text.contains('-');
        Ok(if is_day { Moment { seconds: moment.seconds + DAY - 1, ..moment } } else { moment })
    }

    /// The first whole second that is not older.
    pub fn ceil(self) -> i64 {
        self.seconds + i64::from(0 < self.nanos)
    }
}

/// The decimal string of the API.
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.nanos {
            0 => write!(f, "{}", self.seconds),
            nanos => write!(f, "{}.{}", self.seconds, format!("{nanos:09}").trim_end_matches('0')),
        }
    }
}

fn decimal(text: &str) -> Option<Moment> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |it: &str| !it.is_empty() && it.bytes().all(|it| it.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || 9 < fraction.len() || 15 < whole.len() {
        return None;
    }
    let nanos = format!("{fraction:0<9}").parse().ok()?;
    Some(Moment { seconds: whole.parse().ok()?, nanos })
}

fn calendar(text: &str) -> Option<Moment> {
    let (date, rest) = (text.get(..10)?, text.get(10..)?);
    let mut parts = date.split('-');
    let (year, month, day) = (number(parts.next()?, 4)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    if parts.next().is_some() || !(1970..=9999).contains(&year) || !(1..=12).contains(&month) {
        return None;
    }
    let days = days_from_civil(year, month, day);
    // A day that the month has not comes back as one of the next month.
    if civil_from_days(days) != (year, month, day) {
        return None;
    }
    let Some(rest) = rest.strip_prefix(['T', 't', ' ']) else {
        return rest.is_empty().then_some(Moment { seconds: days * DAY, nanos: 0 });
    };
    let (time, offset) = match rest.find(['Z', 'z', '+', '-']) {
        Some(at) => (&rest[..at], offset(&rest[at..])?),
        None => (rest, 0),
    };
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut parts = time.split(':');
    let (hours, minutes) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let seconds = parts.next().map_or(Some(0), |it| number(it, 2))?;
    if parts.next().is_some() || 23 < hours || 59 < minutes || 59 < seconds {
        return None;
    }
    let fraction = decimal(&format!("0.{fraction}"))?;
    let seconds = days * DAY + hours * 3600 + minutes * 60 + seconds - offset;
    (0 <= seconds).then_some(Moment { seconds, nanos: fraction.nanos })
}

fn offset(text: &str) -> Option<i64> {
    if text.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (hours, minutes) = text[1..].split_once(':')?;
    let (hours, minutes) = (number(hours, 2)?, number(minutes, 2)?);
    let size = hours * 3600 + minutes * 60;
    (hours < 24 && minutes < 60).then_some(if text.starts_with('-') { -size } else { size })
}

fn number(text: &str, digits: usize) -> Option<i64> {
    (text.len() == digits && text.bytes().all(|it| it.is_ascii_digit())).then(|| text.parse().ok())?
}

/// Days since 1970 of a date of the Gregorian calendar (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The way back.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = (year + era * 400, if month < 10 { month + 3 } else { month - 9 });
    (if month <= 2 { year + 1 } else { year }, month, day)
}

/// A row's stamp for people, in UTC.
pub fn shown(seconds: i64) -> String {
    let (year, month, day) = civil_from_days(seconds.div_euclid(DAY));
    let rest = seconds.rem_euclid(DAY);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", rest / 3600, rest / 60 % 60, rest % 60)
}

/// The same for names of files.
pub fn compact(seconds: i64) -> String {
    shown(seconds).chars().filter(char::is_ascii_digit).take(14).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_to_the_digit() {
        for (text, expect) in [
            ("1677523091.000900435", "1677523091.000900435"),
            ("1677523091", "1677523091"),
            ("1.50", "1.5"),
            ("1970-01-01", "0"),
            ("2023-02-27T18:38:11Z", "1677523091"),
            ("2023-02-27 18:38:11", "1677523091"),
            ("2023-02-27T19:38:11.25+01:00", "1677523091.25"),
            ("2023-02-27T18:38-00:30", "1677524880"),
            ("2024-02-29", "1709164800"),
        ] {
            let got = Moment::parse(text).map(|it| it.to_string());
            assert_eq!(got.as_deref(), Ok(expect), "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "-1",
            "1e9",
            "1.",
            ".5",
            "1.0000000001",
            "now",
            "2023-02-29",
            "2023-13-01",
            "2023-2-1",
            "2023-02-27T",
            "2023-02-27T24:00",
            "2023-02-27T18:38:11+1",
            "1969-12-31",
            "2023-02-27x",
            "ä023-02-27",
        ] {
            assert!(Moment::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_day_ends_with_its_last_second() {
        assert_eq!(Moment::parse_end("1970-01-02").unwrap().seconds, 2 * DAY - 1);
        assert_eq!(Moment::parse_end("1970-01-02T00:00Z").unwrap().seconds, DAY);
        assert_eq!(Moment::parse_end("1700000000").unwrap().seconds, 1_700_000_000);
    }

    #[test]
    fn stamps_are_shown_as_dates_and_back() {
        assert_eq!(shown(1_677_523_091), "2023-02-27 18:38:11 UTC");
        assert_eq!(compact(1_677_523_091), "20230227183811");
        for days in (0..60_000).step_by(7) {
            let (year, month, day) = civil_from_days(days);
            assert_eq!(days_from_civil(year, month, day), days);
        }
    }
}
