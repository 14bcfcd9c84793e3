//! How new samples come in, by this program or by any other that keeps the SQL contract, and how a parked excess is put
//! into the record. Sums wrap modulo 2^64, as counters do.

use rusqlite::{OptionalExtension, Transaction};

use super::schema::{self, Register};
use super::{DbError, edge};

/// What another program has to do to append one row, here for two registers (ids 0 and 1) and one of type `d` (id 2). Its
/// connection sets `busy_timeout` and `wal_autocheckpoint = 0`. A row at a stamp that exists adds to it. [`append`] does
/// the same, except that its sums wrap where these would fail.
pub const SQL_CONTRACT: &str = "\
BEGIN IMMEDIATE;
INSERT INTO row (ts, r0, r1, r2) VALUES (:ts, :increment0, :increment1, :value2)
  ON CONFLICT (ts) DO UPDATE SET
    r0 = coalesce(r0 + excluded.r0, r0, excluded.r0),
    r1 = coalesce(r1 + excluded.r1, r1, excluded.r1),
    r2 = coalesce(excluded.r2, r2);
UPDATE register SET counter = counter + :increment0 WHERE did = 0;
UPDATE register SET counter = counter + :increment1 WHERE did = 1;
COMMIT;
";

/// A new sample: an increment, or for registers of type `d` a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The register's id.
    pub did: u32,
    /// Whether the register is of type `d`.
    pub discrete: bool,
    /// Its increment or value.
    pub value: i64,
}

/// Appends a row; one at an existing stamp adds to it. Counters move by the same increments.
pub fn append(tx: &Transaction, ts: i64, samples: &[Sample]) -> Result<(), DbError> {
    if samples.is_empty() {
        return Ok(());
    }
    let exists = tx.prepare_cached("SELECT 1 FROM row WHERE ts = ?1")?.exists([ts])?;
    if !exists {
        let names: String = samples.iter().map(|it| format!(", r{}", it.did)).collect();
        let sql = format!("INSERT INTO row (ts{names}) VALUES (?{})", ", ?".repeat(samples.len()));
        let mut stmt = tx.prepare_cached(&sql)?;
        stmt.raw_bind_parameter(1, ts)?;
        for (i, sample) in samples.iter().enumerate() {
            stmt.raw_bind_parameter(i + 2, sample.value)?;
        }
        stmt.raw_execute()?;
    }
    for sample in samples {
        if exists {
            add_to_row(tx, ts, *sample)?;
        }
        if !sample.discrete && sample.value != 0 {
            add_to_counter(tx, sample.did, sample.value)?;
        }
    }
    Ok(())
}

/// Pays out what each register still owes: into the newest row and the counter, at once. Tells for how many registers.
pub fn clear_excess(tx: &Transaction) -> Result<usize, DbError> {
    let owing: Vec<Register> = schema::registers(tx)?.into_iter().filter(|it| it.excess != 0).collect();
    let newest = schema::extent(tx)?.map(|it| it.1);
    for register in &owing {
        let sample = Sample { did: register.did, discrete: false, value: register.excess };
        if let Some(newest) = newest
            && !register.is_discrete()
        {
            add_to_row(tx, newest, sample)?;
            edge::touch(tx, register.did, newest, newest)?;
        }
        if !register.is_discrete() {
            add_to_counter(tx, register.did, register.excess)?;
        }
        tx.prepare_cached("UPDATE register SET excess = 0 WHERE did = ?1")?.execute([register.did])?;
    }
    Ok(owing.len())
}

fn add_to_row(tx: &Transaction, ts: i64, sample: Sample) -> Result<(), DbError> {
    let did = sample.did;
    let sql = format!("SELECT r{did} FROM row WHERE ts = ?1");
    let before = tx.prepare_cached(&sql)?.query_row([ts], |row| row.get::<_, Option<i64>>(0)).optional()?.flatten();
    let after = match before {
        Some(before) if !sample.discrete => before.wrapping_add(sample.value),
        _ => sample.value,
    };
    tx.prepare_cached(&format!("UPDATE row SET r{did} = ?2 WHERE ts = ?1"))?.execute((ts, after))?;
    Ok(())
}

fn add_to_counter(tx: &Transaction, did: u32, increment: i64) -> Result<(), DbError> {
    let mut stmt = tx.prepare_cached("SELECT counter FROM register WHERE did = ?1")?;
    let counter: i64 = stmt.query_row([did], |row| row.get(0))?;
    tx.prepare_cached("UPDATE register SET counter = ?2 WHERE did = ?1")?
        .execute((did, counter.wrapping_add(increment)))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::drivers::register_db::testing::{Scratch, dump};

    const REGISTERS: [&str; 3] = ["Grid:P", "Solar:P", "Door:d"];

    fn counters(conn: &Connection) -> Vec<i64> {
        schema::registers(conn).unwrap().iter().map(|it| it.counter).collect()
    }

    fn by_function(conn: &mut Connection, ts: i64, samples: [i64; 3]) {
        let tx = conn.transaction().unwrap();
        let of = |did: usize| Sample { did: did as u32, discrete: did == 2, value: samples[did] };
        append(&tx, ts, &[of(0), of(1), of(2)]).unwrap();
        tx.commit().unwrap();
    }

    fn by_contract(conn: &mut Connection, ts: i64, samples: [i64; 3]) {
        let names = [":ts", ":increment0", ":increment1", ":value2"];
        let values = [ts, samples[0], samples[1], samples[2]];
        let sql = names
            .iter()
            .zip(values)
            .fold(String::from(SQL_CONTRACT), |sql, (name, value)| sql.replace(name, &value.to_string()));
        conn.execute_batch(&sql).unwrap();
    }

    #[test]
    fn the_document_shows_the_same_contract() {
        let document = include_str!("../../../init/sql-contract.md");
        let indented: String = SQL_CONTRACT.lines().map(|it| format!("    {it}\n")).collect();
        assert!(document.contains(&indented), "{indented}");
    }

    #[test]
    fn the_function_and_the_sql_contract_do_the_same() {
        for add in [by_function, by_contract] {
            let scratch = Scratch::new();
            let mut conn = scratch.db(&REGISTERS, &[(60, &[None, Some(1), None])]);
            add(&mut conn, 60, [5, 6, 7]);
            add(&mut conn, 120, [-1, 0, 8]);
            add(&mut conn, 120, [-1, 3, 9]);
            assert_eq!(dump(&conn), "60: 5 7 7 | 120: -2 3 9");
            assert_eq!(counters(&conn), [3, 9, 0]);
        }
    }

    #[test]
    fn sums_wrap_like_counters() {
        let scratch = Scratch::new();
        let mut conn = scratch.db(&REGISTERS, &[]);
        by_function(&mut conn, 60, [i64::MAX, 0, 0]);
        by_function(&mut conn, 60, [1, 0, 0]);
        assert_eq!(dump(&conn), format!("60: {} 0 0", i64::MIN));
        assert_eq!(counters(&conn)[0], i64::MIN);
    }

    #[test]
    fn a_cleared_excess_is_in_the_newest_row_and_the_counter() {
        let scratch = Scratch::new();
        let mut conn = scratch.db(&REGISTERS, &[(60, &[Some(1), Some(1), None]), (120, &[Some(1), None, None])]);
        conn.execute_batch("UPDATE register SET counter = 10, excess = did * 100 - 50 WHERE did < 2").unwrap();
        let tx = conn.transaction().unwrap();
        assert_eq!(clear_excess(&tx).unwrap(), 2);
        assert_eq!(clear_excess(&tx).unwrap(), 0);
        tx.commit().unwrap();
        assert_eq!(dump(&conn), "60: 1 1 NULL | 120: -49 50 NULL");
        assert_eq!(counters(&conn), [-40, 60, 0]);
    }
}
