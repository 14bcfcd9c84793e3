//! The test mail itself (RFC 5322): its fields, its date, its text. It knows nothing of the way it goes.

use std::fmt::Write;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};

use super::address::Address;

/// Bytes of text in a base64 line: 76 characters.
const BASE64_LINE: usize = 57;
/// Bytes of text in an encoded word: at most 75 characters with its frame (RFC 2047).
const WORD: usize = 39;
/// Characters that a meter's own data contribute each.
const FIELD: usize = 80;

/// What the text says of the meter that sends it.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    /// Its host name.
    pub hostname: String,
    /// Its model, if known.
    pub model: Option<String>,
    /// Its serial number, if known.
    pub serial: Option<String>,
}

/// A message with CRLF line ends. `now` is the wall clock, `id` is random.
pub(super) fn compose(meter: &Meter, from: &Address, to: &Address, now: Duration, id: &str) -> String {
    let hostname = clean(&meter.hostname);
    let date = date(now);
    let mut res = String::new();
    let mut field = |name: &str, value: &str| res.push_str(&format!("{name}: {value}\r\n"));
    field("Date", &date);
    field("From", &format!("<{from}>"));
    field("To", &format!("<{to}>"));
    field("Subject", &unstructured(&format!("Test mail from energy meter {hostname}")));
    field("Message-ID", &format!("<{id}@{}>", from.domain()));
    // So that no out-of-office note answers it (RFC 3834).
    field("Auto-Submitted", "auto-generated");
    field("MIME-Version", "1.0");
    let text = text(meter, &hostname, from, &date);
    match text.is_ascii() {
        true => {
            field("Content-Type", "text/plain; charset=us-ascii");
            field("Content-Transfer-Encoding", "7bit");
            res + "\r\n" + &text
        }
        false => {
            // Passes servers that do not know 8BITMIME.
            field("Content-Type", "text/plain; charset=utf-8");
            field("Content-Transfer-Encoding", "base64");
            res.push_str("\r\n");
            for line in text.as_bytes().chunks(BASE64_LINE) {
                res += &BASE64_STANDARD.encode(line);
                res += "\r\n";
            }
            res
        }
    }
}

/// The message as DATA carries it (RFC 5321, 4.5.2): a line that begins with a dot gets one more, and a dot ends all.
pub(super) fn with_dots(message: &str) -> String {
    let mut res = String::with_capacity(message.len() + 8);
    for line in message.split_inclusive("\r\n") {
        if line.starts_with('.') {
            res.push('.');
        }
        res.push_str(line);
    }
    res + ".\r\n"
}

fn text(meter: &Meter, hostname: &str, from: &Address, date: &str) -> String {
    let mut res = String::from("This is a test mail. It was sent on request by the energy meter\r\n\r\n");
    let _ = write!(res, "  host name:      {hostname}\r\n");
    for (name, value) in [("model:         ", &meter.model), ("serial number: ", &meter.serial)] {
        if let Some(value) = value {
            let _ = write!(res, "  {name} {}\r\n", clean(value));
        }
    }
    let _ = write!(res, "  sender:         {from}\r\n  its clock:      {date}\r\n\r\n");
    res + "Mail from this meter reaches you with the settings that were tried.\r\nNothing needs to be done.\r\n"
}

/// One line, of printable characters, not too long.
fn clean(text: &str) -> String {
    text.chars().filter(|it| !it.is_control()).take(FIELD).collect()
}

/// The value of a field without structure, in encoded words (RFC 2047) where it is not ASCII.
fn unstructured(text: &str) -> String {
    if text.is_ascii() {
        return text.into();
    }
    let mut words = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        // Words are cut between characters.
        let mut n = rest.len().min(WORD);
        while !rest.is_char_boundary(n) {
            n -= 1;
        }
        words.push(format!("=?utf-8?B?{}?=", BASE64_STANDARD.encode(&rest[..n])));
        rest = &rest[n..];
    }
    words.join("\r\n ")
}

/// A moment as RFC 5322 writes it. In UTC: a meter's clock knows no other time for sure.
fn date(now: Duration) -> String {
    const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (days, second) = (now.as_secs() / 86400, now.as_secs() % 86400);
    // Years that begin in March have their leap day at their end; 719468 days lie between the first of these and 1970.
    let from_march = days + 719_468;
    let (era, day) = (from_march / 146_097, from_march % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let january = month >= 10;
    let (month, year) = if january { (month - 10, year + 1) } else { (month + 2, year) };
    format!(
        "{}, {day_of_month} {} {} {:02}:{:02}:{:02} +0000",
        WEEKDAYS[(days % 7) as usize],
        MONTHS[month as usize],
        era * 400 + year,
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(hostname: &str, to: &str) -> String {
        let meter = Meter { hostname: hostname.into(), model: Some("M1".into()), serial: None };
        let from = Address::parse("nobody@eGauge1").unwrap();
        compose(&meter, &from, &Address::parse(to).unwrap(), Duration::from_secs(1_000_000_000), "0123")
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        let cases = [
            (0, "Thu, 1 Jan 1970 00:00:00 +0000"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 +0000"),
            (951_868_799, "Tue, 29 Feb 2000 23:59:59 +0000"),
            (951_868_800, "Wed, 1 Mar 2000 00:00:00 +0000"),
            (1_000_000_000, "Sun, 9 Sep 2001 01:46:40 +0000"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 +0000"),
            (4_107_542_400, "Mon, 1 Mar 2100 00:00:00 +0000"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 +0000"),
        ];
        for (seconds, expect) in cases {
            assert_eq!(date(Duration::from_secs(seconds)), expect);
        }
    }

    #[test]
    fn a_message_is_ascii_in_short_lines_and_names_the_meter() {
        let message = message("eGauge1", "user@example.test");
        assert!(message.is_ascii());
        assert!(message.starts_with("Date: Sun, 9 Sep 2001 01:46:40 +0000\r\nFrom: <nobody@eGauge1>\r\n"), "{message}");
        for part in ["To: <user@example.test>\r\n", "Message-ID: <0123@eGauge1>\r\n", "host name:      eGauge1\r\n"] {
            assert!(message.contains(part), "{message}");
        }
        assert!(message.contains("model:          M1\r\n") && !message.contains("serial"), "{message}");
        assert!(message.split("\r\n").all(|it| it.len() <= 78 && !it.contains(['\r', '\n'])), "{message}");
    }

    #[test]
    fn other_letters_are_encoded() {
        let message = message("Zähler im Keller hinter der Tür, neben dem großen Öltank", "user@example.test");
        assert!(message.is_ascii() && message.split("\r\n").all(|it| it.len() <= 76), "{message}");
        let body: String = message.split_once("\r\n\r\n").unwrap().1.split("\r\n").collect();
        let body = String::from_utf8(BASE64_STANDARD.decode(body).unwrap()).unwrap();
        assert!(body.contains("Zähler im Keller"), "{body}");
        let subject = message.split("\r\n").skip_while(|it| !it.starts_with("Subject: "));
        let subject: Vec<&str> = subject.take(3).map(|it| it.trim_start_matches("Subject:").trim_start()).collect();
        let words = subject.iter().filter(|it| it.starts_with("=?"));
        let words = words.map(|it| it.strip_prefix("=?utf-8?B?").unwrap().strip_suffix("?=").unwrap());
        let bytes: Vec<u8> = words.flat_map(|it| BASE64_STANDARD.decode(it).unwrap()).collect();
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            "Test mail from energy meter Zähler im Keller hinter der Tür, neben dem großen Öltank"
        );
    }

    #[test]
    fn a_hostname_cannot_add_fields() {
        let message = message("x\r\nBcc: all@example.test\r\n\r\n", "user@example.test");
        assert!(!message.contains("\nBcc:"), "{message}");
    }

    #[test]
    fn dots_at_the_start_of_a_line_are_doubled() {
        assert_eq!(with_dots("a\r\n.b\r\n..\r\nc.\r\n"), "a\r\n..b\r\n...\r\nc.\r\n.\r\n");
        assert_eq!(with_dots(""), ".\r\n");
    }
}
