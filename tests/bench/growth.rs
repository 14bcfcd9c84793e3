//! How the cost of restore, zero and backup grows with rows and registers, and that of polling with connections.

use std::path::Path;
use std::time::Instant;

use crate::chart::{Line, Panel, short};
use crate::load::Load;
use crate::meter::Meter;
use crate::restore::{self, Series};
use crate::{Scale, fresh, median};

/// Seconds from row to row: ten million of them are less than the year for which every row is kept.
const STEP: i64 = 3;
/// Up to so many values a point is measured several times.
const SMALL: usize = 1_000_000;

/// What one size costs, in seconds.
#[derive(Clone, Copy)]
pub struct Point {
    /// What it is drawn over.
    pub size: usize,
    pub restore: f64,
    pub zero: f64,
    pub backup: f64,
}

/// Restores, reads back, and zeroes one register of `rows` of `registers`.
pub fn point(binary: &Path, rows: usize, registers: usize, size: usize, scale: &Scale) -> Point {
    let chunks = Series::new(rows, registers, STEP).chunks(true);
    let runs = if rows * registers <= SMALL { scale.runs } else { 1 };
    let (mut restore, mut zero, mut backup) = (vec![], vec![], vec![]);
    for _ in 0..runs {
        let meter = Meter::start(binary, &fresh("growth"));
        restore.push(restore::ahead_over_http(&meter, &chunks).as_secs_f64());
        let started = Instant::now();
        assert!(meter.backup() > rows * registers, "a backup lacks rows");
        backup.push(started.elapsed().as_secs_f64());
        let started = Instant::now();
        meter.finish(&meter.begin(br#"{"action":"zero","regs":[0]}"#));
        zero.push(started.elapsed().as_secs_f64());
        meter.stop();
    }
    Point { size, restore: median(restore), zero: median(zero), backup: median(backup) }
}

/// The chart's panels; `wide` is how many rows there are where registers grow.
pub fn panels(rows: &[Point], registers: &[Point], wide: usize, connections: &[(usize, Load)]) -> Vec<Panel> {
    let costs = |points: &[Point]| {
        let line = |name, cost: fn(&Point) -> f64| {
            let points = points.iter().map(|it| (it.size as f64, cost(it))).collect();
            Line { name, points }
        };
        vec![line("restore", |it| it.restore), line("backup", |it| it.backup), line("zero", |it| it.zero)]
    };
    let of_load = |name, value: fn(&Load) -> f64| {
        let points = connections.iter().map(|(n, load)| (*n as f64, value(load))).collect();
        Line { name, points }
    };
    let delays = vec![of_load("median", |it| it.p50), of_load("p99", |it| it.p99)];
    let title = |text: &str| text.to_owned();
    let of_registers = format!("Seconds, {} rows", short(wide as f64));
    vec![
        Panel { title: title("Seconds, 4 registers"), x: "rows", lines: costs(rows) },
        Panel { title: of_registers, x: "registers", lines: costs(registers) },
        Panel {
            title: title("Status polls per second"),
            x: "connections",
            lines: vec![of_load("answers", |it| it.rate)],
        },
        Panel { title: title("Milliseconds to the answer"), x: "connections", lines: delays },
    ]
}
