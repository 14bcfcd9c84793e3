//! Ingest: rows of counters as they happen, in the backup's own syntax but oldest first, become rows of increments. Each
//! counter is compared with the last one that came in this way, not with the database, so that restores in between do
//! not show up as jumps. It reads lines and writes rows; where the lines come from is the caller's business.

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use super::append::{Sample, append};
use super::schema::{self, MAX_REGISTERS};
use super::text::{self, Header, RowFault};
use super::{DbError, wal};

/// What has been learnt from the lines so far.
#[derive(Default)]
pub struct Ingest {
    lines: u64,
    stage: Stage,
}

#[derive(Default)]
enum Stage {
    #[default]
    FirstLine,
    SecondLine,
    /// The ids of the header's registers, and whether they are of type `d`.
    Rows(Vec<(u32, bool)>),
}

impl Ingest {
    /// Takes one line, without its line end: two header lines at first, then rows. A row is one short transaction. Two
    /// header lines may come again at any time. After an error the next line may be tried.
    pub fn line(&mut self, conn: &mut Connection, line: &[u8]) -> Result<(), DbError> {
        self.lines += 1;
        let first = text::first_line(line)?;
        match &self.stage {
            _ if first => self.stage = Stage::SecondLine,
            Stage::FirstLine => {
                return Err(DbError::BadHeader(text::lossy(line), "the first line should be \"meterd-backup,1\""));
            }
            Stage::SecondLine => {
                let header = Header::parse(line)?;
                let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
                let columns = resolve(&tx, &header)?;
                tx.commit()?;
                self.stage = Stage::Rows(columns);
            }
            Stage::Rows(columns) => {
                let mut counters = [0; MAX_REGISTERS];
                let counters = &mut counters[..columns.len()];
                let row = text::parse_row(line, counters).map_err(|fault| self.fault(line, fault))?;
                let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
                let mut samples = Vec::with_capacity(columns.len());
                for (i, (did, discrete)) in columns.iter().enumerate() {
                    if row.present >> i & 1 == 1 {
                        let value = if *discrete { counters[i] } else { difference(&tx, *did, counters[i])? };
                        samples.push(Sample { did: *did, discrete: *discrete, value });
                    }
                }
                append(&tx, row.ts, &samples)?;
                tx.commit()?;
                wal::checkpoint(conn)?;
            }
        }
        Ok(())
    }

    fn fault(&self, line: &[u8], fault: RowFault) -> DbError {
        match fault {
            RowFault::Stamp => {
                let text = text::lossy(line.split(|it| *it == b',').next().unwrap_or(line));
                DbError::BadStamp { line: self.lines, text, why: "not a whole number of seconds since 1970" }
            }
            RowFault::Comma => DbError::NoComma(self.lines),
            RowFault::Int => DbError::InvalidInt(self.lines),
        }
    }
}

/// Finds the header's registers, making those that are missing.
fn resolve(tx: &Transaction, header: &Header) -> Result<Vec<(u32, bool)>, DbError> {
    let known = schema::registers(tx)?;
    let mut columns = Vec::new();
    for (name, kind) in &header.registers {
        let register = match known.iter().find(|it| it.name == *name) {
            Some(known) if known.kind != *kind => {
                return Err(DbError::BadRegister(name.clone(), "in the database it is of another type"));
            }
            Some(known) => known.clone(),
            None => schema::create_register(tx, name, kind)?,
        };
        columns.push((register.did, register.is_discrete()));
    }
    Ok(columns)
}

/// The change since the last input, which is replaced. The first input of a register is its baseline.
fn difference(tx: &Transaction, did: u32, counter: i64) -> Result<i64, DbError> {
    let mut last = tx.prepare_cached("SELECT counter FROM ingest WHERE did = ?1")?;
    let last: Option<i64> = last.query_row([did], |row| row.get(0)).optional()?;
    let sql =
        "INSERT INTO ingest (did, counter) VALUES (?1, ?2) ON CONFLICT (did) DO UPDATE SET counter = excluded.counter";
    tx.prepare_cached(sql)?.execute((did, counter))?;
    Ok(last.map_or(0, |last| counter.wrapping_sub(last)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::register_db::testing::{Scratch, dump};

    fn feed(ingest: &mut Ingest, conn: &mut Connection, text: &str) -> Vec<String> {
        let lines = text.lines().map(|line| ingest.line(conn, line.as_bytes()));
        lines.filter_map(|it| it.err()).map(|err| err.to_string()).collect()
    }

    #[test]
    fn counters_become_increments_against_the_last_input() {
        let scratch = Scratch::new();
        let mut conn = scratch.db(&["Grid:P"], &[]);
        let mut ingest = Ingest::default();
        let text = "meterd-backup,1\nts,Grid:P,Door:d\n60,100,1\n120,130,0\n180,,2\n240,125,2";
        assert_eq!(feed(&mut ingest, &mut conn, text), [""; 0]);
        assert_eq!(dump(&conn), "60: 0 1 | 120: 30 0 | 180: NULL 2 | 240: -5 2");
        let registers = schema::registers(&conn).unwrap();
        assert_eq!((registers[0].counter, registers[1].name.as_str()), (25, "Door"));
        // A new start goes on from what is stored; a register that is new only sets its baseline.
        let text = "meterd-backup,1\nts,Solar:P,Grid:P\n300,7,130\n360,9,131";
        assert_eq!(feed(&mut Ingest::default(), &mut conn, text), [""; 0]);
        assert!(dump(&conn).ends_with("300: 5 NULL 0 | 360: 1 NULL 2"), "{}", dump(&conn));
        // A stamp that exists adds.
        assert_eq!(feed(&mut ingest, &mut conn, "360,141,5"), [""; 0]);
        assert!(dump(&conn).ends_with("360: 11 5 2"), "{}", dump(&conn));
    }

    #[test]
    fn a_bad_line_changes_nothing_and_the_next_one_is_taken() {
        let scratch = Scratch::new();
        let mut conn = scratch.db(&["Grid:P"], &[]);
        let mut ingest = Ingest::default();
        let errors = feed(&mut ingest, &mut conn, "60,1");
        assert!(errors[0].contains("first line"), "{errors:?}");
        let text = "meterd-backup,1\nts,Grid:P\n60.5,1\n60,x\n60\n60,1";
        let errors = feed(&mut ingest, &mut conn, text);
        assert_eq!(errors.len(), 3, "{errors:?}");
        assert!(errors[0].contains("line 4"), "{errors:?}");
        assert_eq!(dump(&conn), "60: 0");
        let errors = feed(&mut ingest, &mut conn, "meterd-backup,1\nts,Grid:V");
        assert!(errors[0].contains("another type"), "{errors:?}");
    }
}
