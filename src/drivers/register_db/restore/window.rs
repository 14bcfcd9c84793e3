//! One window of time of a restore: what the file says there and what the database has there are merged, oldest first,
//! and written. It relies on the window lying right below all earlier ones, and on one row of the file below the window
//! being known, unless the file ends in it.

use rusqlite::types::Null;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Transaction};

use super::plan::{RestorePlan, bits};
use super::rows::Rows;
use super::run::{Open, Pending, Run};
use crate::drivers::register_db::DbError;
use crate::drivers::register_db::schema::{self, MAX_REGISTERS};

/// The texts that depend on which registers there are.
#[derive(Default)]
pub(super) struct Statements {
    dids: Vec<u32>,
    /// Column of each selected field, see [`Found::load`](super::rows::Found::load).
    columns: Vec<usize>,
    select: String,
}

impl Statements {
    /// Follows registers that another program has added since the last batch.
    pub(super) fn renew(&mut self, plan: &RestorePlan, dids: Vec<u32>) {
        if self.dids == dids && !self.select.is_empty() {
            return;
        }
        let restored: Vec<(usize, u32)> =
            plan.columns.iter().enumerate().filter_map(|(i, it)| Some((i, it.did?))).collect();
        let others = dids.iter().copied().filter(|did| restored.iter().all(|it| it.1 != *did));
        let fields: String = restored.iter().map(|(_, did)| format!(", r{did}")).collect();
        let others = schema::any_sample(others);
        self.select =
            format!("SELECT ts, {others}{fields} FROM row WHERE ts >= ?1 AND ts < ?2 ORDER BY ts DESC LIMIT ?3");
        self.columns = restored.into_iter().map(|it| it.0).collect();
        self.dids = dids;
    }
}

/// Which column owns which time.
struct Owners {
    active: u64,
    floor: [i64; MAX_REGISTERS],
    top: [i64; MAX_REGISTERS],
    /// The time that all active columns own, which is nearly all of it in ordinary files.
    common: (i64, i64),
}

impl Owners {
    fn new(plan: &RestorePlan, open: &[Open]) -> Owners {
        let mut res =
            Owners { active: 0, floor: [0; MAX_REGISTERS], top: [0; MAX_REGISTERS], common: (i64::MIN, i64::MAX) };
        for (i, column) in plan.columns.iter().enumerate() {
            let top = open[i].filled.map(|it| it - 1).or(column.top.map(|it| it.0));
            let (Some(_), Some(top)) = (column.did, top) else { continue };
            res.active |= 1 << i;
            (res.floor[i], res.top[i]) = (column.floor, top);
            res.common = (res.common.0.max(column.floor), res.common.1.min(top));
        }
        res
    }

    fn at(&self, ts: i64) -> u64 {
        if self.common.0 <= ts && ts <= self.common.1 {
            return self.active;
        }
        let owns = |i: &usize| self.floor[*i] <= ts && ts <= self.top[*i];
        bits(self.active).filter(owns).map(|i| 1 << i).sum()
    }
}

/// The counters of the next older row of the file that has one, per column.
struct Older {
    present: u64,
    counter: [i64; MAX_REGISTERS],
}

impl Older {
    fn take(&mut self, rows: &Rows, i: usize) {
        let values = rows.values(i);
        for column in bits(rows.present(i)) {
            self.counter[column] = values[column];
        }
        self.present |= rows.present(i);
    }
}

impl Run {
    /// Applies one window of about `rows` rows at most; tells how many it dealt with.
    pub(super) fn window(&mut self, tx: &Transaction, statements: &Statements, rows: usize) -> Result<usize, DbError> {
        let high = self.state.cursor.unwrap_or(i64::MAX);
        let n = self.file.len();
        let mut low = if rows < n {
            self.file.ts(rows) + 1
        } else if self.complete {
            self.plan.last
        } else {
            self.file.ts(n - 1) + 1
        };
        let most = rows.min(self.found.rows.capacity());
        self.found.load(tx, &statements.select, &statements.columns, (low, high), most)?;
        let n_found = self.found.rows.len();
        if n_found == most {
            low = self.found.rows.ts(n_found - 1);
        }
        let n_file = (0..n).take_while(|i| low <= self.file.ts(*i)).count();

        let owners = Owners::new(&self.plan, &self.state.columns);
        let moves_above = self.find_spans(&owners);
        let mut older = Older { present: 0, counter: [0; MAX_REGISTERS] };
        if n_file < n {
            older.take(&self.file, n_file);
        }
        let shown: Vec<Option<i64>> =
            self.state.columns.iter().map(|it| it.moved.as_ref().map(|it| it.shown())).collect();
        let mut pending: [Option<Pending>; MAX_REGISTERS] = [const { None }; MAX_REGISTERS];
        let mut writer = Writer { tx, plan: &self.plan, prepared: None };
        let (mut i_file, mut i_found) = (n_file, n_found);
        let mut samples = [0; MAX_REGISTERS];
        loop {
            let ts_file = i_file.checked_sub(1).map(|i| self.file.ts(i));
            let ts_found = i_found.checked_sub(1).map(|i| self.found.rows.ts(i));
            let Some(ts) = [ts_file, ts_found].into_iter().flatten().min() else { break };
            let owned = owners.at(ts);
            let there = (ts_found == Some(ts)).then(|| {
                i_found -= 1;
                i_found
            });
            let (kept, kept_samples) = match there {
                Some(i) => (self.found.rows.present(i), self.found.rows.values(i)),
                None => (0, &[][..]),
            };
            let mut present = 0;
            if ts_file == Some(ts) {
                i_file -= 1;
                present = self.file.present(i_file) & owned;
                self.state.applied += u64::from(present != 0);
                let counters = self.file.values(i_file);
                for i in bits(present) {
                    let known = older.present >> i & 1 == 1;
                    let moves = moves_above[i] < ts;
                    samples[i] = if self.plan.columns[i].discrete {
                        counters[i]
                    } else if known {
                        let increment = counters[i].wrapping_sub(older.counter[i]);
                        if moves {
                            self.state.columns[i].draw(increment);
                        }
                        increment
                    } else if kept >> i & 1 == 1 {
                        kept_samples[i]
                    } else {
                        0
                    };
                    if !known {
                        pending[i] = Some(Pending { ts, counter: counters[i], moves });
                    }
                }
                older.take(&self.file, i_file);
            }
            let Some(there) = there else {
                if present != 0 {
                    writer.write(ts, (owned, false), present, &samples)?;
                }
                continue;
            };
            let same = present == kept & owned && bits(present).all(|i| samples[i] == kept_samples[i]);
            if same {
                continue;
            }
            if present == 0 && kept & !owned == 0 && !self.found.others[there] {
                writer.delete(ts)?;
            } else {
                writer.write(ts, (owned, true), present, &samples)?;
            }
        }
        drop(writer);
        self.resolve(tx, &older, pending)?;
        self.draw_from_newer(tx, &shown)?;
        self.file.consume(n_file);
        self.state.cursor = Some(low);
        Ok((n_file + n_found).max(1))
    }

    /// Where the spans of the newer samples end: restored samples above that stamp take from them. A span ends at the
    /// first sample that the database already had on the way down.
    fn find_spans(&mut self, owners: &Owners) -> [i64; MAX_REGISTERS] {
        let mut res = [i64::MAX; MAX_REGISTERS];
        for (i, open) in self.state.columns.iter_mut().enumerate() {
            let Some(moved) = open.moved.as_mut().filter(|it| it.open) else { continue };
            let rows = &self.found.rows;
            let is_sample = |row: &usize| {
                let ts = rows.ts(*row);
                rows.present(*row) >> i & 1 == 1 && owners.floor[i] <= ts && ts <= owners.top[i]
            };
            let found = (0..rows.len()).find(is_sample);
            moved.open = found.is_none();
            res[i] = found.map_or(i64::MIN, |row| rows.ts(row));
        }
        res
    }

    /// Samples of earlier windows whose neighbour was met in this one get their increment; new ones begin to wait.
    fn resolve(
        &mut self,
        tx: &Transaction,
        older: &Older,
        mut pending: [Option<Pending>; MAX_REGISTERS],
    ) -> Result<(), DbError> {
        for i in bits(self.selected) {
            let (Some(did), open) = (self.plan.columns[i].did, &mut self.state.columns[i]) else { continue };
            if let Some(waiting) = open.pending.take_if(|_| older.present >> i & 1 == 1)
                && !self.plan.columns[i].discrete
            {
                let increment = waiting.counter.wrapping_sub(older.counter[i]);
                set_sample(tx, did, waiting.ts, increment)?;
                if waiting.moves {
                    open.draw(increment);
                }
            }
            if let Some(waiting) = pending[i].take() {
                open.pending = Some(waiting);
            }
        }
        Ok(())
    }

    /// Writes what the newer samples are left with. Only the difference is written, so that what another program adds to
    /// such a sample in the meantime stays.
    fn draw_from_newer(&mut self, tx: &Transaction, before: &[Option<i64>]) -> Result<(), DbError> {
        for i in bits(self.selected) {
            let (Some(did), open) = (self.plan.columns[i].did, &mut self.state.columns[i]) else { continue };
            let (Some(moved), Some(before)) = (&open.moved, before[i]) else { continue };
            let change = moved.shown().wrapping_sub(before);
            if change != 0 {
                let sql = format!("SELECT r{did} FROM row WHERE ts = ?1");
                let sample = tx.prepare_cached(&sql)?.query_row([moved.ts], |row| row.get::<_, Option<i64>>(0));
                if let Some(sample) = sample.optional()?.flatten() {
                    set_sample(tx, did, moved.ts, sample.wrapping_add(change))?;
                }
            }
            if !moved.open && open.pending.as_ref().is_none_or(|it| !it.moves) {
                open.moved = None;
            }
        }
        Ok(())
    }
}

impl Open {
    /// Takes a restored increment from the newer sample.
    fn draw(&mut self, increment: i64) {
        if let Some(moved) = &mut self.moved {
            moved.rest -= i128::from(increment);
        }
    }
}

fn set_sample(conn: &Connection, did: u32, ts: i64, sample: i64) -> Result<(), DbError> {
    conn.prepare_cached(&format!("UPDATE row SET r{did} = ?2 WHERE ts = ?1"))?.execute((ts, sample))?;
    Ok(())
}

/// Writes rows, with one statement as long as the same columns are written.
struct Writer<'a> {
    tx: &'a Transaction<'a>,
    plan: &'a RestorePlan,
    prepared: Option<(Shape, CachedStatement<'a>)>,
}

/// What decides the text of a statement that writes a row: its owned columns, and whether the row is there already. A
/// plain INSERT takes SQLite noticeably less time than one that is prepared for a conflict.
type Shape = (u64, bool);

impl Writer<'_> {
    /// Sets the owned columns of a row to its present samples, and to NULL where there is none.
    fn write(&mut self, ts: i64, shape: Shape, present: u64, samples: &[i64]) -> Result<(), DbError> {
        let stmt = match &mut self.prepared {
            Some((of, stmt)) if *of == shape => stmt,
            prepared => {
                let stmt = self.tx.prepare_cached(&sql(self.plan, shape))?;
                &mut prepared.insert((shape, stmt)).1
            }
        };
        stmt.raw_bind_parameter(1, ts)?;
        for (place, i) in bits(shape.0).enumerate() {
            if present >> i & 1 == 1 {
                stmt.raw_bind_parameter(place + 2, samples[i])?;
            } else {
                stmt.raw_bind_parameter(place + 2, Null)?;
            }
        }
        stmt.raw_execute()?;
        Ok(())
    }

    fn delete(&mut self, ts: i64) -> Result<(), DbError> {
        self.tx.prepare_cached("DELETE FROM row WHERE ts = ?1")?.execute([ts])?;
        Ok(())
    }
}

fn sql(plan: &RestorePlan, (columns, is_there): Shape) -> String {
    let (mut names, mut places, mut updates) = (String::new(), String::new(), Vec::new());
    for (place, did) in bits(columns).filter_map(|i| plan.columns[i].did).enumerate() {
        names += &format!(", r{did}");
        places += &format!(", ?{}", place + 2);
        updates.push(format!("r{did} = excluded.r{did}"));
    }
    let insert = format!("INSERT INTO row (ts{names}) VALUES (?1{places})");
    if is_there { format!("{insert} ON CONFLICT (ts) DO UPDATE SET {}", updates.join(", ")) } else { insert }
}
