//! Edges: what a restored chunk leaves behind so that a later one can be joined to it. An edge remembers the oldest
//! restored sample of a register, whose increment is unknown until its older neighbour is, and the newer sample from
//! which the restored energy was taken. It knows nothing of files; whoever changes a sample tells it by [`touch`].

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::DbError;

/// Edges that are kept; beyond that the oldest go.
pub(super) const MAX_EDGES: u32 = 64;

/// The newer sample whose span reached into the restored time, while restored energy is still being taken from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Moved {
    /// Its stamp.
    pub ts: i64,
    /// What would be left of it if it could change its sign. Kept wide, so that the order of subtractions is of no matter.
    pub rest: i128,
    /// Whether it was positive before the restore.
    pub positive: bool,
    /// Whether its span reaches on below what has been restored so far.
    pub open: bool,
}

impl Moved {
    /// The increment that it is left with: the rest, but never of the other sign.
    pub(super) fn shown(&self) -> i64 {
        let (low, high) = if self.positive { (0, i64::MAX) } else { (i64::MIN, 0) };
        self.rest.clamp(low.into(), high.into()) as i64
    }
}

/// The oldest restored sample of one register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Edge {
    pub did: u32,
    pub ts: i64,
    /// Its counter in the file.
    pub counter: i64,
    /// Whether the client announced the next older chunk.
    pub more_chunks: bool,
    /// Seconds between the two oldest samples of the chunk.
    pub spacing: i64,
    pub moved: Option<Moved>,
}

/// The nearest edge of a register that is younger than a stamp.
pub(super) fn above(conn: &Connection, did: u32, ts: i64) -> Result<Option<Edge>, DbError> {
    select(conn, "did = ?1 AND ts > ?2 ORDER BY ts LIMIT 1", did, ts)
}

/// The edge of a register at a stamp.
pub(super) fn at(conn: &Connection, did: u32, ts: i64) -> Result<Option<Edge>, DbError> {
    select(conn, "did = ?1 AND ts = ?2", did, ts)
}

fn select(conn: &Connection, condition: &str, did: u32, ts: i64) -> Result<Option<Edge>, DbError> {
    let sql = format!("SELECT ts, counter, more_chunks, spacing, moved FROM edge WHERE {condition}");
    let mut stmt = conn.prepare_cached(&sql)?;
    let found = stmt.query_row(params![did, ts], |row| {
        let edge = Edge {
            did,
            ts: row.get(0)?,
            counter: row.get(1)?,
            more_chunks: row.get(2)?,
            spacing: row.get(3)?,
            moved: None,
        };
        Ok((edge, row.get::<_, Option<String>>(4)?))
    });
    let Some((mut edge, moved)) = found.optional()? else { return Ok(None) };
    if let Some(moved) = moved {
        let parsed = serde_json::from_str(&moved).map_err(|err| DbError::Position(err.to_string()))?;
        edge.moved = Some(parsed);
    }
    Ok(Some(edge))
}

/// Keeps an edge, replacing one at the same place.
pub(super) fn store(conn: &Connection, edge: &Edge) -> Result<(), DbError> {
    remove(conn, edge.did, edge.ts)?;
    let moved = edge.moved.as_ref().map(|it| serde_json::to_string(it).expect("plain data"));
    conn.prepare_cached(
        "INSERT INTO edge (did, ts, counter, more_chunks, spacing, moved_ts, moved) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        edge.did,
        edge.ts,
        edge.counter,
        edge.more_chunks,
        edge.spacing,
        edge.moved.as_ref().map(|it| it.ts),
        moved
    ])?;
    conn.prepare_cached("DELETE FROM edge WHERE id <= (SELECT id FROM edge ORDER BY id DESC LIMIT 1 OFFSET ?1)")?
        .execute([MAX_EDGES])?;
    Ok(())
}

/// To be told when a chain's last chunk has been applied: nothing is announced any more.
pub(super) fn end_chain(conn: &Connection) -> Result<(), DbError> {
    conn.prepare_cached("UPDATE edge SET more_chunks = 0 WHERE more_chunks")?.execute([])?;
    Ok(())
}

/// Forgets one edge.
pub(super) fn remove(conn: &Connection, did: u32, ts: i64) -> Result<(), DbError> {
    conn.prepare_cached("DELETE FROM edge WHERE did = ?1 AND ts = ?2")?.execute(params![did, ts])?;
    Ok(())
}

/// To be told when samples of a register between two stamps, both included, are changed by anything but the filling of
/// an edge: edges there are void, and so is the memory of samples there that others took energy from.
pub(super) fn touch(conn: &Connection, did: u32, first: i64, last: i64) -> Result<(), DbError> {
    conn.prepare_cached("DELETE FROM edge WHERE did = ?1 AND ts BETWEEN ?2 AND ?3")?
        .execute(params![did, first, last])?;
    conn.prepare_cached("UPDATE edge SET moved_ts = NULL, moved = NULL WHERE did = ?1 AND moved_ts BETWEEN ?2 AND ?3")?
        .execute(params![did, first, last])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::register_db::testing::Scratch;

    fn edge(did: u32, ts: i64) -> Edge {
        Edge { did, ts, counter: 5, more_chunks: true, spacing: 60, moved: None }
    }

    #[test]
    fn the_sample_that_is_drawn_from_never_changes_its_sign() {
        for (rest, positive, expect) in [
            (5, true, 5),
            (-5, true, 0),
            (-5, false, -5),
            (5, false, 0),
            (i128::from(i64::MAX) + 9, true, i64::MAX),
            (i128::from(i64::MIN) - 9, false, i64::MIN),
        ] {
            assert_eq!(Moved { ts: 1, rest, positive, open: true }.shown(), expect);
        }
    }

    #[test]
    fn edges_come_back_as_they_were_stored() {
        let scratch = Scratch::new();
        let conn = scratch.db(&["Grid:P"], &[]);
        let moved = Moved { ts: 900, rest: i128::from(i64::MIN) * 3, positive: true, open: true };
        let stored = Edge { moved: Some(moved), ..edge(0, 60) };
        store(&conn, &stored).unwrap();
        assert_eq!(above(&conn, 0, 59).unwrap(), Some(stored.clone()));
        assert_eq!(at(&conn, 0, 60).unwrap(), Some(stored));
        assert_eq!(above(&conn, 0, 60).unwrap(), None);
        assert_eq!(above(&conn, 1, 0).unwrap(), None);
    }

    #[test]
    fn touching_voids_edges_and_what_they_draw_from() {
        let scratch = Scratch::new();
        let conn = scratch.db(&["Grid:P"], &[]);
        let moved = Moved { ts: 900, rest: 7, positive: true, open: true };
        store(&conn, &Edge { moved: Some(moved), ..edge(0, 60) }).unwrap();
        store(&conn, &edge(0, 300)).unwrap();
        store(&conn, &edge(1, 300)).unwrap();
        touch(&conn, 0, 300, 900).unwrap();
        assert_eq!(at(&conn, 0, 60).unwrap(), Some(edge(0, 60)));
        assert_eq!(at(&conn, 0, 300).unwrap(), None);
        assert_eq!(at(&conn, 1, 300).unwrap(), Some(edge(1, 300)));
    }

    #[test]
    fn the_oldest_edges_go_first() {
        let scratch = Scratch::new();
        let conn = scratch.db(&["Grid:P"], &[]);
        for ts in 0..100 {
            store(&conn, &edge(0, ts)).unwrap();
        }
        assert_eq!(at(&conn, 0, 35).unwrap(), None);
        assert_eq!(at(&conn, 0, 36).unwrap(), Some(edge(0, 36)));
    }
}
