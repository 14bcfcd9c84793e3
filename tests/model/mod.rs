//! The register database as it should be, in memory and without SQL: per register a sorted map from stamps to increments.
//! It follows the rules for each register by itself, in one go over the whole file, and knows nothing of batches except
//! where a restore that is cut off at a stamp must stand.

pub mod cases;
pub mod compare;

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

const DAY: i64 = 86_400;

/// One register.
#[derive(Clone, Debug)]
pub struct Reg {
    pub name: String,
    pub discrete: bool,
    pub samples: BTreeMap<i64, i64>,
    pub counter: i64,
    edges: BTreeMap<i64, Edge>,
}

#[derive(Clone, Debug)]
struct Edge {
    age: u64,
    counter: i64,
    more: bool,
    spacing: i64,
    drawn: Option<Drawn>,
}

/// The newer sample that restored energy is taken from.
#[derive(Clone, Debug)]
struct Drawn {
    ts: i64,
    rest: i128,
    positive: bool,
}

impl Drawn {
    fn shown(&self) -> i64 {
        let fits = self.rest.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
        if self.positive { fits.max(0) } else { fits.min(0) }
    }
}

/// The whole database.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub regs: Vec<Reg>,
    edges_made: u64,
}

/// A chunk of a backup, rows youngest first.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// The register of each column.
    pub columns: Vec<usize>,
    pub rows: Vec<(i64, Vec<Option<i64>>)>,
    pub range: (i64, i64),
    pub regs: Option<Vec<usize>>,
    pub more: bool,
    pub with_header: bool,
}

impl Model {
    pub fn add_register(&mut self, name: &str, discrete: bool) {
        self.regs.push(Reg {
            name: name.into(),
            discrete,
            samples: BTreeMap::new(),
            counter: 0,
            edges: BTreeMap::new(),
        });
    }

    pub fn stamps(&self) -> Vec<i64> {
        let mut res: Vec<i64> = self.regs.iter().flat_map(|it| it.samples.keys().copied()).collect();
        res.sort_unstable();
        res.dedup();
        res
    }

    pub fn newest(&self) -> Option<i64> {
        self.stamps().last().copied()
    }

    pub fn append(&mut self, ts: i64, samples: &[Option<i64>]) {
        for (reg, sample) in self.regs.iter_mut().zip(samples) {
            let Some(sample) = *sample else { continue };
            if reg.discrete {
                reg.samples.insert(ts, sample);
            } else {
                let entry = reg.samples.entry(ts).or_insert(0);
                *entry = entry.wrapping_add(sample);
                reg.counter = reg.counter.wrapping_add(sample);
            }
        }
    }

    /// Pays an excess out into the newest row.
    pub fn clear_excess(&mut self, reg: usize, excess: i64) {
        let newest = self.newest();
        let reg = &mut self.regs[reg];
        if reg.discrete || excess == 0 {
            return;
        }
        reg.counter = reg.counter.wrapping_add(excess);
        if let Some(newest) = newest {
            let entry = reg.samples.entry(newest).or_insert(0);
            *entry = entry.wrapping_add(excess);
            reg.touch(newest, newest);
        }
    }

    pub fn zero(&mut self, regs: &[usize], (from, to): (i64, i64)) {
        for reg in regs {
            if from <= to {
                self.regs[*reg].samples.range_mut(from..=to).for_each(|it| *it.1 = 0);
                self.regs[*reg].touch(from, to);
            }
        }
    }

    pub fn split(&mut self, pairs: &[(usize, usize)], (from, to): (i64, i64)) {
        if to < from {
            return;
        }
        for (net, positive) in pairs {
            let parts: Vec<(i64, i64)> =
                self.regs[*net].samples.range(from..=to).map(|(ts, it)| (*ts, (*it).max(0))).collect();
            let positive = &mut self.regs[*positive];
            positive.samples.retain(|ts, _| *ts < from || to < *ts);
            positive.samples.extend(parts);
            positive.touch(from, to);
        }
    }

    pub fn retention(&mut self) {
        let Some(newest) = self.newest() else { return };
        let gone = newest - (60 * 365 + 15) * DAY;
        for reg in &mut self.regs {
            reg.samples.retain(|ts, _| gone < *ts);
            reg.touch(i64::MIN, gone);
        }
        for (age, span) in [((10 * 365 + 3) * DAY, DAY), (366 * DAY, 900)] {
            let limit = newest - age;
            let mut stamps = self.stamps();
            // Spans end at multiples of their length; only those that are over by then count.
            stamps.retain(|ts| (ts + span - 1) / span * span <= limit);
            for span in stamps.chunk_by(|a, b| (a + span - 1) / span == (b + span - 1) / span) {
                let (first, last) = (span[0], span[span.len() - 1]);
                if first < last {
                    self.regs.iter_mut().for_each(|it| it.merge(first, last));
                }
            }
        }
    }

    /// Applies a chunk, or with `cut` what must be there of it when everything from that stamp on has been applied.
    /// `continues` says that the restore before announced this chunk.
    pub fn restore(&mut self, chunk: &Chunk, continues: bool, cut: Option<i64>) {
        for (column, reg) in chunk.columns.iter().enumerate() {
            if chunk.regs.as_ref().is_none_or(|it| it.contains(reg)) {
                self.edges_made += 1;
                let age = self.edges_made;
                self.regs[*reg].restore(chunk, column, continues, cut, age);
            }
        }
        if cut.is_none() && !chunk.more {
            self.regs.iter_mut().flat_map(|it| it.edges.values_mut()).for_each(|it| it.more = false);
        }
        let mut ages: Vec<u64> = self.regs.iter().flat_map(|it| it.edges.values().map(|it| it.age)).collect();
        ages.sort_unstable();
        let oldest = ages.iter().rev().nth(63).copied().unwrap_or(0);
        for reg in &mut self.regs {
            reg.edges.retain(|_, it| oldest <= it.age);
        }
    }

    /// What a backup of everything should read.
    pub fn backup(&self) -> String {
        let mut res = String::from("meterd-backup,1\nts");
        for reg in &self.regs {
            res += &format!(",{}:{}", reg.name, if reg.discrete { "d" } else { "P" });
        }
        res.push('\n');
        for ts in self.stamps().into_iter().rev() {
            res += &ts.to_string();
            for reg in &self.regs {
                res.push(',');
                let Some(sample) = reg.samples.get(&ts) else { continue };
                let newer = reg.samples.range((Excluded(ts), Unbounded)).fold(0i64, |sum, it| sum.wrapping_add(*it.1));
                let field = if reg.discrete { *sample } else { reg.counter.wrapping_sub(newer) };
                res += &field.to_string();
            }
            res.push('\n');
        }
        res
    }
}

impl Reg {
    fn touch(&mut self, first: i64, last: i64) {
        self.edges.retain(|ts, _| *ts < first || last < *ts);
        for edge in self.edges.values_mut() {
            edge.drawn.take_if(|it| first <= it.ts && it.ts <= last);
        }
    }

    fn merge(&mut self, first: i64, last: i64) {
        let inside: Vec<i64> = self.samples.range(first..=last).map(|it| *it.1).collect();
        self.samples.retain(|ts, _| *ts < first || last < *ts);
        if let Some(youngest) = inside.last() {
            let sum = inside.iter().fold(0i64, |sum, it| sum.wrapping_add(*it));
            self.samples.insert(last, if self.discrete { *youngest } else { sum });
        }
        self.touch(first, last);
    }

    fn restore(&mut self, chunk: &Chunk, column: usize, continues: bool, cut: Option<i64>, age: u64) {
        let (from, to) = chunk.range;
        let all: Vec<(i64, i64)> = chunk.rows.iter().filter_map(|(ts, it)| Some((*ts, it[column]?))).collect();
        let Some((youngest, _)) = all.first().copied() else { return };
        let mut applied: Vec<(i64, i64)> = all.iter().copied().filter(|it| from <= it.0 && it.0 <= to).collect();
        let below = all.iter().copied().find(|it| it.0 < from);

        let joined = self.edge_to_join(youngest, chunk.range, continues);
        let joined = joined.map(|ts| (ts, self.edges.remove(&ts).unwrap()));
        if let Some((ts, edge)) = &joined {
            applied.insert(0, (*ts, edge.counter));
        }
        let (Some((top, top_counter)), Some((bottom, bottom_counter))) =
            (applied.first().copied(), applied.last().copied())
        else {
            return;
        };
        let floor = below.map_or(bottom, |it| it.0 + 1);
        let ceiling = if joined.is_some() { top - 1 } else { top };

        // The newer sample, and the counter.
        let mut drawn = joined.as_ref().and_then(|it| it.1.drawn.clone());
        let mut inherited = None;
        if joined.is_none() {
            if !self.discrete && !self.samples.contains_key(&top) {
                match self.samples.range(top + 1..).next().map(|it| (*it.0, *it.1)) {
                    None => self.counter = top_counter,
                    Some((_, 0)) => {}
                    Some((ts, increment)) => {
                        self.touch(ts, ts);
                        drawn = Some(Drawn { ts, rest: increment.into(), positive: 0 < increment });
                    }
                }
            }
            if drawn.is_none() {
                let again = self.edges.get(&floor).and_then(|it| it.drawn.clone());
                inherited = again.filter(|it| top < it.ts);
            }
        }
        self.touch(floor, ceiling);

        // How far it has come: the last row above the cut may know its neighbour from the first row below.
        let low = cut.unwrap_or(floor).max(floor);
        let seen = match cut {
            Some(cut) => chunk.rows.iter().map(|it| it.0).find(|ts| *ts < cut).unwrap_or(i64::MIN),
            None => i64::MIN,
        };
        let is_applied = |ts: i64| cut.is_none_or(|cut| cut <= ts) || joined.as_ref().is_some_and(|it| it.0 == ts);
        let before = self.samples.clone();
        let span_end = before.range(low..=ceiling.max(low)).next_back().filter(|it| *it.0 <= ceiling).map(|it| *it.0);
        self.samples.retain(|ts, _| *ts < low || ceiling < *ts);
        let mut drawn_sum = 0i128;
        for (ts, counter) in applied.iter().copied().filter(|it| is_applied(it.0)) {
            let older = all.iter().find(|it| it.0 < ts && seen <= it.0);
            let kept = before.get(&ts).copied().unwrap_or(0);
            let is_joint = joined.as_ref().is_some_and(|it| it.0 == ts);
            let sample = match older {
                _ if self.discrete => {
                    if is_joint {
                        kept
                    } else {
                        counter
                    }
                }
                Some(older) => {
                    let increment = counter.wrapping_sub(older.1);
                    if span_end.is_none_or(|end| end < ts) {
                        drawn_sum += i128::from(increment);
                    }
                    increment
                }
                None => kept,
            };
            self.samples.insert(ts, sample);
        }
        if let Some(drawn) = &mut drawn {
            let shown = drawn.shown();
            drawn.rest -= drawn_sum;
            let change = drawn.shown().wrapping_sub(shown);
            if let Some(sample) = self.samples.get_mut(&drawn.ts) {
                *sample = sample.wrapping_add(change);
            }
        }

        if cut.is_none() && below.is_none() {
            let spacing = match all.as_slice() {
                [.., a, b] => a.0 - b.0,
                _ => joined.as_ref().map_or(0, |it| it.0 - bottom),
            };
            let drawn = drawn.filter(|_| span_end.is_none()).or(inherited);
            self.edges.insert(bottom, Edge { age, counter: bottom_counter, more: chunk.more, spacing, drawn });
        }
    }

    fn edge_to_join(&self, youngest: i64, (from, to): (i64, i64), continues: bool) -> Option<i64> {
        let (ts, edge) = self.edges.range(youngest + 1..).next()?;
        let gap_is_empty = self.samples.range(youngest + 1..*ts).next().is_none();
        let near = ts - youngest <= 2 * edge.spacing;
        let joins = if gap_is_empty { edge.more || near } else { edge.more && continues };
        (from <= *ts && *ts <= to && joins).then_some(*ts)
    }
}
