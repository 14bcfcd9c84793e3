//! What a test has brought so far: the trace of what was done and the registers that were found. It grows before the
//! eyes of whoever waits, and does not know how they are found.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::super::{CancelFlag, Watch};
use crate::sys::clock::boottime;

/// The pause between two showings: each of them may be written to flash.
const PAUSE: Duration = Duration::from_millis(300);
/// Lines of the trace; the last one says that more were left out.
const MAX_TRACE: usize = 300;
/// Registers that are shown.
const MAX_REGS: usize = 1024;

/// A register of the remote device.
#[derive(Clone, Debug, PartialEq)]
pub struct Reg {
    /// Its name where that is unique.
    pub id: String,
    /// What tells it from others with the same name: model, instance, and place in a group.
    pub place: String,
    /// Its type code of the WebAPI.
    pub kind: String,
    /// What it holds now, if that is known.
    pub value: Option<Value>,
    /// The value's unit; empty if it has none.
    pub unit: String,
}

/// The growing result. It stands between the watch and whoever does the work: each look at the cancel flag, which
/// everybody who waits takes often, also shows what is new.
pub struct Report<'a> {
    watch: &'a dyn Watch,
    state: Mutex<State>,
}

struct State {
    begun: Duration,
    trace: Vec<(Duration, String)>,
    regs: Vec<Reg>,
    progress: f64,
    /// When it was last shown.
    shown: Option<Duration>,
    /// There is something new since.
    changed: bool,
    /// Registers were left out.
    cut: bool,
}

impl<'a> Report<'a> {
    /// An empty report, whose time begins now.
    pub fn new(watch: &'a dyn Watch) -> Report<'a> {
        let (trace, regs) = (Vec::new(), Vec::new());
        let state = State { begun: boottime(), trace, regs, progress: 0.0, shown: None, changed: true, cut: false };
        Report { watch, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line to the trace.
    pub fn note(&self, text: impl Into<String>) {
        let mut state = self.state();
        let dt = boottime().saturating_sub(state.begun);
        match state.trace.len() {
            n if n < MAX_TRACE - 1 => state.trace.push((dt, text.into())),
            n if n == MAX_TRACE - 1 => state.trace.push((dt, "More is not shown.".into())),
            // What comes last says how it ended.
            _ => state.trace[MAX_TRACE - 1] = (dt, text.into()),
        }
        state.changed = true;
        drop(state);
        self.show_if_due();
    }

    /// Adds registers; those that are too many are left out, which the trace says once.
    pub fn found(&self, regs: Vec<Reg>) {
        let mut state = self.state();
        let room = MAX_REGS - state.regs.len();
        let is_new = room < regs.len() && !state.cut;
        state.cut |= is_new;
        state.regs.extend(regs.into_iter().take(room));
        state.changed = true;
        drop(state);
        if is_new {
            self.note(format!("Of its registers only the first {MAX_REGS} are shown."));
        }
    }

    /// How many registers there are.
    pub fn count(&self) -> usize {
        self.state().regs.len()
    }

    /// One step further, where nobody knows how many there are: a share of what is left.
    pub fn step(&self, share: f64) {
        let mut state = self.state();
        state.progress += (0.99 - state.progress) * share;
        let progress = state.progress;
        drop(state);
        self.watch.progress(progress);
    }

    /// The result as it stands.
    pub fn value(&self) -> Value {
        self.state().value()
    }

    /// Shows it now, however short ago that was done before.
    pub fn show(&self) {
        let mut state = self.state();
        let value = state.value();
        (state.shown, state.changed) = (Some(boottime()), false);
        drop(state);
        self.watch.growing(value);
    }

    fn show_if_due(&self) {
        let state = self.state();
        let due = state.changed && state.shown.is_none_or(|it| it + PAUSE <= boottime());
        drop(state);
        if due {
            self.show();
        }
    }
}

impl Watch for Report<'_> {
    fn cancelled(&self) -> bool {
        let res = self.watch.cancelled();
        if !res {
            self.show_if_due();
        }
        res
    }

    fn progress(&self, share: f64) {
        self.watch.progress(share);
    }

    fn result(&self, value: Value) {
        self.watch.result(value);
    }

    fn reason(&self) -> &'static str {
        self.watch.reason()
    }

    fn flag(&self) -> CancelFlag {
        self.watch.flag()
    }
}

impl State {
    fn value(&self) -> Value {
        let mut times: HashMap<&str, usize> = HashMap::new();
        for reg in &self.regs {
            *times.entry(&reg.id).or_default() += 1;
        }
        let regs = self.regs.iter().map(|reg| {
            let Reg { id, place, kind, value, unit } = reg;
            let is_unique = times.get(id.as_str()) == Some(&1) || place.is_empty();
            let name = if is_unique { id.clone() } else { format!("{place}:{id}") };
            let mut res = json!({ "name": name, "type": kind });
            if let Some(value) = value {
                res["value"] = value.clone();
            }
            if !unit.is_empty() {
                res["unit"] = json!(unit);
            }
            res
        });
        let regs: Vec<Value> = regs.collect();
        let trace = self.trace.iter().map(|(dt, msg)| json!({ "dt": dt.as_millis() as f64 / 1000.0, "msg": msg }));
        json!({ "trace": trace.collect::<Vec<_>>(), "regs": regs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Seen(Mutex<Vec<Value>>);

    impl Watch for Seen {
        fn cancelled(&self) -> bool {
            false
        }
        fn progress(&self, _: f64) {}
        fn result(&self, value: Value) {
            self.0.lock().unwrap().push(value);
        }
    }

    fn reg(place: &str, id: &str) -> Reg {
        Reg { id: id.into(), place: place.into(), kind: "P".into(), value: Some(json!(1.5)), unit: "W".into() }
    }

    fn names(report: &Report) -> String {
        let value = report.value();
        let names: Vec<_> = value["regs"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
        names.join(" ")
    }

    #[test]
    fn a_name_gets_its_place_in_front_when_it_is_not_unique() {
        let seen = Seen::default();
        let report = Report::new(&seen);
        report.found(vec![reg("103:1", "W"), reg("103:1", "WH")]);
        assert_eq!(names(&report), "W WH");
        report.found(vec![reg("203:1", "W"), reg("160:1:2", "DCW")]);
        assert_eq!(names(&report), "103:1:W WH 203:1:W DCW");
    }

    #[test]
    fn both_arrays_are_there_from_the_start() {
        let seen = Seen::default();
        let report = Report::new(&seen);
        assert_eq!(report.value().to_string(), r#"{"regs":[],"trace":[]}"#);
        report.found(vec![Reg { value: None, unit: String::new(), ..reg("", "Grid") }]);
        assert_eq!(report.value()["regs"].to_string(), r#"[{"name":"Grid","type":"P"}]"#);
    }

    #[test]
    fn it_is_shown_when_it_is_new_and_not_too_often() {
        let seen = Seen::default();
        let report = Report::new(&seen);
        let times = || seen.0.lock().unwrap().len();
        report.note("a");
        report.note("b");
        assert_eq!(times(), 1);
        std::thread::sleep(PAUSE);
        assert!(!report.cancelled());
        assert!(!report.cancelled());
        assert_eq!(times(), 2);
        report.show();
        assert_eq!(times(), 3);
        assert_eq!(seen.0.lock().unwrap()[1]["trace"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn a_talkative_device_is_cut_short() {
        let seen = Seen::default();
        let report = Report::new(&seen);
        report.found((0..1000).map(|it| reg("1:1", &format!("r{it}"))).collect());
        report.found((0..100).map(|it| reg("1:1", &format!("s{it}"))).collect());
        report.found(vec![reg("1:1", "t")]);
        assert_eq!(report.count(), MAX_REGS);
        assert_eq!(report.value()["trace"].as_array().unwrap().len(), 1);
        (0..2 * MAX_TRACE).for_each(|it| report.note(format!("line {it}")));
        let value = report.value();
        let trace = value["trace"].as_array().unwrap();
        assert_eq!((trace.len(), &trace[MAX_TRACE - 1]["msg"]), (MAX_TRACE, &json!("line 599")));
    }
}
