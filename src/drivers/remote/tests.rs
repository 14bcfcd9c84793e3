//! Devices made of a few registers, and lines that say what they are told: the walk, the map and the master.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::super::Watch;
use super::super::reach::{Lookout, Stop};
use super::fault::Fault;
use super::frame::{Ask, FrameFault, Table};
use super::line::Line;
use super::master::{Framing, Master, Registers};
use super::models::{self, Kind};
use super::report::Report;
use super::{map, rtu, sunspec};
use crate::config::RemoteMap;

/// Nobody cancels before so many looks at the flag.
#[derive(Default)]
struct Person {
    looks: AtomicUsize,
    patience: Option<usize>,
}

impl Watch for Person {
    fn cancelled(&self) -> bool {
        let n = self.looks.fetch_add(1, Ordering::Relaxed);
        self.patience.is_some_and(|it| it <= n)
    }
    fn progress(&self, _: f64) {}
    fn result(&self, _: Value) {}
}

/// Registers from `base` on.
#[derive(Default)]
struct Device {
    base: u16,
    words: Vec<u16>,
    /// Registers that it gives at once.
    at_most: u16,
    /// What it says where it has none; silent if 0.
    code: u8,
    reads: Vec<(u16, u16)>,
}

impl Device {
    fn new(base: u16, words: &[u16]) -> Device {
        Device { base, words: words.to_vec(), at_most: 125, code: 2, reads: Vec::new() }
    }

    /// A SunSpec device with these models: number, length, registers, of which those that are missing are 0xffff.
    fn sunspec(base: u16, models: &[(u16, usize, &[u16])]) -> Device {
        let mut words = vec![0x5375, 0x6e53];
        for (id, length, content) in models {
            words.extend([*id, *length as u16]);
            words.extend(content.iter().copied().chain(std::iter::repeat(0xffff)).take(*length));
        }
        words.extend([0xffff, 0]);
        Device::new(base, &words)
    }
}

impl Registers for Device {
    fn read(&mut self, table: Table, address: u16, count: u16) -> Result<Vec<u16>, Fault> {
        self.reads.push((address, count));
        let refuse = |code| Err(Fault::Exception { unit: 1, code, address, count });
        if self.at_most < count {
            return refuse(3);
        }
        let from = usize::from(address).checked_sub(usize::from(self.base));
        let found = from.and_then(|it| self.words.get(it..it + usize::from(count)));
        match found.filter(|_| table == Table::Holding) {
            Some(words) => Ok(words.to_vec()),
            None if self.code == 0 => Err(Fault::Silent { unit: 1, serial: false }),
            None => refuse(self.code),
        }
    }
}

/// What a walk brings: `name=value` for each register, and how it ended.
fn walk(device: &mut Device) -> (String, Result<(), Fault>) {
    let person = Person::default();
    let report = Report::new(&person);
    let res = sunspec::walk(device, &report);
    let value = report.value();
    let regs = value["regs"].as_array().unwrap().iter();
    let regs =
        regs.map(|it| format!("{}={}{}", it["name"].as_str().unwrap(), it["value"], it["unit"].as_str().unwrap_or("")));
    (regs.collect::<Vec<_>>().join(" "), res)
}

#[track_caller]
fn check(device: &mut Device, expect: &str) {
    let (got, res) = walk(device);
    assert!(res.is_ok(), "{res:?}");
    assert_eq!(got, expect);
}

#[test]
fn a_device_is_found_at_each_base() {
    for base in [40000, 50000, 0] {
        check(&mut Device::sunspec(base, &[(1, 66, &model(1, &[("Mn", 0x4142), ("DA", 9)]))]), "Mn=\"AB\" DA=9");
    }
}

/// The registers of a model that implements nothing but what is set: points of one register each.
fn model(id: u16, set: &[(&str, i32)]) -> Vec<u16> {
    let mut res = Vec::new();
    for point in models::find(id).unwrap().points {
        let value = set.iter().find(|it| it.0 == point.name).map(|it| it.1 as u16);
        res.extend(match point.kind {
            _ if value.is_some() => value.into_iter().chain(vec![0; point.kind.size() - 1]).collect(),
            Kind::Int16 | Kind::Scale => vec![0x8000],
            Kind::Int32 => vec![0x8000, 0],
            Kind::Acc32 | Kind::Acc64 | Kind::Text(_) => vec![0; point.kind.size()],
            kind => vec![0xffff; kind.size()],
        });
    }
    res
}

/// A = 10.5 A and W = -4200 W.
fn inverter() -> Vec<u16> {
    model(101, &[("A", 105), ("A_SF", -1), ("W", -420), ("W_SF", 1)])
}

#[test]
fn scale_factors_stand_behind_their_values() {
    check(&mut Device::sunspec(40000, &[(101, 50, &inverter())]), "A=10.5A W=-4200.0W");
}

#[test]
fn a_factor_that_is_not_implemented_scales_nothing_and_a_senseless_one_hides_the_value() {
    let words = model(101, &[("A", 105), ("W", -420), ("W_SF", 99)]);
    check(&mut Device::sunspec(0, &[(101, 50, &words)]), "A=105A");
}

#[test]
fn steps_are_those_of_the_device_and_unknown_models_are_passed_over() {
    let short = &inverter()[..13];
    let (common, whole) = (model(1, &[("Mn", 0x4100)]), inverter());
    let models = [(1, 65, &common[..65]), (64999, 3, &[1, 2, 3]), (101, 13, short), (101, 60, &whole)];
    check(&mut Device::sunspec(40000, &models), "Mn=\"A\" 101:1:A=10.5A 101:1:W=-420W 101:2:A=10.5A 101:2:W=-4200.0W");
}

#[test]
fn groups_repeat_to_the_end_of_the_model_or_as_often_as_it_says() {
    let module = |n: u16| {
        let mut res = vec![0xffff; 20];
        (res[0], res[9]) = (n, 380 + n);
        (res[1], res[12], res[13]) = (0, 0, 0); // no text, an accumulator that never counted
        (res[16], res[17]) = (0x8000, 0xffff);
        res
    };
    let head = [0x8000, 0x8000, 0x8000, 0x8000, 0xffff, 0xffff, 2, 0xffff];
    let words = [&head[..], &module(1), &module(2)].concat();
    check(
        &mut Device::sunspec(0, &[(160, 48, &words)]),
        "N=2 160:1:1:ID=1 160:1:1:DCA=381A 160:1:2:ID=2 160:1:2:DCA=382A",
    );
}

#[test]
fn a_device_that_gives_little_at_once_is_asked_for_less() {
    for at_most in [125, 70, 40, 16, 15] {
        let mut device = Device::sunspec(40000, &[(1, 66, &model(1, &[])), (101, 50, &inverter())]);
        device.at_most = at_most;
        let (got, res) = walk(&mut device);
        assert!(res.is_ok() && got.ends_with("A=10.5A W=-4200.0W"), "{at_most}: {got} {res:?}");
    }
}

#[test]
fn an_end_of_one_register_is_an_end() {
    let mut device = Device::sunspec(40000, &[(101, 50, &inverter())]);
    device.words.pop();
    check(&mut device, "A=10.5A W=-4200.0W");
}

#[test]
fn no_point_is_cut_in_two() {
    let mut device = Device::sunspec(0, &[(203, 105, &model(203, &[]))]);
    device.at_most = 30;
    walk(&mut device).1.unwrap();
    let mut at = 4;
    let ends: Vec<u16> = models::find(203)
        .unwrap()
        .points
        .iter()
        .map(|it| {
            at += it.kind.size() as u16;
            at
        })
        .collect();
    let pieces: Vec<u16> =
        device.reads.iter().filter(|it| 4 <= it.0 && (3..=30).contains(&it.1)).map(|it| it.0 + it.1).collect();
    assert!(pieces.len() == 4 && pieces.iter().all(|it| ends.contains(it)), "{:?}", device.reads);
}

#[test]
fn what_is_no_sunspec_device_is_told_from_what_is_no_device() {
    let ends = |mut device: Device| walk(&mut device).1.unwrap_err();
    assert!(
        matches!(ends(Device::new(40000, &[1, 2])), Fault::NotSunSpec(text) if text.contains("40000 holds 0001 0002"))
    );
    assert!(matches!(ends(Device::new(7, &[])), Fault::NotSunSpec(text) if text.contains("exception 02")));
    assert!(matches!(ends(Device { code: 0, ..Device::new(7, &[]) }), Fault::Silent { .. }));
    for code in [4, 10, 11] {
        let device = Device { code, ..Device::new(7, &[]) };
        assert!(matches!(ends(device), Fault::Exception { code: got, .. } if got == code));
    }
}

#[test]
fn a_list_that_does_not_end_is_given_up() {
    let endless: Vec<(u16, usize, &[u16])> = (0..200).map(|_| (64999, 1, &[][..])).collect();
    assert!(matches!(walk(&mut Device::sunspec(0, &endless)).1, Err(Fault::EndlessModels)));
    let beyond = Device::new(50000, &[0x5375, 0x6e53, 101, 60000]);
    assert!(matches!(walk(&mut { beyond }).1, Err(Fault::EndlessModels)));
}

#[test]
fn a_map_is_read_as_far_as_it_can_be() {
    let text = r#"{"registers": [{"name": "A", "register": 1, "type": "P", "unit": "W"},
        {"name": "B", "register": 9, "type": "V"}, {"name": "C", "register": 2, "type": "T", "scale": 0.5}]}"#;
    let wanted: RemoteMap = serde_json::from_str(text).unwrap();
    let run = |mut device: Device| {
        let person = Person::default();
        let report = Report::new(&person);
        let res = map::read(&mut device, &wanted, &report);
        (report.value()["regs"].to_string(), res)
    };
    let (regs, res) = run(Device::new(0, &[7, 8, 9]));
    assert!(res.is_ok());
    assert_eq!(regs, r#"[{"name":"A","type":"P","unit":"W","value":8},{"name":"C","type":"T","value":4.5}]"#);
    assert!(matches!(run(Device::new(100, &[])).1, Err(Fault::NothingOfMap(_))));
    assert!(matches!(run(Device { code: 11, ..Device::new(100, &[]) }).1, Err(Fault::Exception { code: 11, .. })));
}

/// A line that says what it is told, in these pieces, one list of pieces for each request; a pause is an empty piece.
struct Script<'a> {
    answers: VecDeque<Vec<Vec<u8>>>,
    now: VecDeque<Vec<u8>>,
    sent: &'a Mutex<Vec<Vec<u8>>>,
}

impl Line for Script<'_> {
    fn send(&mut self, bytes: &[u8], look: &Lookout) -> Result<(), Fault> {
        look.check()?;
        self.sent.lock().unwrap().push(bytes.to_vec());
        self.now.extend(self.answers.pop_front().unwrap_or_default());
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8], look: &Lookout) -> Result<usize, Fault> {
        look.check()?;
        match self.now.pop_front() {
            Some(mut piece) if !piece.is_empty() => {
                let n = piece.len().min(buffer.len());
                buffer[..n].copy_from_slice(&piece[..n]);
                if n < piece.len() {
                    self.now.push_front(piece.split_off(n));
                }
                Ok(n)
            }
            _ => Err(Fault::Stopped(Stop::Late)),
        }
    }

    fn drain(&mut self, _: &Lookout) -> Result<(), Fault> {
        self.now.clear();
        Ok(())
    }
}

const ASK: Ask = Ask { unit: 7, table: Table::Holding, address: 40000, count: 1 };

/// What reading one register brings, and how many requests went out.
fn ask(framing: Framing, answers: &[&[&[u8]]], person: &Person) -> (Result<Vec<u16>, Fault>, usize) {
    let sent = Mutex::new(Vec::new());
    let answers = answers.iter().map(|it| it.iter().map(|it| it.to_vec()).collect()).collect();
    let line = Script { answers, now: VecDeque::new(), sent: &sent };
    let look = Lookout::new(person, Duration::from_secs(60));
    let res = Master::new(Box::new(line), framing, ASK.unit, look).read(ASK.table, ASK.address, ASK.count);
    let n = sent.lock().unwrap().len();
    (res, n)
}

#[track_caller]
fn tcp_check(pieces: &[&[u8]], expect: &str) {
    let (res, sent) = ask(Framing::Tcp, &[pieces], &Person::default());
    assert_eq!(format!("{res:?}"), expect);
    assert_eq!(sent, 1);
}

#[test]
fn tcp_answers_come_in_any_pieces() {
    let good = [0, 1, 0, 0, 0, 5, 7, 3, 2, 0x12, 0x34];
    let bytes: Vec<&[u8]> = good.chunks(1).collect();
    tcp_check(&bytes, "Ok([4660])");
    tcp_check(&[&good], "Ok([4660])");
    tcp_check(&[&good[..9]], "Err(Frame(Short { got: 9, of: 11 }))");
    tcp_check(&[&good[..4]], "Err(Frame(Short { got: 4, of: 7 }))");
    tcp_check(&[], "Err(Silent { unit: 7, serial: false })");
    tcp_check(&[b"HTTP/1.1 400"], "Err(Frame(NotModbus))");
    let other = [&[0, 9], &good[2..]].concat();
    tcp_check(&[&other], "Err(Frame(Transaction { asked: 1, got: 9 }))");
}

#[test]
fn silence_after_an_answer_is_not_a_wrong_unit() {
    let sent = Mutex::new(Vec::new());
    let answers = VecDeque::from([vec![vec![0, 1, 0, 0, 0, 3, 7, 0x83, 2]]]);
    let line = Script { answers, now: VecDeque::new(), sent: &sent };
    let person = Person::default();
    let look = Lookout::new(&person, Duration::from_secs(60));
    let mut master = Master::new(Box::new(line), Framing::Tcp, 7, look);
    assert!(matches!(master.read(Table::Holding, 1, 1), Err(Fault::Exception { code: 2, .. })));
    assert!(matches!(master.read(Table::Holding, 1, 1), Err(Fault::Lost(7))));
}

fn sealed(body: &[u8]) -> Vec<u8> {
    [body, &rtu::crc(body).to_le_bytes()].concat()
}

#[test]
fn lost_and_garbled_serial_answers_are_asked_for_again() {
    let (good, mut bad) = (sealed(&[7, 3, 2, 0x12, 0x34]), sealed(&[7, 3, 2, 0x12, 0x34]));
    bad[4] ^= 8;
    let framing = Framing::Rtu { port: None };
    let run = |answers: &[&[&[u8]]]| {
        let (res, sent) = ask(framing, answers, &Person::default());
        format!("{res:?} {sent}")
    };
    assert_eq!(run(&[&[&good]]), "Ok([4660]) 1");
    assert_eq!(run(&[&[&bad], &[&good[..3], &good[3..]]]), "Ok([4660]) 2");
    assert_eq!(run(&[&[&bad], &[&bad], &[&good]]), format!("{:?} 2", Err::<(), _>(Fault::Frame(FrameFault::Crc))));
    assert_eq!(run(&[&[&good[..5]], &[&good[..5]]]), "Err(Frame(Short { got: 5, of: 7 })) 2");
    assert_eq!(run(&[&[&[0x55; 200], &[0x55; 200]], &[&[0x55; 200], &[0x55; 200]]]), "Err(Frame(Endless)) 2");
    // Its own request, a pause, and then the answer.
    assert_eq!(run(&[&[&rtu::encode(&ASK), &[], &good]]), "Ok([4660]) 1");
    let busy = sealed(&[7, 0x83, 6]);
    assert_eq!(run(&[&[&busy], &[&good]]), "Ok([4660]) 2");
}

#[test]
fn cancelling_ends_every_wait() {
    for patience in 0..3 {
        let person = Person { patience: Some(patience), ..Person::default() };
        let (res, _) = ask(Framing::Tcp, &[], &person);
        assert!(matches!(res, Err(Fault::Stopped(Stop::Cancelled))), "{patience}: {res:?}");
    }
}

#[test]
fn the_deadline_of_the_whole_ends_every_wait() {
    let person = Person::default();
    let sent = Mutex::new(Vec::new());
    for framing in [Framing::Tcp, Framing::Rtu { port: None }] {
        let line = Script { answers: VecDeque::new(), now: VecDeque::new(), sent: &sent };
        let look = Lookout::new(&person, Duration::ZERO);
        let res = Master::new(Box::new(line), framing, 1, look).read(Table::Holding, 0, 1);
        assert!(matches!(res, Err(Fault::Stopped(Stop::Late))), "{res:?}");
    }
}
