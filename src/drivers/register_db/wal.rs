//! Checkpoints of the write-ahead log. No connection checkpoints by itself, because a commit that does so at an unlucky
//! moment holds up its program; instead this is called between batches and when there is nothing else to do.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use super::DbError;
use super::schema::LOCK_WAIT;

/// Bytes in the log from which on its pages are copied into the database, as far as readers allow.
const COPY_FROM: u64 = 4 << 20;

/// To be called between batches: copies what has gathered in the log. The next batch then begins at the log's start again,
/// which costs less than a log that is shortened and grows anew. As [`checkpoint`], it waits for nobody and must not be
/// called within a transaction.
pub fn copy(conn: &Connection) -> Result<(), DbError> {
    match path(conn) {
        Some(path) if COPY_FROM <= gathered(path).unwrap_or(u64::MAX) => run(conn, "PASSIVE"),
        _ => Ok(()),
    }
}

/// Copies what is in a large log and attempts to shorten the file. Without the second, the file would stay as long as it
/// ever was.
pub fn checkpoint(conn: &Connection) -> Result<(), DbError> {
    let Some(path) = path(conn) else { return Ok(()) };
    if std::fs::metadata(beside(path, "-wal")).map_or(0, |it| it.len()) < COPY_FROM {
        return Ok(());
    }
    run(conn, "PASSIVE")?;
    conn.busy_timeout(Duration::ZERO)?;
    let res = run(conn, "TRUNCATE");
    conn.busy_timeout(LOCK_WAIT)?;
    res
}

/// Others that read or write are no failure: the next call will do.
fn run(conn: &Connection, mode: &str) -> Result<(), DbError> {
    Ok(conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get::<_, bool>(0)).map(drop)?)
}

fn path(conn: &Connection) -> Option<&Path> {
    conn.path().filter(|it| !it.is_empty()).map(Path::new)
}

/// Bytes in the log that were not copied yet, as its index has them (SQLite's "WAL-mode file format", 2.1: the fields
/// `szPage`, `mxFrame` and `nBackfill`). It is read without a lock, since a wrong size only makes a copy early or late.
fn gathered(database: &Path) -> io::Result<u64> {
    let mut index = [0; 100];
    File::open(beside(database, "-shm"))?.read_exact_at(&mut index, 0)?;
    let number = |at: usize| u32::from_ne_bytes([index[at], index[at + 1], index[at + 2], index[at + 3]]);
    // One stands for the size that has no room.
    let page = match u16::from_ne_bytes([index[14], index[15]]) {
        1 => 65_536,
        size => u64::from(size),
    };
    Ok(u64::from(number(16).saturating_sub(number(96))) * page)
}

fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(database);
    name.push(suffix);
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
        let log = beside(&scratch.path("test.db"), "-wal");
        write(&conn, 9 << 20);
        assert!(COPY_FROM <= log.metadata().unwrap().len());
        checkpoint(&conn).unwrap();
        assert_eq!(log.metadata().unwrap().len(), 0);
    }

    #[test]
    fn with_copies_in_between_the_log_begins_anew() {
        let scratch = Scratch::new();
        let conn = scratch.db(&[], &[]);
        for _ in 0..20 {
            write(&conn, 1 << 20);
            copy(&conn).unwrap();
            assert!(gathered(&scratch.path("test.db")).unwrap() < COPY_FROM);
        }
        assert!(beside(&scratch.path("test.db"), "-wal").metadata().unwrap().len() < 8 << 20);
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
        assert!(COPY_FROM <= beside(&scratch.path("test.db"), "-wal").metadata().unwrap().len());
        reader.execute_batch("COMMIT").unwrap();
        checkpoint(&conn).unwrap();
        assert_eq!(beside(&scratch.path("test.db"), "-wal").metadata().unwrap().len(), 0);
    }
}
