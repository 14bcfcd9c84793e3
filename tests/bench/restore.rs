//! What is restored, as chunks for the service and as plain rows for the bare loop beside it.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::{Compression, GzBuilder};
use rusqlite::Connection;

use crate::meter::Meter;

const START: i64 = 1_700_000_000;
/// Values that are compressed before the chunk's size is looked at again; with their reserve they fit for certain.
const BLOCK: usize = 4000;
const RESERVE: usize = 80_000;
/// Bytes that 2 MiB of base64 hold.
const CHUNK: usize = 2 * 1024 * 1024 / 4 * 3;

/// Rows at equal steps, oldest first.
pub struct Series {
    pub rows: usize,
    pub registers: usize,
    /// Seconds from row to row.
    step: i64,
    /// What each register grew by, row after row.
    increments: Vec<i64>,
}

/// The order in which the bare loop inserts.
#[derive(Clone, Copy, PartialEq)]
pub enum Order {
    OldestFirst,
    YoungestBatchFirst,
}

/// One request body.
pub struct Chunk {
    pub body: Vec<u8>,
    pub rows: usize,
}

impl Series {
    /// Pseudo-random loads of a few kW, the same at every run (xorshift64).
    pub fn new(rows: usize, registers: usize, step: i64) -> Series {
        let mut seed = 0x9E37_79B9_7F4A_7C15u64;
        let mut next = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            ((seed % 4000) as i64 - 500) * step
        };
        Series { rows, registers, step, increments: (0..rows * registers).map(|_| next()).collect() }
    }

    fn row(&self, at: usize) -> (i64, &[i64]) {
        (START + at as i64 * self.step, &self.increments[at * self.registers..][..self.registers])
    }

    /// Cut youngest first into chunks that fill 2 MiB as far as they can.
    pub fn chunks(&self, more_chunks: bool) -> Vec<Chunk> {
        let names: Vec<String> = (0..self.registers).map(|at| format!("R{at}:P")).collect();
        let header = format!("meterd-backup,1\nts,{}\n", names.join(","));
        let mut counters = vec![0i64; self.registers];
        for increments in self.increments.chunks(self.registers) {
            counters.iter_mut().zip(increments).for_each(|(counter, it)| *counter += it);
        }
        let mut res = Vec::new();
        let mut left = self.rows;
        while left > 0 {
            let mut gzip = GzBuilder::new().write(Vec::with_capacity(CHUNK), Compression::new(6));
            gzip.write_all(header.as_bytes()).unwrap();
            let mut rows = 0;
            while left > 0 && gzip.get_ref().len() < CHUNK - RESERVE {
                for _ in 0..left.min(BLOCK / self.registers) {
                    left -= 1;
                    rows += 1;
                    let (ts, increments) = self.row(left);
                    write!(gzip, "{ts}").unwrap();
                    for (counter, it) in counters.iter_mut().zip(increments) {
                        write!(gzip, ",{counter}").unwrap();
                        *counter -= it;
                    }
                    gzip.write_all(b"\n").unwrap();
                }
            }
            let data = gzip.finish().unwrap();
            assert!(data.len() <= CHUNK, "{}", data.len());
            let more = more_chunks && left > 0;
            let body = format!(r#"{{"action":"restore","more_chunks":{more},"data":"{}"}}"#, STANDARD.encode(data));
            res.push(Chunk { body: body.into_bytes(), rows });
        }
        res
    }

    /// Inserts the rows with one prepared statement: what SQLite alone needs. Oldest first is the order that it likes
    /// best; youngest batch first, oldest row first within, is the order in which chunks come.
    pub fn insert_bare(&self, path: &Path, batch: usize, order: Order) -> Duration {
        let conn = open(path);
        let columns: Vec<String> = (0..self.registers).map(|at| format!("r{at} INTEGER")).collect();
        conn.execute_batch(&format!("CREATE TABLE row(ts INTEGER PRIMARY KEY, {}) STRICT", columns.join(","))).unwrap();
        let marks = vec!["?"; self.registers + 1].join(",");
        let started = Instant::now();
        let mut insert = conn.prepare(&format!("INSERT INTO row VALUES ({marks})")).unwrap();
        let mut batches: Vec<_> = (0..self.rows).step_by(batch).map(|it| it..self.rows.min(it + batch)).collect();
        if order == Order::YoungestBatchFirst {
            batches.reverse();
        }
        for rows in batches {
            conn.execute_batch("BEGIN IMMEDIATE").unwrap();
            for at in rows {
                let (ts, increments) = self.row(at);
                insert.raw_bind_parameter(1, ts).unwrap();
                for (at, it) in increments.iter().enumerate() {
                    insert.raw_bind_parameter(at + 2, it).unwrap();
                }
                insert.raw_execute().unwrap();
            }
            conn.execute_batch("COMMIT").unwrap();
            checkpoint_when_large(&conn, path);
        }
        started.elapsed()
    }
}

/// The service checkpoints by the size of the WAL, at the same size as here.
fn checkpoint_when_large(conn: &Connection, path: &Path) {
    let wal = path.with_extension("db-wal");
    if std::fs::metadata(wal).is_ok_and(|it| it.len() >= 4 << 20) {
        conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    }
}

/// A connection with the pragmas of the service.
pub fn open(path: &Path) -> Connection {
    let conn = Connection::open(path).unwrap();
    let pragmas = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0; \
                   PRAGMA temp_store=MEMORY; PRAGMA cache_size=-512;";
    conn.execute_batch(pragmas).unwrap();
    conn
}

/// Chunks that may be on their way at once; the service stages up to eight.
const AHEAD: usize = 4;

/// Restores all chunks over HTTP, sending the next one while earlier ones are applied; the time of all.
pub fn ahead_over_http(meter: &Meter, chunks: &[Chunk]) -> Duration {
    let started = Instant::now();
    let mut tokens: std::collections::VecDeque<String> = std::collections::VecDeque::new();
    for chunk in chunks {
        if tokens.len() == AHEAD {
            meter.finish(&tokens.pop_front().unwrap());
        }
        tokens.push_back(meter.begin(&chunk.body));
    }
    tokens.iter().for_each(|it| meter.finish(it));
    started.elapsed()
}

/// Restores all chunks over HTTP, one after the other; the time of each.
pub fn over_http(meter: &Meter, chunks: &[Chunk]) -> Vec<Duration> {
    let time = |chunk: &Chunk| {
        let started = Instant::now();
        meter.database(&chunk.body);
        started.elapsed()
    };
    chunks.iter().map(time).collect()
}
