//! What a restore does once, in its first batch: make registers for a database that has none, join an edge that an
//! earlier chunk left, find the newer samples that energy is taken from, and set the counters of registers that get a
//! new youngest sample.

use rusqlite::{OptionalExtension, Transaction};

use super::plan::bits;
use super::run::{Pending, Run};
use crate::drivers::register_db::edge::{self, Moved};
use crate::drivers::register_db::{DbError, retention, schema};

impl Run {
    /// The first batch's beginning. Afterwards the cursor stands above everything that will change.
    pub(super) fn begin(&mut self, tx: &Transaction) -> Result<(), DbError> {
        self.check_registers(tx)?;
        let mut cursor = self.plan.last.min(i64::MAX - 1);
        let mut lowest = i64::MAX;
        for i in bits(self.selected) {
            let Some(did) = self.plan.columns[i].did else { continue };
            let joined = self.join(tx, i, did)?;
            let column = &self.plan.columns[i];
            let top = match (joined, column.top) {
                (Some(edge_ts), _) => edge_ts - 1,
                (None, Some((top, counter))) => {
                    if !column.discrete {
                        self.anchor(tx, i, did, top, counter)?;
                    }
                    self.inherit(tx, i, did, top)?;
                    top
                }
                (None, None) => continue,
            };
            let floor = self.plan.columns[i].floor;
            edge::touch(tx, did, floor, top)?;
            cursor = cursor.max(top + 1);
            lowest = lowest.min(floor);
        }
        retention::lower_marks(tx, lowest)?;
        self.state.cursor = Some(cursor);
        Ok(())
    }

    /// The registers must still be those that the plan was made for; a database without any gets them now.
    fn check_registers(&self, tx: &Transaction) -> Result<(), DbError> {
        if schema::dids(tx)?.is_empty() {
            for (name, kind) in &self.plan.header.registers {
                schema::create_register(tx, name, kind)?;
            }
        }
        let known = schema::registers(tx)?;
        for (column, (name, kind)) in self.plan.columns.iter().zip(&self.plan.header.registers) {
            if let Some(did) = column.did
                && !known.iter().any(|it| it.did == did && it.name == *name && it.kind == *kind)
            {
                return Err(DbError::BadRegister(name.clone(), "it has changed since the backup was checked"));
            }
        }
        Ok(())
    }

    /// Takes over the edge right above the file's youngest sample, if there is one that this chunk continues.
    fn join(&mut self, tx: &Transaction, i: usize, did: u32) -> Result<Option<i64>, DbError> {
        let column = &self.plan.columns[i];
        let Some(youngest) = column.youngest else { return Ok(None) };
        let Some(edge) = edge::above(tx, did, youngest)? else { return Ok(None) };
        let (from, to) = self.plan.range.seconds();
        if edge.ts < from || to < edge.ts {
            return Ok(None);
        }
        if !(edge.more_chunks && self.plan.continues) {
            // Without the client's word, samples in between are not to be lost for the sake of a joint.
            let near = edge.ts - youngest <= edge.spacing.saturating_mul(2);
            let adjacent = newer_sample(tx, did, youngest)?.is_some_and(|it| it.0 == edge.ts);
            if !adjacent || !(near || edge.more_chunks) {
                return Ok(None);
            }
        }
        edge::remove(tx, did, edge.ts)?;
        let open = &mut self.state.columns[i];
        open.filled = Some(edge.ts);
        open.pending = Some(Pending { ts: edge.ts, counter: edge.counter, moves: edge.moved.is_some() });
        open.moved = edge.moved;
        Ok(Some(edge.ts))
    }

    /// Looks at what is above the youngest sample: nothing, then the counter follows the file; or a sample whose span
    /// reaches down into the restored time, then restored energy will be taken from it.
    fn anchor(&mut self, tx: &Transaction, i: usize, did: u32, top: i64, counter: i64) -> Result<(), DbError> {
        let sql = format!("SELECT 1 FROM row WHERE ts = ?1 AND r{did} IS NOT NULL");
        if tx.prepare(&sql)?.exists([top])? {
            return Ok(());
        }
        match newer_sample(tx, did, top)? {
            None => {
                tx.prepare_cached("UPDATE register SET counter = ?2 WHERE did = ?1")?.execute((did, counter))?;
            }
            Some((_, 0)) => {}
            Some((ts, increment)) => {
                edge::touch(tx, did, ts, ts)?;
                let rest = increment.into();
                self.state.columns[i].moved = Some(Moved { ts, rest, positive: 0 < increment, open: true });
            }
        }
        Ok(())
    }

    /// A chunk that is restored a second time takes nothing from the newer sample again, but its edge must go on where
    /// the first time left off.
    fn inherit(&mut self, tx: &Transaction, i: usize, did: u32, top: i64) -> Result<(), DbError> {
        if self.state.columns[i].moved.is_none()
            && let Some(edge) = edge::at(tx, did, self.plan.columns[i].floor)?
        {
            self.state.columns[i].inherited = edge.moved.filter(|it| top < it.ts);
        }
        Ok(())
    }
}

/// The next newer sample of a register: its stamp and increment.
fn newer_sample(tx: &Transaction, did: u32, ts: i64) -> Result<Option<(i64, i64)>, DbError> {
    let sql = format!("SELECT ts, r{did} FROM row WHERE ts > ?1 AND r{did} IS NOT NULL ORDER BY ts LIMIT 1");
    Ok(tx.prepare(&sql)?.query_row([ts], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}
