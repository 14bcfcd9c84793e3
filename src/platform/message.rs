//! What the worker and the executor say to each other: two closed lists, each entry one message of a few bytes. Decoding
//! is all that the executor ever parses; it takes exactly what encoding makes, and no text in it names a program or a path.

use std::time::Duration;

use super::Verb;
use crate::config::Target;

/// Bytes of a request.
pub(super) const MAX_REQUEST: usize = 8 * 1024;
/// Bytes of a reply: a program's output, of which each byte may have become a replacement character.
pub(super) const MAX_REPLY: usize = 64 * 1024;
/// The longest that anything may be asked to take.
const MAX_WITHIN: Duration = Duration::from_secs(24 * 60 * 60);
/// Hexadecimal digits of a challenge.
const MAX_CHALLENGE: usize = 4096;
/// Bytes of an image's name, the file system's own limit.
const MAX_NAME: usize = 255;
/// Characters of a version.
const MAX_VERSION: usize = 64;

/// What the worker asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Request {
    /// Carry out a verb; its program may take so long.
    Run(Verb, Duration),
    /// Have a provider's challenge decrypted.
    Decrypt(String, Duration),
    /// Start the installer of a target on the image of this name. The lock of installers comes beside it.
    Install { target: Target, image: String, version: String },
    /// Empty the web server's cache.
    ClearCache,
    /// Open the socket to the HomePlug bridge.
    OpenWire,
    /// Open the supplicant's configuration for reading.
    OpenNetworks,
}

/// What the executor answers. It has no Debug: the output of a program may be a secret.
#[derive(Clone, PartialEq)]
pub(super) enum Reply {
    /// Done; with what was printed.
    Done(String),
    /// There was nothing to do.
    Absent,
    /// The configuration knows no such thing, or too much is going on already.
    Refused,
    /// The system said no: its error number.
    System(i32),
    /// The program could not be started: the error number.
    NotStarted(i32),
    /// The program failed: its wait status, and the last line that it said.
    Failed(i32, String),
    /// It did not end in time.
    Late,
    /// It was stopped.
    Stopped,
    /// An installer's lines.
    Lines(Vec<String>),
    /// The end of an installer: its wait status.
    Ended(i32),
}

impl Request {
    pub fn encode(&self) -> Vec<u8> {
        let mut to = Vec::new();
        match self {
            Request::Run(verb, within) => {
                to.push(verb_number(*verb));
                put_time(&mut to, *within);
                if let Verb::SetClock { stamp, at } = verb {
                    put_time(&mut to, *stamp);
                    put_time(&mut to, *at);
                }
            }
            Request::Decrypt(challenge, within) => {
                to.push(20);
                put_time(&mut to, *within);
                put_text(&mut to, challenge);
            }
            Request::Install { target, image, version } => {
                to.push(match target {
                    Target::Fw => 21,
                    Target::Kernel => 22,
                });
                put_text(&mut to, image);
                put_text(&mut to, version);
            }
            Request::ClearCache => to.push(23),
            Request::OpenWire => to.push(24),
            Request::OpenNetworks => to.push(25),
        }
        to
    }

    /// Nothing for what no worker of ours would send.
    pub fn decode(bytes: &[u8]) -> Option<Request> {
        let mut from = Bytes(bytes);
        let request = match from.number()? {
            20 => {
                let within = from.within()?;
                let is_hex = |it: &String| it.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'));
                Request::Decrypt(from.text(MAX_CHALLENGE).filter(is_hex)?, within)
            }
            number @ (21 | 22) => Request::Install {
                target: if number == 21 { Target::Fw } else { Target::Kernel },
                image: from.text(MAX_NAME).filter(|it| is_plain_name(it))?,
                version: from.text(MAX_VERSION).filter(|it| is_version(it))?,
            },
            23 => Request::ClearCache,
            24 => Request::OpenWire,
            25 => Request::OpenNetworks,
            number => {
                let within = from.within()?;
                Request::Run(from.verb(number)?, within)
            }
        };
        from.0.is_empty().then_some(request)
    }
}

impl Reply {
    pub fn encode(&self) -> Vec<u8> {
        let mut to = Vec::new();
        match self {
            Reply::Done(text) => {
                to.push(0);
                to.extend_from_slice(text.as_bytes());
            }
            Reply::Absent => to.push(1),
            Reply::Refused => to.push(2),
            Reply::System(errno) => put_status(&mut to, 3, *errno),
            Reply::NotStarted(errno) => put_status(&mut to, 4, *errno),
            Reply::Failed(status, said) => {
                put_status(&mut to, 5, *status);
                to.extend_from_slice(said.as_bytes());
            }
            Reply::Late => to.push(6),
            Reply::Stopped => to.push(7),
            Reply::Lines(lines) => {
                to.push(8);
                to.extend_from_slice(lines.join("\n").as_bytes());
            }
            Reply::Ended(status) => put_status(&mut to, 9, *status),
        }
        to
    }

    pub fn decode(bytes: &[u8]) -> Option<Reply> {
        let mut from = Bytes(bytes);
        let reply = match from.number()? {
            0 => Reply::Done(from.rest()?),
            1 => Reply::Absent,
            2 => Reply::Refused,
            3 => Reply::System(from.status()?),
            4 => Reply::NotStarted(from.status()?),
            5 => Reply::Failed(from.status()?, from.rest()?),
            6 => Reply::Late,
            7 => Reply::Stopped,
            8 => Reply::Lines(from.rest()?.split('\n').map(str::to_owned).collect()),
            9 => Reply::Ended(from.status()?),
            _ => return None,
        };
        from.0.is_empty().then_some(reply)
    }
}

/// Names are plain, so that none leads out of its folder.
fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0'])
}

fn is_version(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|it| it.is_ascii_alphanumeric() || b".+~_-".contains(&it))
}

fn verb_number(verb: Verb) -> u8 {
    match verb {
        Verb::SetClock { .. } => 1,
        Verb::WriteRtc => 2,
        Verb::StopNtp => 3,
        Verb::StartNtp => 4,
        Verb::NtpSources => 5,
        Verb::StopPtp => 6,
        Verb::StartPtp => 7,
        Verb::Sync => 8,
        Verb::Reboot => 9,
    }
}

fn put_time(to: &mut Vec<u8>, time: Duration) {
    to.extend_from_slice(&time.as_secs().to_le_bytes());
    to.extend_from_slice(&time.subsec_nanos().to_le_bytes());
}

fn put_text(to: &mut Vec<u8>, text: &str) {
    // A text that is too long for this is refused by whoever decodes it.
    to.extend_from_slice(&(text.len().min(usize::from(u16::MAX)) as u16).to_le_bytes());
    to.extend_from_slice(text.as_bytes());
}

fn put_status(to: &mut Vec<u8>, number: u8, status: i32) {
    to.push(number);
    to.extend_from_slice(&status.to_le_bytes());
}

/// What is left of a message.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn number(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn status(&mut self) -> Option<i32> {
        self.array().map(i32::from_le_bytes)
    }

    fn time(&mut self) -> Option<Duration> {
        let (secs, nanos) = (u64::from_le_bytes(self.array()?), u32::from_le_bytes(self.array()?));
        (nanos < 1_000_000_000).then(|| Duration::new(secs, nanos))
    }

    fn within(&mut self) -> Option<Duration> {
        self.time().filter(|it| *it <= MAX_WITHIN)
    }

    fn text(&mut self, limit: usize) -> Option<String> {
        let length = usize::from(u16::from_le_bytes(self.array()?));
        if length == 0 || limit < length {
            return None;
        }
        String::from_utf8(self.take(length)?.to_vec()).ok()
    }

    fn rest(&mut self) -> Option<String> {
        String::from_utf8(std::mem::take(&mut self.0).to_vec()).ok()
    }

    fn verb(&mut self, number: u8) -> Option<Verb> {
        Some(match number {
            1 => Verb::SetClock { stamp: self.time()?, at: self.time()? },
            2 => Verb::WriteRtc,
            3 => Verb::StopNtp,
            4 => Verb::StartNtp,
            5 => Verb::NtpSources,
            6 => Verb::StopPtp,
            7 => Verb::StartPtp,
            8 => Verb::Sync,
            9 => Verb::Reboot,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::random;

    fn every_request() -> Vec<Request> {
        let within = Duration::new(5, 250_000_000);
        let set = Verb::SetClock { stamp: Duration::new(u64::MAX, 999_999_999), at: Duration::ZERO };
        let verbs = [
            set,
            Verb::WriteRtc,
            Verb::StopNtp,
            Verb::StartNtp,
            Verb::NtpSources,
            Verb::StopPtp,
            Verb::StartPtp,
            Verb::Sync,
            Verb::Reboot,
        ];
        let install = |target| Request::Install { target, image: "fw-4.6.bin".into(), version: "4.6~rc1".into() };
        let mut res: Vec<Request> = verbs.into_iter().map(|it| Request::Run(it, within)).collect();
        res.extend([
            Request::Decrypt("00ff".repeat(1024), MAX_WITHIN),
            install(Target::Fw),
            install(Target::Kernel),
            Request::ClearCache,
            Request::OpenWire,
            Request::OpenNetworks,
        ]);
        res
    }

    #[test]
    fn every_request_arrives_as_it_was_sent() {
        for request in every_request() {
            let bytes = request.encode();
            assert!(bytes.len() <= MAX_REQUEST);
            assert_eq!(Request::decode(&bytes), Some(request));
        }
    }

    #[test]
    fn every_reply_arrives_as_it_was_sent() {
        for reply in [
            Reply::Done("\u{fffd}\n".repeat(4096)),
            Reply::Absent,
            Reply::Refused,
            Reply::System(-1),
            Reply::NotStarted(2),
            Reply::Failed(256, "no".into()),
            Reply::Late,
            Reply::Stopped,
            Reply::Lines(vec!["one".into(), "two".into()]),
            Reply::Ended(9),
        ] {
            let bytes = reply.encode();
            assert!(bytes.len() <= MAX_REPLY && Reply::decode(&bytes) == Some(reply));
        }
    }

    #[test]
    fn what_no_worker_would_send_is_refused() {
        let within = Duration::from_secs(1);
        let install = |image: &str, version: &str| {
            Request::Install { target: Target::Fw, image: image.into(), version: version.into() }.encode()
        };
        for image in ["", ".", "..", "../x", "a/b", "/etc/shadow", ".hidden", "a\0b", &"x".repeat(256)] {
            assert_eq!(Request::decode(&install(image, "1")), None, "{image}");
        }
        for version in ["", "1 2", "1\n", "$(x)", &"1".repeat(65)] {
            assert_eq!(Request::decode(&install("x", version)), None, "{version}");
        }
        for challenge in ["", "0G", "AB", "0 ", &"0".repeat(4097), &"0".repeat(70_000)] {
            assert_eq!(Request::decode(&Request::Decrypt(challenge.into(), within).encode()), None);
        }
        let late = Request::Run(Verb::Reboot, Duration::MAX).encode();
        assert_eq!(Request::decode(&late), None, "a wait without end");
        for request in every_request() {
            let bytes = request.encode();
            assert_eq!(Request::decode(&[bytes.as_slice(), &[0]].concat()), None, "{request:?} and more");
            for length in 0..bytes.len() {
                assert_eq!(Request::decode(&bytes[..length]), None, "{length} bytes of {request:?}");
            }
        }
    }

    /// Random bytes, and requests with a few bytes changed: nothing panics, and what is taken is exactly what some
    /// request's encoding is.
    #[test]
    fn random_bytes_are_refused_or_mean_what_they_say() {
        let requests = every_request();
        let mut taken = 0;
        for round in 0..20_000 {
            let [length, place, value, first, rest @ ..] = random::bytes::<40>();
            let mut bytes = rest[..usize::from(length) % rest.len()].to_vec();
            if round % 2 == 0 {
                bytes = requests[usize::from(first) % requests.len()].encode();
                let at = usize::from(place) % bytes.len();
                bytes[at] = value;
            }
            if let Some(request) = Request::decode(&bytes) {
                taken += 1;
                assert_eq!(request.encode(), bytes);
            }
            if let Some(reply) = Reply::decode(&bytes) {
                assert!(reply.encode() == bytes);
            }
        }
        assert!(taken < 10_000, "{taken} of 20000");
    }
}
