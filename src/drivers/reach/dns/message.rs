//! Questions and answers of the DNS as bytes (RFC 1035): one question each, and of an answer what leads to addresses and
//! mail hosts. Answers come from anywhere, so every length and every pointer is checked. No sockets in here.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Octets of a name on the wire (RFC 1035, 2.3.4).
const MAX_NAME: usize = 255;
/// Octets of a label.
const MAX_LABEL: usize = 63;
/// Records of an answer that are looked at; the longest sensible answers have a few dozen.
const MAX_RECORDS: usize = 256;
/// The Internet class.
const IN: u16 = 1;

/// A name as on the wire without compression: labels with their lengths in lower case, then a zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(Vec<u8>);

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses (RFC 3596).
    Aaaa,
    /// Mail hosts.
    Mx,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// A or AAAA.
    Address(IpAddr),
    /// MX: lower preferences first.
    MailHost(u16, Name),
    /// CNAME: look there.
    Alias(Name),
}

/// What a server answered.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// There is more than fits; nothing was read. To be asked again over TCP.
    pub truncated: bool,
    /// Response code: 0 all right, 2 the server failed, 3 no such name, 5 refused, ...
    pub code: u8,
    /// Records of the wanted kind and aliases, with their owners.
    pub records: Vec<(Name, Data)>,
}

/// Why bytes are no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadAnswer {
    /// They belong to another question, or to none; the real answer may still come.
    Foreign,
    /// They are the answer, but broken.
    Broken,
}

impl Kind {
    fn code(self) -> u16 {
        match self {
            Kind::A => 1,
            Kind::Mx => 15,
            Kind::Aaaa => 28,
        }
    }
}

impl Name {
    /// From text with or without a dot at the end; nothing if it cannot be the name of a host or a mail domain.
    pub fn parse(text: &str) -> Option<Name> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let mut res = Vec::with_capacity(text.len() + 2);
        for label in text.split('.') {
            if label.is_empty() || MAX_LABEL < label.len() || !label.bytes().all(is_usual) {
                return None;
            }
            res.push(label.len() as u8);
            res.extend(label.bytes().map(|it| it.to_ascii_lowercase()));
        }
        res.push(0);
        (res.len() <= MAX_NAME).then_some(Name(res))
    }

    /// The name of the root, which as a mail host means that there is none (RFC 7505).
    pub fn is_root(&self) -> bool {
        self.0 == [0]
    }

    /// As a host's name; nothing for the root and for names with bytes that no host's name has.
    pub fn host(&self) -> Option<String> {
        let text = self.to_string();
        (Name::parse(&text).as_ref() == Some(self)).then_some(text)
    }

    /// Reads a name at `at` of `message`: the name, and where what follows it begins.
    fn read(message: &[u8], at: usize) -> Option<(Name, usize)> {
        let mut res = Vec::new();
        let (mut at, mut behind) = (at, None);
        // A pointer must lead to before the run of labels that it ends, so that every name ends.
        let mut run = at;
        loop {
            match usize::from(*message.get(at)?) {
                0 => {
                    res.push(0);
                    return Some((Name(res), behind.unwrap_or(at + 1)));
                }
                high @ 0xc0.. => {
                    let target = (high & 0x3f) << 8 | usize::from(*message.get(at + 1)?);
                    if run <= target {
                        return None;
                    }
                    behind.get_or_insert(at + 2);
                    (at, run) = (target, target);
                }
                length @ 1..=MAX_LABEL => {
                    let label = message.get(at + 1..at + 1 + length)?;
                    // The zero at the end is still to come.
                    if MAX_NAME < res.len() + label.len() + 2 {
                        return None;
                    }
                    res.push(length as u8);
                    res.extend(label.iter().map(u8::to_ascii_lowercase));
                    at += 1 + length;
                }
                _ => return None,
            }
        }
    }
}

/// What names of hosts and mail domains are made of; underscores are against the rules and in use.
fn is_usual(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_slice();
        while let [length, tail @ ..] = rest
            && *length > 0
        {
            let (label, tail) = tail.split_at(usize::from(*length));
            if rest.len() < self.0.len() {
                f.write_str(".")?;
            }
            label.iter().try_for_each(|it| match it {
                b'.' | b'\\' => write!(f, "\\{}", char::from(*it)),
                0x21..=0x7e => write!(f, "{}", char::from(*it)),
                _ => write!(f, "\\{it:03}"),
            })?;
            rest = tail;
        }
        if self.is_root() { f.write_str(".") } else { Ok(()) }
    }
}

/// The message that asks a recursive server one question.
pub fn question(id: u16, name: &Name, kind: Kind) -> Vec<u8> {
    let mut res = Vec::with_capacity(12 + name.0.len() + 4);
    res.extend(id.to_be_bytes());
    res.extend([1, 0]); // Recursion desired.
    res.extend([0, 1, 0, 0, 0, 0, 0, 0]); // One question, nothing else.
    res.extend(&name.0);
    res.extend(kind.code().to_be_bytes());
    res.extend(IN.to_be_bytes());
    res
}

/// Reads the answer to the question with these three.
pub fn answer(message: &[u8], id: u16, name: &Name, kind: Kind) -> Result<Answer, BadAnswer> {
    let header = message.first_chunk::<12>().ok_or(BadAnswer::Foreign)?;
    let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let is_response = header[2] & 0xf8 == 0x80;
    if word(0) != id || !is_response {
        return Err(BadAnswer::Foreign);
    }
    let code = header[3] & 0x0f;
    let mut at = 12;
    match word(4) {
        1 => {
            let (asked, behind) = Name::read(message, at).ok_or(BadAnswer::Foreign)?;
            let class = [kind.code().to_be_bytes(), IN.to_be_bytes()].concat();
            if asked != *name || message.get(behind..behind + 4) != Some(&class) {
                return Err(BadAnswer::Foreign);
            }
            at = behind + 4;
        }
        // Some servers refuse without repeating the question; then the number alone says that it is the answer.
        0 if code != 0 && code != 3 => {}
        _ => return Err(BadAnswer::Foreign),
    }
    let truncated = header[2] & 0x02 != 0;
    let mut records = Vec::new();
    if !truncated {
        for _ in 0..usize::from(word(6)).min(MAX_RECORDS) {
            let (owner, data, behind) = record(message, at, kind).ok_or(BadAnswer::Broken)?;
            records.extend(data.map(|it| (owner, it)));
            at = behind;
        }
    }
    Ok(Answer { truncated, code, records })
}

/// The record at `at`: its owner, what it says if that matters here, and where the next one begins.
fn record(message: &[u8], at: usize, kind: Kind) -> Option<(Name, Option<Data>, usize)> {
    let (owner, at) = Name::read(message, at)?;
    let fixed = message.get(at..)?.first_chunk::<10>()?;
    let word = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
    let (begin, end) = (at + 10, at + 10 + usize::from(word(8)));
    let bytes = message.get(begin..end)?;
    // A name inside the data must fill it exactly.
    let name = |at: usize| Name::read(message, at).filter(|it| it.1 == end).map(|it| it.0);
    let data = match word(0) {
        _ if word(2) != IN => None,
        1 if kind == Kind::A => Some(Data::Address(Ipv4Addr::from(*<&[u8; 4]>::try_from(bytes).ok()?).into())),
        28 if kind == Kind::Aaaa => Some(Data::Address(Ipv6Addr::from(*<&[u8; 16]>::try_from(bytes).ok()?).into())),
        15 if kind == Kind::Mx => {
            let preference = u16::from_be_bytes(*bytes.first_chunk()?);
            Some(Data::MailHost(preference, name(begin + 2)?))
        }
        5 => Some(Data::Alias(name(begin)?)),
        _ => None,
    };
    Some((owner, data, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: u16 = 0x1234;

    /// An answer to the A question for `host.test`, with these records after the question.
    fn message(flags: [u8; 2], records: &[&[u8]]) -> Vec<u8> {
        let mut res = question(ID, &Name::parse("host.test").unwrap(), Kind::A);
        res[2..4].copy_from_slice(&flags);
        res[7] = records.len() as u8;
        records.iter().for_each(|it| res.extend(*it));
        res
    }

    /// A record of the question's own name.
    fn data(kind: u8, bytes: &[u8]) -> Vec<u8> {
        [&[0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 9, 0, bytes.len() as u8][..], bytes].concat()
    }

    fn read(message: &[u8]) -> Result<Answer, BadAnswer> {
        answer(message, ID, &Name::parse("host.test").unwrap(), Kind::A)
    }

    #[test]
    fn names_keep_to_the_rules() {
        for good in ["a", "mail.example.test", "Mail.Example.TEST.", "_dmarc.x", &"a.".repeat(127), &"b".repeat(63)] {
            let name = Name::parse(good).unwrap();
            assert_eq!(name.host().unwrap(), good.trim_end_matches('.').to_lowercase());
        }
        let long = format!("{}a", "a.".repeat(127));
        for bad in ["", ".", "a..b", ".a", "a b", "a\0", "ü.test", "a..", &"b".repeat(64), &long] {
            assert_eq!(Name::parse(bad), None, "{bad:?}");
        }
        assert_eq!(Name(vec![3, b'a', b'.', 7, 0]).to_string(), "a\\.\\007");
        assert_eq!(Name(vec![3, b'a', b'.', 7, 0]).host(), None);
        assert_eq!((Name(vec![0]).to_string().as_str(), Name(vec![0]).host()), (".", None));
    }

    #[test]
    fn an_answer_is_read() {
        let alias = data(5, &[1, b'b', 0xc0, 17]);
        let answer = read(&message([0x81, 0x80], &[&alias, &data(1, &[192, 0, 2, 1]), &data(99, b"x")])).unwrap();
        let own = Name::parse("host.test").unwrap();
        let expect = [
            (own.clone(), Data::Alias(Name::parse("b.test").unwrap())),
            (own, Data::Address("192.0.2.1".parse().unwrap())),
        ];
        assert_eq!((answer.code, answer.truncated, &answer.records[..]), (0, false, &expect[..]));
        assert!(read(&message([0x83, 0x80], &[&[0xff]])).unwrap().truncated);
        assert_eq!(read(&message([0x81, 0x83], &[])).unwrap().code, 3);
    }

    #[test]
    fn mail_hosts_are_read() {
        let name = Name::parse("host.test").unwrap();
        let mut message = question(ID, &name, Kind::Mx);
        message[2] = 0x80;
        message[7] = 2;
        message.extend(data(15, &[0, 10, 2, b'm', b'x', 0xc0, 12]));
        message.extend(data(15, &[0, 0, 0]));
        let answer = answer(&message, ID, &name, Kind::Mx).unwrap();
        let hosts: Vec<_> = answer.records.into_iter().map(|it| it.1).collect();
        assert_eq!(hosts, [Data::MailHost(10, Name::parse("mx.host.test").unwrap()), Data::MailHost(0, Name(vec![0]))]);
    }

    #[test]
    fn what_does_not_belong_here_is_foreign() {
        let good = message([0x81, 0x80], &[]);
        for (at, value) in [(0, 0), (2, 0x01), (2, 0x88), (5, 2), (5, 0), (13, b'x'), (24, 28), (26, 3)] {
            let mut bad = good.clone();
            assert_ne!(bad[at], value);
            bad[at] = value;
            assert_eq!(read(&bad), Err(BadAnswer::Foreign), "{at}");
        }
        for length in 0..good.len() {
            assert_eq!(read(&good[..length]), Err(BadAnswer::Foreign), "{length}");
        }
        let mut other_case = good.clone();
        other_case[13] = b'H';
        assert!(read(&other_case).is_ok());
        let mut refused = good[..12].to_vec();
        refused[3..6].copy_from_slice(&[0x85, 0, 0]);
        assert_eq!(read(&refused).unwrap().code, 5);
    }

    #[test]
    fn pointers_and_lengths_cannot_lead_astray() {
        let to_itself = [0xc0, 27, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0];
        let forward = [0xc0, 29, 1, b'a', 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0];
        let reserved = [0x40, 1, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0];
        let short_data = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 1, 2, 3];
        let label_behind_the_end = [63, b'a'];
        let cases: [&[u8]; 8] = [
            &to_itself,
            &forward,
            &reserved,
            &short_data,
            &label_behind_the_end,
            &data(1, &[1, 2, 3]),
            &data(5, &[1, b'b', 0xc0, 12, 0]),
            &data(5, &[]),
        ];
        for bad in cases {
            assert_eq!(read(&message([0x81, 0x80], &[bad])), Err(BadAnswer::Broken), "{bad:?}");
        }
        // A name that grows beyond its limit by pointing to itself piece by piece.
        let mut grown = message([0x81, 0x80], &[&[]]);
        let mut last = 12;
        for _ in 0..8 {
            let at = grown.len();
            grown.push(63);
            grown.extend([b'a'; 63]);
            grown.extend([0xc0 | (last >> 8) as u8, last as u8]);
            last = at;
        }
        assert!(Name::read(&grown, last).is_none());
        assert!(Name::read(&grown, 27).is_some());
    }
}
