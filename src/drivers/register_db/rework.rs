//! Zero and split: one UPDATE over a range of time, cut into batches from the youngest row to the oldest. The range and the
//! registers are fixed when the command begins; rows that other programs append meanwhile are above it.

use rusqlite::{Connection, OptionalExtension, Transaction};
use serde::{Deserialize, Serialize};

use super::schema::{self, Register};
use super::{DbError, Range, Step, edge, known_regs};

/// The type of power registers, which split is about.
const POWER: &str = "P";

/// Set the samples of some registers to 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZeroPlan {
    /// First and last stamp of the range.
    pub range: (i64, i64),
    /// Ids of the registers.
    pub regs: Vec<u32>,
}

/// Set the samples of positive-only registers to the positive part of their net registers'.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitPlan {
    /// First and last stamp of the range.
    pub range: (i64, i64),
    /// Ids of net registers, each with its positive one.
    pub pairs: Vec<(u32, u32)>,
}

/// Checks the registers of a zero command and fixes its range.
pub fn plan_zero(conn: &Connection, range: Range, regs: Option<&[u32]>) -> Result<ZeroPlan, DbError> {
    let known = schema::dids(conn)?;
    if let Some(regs) = regs {
        known_regs(regs, known.iter().copied())?;
    }
    Ok(ZeroPlan { range: fix(conn, range)?, regs: regs.map_or(known, Vec::from) })
}

/// Finds the registers of a split command and fixes its range. Without `regs`, all net registers that have a positive one.
pub fn plan_split(conn: &Connection, range: Range, regs: Option<&[u32]>) -> Result<SplitPlan, DbError> {
    let known = schema::registers(conn)?;
    if let Some(regs) = regs {
        known_regs(regs, known.iter().map(|it| it.did))?;
    }
    let positive = |net: &Register| {
        let has_name = |it: &&Register| it.name.strip_suffix('+') == Some(&net.name) && it.kind == POWER;
        known.iter().find(has_name).map(|it| it.did)
    };
    let mut pairs = Vec::new();
    for net in &known {
        let is_net = net.kind == POWER && !net.name.ends_with(['+', '-', '|', '*']);
        let named = regs.is_some_and(|it| it.contains(&net.did));
        match (is_net, positive(net)) {
            (false, _) if named => return Err(DbError::NotNet(net.name.clone())),
            (true, None) if named => return Err(DbError::NoPositive(net.name.clone())),
            (true, Some(positive)) if named || regs.is_none() => pairs.push((net.did, positive)),
            _ => {}
        }
    }
    Ok(SplitPlan { range: fix(conn, range)?, pairs })
}

/// The whole seconds of a range, no wider than the rows that are there now.
fn fix(conn: &Connection, range: Range) -> Result<(i64, i64), DbError> {
    let (from, to) = range.seconds();
    let (oldest, newest) = schema::extent(conn)?.unwrap_or((1, 0));
    Ok((from.max(oldest), to.min(newest)))
}

/// A zero or split under way.
pub(super) struct Rework {
    range: (i64, i64),
    /// The registers that are written.
    regs: Vec<u32>,
    assignments: String,
    /// Holds for rows that would change; rewriting the others would only wear the flash.
    changes: String,
    /// Whether samples can go, and with them rows.
    deletes: bool,
    /// Everything above this stamp is done; the position.
    cursor: i64,
}

impl Rework {
    pub(super) fn zero(plan: &ZeroPlan) -> Rework {
        // A bitwise operation leaves NULL alone and cannot overflow.
        let assignments = list(&plan.regs, ", ", |did| format!("r{did} = r{did} & 0"));
        let changes = list(&plan.regs, " OR ", |did| format!("r{did} <> 0"));
        Rework { regs: plan.regs.clone(), ..Rework::new(plan.range, assignments, changes, false) }
    }

    pub(super) fn split(plan: &SplitPlan) -> Rework {
        // The two-argument max of a NULL is NULL.
        let assignments = list(&plan.pairs, ", ", |(net, positive)| format!("r{positive} = max(r{net}, 0)"));
        let changes = list(&plan.pairs, " OR ", |(net, positive)| format!("r{positive} IS NOT max(r{net}, 0)"));
        let regs = plan.pairs.iter().map(|it| it.1).collect();
        Rework { regs, ..Rework::new(plan.range, assignments, changes, true) }
    }

    fn new(range: (i64, i64), assignments: String, changes: String, deletes: bool) -> Rework {
        Rework { range, regs: Vec::new(), assignments, changes, deletes, cursor: range.1.saturating_add(1) }
    }

    pub(super) fn resume(mut self, position: &str) -> Result<Rework, DbError> {
        self.cursor = serde_json::from_str(position).map_err(|err| DbError::Position(err.to_string()))?;
        Ok(self)
    }

    pub(super) fn position(&self) -> String {
        self.cursor.to_string()
    }

    pub(super) fn reached(&self) -> i64 {
        self.cursor
    }

    pub(super) fn progress(&self) -> f64 {
        let (from, to) = self.range;
        if to < from { 1.0 } else { (to + 1 - self.cursor) as f64 / (to + 1 - from) as f64 }
    }

    /// Works on the next `rows` rows.
    pub(super) fn step(&mut self, tx: &Transaction, rows: usize) -> Result<Step, DbError> {
        let from = self.range.0;
        if self.regs.is_empty() || self.cursor <= from {
            self.cursor = self.cursor.min(from);
            return Ok(Step::Done);
        }
        let sql = "SELECT ts FROM row WHERE ts >= ?1 AND ts < ?2 ORDER BY ts DESC LIMIT 1 OFFSET ?3";
        let found = tx.prepare_cached(sql)?.query_row((from, self.cursor, rows.max(1) as i64 - 1), |row| row.get(0));
        let low: i64 = found.optional()?.unwrap_or(from);
        let sql = format!("UPDATE row SET {} WHERE ts >= ?1 AND ts < ?2 AND ({})", self.assignments, self.changes);
        tx.prepare_cached(&sql)?.execute([low, self.cursor])?;
        if self.deletes {
            let any = schema::any_sample(schema::dids(tx)?.into_iter());
            let sql = format!("DELETE FROM row WHERE ts >= ?1 AND ts < ?2 AND NOT {any}");
            tx.prepare_cached(&sql)?.execute([low, self.cursor])?;
        }
        for did in &self.regs {
            edge::touch(tx, *did, low, self.cursor - 1)?;
        }
        self.cursor = low;
        Ok(if self.cursor <= from { Step::Done } else { Step::More })
    }
}

fn list<T>(items: &[T], join: &str, text: impl Fn(&T) -> String) -> String {
    items.iter().map(text).collect::<Vec<_>>().join(join)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::register_db::Stamp;
    use crate::drivers::register_db::testing::{Scratch, dump};

    const ALL: Range = Range { from: None, to: None };

    fn range(from: i64, to: i64) -> Range {
        Range { from: Some(Stamp::from_seconds(from)), to: Some(Stamp::from_seconds(to)) }
    }

    fn run(conn: &mut Connection, make: impl Fn() -> Rework, rows: usize) {
        let mut rework = make();
        loop {
            let tx = conn.transaction().unwrap();
            let step = rework.step(&tx, rows).unwrap();
            tx.commit().unwrap();
            if step == Step::Done {
                assert_eq!(rework.progress(), 1.0);
                return;
            }
            rework = make().resume(&rework.position()).unwrap();
        }
    }

    #[test]
    fn zero_changes_samples_in_the_range_and_nothing_else() {
        let s = Some;
        for rows in [1, 2, 100] {
            let scratch = Scratch::new();
            let mut conn = scratch.db(
                &["Grid:P", "Solar:P"],
                &[(10, &[s(1), s(2)]), (20, &[s(3), None]), (30, &[None, s(4)]), (40, &[s(5), s(6)])],
            );
            let plan = plan_zero(&conn, range(20, 40), Some(&[0])).unwrap();
            run(&mut conn, || Rework::zero(&plan), rows);
            assert_eq!(dump(&conn), "10: 1 2 | 20: 0 NULL | 30: NULL 4 | 40: 0 6");
            let plan = plan_zero(&conn, ALL, None).unwrap();
            run(&mut conn, || Rework::zero(&plan), rows);
            assert_eq!(dump(&conn), "10: 0 0 | 20: 0 NULL | 30: NULL 0 | 40: 0 0");
        }
    }

    #[test]
    fn split_copies_the_positive_part() {
        let s = Some;
        for rows in [1, 3, 100] {
            let scratch = Scratch::new();
            let mut conn = scratch.db(
                &["Grid:P", "Grid+:P", "Solar:P"],
                &[
                    (10, &[s(-1), s(9), None]),
                    (20, &[s(-3), s(9), None]),
                    (30, &[s(7), None, s(1)]),
                    (40, &[None, s(9), None]),
                    (50, &[None, s(9), s(1)]),
                    (60, &[s(i64::MIN), s(9), s(1)]),
                ],
            );
            let plan = plan_split(&conn, range(20, 60), None).unwrap();
            assert_eq!(plan.pairs, [(0, 1)]);
            run(&mut conn, || Rework::split(&plan), rows);
            let expect = format!("10: -1 9 NULL | 20: -3 0 NULL | 30: 7 7 1 | 50: NULL NULL 1 | 60: {} 0 1", i64::MIN);
            assert_eq!(dump(&conn), expect);
            run(&mut conn, || Rework::split(&plan), rows);
            assert_eq!(dump(&conn), expect);
        }
    }

    #[test]
    fn wrong_registers_are_named() {
        let scratch = Scratch::new();
        let conn =
            scratch.db(&["Grid:P", "Grid+:P", "Solar:P", "Volt:V", "Volt+:P", "A|:P", "A|+:P", "B:P", "B+:V"], &[]);
        for (regs, expect) in [
            (&[0][..], Ok(vec![(0, 1)])),
            (&[1], Err("NOT_NET_REG Grid+")),
            (&[3], Err("NOT_NET_REG Volt")),
            (&[5], Err("NOT_NET_REG A|")),
            (&[2], Err("NO_POS_REG Solar")),
            (&[0, 7], Err("NO_POS_REG B")),
            (&[9], Err("regs: there is no register 9")),
            (&[0, 0], Err("regs: register 0 is named twice")),
        ] {
            let got = plan_split(&conn, ALL, Some(regs)).map(|it| it.pairs).map_err(|err| match err.tag() {
                Some(tag) => format!("{tag} {}", err.args().join(" ")),
                None => err.to_string(),
            });
            assert_eq!(got, expect.map_err(String::from), "{regs:?}");
        }
        assert!(plan_zero(&conn, ALL, Some(&[4, 12])).is_err());
    }

    #[test]
    fn an_empty_database_or_range_is_done_at_once() {
        let scratch = Scratch::new();
        let mut conn = scratch.db(&["Grid:P"], &[]);
        let plan = plan_zero(&conn, ALL, None).unwrap();
        run(&mut conn, || Rework::zero(&plan), 10);
        conn.execute("INSERT INTO row (ts, r0) VALUES (50, 5)", []).unwrap();
        let plan = plan_zero(&conn, range(60, 70), None).unwrap();
        run(&mut conn, || Rework::zero(&plan), 10);
        assert_eq!(dump(&conn), "50: 5");
    }
}
