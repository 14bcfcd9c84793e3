//! Looking at the database without changing it: connections for readers, the levels that retention keeps, and whether
//! the file is sound.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::retention;
use super::schema::{LOCK_WAIT, version};
use super::{DbError, Fault};

/// Seconds between the rows that a metering process appends.
const MINUTE: i64 = 60;

/// A connection that only reads. In WAL mode it neither waits for the writer nor makes it wait.
pub fn open(path: &Path) -> Result<Connection, DbError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(LOCK_WAIT)?;
    version(&conn)?;
    conn.execute_batch("PRAGMA cache_size = -256; PRAGMA temp_store = MEMORY;")?;
    Ok(conn)
}

/// One level of the database's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Seconds between rows.
    pub interval: i64,
    /// Rows that it keeps at most.
    pub rows: i64,
    /// Stamp of its youngest row.
    pub head: Option<i64>,
}

/// The levels from the finest to the coarsest (webapi `/sys/db/level`).
pub fn levels(conn: &Connection) -> Result<Vec<Level>, DbError> {
    let newest: Option<i64> = conn.query_row("SELECT max(ts) FROM row", [], |row| row.get(0))?;
    let mut res = Vec::new();
    let (mut interval, mut younger) = (MINUTE, 0);
    // Retention lists its steps oldest first; what one step makes is the interval of the next older level.
    for step in retention::LEVELS.iter().rev() {
        let head = match newest {
            None => None,
            Some(newest) => {
                let sql = "SELECT ts FROM row WHERE ts <= ?1 ORDER BY ts DESC LIMIT 1";
                conn.query_row(sql, [newest - younger], |row| row.get(0)).optional()?
            }
        };
        res.push(Level { interval, rows: step.age / interval, head });
        younger = step.age;
        interval = step.span.unwrap_or(interval);
    }
    Ok(res)
}

/// Reads the whole file and compares its parts; an error says what does not fit.
pub fn check(conn: &Connection) -> Result<(), DbError> {
    let text: String = conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    match text.as_str() {
        "ok" => Ok(()),
        _ => Err(DbError::Sqlite { fault: Fault::Read, reached: None, text }),
    }
}
