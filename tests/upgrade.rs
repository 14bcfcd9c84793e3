//! State folders of other versions: an older one is brought up to this one in one transaction, a newer one is left alone.
//! `data/state-1` is what a service of version 1 left behind when it was killed in the middle of a restore.

use std::fs;
use std::path::{Path, PathBuf};

use meterd::drivers::register_db::{DbError, look, schema};
use meterd::ops::journal;
use rusqlite::Connection;

const VERSION_1: &str = include_str!("data/state-1/meter.sql");

/// A folder of its own, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("meterd-upgrade-{}-{name}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Folder(path)
    }

    fn database(&self) -> PathBuf {
        self.0.join("meter.db")
    }

    fn with(self, sql: &str) -> Folder {
        Connection::open(self.database()).unwrap().execute_batch(sql).unwrap();
        self
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Every column of every table, with its type and whether it may be NULL.
fn columns(conn: &Connection) -> Vec<String> {
    let sql = "SELECT t.name || '.' || c.name || ' ' || c.type || ' ' || c.\"notnull\" || ' ' || c.pk
               FROM sqlite_master t, pragma_table_info(t.name) c WHERE t.type = 'table' ORDER BY 1";
    conn.prepare(sql).unwrap().query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

fn version(conn: &Connection) -> i64 {
    conn.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap()
}

fn sum(conn: &Connection) -> (i64, i64) {
    conn.query_row("SELECT count(*), sum(ts + r0 + r1 + r2) FROM row", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
}

fn open_whole(path: &Path) -> Connection {
    let conn = schema::open(path).unwrap();
    journal::prepare(&conn).unwrap();
    conn
}

#[test]
fn a_folder_of_version_1_gets_every_column_of_a_new_one_and_keeps_its_rows() {
    let old = Folder::new("old").with(VERSION_1);
    let before = sum(&Connection::open(old.database()).unwrap());
    let upgraded = open_whole(&old.database());
    let new = Folder::new("new");
    let mut conn = open_whole(&new.database());
    let tx = conn.transaction().unwrap();
    for (name, kind) in [("Grid", "P"), ("Grid+", "P"), ("Heating", "d")] {
        schema::create_register(&tx, name, kind).unwrap();
    }
    tx.commit().unwrap();
    assert_eq!(columns(&upgraded), columns(&conn));
    assert_eq!((version(&upgraded), version(&conn)), (schema::VERSION, schema::VERSION));
    assert_eq!((before.0, sum(&upgraded)), (16, before));
    assert_eq!(schema::registers(&upgraded).unwrap()[0].counter, 3000);
    assert_eq!(journal::load(&upgraded).unwrap().len(), 4);
}

#[test]
fn one_that_has_the_columns_already_only_gets_the_number() {
    let new = Folder::new("between");
    let conn = open_whole(&new.database());
    let before = columns(&conn);
    conn.pragma_update(None, "user_version", 1).unwrap();
    drop(conn);
    let conn = open_whole(&new.database());
    assert_eq!((version(&conn), columns(&conn)), (schema::VERSION, before));
}

#[test]
fn an_upgrade_that_fails_halfway_changes_nothing() {
    // A view cannot get a column, which is the second that is added.
    let sql = "DROP TABLE op_chain; CREATE VIEW op_chain AS SELECT 1 AS id, '' AS header;";
    let old = Folder::new("halfway").with(VERSION_1).with(sql);
    let before = columns(&Connection::open(old.database()).unwrap());
    assert!(schema::open(&old.database()).is_err());
    let conn = Connection::open(old.database()).unwrap();
    assert_eq!((version(&conn), columns(&conn)), (1, before));
}

#[test]
fn one_of_a_newer_version_is_refused_and_left_as_it_is() {
    let newer = Folder::new("newer").with("CREATE TABLE other(x); PRAGMA user_version = 3;");
    let before = fs::read(newer.database()).unwrap();
    for res in [schema::open(&newer.database()), look::open(&newer.database())] {
        let err = res.unwrap_err();
        assert!(matches!(err, DbError::Version(3)), "{err}");
        assert!(err.to_string().contains("made by a newer meterd"), "{err}");
    }
    assert_eq!(fs::read(newer.database()).unwrap(), before);
}
