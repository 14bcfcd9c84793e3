//! What random cases are made of: numbers from a seed, stamps that cluster, and files cut into chunks as clients do it.

use std::io::Write;

use meterd::drivers::register_db::append::Sample;
use meterd::drivers::register_db::text::Header;

use super::{Chunk, Model};

const DAY: i64 = 86_400;

/// Where rows cluster: minutes within an hour, but years apart, so that retention has work.
pub const CLUSTERS: [i64; 5] = [10_000 * DAY, 10_001 * DAY, 10_368 * DAY, 13_700 * DAY, 32_000 * DAY];

/// SplitMix64.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let it = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        it ^ (it >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Clone>(&mut self, items: &[T]) -> T {
        items[self.below(items.len() as u64) as usize].clone()
    }

    pub fn counter(&mut self) -> i64 {
        match self.below(12) {
            0 => self.next() as i64,
            1 => self.pick(&[i64::MIN, i64::MAX, 0, -1]),
            _ => self.below(2000) as i64 - 1000,
        }
    }

    pub fn maybe(&mut self, one_in: u64) -> Option<i64> {
        (!self.one_in(one_in)).then(|| self.counter())
    }

    /// A stamp in one of the first `n` clusters.
    pub fn stamp(&mut self, n: u64) -> i64 {
        let cluster = CLUSTERS[self.below(n) as usize];
        match self.below(4) {
            0 => cluster + self.below(3600) as i64,
            1 => cluster + self.below(4) as i64 * 900,
            _ => cluster + self.below(30) as i64 * 60,
        }
    }

    pub fn range(&mut self, n: u64) -> (i64, i64) {
        let (a, b) = (self.stamp(n), self.stamp(n));
        let from = if self.one_in(2) { 0 } else { a.min(b) };
        let to = if self.one_in(2) { i64::MAX - 1 } else { a.max(b) };
        (from, to)
    }

    pub fn stamps(&mut self, clusters: u64, n: u64) -> Vec<i64> {
        let mut res: Vec<i64> = (0..n).map(|_| self.stamp(clusters)).collect();
        if self.one_in(3) {
            // A dense file, as most are.
            let first = self.stamp(clusters);
            res = (0..n as i64).map(|i| first + i * 60).collect();
        }
        res.sort_unstable();
        res.dedup();
        res
    }
}

pub fn subset(rng: &mut Rng, n: usize) -> Option<Vec<usize>> {
    let some: Vec<usize> = (0..n).filter(|_| rng.one_in(2)).collect();
    (!some.is_empty() && rng.one_in(2)).then_some(some)
}

/// A file, cut into chunks in one of the ways that clients do it.
pub fn chunks(rng: &mut Rng, registers: usize, clusters: u64) -> Vec<Chunk> {
    let mut columns: Vec<usize> = (0..registers).filter(|_| !rng.one_in(4)).collect();
    if columns.is_empty() {
        columns.push(rng.below(registers as u64) as usize);
    }
    if rng.one_in(3) {
        columns.reverse();
    }
    let emptiness: Vec<u64> = columns.iter().map(|_| rng.pick(&[2, 3, 1000, 1000])).collect();
    let n = 4 + rng.below(20);
    let mut rows: Vec<(i64, Vec<Option<i64>>)> = Vec::new();
    for ts in rng.stamps(clusters, n).into_iter().rev() {
        rows.push((ts, emptiness.iter().map(|it| rng.maybe(*it)).collect()));
    }
    if rows.len() < 2 {
        return Vec::new();
    }
    let range = if rng.one_in(2) { (0, i64::MAX - 1) } else { rng.range(clusters) };
    let regs = subset(rng, columns.len()).map(|it| it.into_iter().map(|i| columns[i]).collect());
    let chained = rng.one_in(2);
    let mut res = Vec::new();
    while !rows.is_empty() {
        let size = (2 + rng.below(8) as usize).min(rows.len());
        let size = if rows.len() - size < 2 { rows.len() } else { size };
        let tail = rows.split_off(size);
        let with_header = !chained || res.is_empty() || rng.one_in(2);
        let more = chained && !tail.is_empty() || !chained && rng.one_in(6);
        res.push(Chunk { columns: columns.clone(), rows, range, regs: regs.clone(), more, with_header });
        rows = tail;
    }
    if !chained && rng.one_in(3) {
        let (a, b) = (rng.below(res.len() as u64) as usize, rng.below(res.len() as u64) as usize);
        res.swap(a, b);
    }
    if rng.one_in(4) {
        let mut again = rng.pick(&res);
        again.with_header = true;
        res.push(again);
    }
    res
}

/// The chunk as the text of a backup, perhaps packed.
pub fn pack(chunk: &Chunk, model: &Model, gzip: bool) -> Vec<u8> {
    let mut out = Vec::new();
    if chunk.with_header {
        let name = |it: &usize| (model.regs[*it].name.clone(), if model.regs[*it].discrete { "d" } else { "P" }.into());
        Header { registers: chunk.columns.iter().map(name).collect() }.write(&mut out);
    }
    for (ts, counters) in &chunk.rows {
        write!(out, "{ts}").unwrap();
        for (i, counter) in counters.iter().enumerate() {
            match counter {
                // Counters above the signed range are the same as negative ones.
                Some(counter) if (i + *ts as usize).is_multiple_of(2) => write!(out, ",{}", *counter as u64).unwrap(),
                Some(counter) => write!(out, ",{counter}").unwrap(),
                None => write!(out, ",").unwrap(),
            }
        }
        writeln!(out).unwrap();
    }
    if gzip {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&out).unwrap();
        return encoder.finish().unwrap();
    }
    out
}

/// The samples of a row that is appended.
pub fn to_samples(model: &Model, samples: &[Option<i64>]) -> Vec<Sample> {
    let of = |(did, sample): (usize, &Option<i64>)| {
        Some(Sample { did: did as u32, discrete: model.regs[did].discrete, value: (*sample)? })
    };
    samples.iter().enumerate().filter_map(of).collect()
}
