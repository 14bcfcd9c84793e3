//! A mail as it came (RFC 5322), taken apart far enough to say what is wrong with it.

/// The parts of a mail.
pub struct Message<'a> {
    /// Names and unfolded values of the header, in order.
    pub fields: Vec<(String, String)>,
    /// What follows the empty line.
    pub body: &'a str,
}

impl Message<'_> {
    /// The error says what is no header.
    pub fn parse(text: &str) -> Result<Message<'_>, String> {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in head.split("\r\n").filter(|it| !it.is_empty()) {
            match (line.starts_with([' ', '\t']), fields.last_mut(), line.split_once(':')) {
                (true, Some(field), _) => field.1.push_str(line),
                (false, _, Some((name, value))) if name.bytes().all(|it| (33..127).contains(&it)) => {
                    fields.push((name.into(), value.trim().into()));
                }
                _ => return Err(format!("{line:?} is no header field")),
            }
        }
        Ok(Message { fields, body })
    }

    /// The value of a field that must be there exactly once.
    pub fn one(&self, name: &str) -> Result<&str, String> {
        let all: Vec<_> = self.fields.iter().filter(|it| it.0.eq_ignore_ascii_case(name)).collect();
        match all[..] {
            [one] => Ok(&one.1),
            _ => Err(format!("{name} is there {} times, where it must be once", all.len())),
        }
    }
}

/// The address of a field like From: what is in angle brackets, or all of it.
pub fn address(value: &str) -> &str {
    match value.rsplit_once('<') {
        Some((_, rest)) => rest.split('>').next().unwrap_or_default().trim(),
        None => value.trim(),
    }
}

/// Whether it is a date-time of RFC 5322 §3.3: the day's name and the seconds may be missing, a comment may follow.
pub fn is_date(value: &str) -> bool {
    const DAYS: [&str; 7] = ["Mon,", "Tue,", "Wed,", "Thu,", "Fri,", "Sat,", "Sun,"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let value = value.split('(').next().unwrap_or_default();
    let mut words: Vec<_> = value.split_whitespace().collect();
    if words.first().is_some_and(|it| it.ends_with(',')) && !DAYS.contains(&words.remove(0)) {
        return false;
    }
    let [day, month, year, time, zone] = words[..] else { return false };
    let number = |text: &str, digits: std::ops::RangeInclusive<usize>, most: u32| {
        digits.contains(&text.len())
            && text.bytes().all(|it| it.is_ascii_digit())
            && text.parse::<u32>().is_ok_and(|it| it <= most)
    };
    let clock: Vec<_> = time.split(':').collect();
    let zone = zone.strip_prefix(['+', '-']).is_some_and(|it| number(it, 4..=4, 9959)) || matches!(zone, "GMT" | "UT");
    number(day, 1..=2, 31)
        && MONTHS.contains(&month)
        && number(year, 4..=4, 9999)
        && (2..=3).contains(&clock.len())
        && clock.iter().all(|it| number(it, 2..=2, 60))
        && zone
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_is_taken_apart() {
        let mail = Message::parse("From: A <a@b>\r\nSubject: x\r\n y\r\nTo: c@d\r\nTo: e@f\r\n\r\ntext\r\n").unwrap();
        assert_eq!(mail.one("subject"), Ok("x y"));
        assert_eq!(address(mail.one("From").unwrap()), "a@b");
        assert_eq!(address(" c@d "), "c@d");
        assert!(mail.one("To").is_err() && mail.one("Date").is_err());
        assert_eq!(mail.body, "text\r\n");
        assert!(Message::parse("no field\r\n\r\n").is_err());
    }

    #[test]
    fn dates_are_those_of_mail() {
        for good in
            ["Sun, 9 Sep 2001 01:46:40 +0000", "9 Sep 2001 01:46 -0730", "Sun, 09 Sep 2001 01:46:40 +0000 (UTC)"]
        {
            assert!(is_date(good), "{good}");
        }
        for bad in [
            "",
            "2001-09-09T01:46:40Z",
            "Sun, 9 Sept 2001 01:46:40 +0000",
            "Sun Sep  9 01:46:40 2001",
            "Sunday, 9 Sep 2001 1:46 +0000",
        ] {
            assert!(!is_date(bad), "{bad}");
        }
    }
}
