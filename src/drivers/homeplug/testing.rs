//! What the unit tests of this driver share: frames as hex, and an emulated powerline on a wire with a clock of its own.
//! It is compiled for tests only, and reads frames by their offsets, not with the driver's code.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::super::Watch;
use super::link::Wire;
use super::target::Mac;

/// Captured from the tools of Debian's plc-utils.
const GOLDEN: &str = include_str!("../../../tests/data/homeplug/golden-frames.tsv");

/// The interface's address in the captures.
pub(super) const HOST: Mac = Mac([2, 0, 0, 0, 0, 0x10]);
/// The local bridge's address in the captures.
pub(super) const LOCAL: Mac = Mac([0, 0xb0, 0x52, 0xba, 0xbe, 0x56]);
/// Two remote bridges, whose DEK is `ABCD-EFGH-IJKL-MNOP`.
pub(super) const REMOTE: [Mac; 2] = [Mac([0, 0xb0, 0x52, 0xba, 0xbe, 0x57]), Mac([0, 0xb0, 0x52, 0xba, 0xbe, 0x58])];
const DAK: &str = "d9d4b37a5f73ebb5c1ff6310c28b8bfc";
/// The identifiers of the networks with the passwords `HomePlugAV` and `secret pass`.
const NIDS: [&str; 2] = ["b0f2e695666b03", "d3b8c6cd8b2408"];
/// The membership key of the second.
const NEW_KEY: &str = "31af7e5fef84a909ab5ac7be32dda847";

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|it| format!("{it:02x}")).collect()
}

pub(super) fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

pub(super) fn mac(text: &str) -> Mac {
    Mac::parse(text).unwrap()
}

/// A frame of a capture, counted from 1.
pub(super) fn golden(capture: &str, number: usize) -> Vec<u8> {
    let start = format!("{capture}\t{number}\t");
    let line = GOLDEN.lines().find(|it| it.starts_with(&start)).unwrap();
    unhex(&line[start.len()..])
}

/// What goes wrong with the key of one bridge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fault {
    /// Neither done nor answered.
    Absent,
    /// Done, but not answered.
    Mute,
    /// Done, and answered after milliseconds.
    Late(u64),
    /// Done, and answered a second time after milliseconds.
    Twice(u64),
    /// Not done, and refused.
    Status(u8),
    /// Done, and answered with a frame below Ethernet's shortest.
    Short,
    /// Done, and answered by somebody else's address.
    Stranger,
    /// Not done the first time, and not answered; the second time all is well.
    AbsentOnce,
    /// The interface goes down before the request.
    Down,
}

/// A powerline with one or more local bridges and two remote ones, on a wire.
pub(super) struct Line {
    pub(super) locals: Vec<Mac>,
    /// By bridge.
    pub(super) faults: Vec<(Mac, Fault)>,
    /// Version of the header in which the local bridge lists its network, if it does.
    pub(super) layout: Option<u8>,
    /// Requests go unanswered until that many have been sent.
    pub(super) deaf: usize,
    /// Every 100 µs somebody else's frame arrives.
    pub(super) flood: bool,
    /// The system has an error to report, once, before anything else is heard.
    pub(super) glitch: bool,
    /// Everything that was sent.
    pub(super) sent: Vec<Vec<u8>>,
    /// Whether each is in the new network: the local bridge, then the remote ones.
    pub(super) moved: [bool; 3],
    inbox: Vec<(Duration, Vec<u8>)>,
    shared: Arc<Shared>,
}

/// Clock and cancel flag.
#[derive(Default)]
pub(super) struct Shared {
    micros: AtomicU64,
    sent: AtomicUsize,
    /// Cancelled as soon as that many requests are out.
    pub(super) cancel_after: AtomicUsize,
    pub(super) cancelled: AtomicBool,
    pub(super) results: Mutex<Vec<Value>>,
    pub(super) shares: Mutex<Vec<f64>>,
}

impl Line {
    pub(super) fn new() -> (Line, Arc<Shared>) {
        let shared = Arc::new(Shared { cancel_after: AtomicUsize::new(usize::MAX), ..Shared::default() });
        let line = Line {
            locals: vec![LOCAL],
            faults: vec![],
            layout: Some(1),
            deaf: 0,
            flood: false,
            glitch: false,
            sent: vec![],
            moved: [false; 3],
            inbox: vec![],
            shared: Arc::clone(&shared),
        };
        (line, shared)
    }

    /// Message types and the bridges whose keys they set, in the order in which they were sent.
    pub(super) fn story(&self) -> String {
        let name = |it: &Vec<u8>| match (it[15], it[37], it[43]) {
            (0x00, ..) => "who".to_string(),
            (0x38, ..) => "look".to_string(),
            (0x50, 0x0f, _) => "local".to_string(),
            (0x50, 0x00, last) => format!("{last:02x}"),
            other => panic!("{other:?}"),
        };
        let mut all: Vec<_> = self.sent.iter().map(name).collect();
        all.dedup();
        all.join(" ")
    }

    /// A local bridge says that it is there.
    pub(super) fn present(&mut self, millis: u64, local: Mac) {
        let mut answer = golden("swver-int6k", 2);
        answer[6..12].copy_from_slice(&local.0);
        self.arrive(millis, answer);
    }

    fn arrive(&mut self, millis: u64, frame: Vec<u8>) {
        self.inbox.push((self.now() + Duration::from_millis(millis), frame));
        self.inbox.sort();
    }

    fn fault(&mut self, whom: Mac) -> Option<Fault> {
        let at = self.faults.iter().position(|it| it.0 == whom)?;
        let res = self.faults[at].1;
        if res == Fault::AbsentOnce {
            self.faults.remove(at);
        }
        Some(res)
    }

    fn set_key(&mut self, frame: &[u8]) {
        let (whom, at) = match frame[37] {
            0x0f => (LOCAL, 0),
            _ => {
                let whom = Mac(frame[38..44].try_into().unwrap());
                (whom, REMOTE.iter().position(|it| *it == whom).map_or(3, |it| it + 1))
            }
        };
        assert_eq!(hex(&frame[21..37]), NEW_KEY);
        let fault = self.fault(whom);
        let status = match fault {
            Some(Fault::Status(status)) => status,
            _ if at == 0 => 0,
            _ if at == 3 => 0x13,
            // Who is in another network is not reached.
            _ if self.moved[at] != self.moved[0] => 0x13,
            _ if hex(&frame[44..60]) != DAK => 0x15,
            _ => 0,
        };
        if status == 0 && !matches!(fault, Some(Fault::Absent | Fault::AbsentOnce)) {
            self.moved[at] = true;
        }
        let mut answer = golden("plctool-local", 2);
        answer[20] = status;
        match fault {
            Some(Fault::Absent | Fault::AbsentOnce | Fault::Mute) => {}
            Some(Fault::Late(millis)) => self.arrive(millis, answer),
            Some(Fault::Twice(millis)) => {
                self.arrive(5, answer.clone());
                self.arrive(5 + millis, answer);
            }
            Some(Fault::Short) => self.arrive(5, answer[..43].to_vec()),
            Some(Fault::Stranger) => {
                answer[11] ^= 0x40;
                self.arrive(5, answer);
            }
            _ => self.arrive(5, answer),
        }
    }

    fn list(&self, version: u8) -> Vec<u8> {
        let nid = unhex(NIDS[usize::from(self.moved[0])]);
        let near: Vec<_> = REMOTE.iter().zip(&self.moved[1..]).filter(|it| *it.1 == self.moved[0]).collect();
        let mut frame = golden(if version == 0 { "nwinfo-int6k" } else { "nwinfo-plctool" }, 2);
        let (start, count, size) = if version == 0 { (21, 38, 15) } else { (28, 54, 24) };
        frame[start..start + 7].copy_from_slice(&nid);
        frame[count] = near.len() as u8;
        let first = if version == 0 { 39 } else { 60 };
        let station = frame[first..first + size].to_vec();
        frame.truncate(first);
        for (mac, _) in near {
            frame.extend(&mac.0);
            frame.extend(&station[6..]);
        }
        frame.resize(frame.len().max(60), 0);
        frame
    }
}

impl Wire for Line {
    fn mac(&self) -> Mac {
        HOST
    }

    fn now(&self) -> Duration {
        Duration::from_micros(self.shared.micros.load(Ordering::Relaxed))
    }

    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        let key_of = |whom: &Mac| match frame[37] {
            0x0f => *whom == LOCAL,
            _ => frame[38..44] == whom.0,
        };
        if frame[15] == 0x50 && self.faults.iter().any(|it| it.1 == Fault::Down && key_of(&it.0)) {
            return Err(io::ErrorKind::NetworkDown.into());
        }
        self.sent.push(frame.to_vec());
        self.shared.sent.store(self.sent.len(), Ordering::Relaxed);
        if self.sent.len() <= self.deaf {
            return Ok(());
        }
        match (frame[15], frame[14]) {
            (0x00, 0) => {
                for local in self.locals.clone() {
                    self.present(5, local);
                }
            }
            (0x50, 0) => self.set_key(frame),
            (0x38, version) if Some(version) == self.layout => self.arrive(5, self.list(version)),
            _ => {}
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8], wait: Duration) -> io::Result<Option<usize>> {
        if std::mem::take(&mut self.glitch) {
            return Err(io::ErrorKind::NetworkDown.into());
        }
        let now = self.now();
        let next = self.inbox.first().map(|it| it.0).filter(|it| *it <= now + wait);
        let noise = now + Duration::from_micros(100);
        let frame = if self.flood && next.is_none_or(|it| noise < it) {
            self.shared.micros.fetch_add(100, Ordering::Relaxed);
            let mut frame = golden("plctool-local", 2);
            frame[6] = 2;
            frame
        } else if let Some(at) = next {
            self.shared.micros.store(at.max(now).as_micros() as u64, Ordering::Relaxed);
            self.inbox.remove(0).1
        } else {
            self.shared.micros.fetch_add(wait.as_micros() as u64, Ordering::Relaxed);
            return Ok(None);
        };
        buffer[..frame.len()].copy_from_slice(&frame);
        Ok(Some(frame.len()))
    }

    fn expect(&mut self, _: &[(usize, u8)]) -> io::Result<()> {
        Ok(())
    }

    fn drain(&mut self) -> io::Result<()> {
        let now = self.now();
        self.inbox.retain(|it| now < it.0);
        Ok(())
    }
}

impl Watch for Shared {
    fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
            || self.cancel_after.load(Ordering::Relaxed) <= self.sent.load(Ordering::Relaxed)
    }

    fn progress(&self, share: f64) {
        self.shares.lock().unwrap().push(share);
    }

    fn result(&self, value: Value) {
        self.results.lock().unwrap().push(value);
    }
}
