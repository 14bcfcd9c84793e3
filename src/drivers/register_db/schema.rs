//! The tables of the register database, how its file is opened, and who its registers are.
//! Rows hold increments: the change of a register since its next older value; NULL means "contained in the next younger
//! sample". Registers of type `d` hold the value itself. Nothing here reads a clock.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params};

use super::wal::log_of;
use super::{DbError, Fault, text};
use crate::sys::fs::sync_dir;

/// Registers that a database may have.
pub const MAX_REGISTERS: usize = 64;

/// The type of registers that hold values instead of increments.
pub const DISCRETE: &str = "d";

/// The version of all tables of the file, those of the operations too, kept in its `user_version`. Who changes a table adds
/// a step to `upgrade`.
pub const VERSION: i64 = 2;

/// Longest wait for another program's write lock.
pub(super) const LOCK_WAIT: Duration = Duration::from_secs(5);

const TABLES: &str = "
    CREATE TABLE register (
        did INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        type TEXT NOT NULL,
        counter INTEGER NOT NULL DEFAULT 0,
        excess INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE TABLE row (ts INTEGER PRIMARY KEY) STRICT;
    CREATE TABLE edge (
        id INTEGER PRIMARY KEY,
        did INTEGER NOT NULL,
        ts INTEGER NOT NULL,
        counter INTEGER NOT NULL,
        more_chunks INTEGER NOT NULL,
        spacing INTEGER NOT NULL,
        moved_ts INTEGER,
        moved TEXT,
        UNIQUE (did, ts)
    ) STRICT;
    CREATE TABLE ingest (did INTEGER PRIMARY KEY, counter INTEGER NOT NULL) STRICT;
    CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
";

/// One register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register {
    /// Its id: the column of its samples is named `r<did>`.
    pub did: u32,
    /// Its name.
    pub name: String,
    /// Its type code.
    pub kind: String,
    /// The counter that belongs to the newest row. Of no meaning for type `d`.
    pub counter: i64,
    /// What a remote device already counted and the record still owes.
    pub excess: i64,
}

impl Register {
    /// Whether its samples are values rather than increments.
    pub fn is_discrete(&self) -> bool {
        self.kind == DISCRETE
    }
}

/// Opens the database, making its file and tables if they are missing and bringing those of an older version up to this
/// one. A file of a newer version is left as it is.
pub fn open(path: &Path) -> Result<Connection, DbError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(path, flags)?;
    // SQLite makes do with reading, and would go on to when the disk takes writes again; a new start will not.
    if conn.is_readonly(rusqlite::MAIN_DB)? {
        return Err(unwritable("the file or its disk is read-only"));
    }
    conn.busy_timeout(LOCK_WAIT)?;
    let found = version(&conn)?;
    configure(&conn)?;
    if found < VERSION {
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        upgrade(&tx)?;
        tx.commit()?;
    }
    // Whoever reads opens the log.
    version(&conn)?;
    keep_log(path)?;
    Ok(conn)
}

/// The version of a file that this program knows; 0 is one without tables.
pub(super) fn version(conn: &Connection) -> Result<i64, DbError> {
    match conn.query_row("PRAGMA user_version", [], |row| row.get(0))? {
        known @ 0..=VERSION => Ok(known),
        other => Err(DbError::Version(other)),
    }
}

/// All steps from the file's version to this one, in the caller's transaction: a power cut leaves the old version or the
/// new one. Somebody else may have been quicker.
fn upgrade(tx: &Transaction) -> Result<(), DbError> {
    match version(tx)? {
        0 => tx.execute_batch(TABLES)?,
        1 => {
            // Files of version 1 were written with and without these columns.
            add_column(tx, "op", "cancelled")?;
            add_column(tx, "op_chain", "unbroken")?;
        }
        _ => return Ok(()),
    }
    Ok(tx.pragma_update(None, "user_version", VERSION)?)
}

/// Adds a column of flags, all of them clear, to a table that exists and has none of this name.
fn add_column(tx: &Transaction, table: &str, column: &str) -> Result<(), DbError> {
    let sql = "SELECT count(*), total(name = ?2) FROM pragma_table_info(?1)";
    let (columns, same) =
        tx.query_row(sql, [table, column], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, f64>(1)?)))?;
    if columns > 0 && same == 0.0 {
        log::info!("the database's table {table} gets the column {column}");
        tx.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN {column} INTEGER NOT NULL DEFAULT 0"))?;
    }
    Ok(())
}

/// Makes the names of database and log durable, of which each open may have made the second. SQLite tries to, and does not
/// look whether that went well; a log whose name is lost in a power cut takes everything along that was committed to it.
fn keep_log(path: &Path) -> Result<(), DbError> {
    // Where a write failed while the log was being introduced, SQLite says that there is one and goes on without.
    if !log_of(path).exists() {
        return Err(unwritable(NO_LOG));
    }
    let dir = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    sync_dir(dir).map_err(|err| unwritable(&err.to_string()))
}

const NO_LOG: &str = "its write-ahead log cannot be made";

fn unwritable(why: &str) -> DbError {
    DbError::Sqlite { fault: Fault::Write, reached: None, text: why.into() }
}

fn configure(conn: &Connection) -> Result<(), DbError> {
    // The page size must be set before the first page is written; WAL before the tables, so that they are written once.
    conn.execute_batch("PRAGMA page_size = 4096")?;
    // A failing disk may leave it in its old mode without an error; there the last commit is not safe from a power cut.
    let mode: String = conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(unwritable(NO_LOG));
    }
    conn.execute_batch(
        "PRAGMA synchronous = FULL;
         PRAGMA cache_size = -512;
         PRAGMA temp_store = MEMORY;",
    )?;
    // The service checkpoints by itself, between batches, so that no writer is held up by it.
    conn.query_row("PRAGMA wal_autocheckpoint = 0", [], |_| Ok(()))?;
    Ok(())
}

/// All registers, by id.
pub fn registers(conn: &Connection) -> Result<Vec<Register>, DbError> {
    let mut stmt = conn.prepare_cached("SELECT did, name, type, counter, excess FROM register ORDER BY did")?;
    let rows = stmt.query_map([], |row| {
        Ok(Register {
            did: row.get(0)?,
            name: row.get(1)?,
            kind: row.get(2)?,
            counter: row.get(3)?,
            excess: row.get(4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Adds a register with the lowest free id.
pub fn create_register(tx: &Transaction, name: &str, kind: &str) -> Result<Register, DbError> {
    text::check_name(name)?;
    let known = registers(tx)?;
    if known.iter().any(|it| it.name == name) {
        return Err(DbError::BadRegister(name.into(), "it exists already"));
    }
    let did = (0..MAX_REGISTERS as u32).find(|did| known.iter().all(|it| it.did != *did));
    let did = did.ok_or(DbError::TooManyRegisters)?;
    tx.execute("INSERT INTO register (did, name, type) VALUES (?1, ?2, ?3)", params![did, name, kind])?;
    tx.execute_batch(&format!("ALTER TABLE row ADD COLUMN r{did} INTEGER"))?;
    Ok(Register { did, name: name.into(), kind: kind.into(), counter: 0, excess: 0 })
}

/// The ids of all registers, cheap enough for every batch.
pub(super) fn dids(conn: &Connection) -> Result<Vec<u32>, DbError> {
    let mut stmt = conn.prepare_cached("SELECT did FROM register ORDER BY did")?;
    let dids = stmt.query_map([], |row| row.get(0))?;
    Ok(dids.collect::<Result<_, _>>()?)
}

/// An SQL condition that holds if any of the registers has a sample in the row.
pub(super) fn any_sample(dids: impl Iterator<Item = u32>) -> String {
    let terms: Vec<String> = dids.map(|did| format!("r{did} IS NOT NULL")).collect();
    if terms.is_empty() { "0".into() } else { format!("({})", terms.join(" OR ")) }
}

/// The stamps of the oldest and the newest row.
pub fn extent(conn: &Connection) -> Result<Option<(i64, i64)>, DbError> {
    let end = |sql| conn.query_row(sql, [], |row| row.get::<_, Option<i64>>(0));
    // Two statements, because SQLite finds only a lone min or max at once.
    Ok(end("SELECT min(ts) FROM row")?.zip(end("SELECT max(ts) FROM row")?))
}

/// A number kept beside the rows.
pub(super) fn meta(conn: &Connection, key: &str) -> Result<Option<i64>, DbError> {
    let mut stmt = conn.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
    Ok(stmt.query_row([key], |row| row.get(0)).optional()?)
}

/// Stores a number beside the rows.
pub(super) fn set_meta(conn: &Connection, key: &str, value: i64) -> Result<(), DbError> {
    let sql = "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
    conn.prepare_cached(sql)?.execute(params![key, value])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::register_db::testing::Scratch;

    #[test]
    fn a_new_file_gets_its_tables_and_keeps_them() {
        let scratch = Scratch::new();
        let mut conn = open(&scratch.path("a.db")).unwrap();
        let tx = conn.transaction().unwrap();
        let grid = create_register(&tx, "Grid", "P").unwrap();
        assert_eq!((grid.did, grid.is_discrete()), (0, false));
        assert_eq!(create_register(&tx, "Door", "d").unwrap().did, 1);
        assert!(create_register(&tx, "Grid", "P").is_err());
        assert!(create_register(&tx, "a,b", "P").is_err());
        tx.commit().unwrap();
        drop(conn);
        let conn = open(&scratch.path("a.db")).unwrap();
        let names: Vec<String> = registers(&conn).unwrap().into_iter().map(|it| it.name).collect();
        assert_eq!(names, ["Grid", "Door"]);
        assert_eq!(extent(&conn).unwrap(), None);
    }

    #[test]
    fn the_pragmas_that_other_parts_rely_on_are_set() {
        let scratch = Scratch::new();
        let conn = open(&scratch.path("a.db")).unwrap();
        for (pragma, expect) in [
            ("journal_mode", "wal"),
            ("synchronous", "2"),
            ("wal_autocheckpoint", "0"),
            ("page_size", "4096"),
            ("user_version", "2"),
        ] {
            let got: rusqlite::types::Value =
                conn.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0)).unwrap();
            let got = match got {
                rusqlite::types::Value::Integer(it) => it.to_string(),
                rusqlite::types::Value::Text(it) => it,
                other => format!("{other:?}"),
            };
            assert_eq!(got, expect, "{pragma}");
        }
    }

    #[test]
    fn sixty_four_registers_and_no_more() {
        let scratch = Scratch::new();
        let mut conn = open(&scratch.path("a.db")).unwrap();
        let tx = conn.transaction().unwrap();
        for i in 0..MAX_REGISTERS {
            create_register(&tx, &format!("r{i}"), "P").unwrap();
        }
        assert!(matches!(create_register(&tx, "more", "P"), Err(DbError::TooManyRegisters)));
    }

    #[test]
    fn a_file_of_another_version_is_left_alone() {
        let scratch = Scratch::new();
        let conn = open(&scratch.path("a.db")).unwrap();
        conn.pragma_update(None, "user_version", 7).unwrap();
        drop(conn);
        assert!(matches!(open(&scratch.path("a.db")), Err(DbError::Version(7))));
    }
}
