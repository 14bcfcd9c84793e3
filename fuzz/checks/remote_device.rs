//! Whatever a remote device sends: the frame readers do not panic, do not depend on how bytes arrive, and give as many
//! registers as were asked for; the SunSpec walk ends, and reads no register twice as a model.
use meterd::drivers::Watch;
use meterd::drivers::remote::frame::{Ask, MAX_REGISTERS, Reply, Table};
use meterd::drivers::remote::tcp::Decoded;
use meterd::drivers::remote::{Fault, Registers, Report, rtu, sunspec, tcp};
use serde_json::Value;

/// See the module.
pub fn check(data: &[u8]) {
    let Some((&[kind, unit, count], bytes)) = data.split_first_chunk() else { return };
    let table = if kind & 4 == 0 { Table::Holding } else { Table::Input };
    let count = u16::from(count) % MAX_REGISTERS + 1;
    let ask = Ask { unit, table, address: 40000, count };
    match kind % 4 {
        0 => over_tcp(&ask, bytes),
        1 => over_rtu(&ask, bytes),
        2 => sealed(&ask, bytes),
        _ => walk(usize::from(unit), bytes),
    }
}

fn promise(ask: &Ask, reply: &Reply) {
    if let Reply::Registers(words) = reply {
        assert_eq!(words.len(), usize::from(ask.count));
    }
}

fn over_tcp(ask: &Ask, bytes: &[u8]) {
    const ID: u16 = 3;
    let mut first = None;
    for n in 0..=bytes.len().min(tcp::LONGEST) {
        match (tcp::decode(&bytes[..n], ID, 2, ask), &first) {
            (Ok(Decoded::More(of)), None) => assert!(n < of && of <= tcp::LONGEST),
            (Ok(Decoded::More(_)), Some(_)) => panic!("an answer is undone by more bytes"),
            (Ok(Decoded::Late(used)), _) => assert!(used <= n),
            (Ok(Decoded::Whole(used, reply)), None) => {
                assert_eq!(used, n, "it could have been known earlier");
                promise(ask, &reply);
                first = Some(reply);
            }
            (Ok(Decoded::Whole(_, reply)), Some(before)) => assert!(reply == *before),
            (Err(_), None) => return,
            (Err(_), Some(_)) => panic!("an answer is undone by more bytes"),
        }
    }
}

fn over_rtu(ask: &Ask, bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(rtu::LOOKED_AT)];
    for n in 0..=bytes.len() {
        let now = rtu::decode(&bytes[..n], ask, false);
        let quiet = rtu::decode(&bytes[..n], ask, true);
        match now {
            Ok(Some(reply)) => {
                promise(ask, &reply);
                assert!(quiet == Ok(Some(reply)));
                return;
            }
            Err(fault) => {
                assert!(quiet == Err(fault));
                return;
            }
            Ok(None) => assert!(!matches!(quiet, Ok(Some(_)))),
        }
    }
    assert!(bytes.len() < rtu::LOOKED_AT, "so many bytes must be an end");
}

/// A good frame is found, and one with a flipped bit is not taken for it.
fn sealed(ask: &Ask, bytes: &[u8]) {
    let wanted = 2 * usize::from(ask.count);
    let content: Vec<u8> = bytes.iter().copied().chain(std::iter::repeat(0)).take(wanted).collect();
    let body = [&[ask.unit, ask.function(), wanted as u8][..], &content].concat();
    let mut frame = [&body[..], &rtu::crc(&body).to_le_bytes()].concat();
    let words = content.chunks(2).map(|it| u16::from_be_bytes([it[0], it[1]])).collect();
    assert!(rtu::decode(&frame, ask, false) == Ok(Some(Reply::Registers(words))));
    let sum = bytes.iter().fold(0usize, |sum, it| sum.wrapping_mul(31).wrapping_add(usize::from(*it)));
    let flip = sum % (8 * frame.len());
    frame[flip / 8] ^= 1 << (flip % 8);
    // With a damaged byte the echo or a shorter frame may begin elsewhere, but not the whole one.
    assert!(!matches!(rtu::decode(&frame, ask, true), Ok(Some(Reply::Registers(_)))));
}

struct Nobody;

impl Watch for Nobody {
    fn cancelled(&self) -> bool {
        false
    }
    fn progress(&self, share: f64) {
        assert!((0.0..=1.0).contains(&share));
    }
    fn result(&self, _: Value) {}
}

/// Registers at one of the usual places; what is beyond them is refused.
struct Device {
    base: u32,
    words: Vec<u16>,
    at_most: u16,
    reads: usize,
}

impl Registers for Device {
    fn read(&mut self, _: Table, address: u16, count: u16) -> Result<Vec<u16>, Fault> {
        self.reads += 1;
        assert!((1..=MAX_REGISTERS).contains(&count) && u32::from(address) + u32::from(count) <= 0x1_0000);
        assert!(self.reads < 20_000, "it does not end");
        let from = u32::from(address).checked_sub(self.base).map(|it| it as usize);
        let found = from.and_then(|it| self.words.get(it..it + usize::from(count)));
        let code = if self.at_most < count { 3 } else { 2 };
        let refused = Fault::Exception { unit: 1, code, address, count };
        found.filter(|_| code == 2).map(<[u16]>::to_vec).ok_or(refused)
    }
}

fn walk(place: usize, bytes: &[u8]) {
    let mut words = vec![0x5375, 0x6e53];
    words.extend(bytes.chunks_exact(2).map(|it| u16::from_be_bytes([it[0], it[1]])));
    let at_most = [125, 70, 16, 3][place / 3 % 4];
    let mut device = Device { base: [40000, 50000, 0][place % 3], words, at_most, reads: 0 };
    let report = Report::new(&Nobody);
    let ended = sunspec::walk(&mut device, &report);
    let value = report.value();
    let (regs, trace) = (value["regs"].as_array().unwrap(), value["trace"].as_array().unwrap());
    assert!(!trace.is_empty() && regs.len() <= 1024);
    let mut names: Vec<&str> = regs.iter().map(|it| it["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), regs.len(), "two registers have one name");
    assert!(regs.iter().all(|it| it.get("value").is_some_and(|it| it.is_number() || it.is_string())));
    if let Err(fault) = ended {
        assert!(!fault.to_string().is_empty());
    }
}
