//! The database against the model, row by row and counter by counter.

use meterd::drivers::register_db::schema;
use rusqlite::Connection;

use super::Model;

/// What differs, if anything does.
pub fn compare(conn: &Connection, model: &Model) -> Result<(), String> {
    for (did, reg) in model.regs.iter().enumerate() {
        let sql = format!("SELECT ts, r{did} FROM row WHERE r{did} IS NOT NULL ORDER BY ts");
        let mut stmt = conn.prepare_cached(&sql).unwrap();
        let rows = stmt.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        let rows: Vec<(i64, i64)> = rows.map(|it| it.unwrap()).collect();
        let expect: Vec<(i64, i64)> = reg.samples.iter().map(|it| (*it.0, *it.1)).collect();
        if rows != expect {
            return Err(format!("register {did}:\n  is     {rows:?}\n  should {expect:?}"));
        }
    }
    let n_rows: i64 = conn.query_row("SELECT count(*) FROM row", [], |row| row.get(0)).unwrap();
    if n_rows as usize != model.stamps().len() {
        return Err(format!("{n_rows} rows, but only {} have a sample", model.stamps().len()));
    }
    let counters: Vec<i64> = schema::registers(conn).unwrap().iter().map(|it| it.counter).collect();
    let expect: Vec<i64> = model.regs.iter().map(|it| it.counter).collect();
    if counters != expect {
        return Err(format!("counters are {counters:?}, should be {expect:?}"));
    }
    Ok(())
}
