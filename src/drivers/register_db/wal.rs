//! Checkpoints of the write-ahead log. No connection checkpoints by itself, because a commit that does so at an unlucky
//! moment holds up its program; instead this is called between batches and when there is nothing else to do.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use super::DbError;
use super::schema::LOCK_WAIT;

/// Log size from which its pages are copied into the database, as far as readers allow, and an attempt is made to shorten
/// the file. Without the second, the file would stay as long as it ever was, and its size would ask for a copy at every
/// call from then on.
const COPY_FROM: u64 = 4 << 20;

/// Does what the size of the log asks for, without waiting for anybody. Must not be called within a transaction.
pub fn checkpoint(conn: &Connection) -> Result<(), DbError> {
    let Some(path) = conn.path().filter(|it| !it.is_empty()) else { return Ok(()) };
    let size = std::fs::metadata(log_of(Path::new(path))).map_or(0, |it| it.len());
    if size < COPY_FROM {
        return Ok(());
    }
    // Others that read or write are no failure: the next call will do.
    let run = |mode: &str| conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get::<_, bool>(0));
    run("PASSIVE")?;
    conn.busy_timeout(Duration::ZERO)?;
    let res = run("TRUNCATE");
    conn.busy_timeout(LOCK_WAIT)?;
    Ok(res.map(drop)?)
}

fn log_of(database: &Path) -> PathBuf {
    let mut name = OsString::from(database);
    name.push("-wal");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::register_db::testing::Scratch;

    fn write(conn: &Connection, bytes: usize) {
        conn.execute_batch("CREATE TABLE IF NOT EXISTS filler (it BLOB)").unwrap();
        for _ in 0..bytes / 65_536 {
            conn.execute("INSERT INTO filler VALUES (zeroblob(65536))", []).unwrap();
        }
    }

    #[test]
    fn a_log_that_has_grown_long_is_shortened() {
        let scratch = Scratch::new();
        let conn = scratch.db(&[], &[]);
        let log = log_of(&scratch.path("test.db"));
        write(&conn, 9 << 20);
        assert!(COPY_FROM <= log.metadata().unwrap().len());
        checkpoint(&conn).unwrap();
        assert_eq!(log.metadata().unwrap().len(), 0);
    }

    #[test]
    fn with_checkpoints_in_between_the_log_stays_short() {
        let scratch = Scratch::new();
        let conn = scratch.db(&[], &[]);
        for _ in 0..20 {
            write(&conn, 1 << 20);
            checkpoint(&conn).unwrap();
        }
        assert!(log_of(&scratch.path("test.db")).metadata().unwrap().len() < 8 << 20);
    }

    #[test]
    fn a_reader_is_not_waited_for() {
        let scratch = Scratch::new();
        let conn = scratch.db(&[], &[]);
        write(&conn, 1 << 20);
        let reader = crate::drivers::register_db::schema::open(&scratch.path("test.db")).unwrap();
        reader.execute_batch("BEGIN; SELECT count(*) FROM filler").unwrap();
        write(&conn, 9 << 20);
        checkpoint(&conn).unwrap();
        assert!(COPY_FROM <= log_of(&scratch.path("test.db")).metadata().unwrap().len());
        reader.execute_batch("COMMIT").unwrap();
        checkpoint(&conn).unwrap();
        assert_eq!(log_of(&scratch.path("test.db")).metadata().unwrap().len(), 0);
    }
}
