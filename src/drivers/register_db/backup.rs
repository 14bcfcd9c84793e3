//! Writing a backup, page by page. Each page is one short read transaction, so that a slow reader of the backup never keeps
//! the log from being emptied. Counters are the live ones less the increments that were passed on the way down, so every
//! backup starts at the newest row, even if it only tells of older ones.

use std::io::Write;

use rusqlite::{Connection, TransactionBehavior};

use super::schema::{self, Register};
use super::text::Header;
use super::{DbError, Range, known_regs};

/// Rows that one page reads at most, and bytes that it writes before it ends.
const PAGE_ROWS: i64 = 1024;
const PAGE_BYTES: usize = 16 * 1024;

/// A backup that is being written.
pub struct Backup {
    registers: Vec<Register>,
    /// Counters right below the cursor.
    counters: Vec<i64>,
    range: (i64, i64),
    /// Everything from this stamp on has been passed. Absent before the first page.
    cursor: Option<i64>,
}

impl Backup {
    /// Chooses the registers, all of them if `regs` is absent, and the time.
    pub fn open(conn: &Connection, range: Range, regs: Option<&[u32]>) -> Result<Backup, DbError> {
        let mut registers = schema::registers(conn)?;
        if let Some(regs) = regs {
            known_regs(regs, registers.iter().map(|it| it.did))?;
            registers.retain(|it| regs.contains(&it.did));
        }
        if registers.is_empty() {
            return Err(DbError::Registers("there is no register to make a backup of".into()));
        }
        let counters = vec![0; registers.len()];
        Ok(Backup { registers, counters, range: range.seconds(), cursor: None })
    }

    /// Adds the next page to `out`; false when that was the last. A page may be empty.
    pub fn next_page(&mut self, conn: &mut Connection, out: &mut Vec<u8>) -> Result<bool, DbError> {
        let tx = conn.transaction_with_behavior(TransactionBehavior::Deferred)?;
        let mut cursor = match self.cursor {
            Some(cursor) => cursor,
            None => {
                self.header().write(out);
                let live = schema::registers(&tx)?;
                for (register, counter) in self.registers.iter().zip(&mut self.counters) {
                    *counter = live.iter().find(|it| it.did == register.did).map_or(0, |it| it.counter);
                }
                i64::MAX
            }
        };
        let (from, to) = self.range;
        let samples: String = self.registers.iter().map(|it| format!(", r{}", it.did)).collect();
        let sql = format!("SELECT ts{samples} FROM row WHERE ts >= ?1 AND ts < ?2 ORDER BY ts DESC LIMIT ?3");
        let mut more = false;
        {
            let mut stmt = tx.prepare_cached(&sql)?;
            let mut rows = stmt.query((from, cursor, PAGE_ROWS))?;
            let begin = out.len();
            let mut n_rows = 0;
            while let Some(row) = rows.next()? {
                cursor = row.get(0)?;
                n_rows += 1;
                let start = out.len();
                let mut is_empty = true;
                put(out, cursor);
                for (i, register) in self.registers.iter().enumerate() {
                    out.push(b',');
                    let Some(sample) = row.get::<_, Option<i64>>(i + 1)? else { continue };
                    is_empty = false;
                    let counter = &mut self.counters[i];
                    let field = if register.is_discrete() { sample } else { *counter };
                    put(out, field);
                    *counter = counter.wrapping_sub(sample);
                }
                out.push(b'\n');
                if is_empty || to < cursor {
                    out.truncate(start);
                }
                if n_rows == PAGE_ROWS || PAGE_BYTES <= out.len() - begin {
                    more = true;
                    break;
                }
            }
        }
        tx.commit()?;
        self.cursor = Some(cursor);
        Ok(more)
    }

    fn header(&self) -> Header {
        Header { registers: self.registers.iter().map(|it| (it.name.clone(), it.kind.clone())).collect() }
    }
}

fn put(out: &mut Vec<u8>, number: i64) {
    write!(out, "{number}").expect("a Vec takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::register_db::Stamp;
    use crate::drivers::register_db::testing::Scratch;

    const ALL: Range = Range { from: None, to: None };

    fn write(conn: &mut Connection, range: Range, regs: Option<&[u32]>) -> String {
        let mut backup = Backup::open(conn, range, regs).unwrap();
        let mut out = Vec::new();
        while backup.next_page(conn, &mut out).unwrap() {}
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn counters_go_down_from_the_live_ones() {
        let s = Some;
        let scratch = Scratch::new();
        let mut conn = scratch.db(
            &["Grid:P", "Door:d", "Solar:P"],
            &[(10, &[s(1), s(7), None]), (20, &[None, s(8), s(-2)]), (30, &[s(5), None, None]), (40, &[None; 3])],
        );
        conn.execute_batch("UPDATE register SET counter = 100").unwrap();
        let head = "meterd-backup,1\nts,Grid:P,Door:d,Solar:P\n";
        assert_eq!(write(&mut conn, ALL, None), format!("{head}30,100,,\n20,,8,100\n10,95,7,\n"));
        let stamp = |it: &str| Some(Stamp::parse(it).unwrap());
        let range = Range { from: stamp("9.5"), to: stamp("20.5") };
        assert_eq!(write(&mut conn, range, None), format!("{head}20,,8,100\n10,95,7,\n"));
        assert_eq!(write(&mut conn, range, Some(&[0])), "meterd-backup,1\nts,Grid:P\n10,95\n");
        assert!(Backup::open(&conn, ALL, Some(&[7])).is_err());
    }

    #[test]
    fn many_pages_are_one_backup_whatever_is_appended_meanwhile() {
        let scratch = Scratch::new();
        let rows: Vec<(i64, &[Option<i64>])> = (1..5000).map(|i| (i * 60, &[Some(3_i64)][..])).collect();
        let mut conn = scratch.db(&["Grid:P"], &rows);
        let mut backup = Backup::open(&conn, ALL, None).unwrap();
        let mut out = Vec::new();
        let mut pages = 1;
        while backup.next_page(&mut conn, &mut out).unwrap() {
            conn.execute("INSERT INTO row (ts, r0) VALUES (?1, 9)", [300_000 + pages]).unwrap();
            conn.execute_batch("UPDATE register SET counter = counter + 9").unwrap();
            pages += 1;
        }
        assert!(4 < pages);
        let text = String::from_utf8(out).unwrap();
        let expect: Vec<String> = (1..5000).rev().map(|i| format!("{},{}", i * 60, i * 3 - 4999 * 3)).collect();
        assert_eq!(text.lines().skip(2).collect::<Vec<_>>(), expect);
    }
}
