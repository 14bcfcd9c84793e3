//! The journal: begin, position and end of every operation as rows beside the registers, so that a batch and the
//! note that it was done are one transaction. It knows SQL and nothing of threads or of the live table.

use std::fmt;

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::status::{Fault, Outcome};
use super::token::TokenKey;

/// Lines of the ledger that are kept of what was begun or done.
pub const MAX_DONE: i64 = 2000;
/// Lines that are kept of what was refused, failed or was cancelled: apart, so that it cannot push out the others.
pub const MAX_FAILED: i64 = 500;

/// Makes the tables that are missing. A change of one that exists is a step of the database's
/// [version](crate::drivers::register_db::schema::VERSION).
pub fn prepare(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch(
        "CREATE TABLE IF NOT EXISTS op(
             id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, created TEXT NOT NULL, user TEXT NOT NULL,
             peer TEXT NOT NULL, digest BLOB, plan TEXT, position TEXT, progress REAL NOT NULL DEFAULT 0,
             cancelled INTEGER NOT NULL DEFAULT 0, outcome TEXT) STRICT;
         CREATE TABLE IF NOT EXISTS op_token(key BLOB PRIMARY KEY, op INTEGER NOT NULL) STRICT, WITHOUT ROWID;
         CREATE TABLE IF NOT EXISTS op_chain(
             id INTEGER PRIMARY KEY CHECK(id = 1), header TEXT NOT NULL, unbroken INTEGER NOT NULL) STRICT;
         CREATE TABLE IF NOT EXISTS ledger(
             id INTEGER PRIMARY KEY AUTOINCREMENT, ts TEXT NOT NULL, user TEXT NOT NULL, peer TEXT NOT NULL,
             command TEXT NOT NULL, outcome TEXT NOT NULL) STRICT;",
    )
}

/// Who asked for something.
#[derive(Clone, Debug)]
pub struct Who {
    /// User name.
    pub user: String,
    /// Address of the peer, or `unknown`.
    pub peer: String,
}

/// An operation about to begin.
pub struct NewOp<'a> {
    /// What it does: `restore`, `zero`, `split`.
    pub kind: &'a str,
    /// Wall clock, decimal string.
    pub created: &'a str,
    /// Who asked.
    pub who: &'a Who,
    /// Digest of what was asked, by which a resent request is recognised.
    pub digest: Option<&'a [u8]>,
    /// The plan as JSON; absent for operations that cannot go on after a restart.
    pub plan: Option<&'a str>,
}

/// An operation as the journal has it.
pub struct SavedOp {
    /// Row id.
    pub id: i64,
    /// Wall clock when it began.
    pub created: String,
    /// What it does.
    pub kind: String,
    /// Who asked.
    pub who: Who,
    /// See [`NewOp::digest`].
    pub digest: Option<Vec<u8>>,
    /// See [`NewOp::plan`].
    pub plan: Option<String>,
    /// Position after the last committed batch.
    pub position: Option<String>,
    /// Progress after it.
    pub progress: f64,
    /// Somebody has asked to cancel it.
    pub cancelled: bool,
    /// How it ended, if it has.
    pub outcome: Option<Outcome>,
    /// Its tokens.
    pub tokens: Vec<TokenKey>,
}

/// [`Outcome`] as it is stored.
#[derive(Serialize, Deserialize)]
struct StoredOutcome {
    tag: Option<String>,
    args: Vec<String>,
    text: String,
    result: Option<Value>,
}

/// Enters an operation; the row's id.
pub fn begin(tx: &Transaction<'_>, op: &NewOp<'_>, token: &TokenKey) -> rusqlite::Result<i64> {
    tx.execute(
        "INSERT INTO op(kind, created, user, peer, digest, plan) VALUES (?, ?, ?, ?, ?, ?)",
        params![op.kind, op.created, op.who.user, op.who.peer, op.digest, op.plan],
    )?;
    let id = tx.last_insert_rowid();
    add_token(tx, id, token)?;
    Ok(id)
}

/// One more token for an operation.
pub fn add_token(tx: &Transaction<'_>, id: i64, token: &TokenKey) -> rusqlite::Result<()> {
    tx.execute("INSERT INTO op_token(key, op) VALUES (?, ?)", params![token.as_bytes(), id]).map(drop)
}

/// Takes a token away.
pub fn drop_token(tx: &Transaction<'_>, token: &TokenKey) -> rusqlite::Result<()> {
    tx.execute("DELETE FROM op_token WHERE key = ?", params![token.as_bytes()]).map(drop)
}

/// Notes how far an operation got, in the transaction that got it there.
pub fn save(tx: &Transaction<'_>, id: i64, position: &str, progress: f64) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE op SET position = ?, progress = ? WHERE id = ?")?
        .execute(params![position, progress, id])
        .map(drop)
}

/// Notes how an operation ended.
pub fn finish(tx: &Transaction<'_>, id: i64, outcome: &Outcome) -> rusqlite::Result<()> {
    let fault = outcome.fault.as_ref();
    let stored = StoredOutcome {
        tag: fault.map(|it| it.tag.to_string()),
        args: fault.map(|it| it.args.clone()).unwrap_or_default(),
        text: fault.map(|it| it.text.clone()).unwrap_or_default(),
        result: outcome.result.clone(),
    };
    let json = serde_json::to_string(&stored).expect("an outcome is plain data");
    tx.execute("UPDATE op SET outcome = ? WHERE id = ?", params![json, id]).map(drop)
}

/// Removes operations that nobody may ask for any more.
pub fn forget(tx: &Transaction<'_>, ids: &[i64]) -> rusqlite::Result<()> {
    for id in ids {
        tx.execute("DELETE FROM op_token WHERE op = ?", params![id])?;
        tx.execute("DELETE FROM op WHERE id = ?", params![id])?;
    }
    Ok(())
}

/// Everything the journal holds, in the order in which it began.
pub fn load(conn: &Connection) -> rusqlite::Result<Vec<SavedOp>> {
    let mut ops = conn.prepare(
        "SELECT id, kind, created, digest, plan, position, progress, outcome, user, peer, cancelled FROM op ORDER BY id",
    )?;
    let mut tokens = conn.prepare("SELECT key FROM op_token WHERE op = ?")?;
    let rows = ops.query_map([], |row| {
        let outcome: Option<String> = row.get(7)?;
        Ok(SavedOp {
            id: row.get(0)?,
            kind: row.get(1)?,
            created: row.get(2)?,
            who: Who { user: row.get(8)?, peer: row.get(9)? },
            digest: row.get(3)?,
            plan: row.get(4)?,
            position: row.get(5)?,
            progress: row.get(6)?,
            cancelled: row.get(10)?,
            outcome: outcome.map(|it| parse_outcome(&it)),
            tokens: Vec::new(),
        })
    })?;
    let mut res = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    for op in &mut res {
        let keys = tokens.query_map([op.id], |row| row.get::<_, Vec<u8>>(0))?;
        for key in keys {
            op.tokens.extend(TokenKey::from_bytes(&key?));
        }
    }
    Ok(res)
}

fn parse_outcome(text: &str) -> Outcome {
    let Ok(stored) = serde_json::from_str::<StoredOutcome>(text) else {
        return Outcome { fault: Some(Fault::interrupted()), result: None };
    };
    let fault = stored.tag.map(|tag| Fault { tag: tag.into(), args: stored.args, text: stored.text });
    Outcome { fault, result: stored.result }
}

/// Notes that an operation is to stop, so that it does not go on after a restart.
pub fn cancel(tx: &Transaction<'_>, id: i64) -> rusqlite::Result<()> {
    tx.execute("UPDATE op SET cancelled = 1 WHERE id = ?", [id]).map(drop)
}

/// Replaces the plan of an operation that has not begun to run.
pub fn set_plan(tx: &Transaction<'_>, id: i64, plan: &str) -> rusqlite::Result<()> {
    tx.execute("UPDATE op SET plan = ? WHERE id = ?", params![plan, id]).map(drop)
}

/// The header of the open chain of chunks, as JSON, and whether every chunk of it has been taken so far.
pub fn chain(conn: &Connection) -> rusqlite::Result<Option<(String, bool)>> {
    conn.query_row("SELECT header, unbroken FROM op_chain WHERE id = 1", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

/// Notes that a chunk of the open chain was not taken.
pub fn break_chain(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    tx.execute("UPDATE op_chain SET unbroken = 0", []).map(drop)
}

/// Opens a chain of chunks, or closes it.
pub fn set_chain(tx: &Transaction<'_>, header: Option<&str>) -> rusqlite::Result<()> {
    match header {
        Some(header) => {
            tx.execute("INSERT OR REPLACE INTO op_chain(id, header, unbroken) VALUES (1, ?, 1)", [header]).map(drop)
        }
        None => tx.execute("DELETE FROM op_chain", []).map(drop),
    }
}

/// One line of the ledger: who ran what from where, and how it ended. Nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LedgerLine {
    /// Wall clock, decimal string.
    pub ts: String,
    /// The user's name.
    pub user: String,
    /// The peer's address.
    pub peer: String,
    /// The command and its harmless members, such as `db zero`.
    pub command: String,
    /// `begun`, `OK`, or the error's text.
    pub outcome: String,
}

impl fmt::Display for LedgerLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} at {}: {}", self.command, self.user, self.peer, self.outcome)
    }
}

/// Whether a line of the ledger tells what was begun or done, in SQL.
const IS_DONE: &str = "outcome IN ('begun', 'OK')";

/// Appends a line, to the log too, where it may be kept elsewhere; drops those beyond [`MAX_DONE`] and [`MAX_FAILED`].
pub fn ledger(tx: &Transaction<'_>, line: &LedgerLine) -> rusqlite::Result<()> {
    let is_done: bool = tx.query_row(
        &format!("INSERT INTO ledger(ts, user, peer, command, outcome) VALUES (?, ?, ?, ?, ?) RETURNING {IS_DONE}"),
        params![line.ts, line.user, line.peer, line.command, line.outcome],
        |row| row.get(0),
    )?;
    log::info!("{line}");
    let sql = format!(
        "DELETE FROM ledger WHERE ({IS_DONE}) = ?1 AND id <= (
             SELECT id FROM ledger WHERE ({IS_DONE}) = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)"
    );
    tx.execute(&sql, params![is_done, if is_done { MAX_DONE } else { MAX_FAILED }]).map(drop)
}

/// The youngest lines of the ledger, youngest first.
pub fn read_ledger(conn: &Connection, most: u32) -> rusqlite::Result<Vec<LedgerLine>> {
    let mut query = conn.prepare("SELECT ts, user, peer, command, outcome FROM ledger ORDER BY id DESC LIMIT ?")?;
    let rows = query.query_map([most], |row| {
        Ok(LedgerLine {
            ts: row.get(0)?,
            user: row.get(1)?,
            peer: row.get(2)?,
            command: row.get(3)?,
            outcome: row.get(4)?,
        })
    })?;
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::token::Token;

    fn open() -> Connection {
        let conn = Connection::open_in_memory().unwrap();
        prepare(&conn).unwrap();
        conn
    }

    #[test]
    fn an_operation_comes_back_as_it_was_saved() {
        let mut conn = open();
        let token = Token::new();
        let tx = conn.transaction().unwrap();
        let who = Who { user: "owner".into(), peer: "127.0.0.1".into() };
        let new = NewOp { kind: "zero", created: "1.5", who: &who, digest: Some(b"x"), plan: Some("{}") };
        let id = begin(&tx, &new, &token.key()).unwrap();
        save(&tx, id, "7", 0.5).unwrap();
        tx.commit().unwrap();
        let back = load(&conn).unwrap().remove(0);
        assert_eq!((back.id, back.kind.as_str(), back.created.as_str()), (id, "zero", "1.5"));
        assert_eq!((back.position.as_deref(), back.progress, &back.outcome), (Some("7"), 0.5, &None));
        assert!(back.tokens == [token.key()]);

        let fault = Fault { tag: "BADREG".into(), args: vec!["Grid".into()], text: "words".into() };
        let outcome = Outcome { fault: Some(fault), result: Some(serde_json::json!({"a": 1})) };
        let tx = conn.transaction().unwrap();
        finish(&tx, id, &outcome).unwrap();
        tx.commit().unwrap();
        assert_eq!(load(&conn).unwrap()[0].outcome, Some(outcome));

        let tx = conn.transaction().unwrap();
        forget(&tx, &[id]).unwrap();
        tx.commit().unwrap();
        assert!(load(&conn).unwrap().is_empty());
    }

    #[test]
    fn a_chain_is_opened_and_closed() {
        let mut conn = open();
        for header in [Some("a"), Some("b"), None] {
            let tx = conn.transaction().unwrap();
            set_chain(&tx, header).unwrap();
            tx.commit().unwrap();
            assert_eq!(chain(&conn).unwrap(), header.map(|it| (it.to_string(), true)));
        }
    }

    #[test]
    fn a_broken_chain_keeps_its_header() {
        let mut conn = open();
        let tx = conn.transaction().unwrap();
        set_chain(&tx, Some("a")).unwrap();
        break_chain(&tx).unwrap();
        tx.commit().unwrap();
        assert_eq!(chain(&conn).unwrap(), Some(("a".to_string(), false)));
    }

    #[test]
    fn the_ledger_is_bounded() {
        let mut conn = open();
        let tx = conn.transaction().unwrap();
        let note = |at: i64, outcome: &str| {
            let [ts, user, peer, command] = [&at.to_string(), "owner", "127.0.0.1", "db zero"].map(String::from);
            ledger(&tx, &LedgerLine { ts, user, peer, command, outcome: outcome.into() }).unwrap();
        };
        (0..MAX_DONE + 10).for_each(|at| note(at, "OK"));
        (0..MAX_FAILED + 10).for_each(|at| note(at, "Who knows what."));
        tx.commit().unwrap();
        let lines = read_ledger(&conn, 5000).unwrap();
        let (failed, done) = lines.split_at(MAX_FAILED as usize);
        assert_eq!(done.len() as i64, MAX_DONE, "what was refused pushes nothing else out");
        assert_eq!(failed[0].ts, (MAX_FAILED + 9).to_string());
        assert_eq!((&*done[0].outcome, &*done[0].ts), ("OK", &*(MAX_DONE + 9).to_string()));
    }
}
