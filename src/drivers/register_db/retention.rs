//! Retention: rows get coarser with age and finally go. Minute rows are kept for 366 days, quarter-hour rows for ten years,
//! daily rows for sixty; age is counted from the newest rows, so no clock is needed. A few rows do not count as such: a clock
//! that was years ahead for a while must not cost the record. Marks remember what is coarse already, so that there is
//! nothing to do but for the few rows that have just grown old.

use rusqlite::{OptionalExtension, Transaction, params};

use super::schema::{self, Register};
use super::{DbError, Step, edge};

const DAY: i64 = 86_400;

/// One level: rows older than `age` are put together in spans of `span` seconds; without a span they are deleted.
pub(super) struct Level {
    mark: &'static str,
    pub(super) age: i64,
    pub(super) span: Option<i64>,
}

pub(super) const LEVELS: [Level; 3] = [
    // The oldest first: what is to go need not be put together before.
    Level { mark: "retention.60y", age: 60 * 365 * DAY + 15 * DAY, span: None },
    Level { mark: "retention.10y", age: 10 * 365 * DAY + 3 * DAY, span: Some(DAY) },
    Level { mark: "retention.366d", age: 366 * DAY, span: Some(900) },
];

/// So many rows, a week of minutes, must be younger than the one from which age is counted; a file that has no more does
/// not age.
pub const SETTLED: usize = 7 * 1440;

/// A retention run.
pub(super) struct Retention {
    settled: usize,
    /// The stamp from which age is counted, and the level that is being worked on.
    begun: Option<(i64, usize)>,
}

impl Retention {
    /// Age will count from the row that has `settled` younger ones.
    pub(super) fn new(settled: usize) -> Retention {
        Retention { settled, begun: None }
    }

    /// Puts together the rows of some spans, about `rows` rows in all.
    pub(super) fn step(&mut self, tx: &Transaction, rows: usize) -> Result<Step, DbError> {
        let (newest, mut level) = match self.begun {
            Some(begun) => begun,
            None => match settled_newest(tx, self.settled)? {
                Some(newest) => (newest, 0),
                None => return Ok(Step::Done),
            },
        };
        let mut left = rows.max(1);
        while level < LEVELS.len() && 0 < left {
            let limit = newest - LEVELS[level].age;
            let done = match LEVELS[level].span {
                None => expire(tx, &LEVELS[level], limit, left)?,
                Some(span) => coarsen(tx, &LEVELS[level], span, limit, left)?,
            };
            match done {
                Some(n) => left = left.saturating_sub(n),
                None => level += 1,
            }
        }
        self.begun = Some((newest, level));
        Ok(if level < LEVELS.len() { Step::More } else { Step::Done })
    }

    /// How many of the levels are done.
    pub(super) fn progress(&self) -> f64 {
        self.begun.map_or(0.0, |(_, level)| level as f64 / LEVELS.len() as f64)
    }
}

/// To be told when rows from a stamp on were written: they are as fine as they came.
pub(super) fn lower_marks(tx: &Transaction, lowest: i64) -> Result<(), DbError> {
    for level in LEVELS {
        if schema::meta(tx, level.mark)?.is_some_and(|mark| lowest <= mark) {
            schema::set_meta(tx, level.mark, lowest - 1)?;
        }
    }
    Ok(())
}

/// The stamp of the row that has so many younger ones.
fn settled_newest(tx: &Transaction, settled: usize) -> Result<Option<i64>, DbError> {
    let mut stmt = tx.prepare_cached("SELECT ts FROM row ORDER BY ts DESC LIMIT 1 OFFSET ?1")?;
    Ok(stmt.query_row([settled as i64], |row| row.get(0)).optional()?)
}

/// Deletes up to `rows` rows; tells how many, or nothing when none is left.
fn expire(tx: &Transaction, level: &Level, limit: i64, rows: usize) -> Result<Option<usize>, DbError> {
    let found = stamps(tx, i64::MIN, limit, rows)?;
    let (Some(first), Some(last)) = (found.first(), found.last()) else { return Ok(None) };
    tx.prepare_cached("DELETE FROM row WHERE ts BETWEEN ?1 AND ?2")?.execute([first, last])?;
    for did in schema::dids(tx)? {
        edge::touch(tx, did, *first, *last)?;
    }
    schema::set_meta(tx, level.mark, *last)?;
    Ok(Some(found.len()))
}

/// Puts together the whole spans that lie above the level's mark and not above `limit`; tells how many rows it read, or
/// nothing when none is left. A span is `(n * span, (n + 1) * span]`: a row on its end belongs to it.
fn coarsen(tx: &Transaction, level: &Level, span: i64, limit: i64, rows: usize) -> Result<Option<usize>, DbError> {
    let end_of = |ts: i64| (ts - 1).div_euclid(span) * span + span;
    let limit = limit.div_euclid(span) * span;
    // The mark may stand inside a span whose upper part has just been written anew.
    let mark = schema::meta(tx, level.mark)?.map_or(i64::MIN, |mark| mark.div_euclid(span) * span);
    let mut found = stamps(tx, mark.saturating_add(1), limit, rows)?;
    if found.is_empty() {
        return Ok(None);
    }
    let last_end = end_of(found[found.len() - 1]);
    if rows <= found.len() {
        // The last span may have been cut off by the limit on rows.
        let last = found[found.len() - 1];
        found.extend(stamps(tx, last + 1, last_end, span as usize)?);
    }
    let registers = schema::registers(tx)?;
    for bucket in found.chunk_by(|a, b| end_of(*a) == end_of(*b)) {
        if let [first, .., last] = bucket {
            merge(tx, &registers, *first, *last)?;
        }
    }
    schema::set_meta(tx, level.mark, last_end)?;
    Ok(Some(found.len()))
}

/// Puts the rows between two stamps into the last of them.
fn merge(tx: &Transaction, registers: &[Register], first: i64, last: i64) -> Result<(), DbError> {
    let names = |join: &str, suffix: &str| {
        registers.iter().map(|it| format!("r{}{suffix}", it.did)).collect::<Vec<_>>().join(join)
    };
    if registers.is_empty() {
        return Ok(());
    }
    let mut sums: Vec<Option<i64>> = vec![None; registers.len()];
    {
        let sql = format!("SELECT {} FROM row WHERE ts BETWEEN ?1 AND ?2 ORDER BY ts", names(", ", ""));
        let mut stmt = tx.prepare_cached(&sql)?;
        let mut found = stmt.query([first, last])?;
        while let Some(row) = found.next()? {
            for (i, (sum, register)) in sums.iter_mut().zip(registers).enumerate() {
                let Some(sample) = row.get::<_, Option<i64>>(i)? else { continue };
                *sum = match *sum {
                    Some(sum) if !register.is_discrete() => Some(sum.wrapping_add(sample)),
                    _ => Some(sample),
                };
            }
        }
    }
    tx.prepare_cached("DELETE FROM row WHERE ts >= ?1 AND ts < ?2")?.execute([first, last])?;
    let mut stmt = tx.prepare_cached(&format!("UPDATE row SET {} = ? WHERE ts = ?", names(" = ?, ", "")))?;
    for (i, sum) in sums.iter().enumerate() {
        stmt.raw_bind_parameter(i + 1, sum)?;
    }
    stmt.raw_bind_parameter(registers.len() + 1, last)?;
    stmt.raw_execute()?;
    for register in registers {
        edge::touch(tx, register.did, first, last)?;
    }
    Ok(())
}

/// Stamps between two others, oldest first.
fn stamps(tx: &Transaction, first: i64, last: i64, rows: usize) -> Result<Vec<i64>, DbError> {
    let mut stmt = tx.prepare_cached("SELECT ts FROM row WHERE ts BETWEEN ?1 AND ?2 ORDER BY ts LIMIT ?3")?;
    let found = stmt.query_map(params![first, last, rows as i64], |row| row.get(0))?;
    Ok(found.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::register_db::testing::{Scratch, dump};

    const YEAR: i64 = 365 * DAY;

    fn run(conn: &mut rusqlite::Connection, rows: usize) {
        run_settled(conn, rows, 0);
    }

    fn run_settled(conn: &mut rusqlite::Connection, rows: usize, settled: usize) {
        let mut retention = Retention::new(settled);
        loop {
            let tx = conn.transaction().unwrap();
            let step = retention.step(&tx, rows).unwrap();
            tx.commit().unwrap();
            if step == Step::Done {
                break;
            }
        }
    }

    #[test]
    fn old_rows_are_added_together_and_discrete_ones_keep_the_youngest() {
        let s = Some;
        let old: &[(i64, &[Option<i64>])] = &[
            (1, &[s(1), s(10)]),
            (60, &[s(2), None]),
            (900, &[s(4), s(30)]),
            (901, &[s(8), s(40)]),
            (960, &[s(16), None]),
            (2000, &[None, s(50)]),
            (2060, &[None, s(60)]),
        ];
        let newest: (i64, &[Option<i64>]) = (2700 + 366 * DAY, &[s(0), s(0)]);
        for rows in [1, 2, 3, 1000] {
            let scratch = Scratch::new();
            let mut conn = scratch.db(&["Grid:P", "Door:d"], &[old, &[newest]].concat());
            run(&mut conn, rows);
            assert_eq!(dump(&conn), format!("900: 7 30 | 960: 24 40 | 2060: NULL 60 | {}: 0 0", newest.0));
        }
    }

    #[test]
    fn a_span_waits_until_all_of_it_is_old() {
        let scratch = Scratch::new();
        let s = Some(1);
        let mut conn =
            scratch.db(&["Grid:P"], &[(60, &[s]), (120, &[s]), (899 + 366 * DAY, &[s]), (900 + 366 * DAY, &[s])]);
        conn.execute("DELETE FROM row WHERE ts = ?1", [900 + 366 * DAY]).unwrap();
        run(&mut conn, 10);
        assert_eq!(dump(&conn), format!("60: 1 | 120: 1 | {}: 1", 899 + 366 * DAY));
        conn.execute("INSERT INTO row (ts, r0) VALUES (?1, 1)", [900 + 366 * DAY]).unwrap();
        run(&mut conn, 10);
        assert!(dump(&conn).starts_with("120: 2 | "));
    }

    #[test]
    fn days_and_the_end_of_time() {
        let scratch = Scratch::new();
        let s = Some(1);
        let base = 20 * YEAR / DAY * DAY;
        let rows = [base + 900, base + 1800, base + DAY, base + DAY + 900, base + 11 * YEAR];
        let rows: Vec<(i64, &[Option<i64>])> = rows.iter().map(|ts| (*ts, &[Some(1_i64)][..])).collect();
        let mut conn = scratch.db(&["Grid:P"], &rows);
        run(&mut conn, 2);
        assert_eq!(dump(&conn), format!("{}: 3 | {}: 1 | {}: 1", base + DAY, base + DAY + 900, base + 11 * YEAR));
        conn.execute("INSERT INTO row (ts, r0) VALUES (?1, ?2)", (base + 70 * YEAR, s)).unwrap();
        run(&mut conn, 1);
        assert_eq!(dump(&conn), format!("{}: 1 | {}: 1", base + 11 * YEAR, base + 70 * YEAR));
    }

    #[test]
    fn a_few_rows_of_a_clock_that_was_ahead_make_nothing_old() {
        let scratch = Scratch::new();
        let s = Some(1);
        let mut conn = scratch.db(&["Grid:P"], &[(60, &[s]), (120, &[s]), (180, &[s]), (240, &[s])]);
        let ahead = |conn: &rusqlite::Connection, n: i64| {
            conn.execute("INSERT INTO row (ts, r0) VALUES (?1, 1)", [100 * YEAR + 60 * n]).unwrap()
        };
        for n in 0..3 {
            ahead(&conn, n);
        }
        run_settled(&mut conn, 10, 3);
        assert!(dump(&conn).starts_with("60: 1 | 120: 1 | 180: 1 | 240: 1 | "), "{}", dump(&conn));
        ahead(&conn, 3);
        run_settled(&mut conn, 10, 3);
        assert_eq!(dump(&conn).matches(" | ").count(), 3, "so many are believed");
        // Fewer rows than that need not age.
        let scratch = Scratch::new();
        let mut conn = scratch.db(&["Grid:P"], &[(60, &[s]), (100 * YEAR, &[s])]);
        run_settled(&mut conn, 10, 3);
        assert!(dump(&conn).starts_with("60: 1 | "));
    }

    #[test]
    fn rows_that_are_written_below_a_mark_are_seen_again() {
        let scratch = Scratch::new();
        let s = Some(1);
        let mut conn = scratch.db(&["Grid:P"], &[(900, &[s]), (1800, &[s]), (366 * DAY + 2000, &[s])]);
        run(&mut conn, 10);
        let tx = conn.transaction().unwrap();
        tx.execute("INSERT INTO row (ts, r0) VALUES (850, 5)", []).unwrap();
        lower_marks(&tx, 850).unwrap();
        tx.commit().unwrap();
        run(&mut conn, 10);
        assert!(dump(&conn).starts_with("900: 6 | 1800: 1 | "), "{}", dump(&conn));
    }
}
