//! Checkpoints of the write-ahead log. No connection checkpoints by itself, because a commit that does so at an unlucky
//! moment holds up its program; instead this is called between batches and when there is nothing else to do.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::Connection;

use super::DbError;
use super::schema::LOCK_WAIT;

/// Bytes in the log from which on its pages are copied into the database, as far as readers allow.
const COPY_FROM: u64 = 4 << 20;

/// What one connection knows of the log: its bytes as of that connection's last commit. (Whoever opens and closes one of the
/// database's files by himself to look drops every lock that this process has on it.)
pub struct Log(Arc<AtomicU64>);

impl Log {
    /// Watches the log through the commits of a connection.
    pub fn watch(conn: &mut Connection) -> Result<Log, DbError> {
        let page = conn.query_row("PRAGMA page_size", [], |row| row.get::<_, u32>(0))?;
        let bytes = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&bytes);
        conn.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages: std::ffi::c_int| {
            seen.store(u64::from(pages.unsigned_abs()) * u64::from(page), Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(Log(bytes))
    }

    /// To be called between batches: copies what has gathered. The next batch then begins at the log's start again, which
    /// costs less than a log that is shortened and grows anew. As [`checkpoint`], it waits for nobody and must not be called
    /// within a transaction.
    pub fn copy(&self, conn: &Connection) -> Result<(), DbError> {
        if COPY_FROM <= self.0.swap(0, Ordering::Relaxed) { run(conn, "PASSIVE") } else { Ok(()) }
    }
}

/// Copies what is in a large log and attempts to shorten the file. Without the second, the file would stay as long as it
/// ever was.
pub fn checkpoint(conn: &Connection) -> Result<(), DbError> {
    let Some(path) = conn.path().filter(|it| !it.is_empty()) else { return Ok(()) };
    let size = std::fs::metadata(log_of(Path::new(path))).map_or(0, |it| it.len());
    if size < COPY_FROM {
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

/// Where the log of a database is.
pub(super) fn log_of(database: &Path) -> PathBuf {
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
    fn with_copies_in_between_the_log_begins_anew() {
        let scratch = Scratch::new();
        let mut conn = scratch.db(&[], &[]);
        let log = Log::watch(&mut conn).unwrap();
        for _ in 0..20 {
            write(&conn, 1 << 20);
            log.copy(&conn).unwrap();
        }
        let size = log_of(&scratch.path("test.db")).metadata().unwrap().len();
        assert!((COPY_FROM..8 << 20).contains(&size), "{size}");
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
