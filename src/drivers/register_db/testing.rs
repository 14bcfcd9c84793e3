//! What the unit tests of this driver share: a folder that goes away, and short ways to fill and read a database.
//! It is compiled for tests only.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::schema;

/// A private folder, removed when it is dropped.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new() -> Scratch {
        let name = format!("meterd-db-{:x}", u64::from_ne_bytes(crate::sys::random::bytes()));
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir(&dir).unwrap();
        Scratch(dir)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(super) fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// A database with registers given as `NAME:TYPE` and rows given as a stamp and one sample per register.
    pub(super) fn db(&self, registers: &[&str], rows: &[(i64, &[Option<i64>])]) -> Connection {
        let mut conn = schema::open(&self.path("test.db")).unwrap();
        let tx = conn.transaction().unwrap();
        for register in registers {
            let (name, kind) = register.rsplit_once(':').unwrap();
            schema::create_register(&tx, name, kind).unwrap();
        }
        for (ts, samples) in rows {
            tx.execute("INSERT INTO row (ts) VALUES (?1)", [ts]).unwrap();
            for (did, sample) in samples.iter().enumerate() {
                tx.execute(&format!("UPDATE row SET r{did} = ?2 WHERE ts = ?1"), (ts, sample)).unwrap();
            }
        }
        tx.commit().unwrap();
        conn
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all::<&Path>(&self.0);
    }
}

/// All rows, oldest first, as text: `60: 1 NULL | 120: 2 3`.
pub(super) fn dump(conn: &Connection) -> String {
    let dids = schema::dids(conn).unwrap();
    let mut stmt = conn.prepare("SELECT * FROM row ORDER BY ts").unwrap();
    let rows = stmt.query_map([], |row| {
        let samples: Vec<String> = dids
            .iter()
            .map(|did| {
                let sample: Option<i64> = row.get(format!("r{did}").as_str()).unwrap();
                sample.map_or("NULL".into(), |it| it.to_string())
            })
            .collect();
        Ok(format!("{}: {}", row.get::<_, i64>(0)?, samples.join(" ")))
    });
    rows.unwrap().collect::<Result<Vec<String>, _>>().unwrap().join(" | ")
}
