//! The only reading of a backup as it came: everything is checked, nothing is changed. Its rows go on in packed form to
//! the file that is applied later; what that needs to know of the backup as a whole (which time each register's samples
//! own) is kept in the [`RestorePlan`].

use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use crate::drivers::register_db::packed::Packer;
use crate::drivers::register_db::reader::Reader;
use crate::drivers::register_db::schema::{self, DISCRETE, MAX_REGISTERS};
use crate::drivers::register_db::text::Header;
use crate::drivers::register_db::{DbError, Range, Stamp, known_regs};

/// Rows between two looks at the cancel flag.
const ROWS_PER_LOOK: u64 = 4096;

/// What the client asked for.
#[derive(Clone, Debug)]
pub struct RestoreArgs {
    /// The backup as it came.
    pub file: PathBuf,
    /// The file that [`Checking::rows`] writes.
    pub staged: PathBuf,
    /// Limits of the restored time.
    pub range: Range,
    /// Ids of the registers to restore; all of the backup's if absent.
    pub regs: Option<Vec<u32>>,
    /// Whether the next older chunk will follow.
    pub more_chunks: bool,
}

/// Under which circumstances a file is checked.
pub struct Checking<'a> {
    /// The header of the open chain, if the restore before announced this one: it applies to a chunk without header lines.
    pub chain: Option<&'a Header>,
    /// Bytes that the file may unpack to.
    pub unpacked_bytes: u64,
    /// Takes the checked rows.
    pub rows: &'a mut dyn Write,
    /// The meter's time.
    pub now: Stamp,
    /// Set by whoever wants the check to end early.
    pub cancel: &'a AtomicBool,
    /// Is told how much of the file has been read, from 0 to 1.
    pub on_progress: &'a mut dyn FnMut(f64),
}

/// A checked backup and what restoring it will do; the journal keeps it as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RestorePlan {
    /// The staged file: the backup's rows in packed form.
    pub file: PathBuf,
    /// Limits of the restored time.
    pub range: Range,
    /// Whether the next older chunk will follow.
    pub more_chunks: bool,
    /// Whether a chain was open: then this is the next older chunk, and no time lies between it and the one before.
    pub continues: bool,
    /// The header that applies, read or taken from the chain: the chain's header for the next chunk.
    pub header: Header,
    /// What is known of each of the header's registers.
    pub columns: Vec<Column>,
    /// Rows in the file.
    pub rows: u64,
    /// Stamp of the oldest row that must be read.
    pub last: i64,
}

/// One register of a backup.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Its id in the database, if it is to be restored.
    pub did: Option<u32>,
    /// Whether its fields are values rather than counters.
    pub discrete: bool,
    /// Stamp of its youngest sample in the file.
    pub youngest: Option<i64>,
    /// Stamp and counter of its youngest sample that is applied.
    pub top: Option<(i64, i64)>,
    /// The first second that its applied samples own.
    pub floor: i64,
    /// Seconds between its two oldest samples.
    pub spacing: i64,
}

/// Checks a whole backup against itself, the clock and the registers of the database.
pub fn plan_restore(conn: &Connection, args: RestoreArgs, checking: Checking) -> Result<RestorePlan, DbError> {
    let mut packer = Packer::new(checking.rows);
    let mut reader = Reader::open(&args.file, checking.unpacked_bytes)?;
    let header = reader.header(checking.chain)?;
    let mut columns = resolve(conn, &header, args.regs.as_deref())?;
    let range = args.range.seconds();
    let mut needed = vec![None; columns.len()];
    let mut values = [0; MAX_REGISTERS];
    let values = &mut values[..columns.len()];
    let selected = selected(&columns);
    let mut previous = [None; MAX_REGISTERS];
    let mut rows = 0;
    while let Some(row) = reader.row(values)? {
        if rows == 0 && checking.now.floor() < row.ts {
            return Err(DbError::InFuture(Stamp::from_seconds(row.ts), checking.now));
        }
        rows += 1;
        if rows % ROWS_PER_LOOK == 0 {
            if checking.cancel.load(Ordering::Relaxed) {
                return Err(DbError::Canceled);
            }
            (checking.on_progress)(reader.fraction());
        }
        packer.row(row.ts, row.present & selected, values).map_err(DbError::Staging)?;
        for i in bits(row.present & selected) {
            columns[i].spacing = previous[i].replace(row.ts).map_or(0, |younger: i64| younger - row.ts);
            columns[i].note(row.ts, values[i], range, &mut needed[i]);
        }
    }
    match rows {
        0 => return Err(DbError::NoFirstRow),
        1 => return Err(DbError::NoSecondRow),
        _ => {}
    }
    packer.flush().map_err(DbError::Staging)?;
    Ok(RestorePlan {
        file: args.staged,
        range: args.range,
        more_chunks: args.more_chunks,
        continues: checking.chain.is_some(),
        header,
        columns,
        rows,
        last: needed.into_iter().flatten().min().unwrap_or(i64::MAX),
    })
}

impl Column {
    /// Takes note of one sample, coming youngest first. `needed` becomes the oldest row that the register cannot do without.
    fn note(&mut self, ts: i64, counter: i64, (from, to): (i64, i64), needed: &mut Option<i64>) {
        self.youngest.get_or_insert(ts);
        if to < ts {
            return;
        }
        if from <= ts {
            self.top.get_or_insert((ts, counter));
            self.floor = ts;
            *needed = Some(ts);
        } else if needed.is_none_or(|needed| from <= needed) {
            // The first sample below the range is not applied; it is the neighbour of the last one that is.
            self.floor = ts + 1;
            *needed = Some(ts);
        }
    }
}

/// The indexes of a mask's set bits.
pub(super) fn bits(mut mask: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        (mask != 0).then(|| {
            let i = mask.trailing_zeros() as usize;
            mask &= mask - 1;
            i
        })
    })
}

/// The columns that are to be restored, as a mask.
pub(super) fn selected(columns: &[Column]) -> u64 {
    columns.iter().enumerate().filter(|(_, it)| it.did.is_some()).map(|(i, _)| 1 << i).sum()
}

/// Finds the header's registers in the database. A database without registers will get the header's, numbered from 0.
fn resolve(conn: &Connection, header: &Header, regs: Option<&[u32]>) -> Result<Vec<Column>, DbError> {
    let mut known: Vec<(u32, String, String)> =
        schema::registers(conn)?.into_iter().map(|it| (it.did, it.name, it.kind)).collect();
    if known.is_empty() {
        known = (0..).zip(&header.registers).map(|(did, (name, kind))| (did, name.clone(), kind.clone())).collect();
    }
    if let Some(regs) = regs {
        known_regs(regs, known.iter().map(|it| it.0))?;
    }
    let mut columns = Vec::new();
    for (name, kind) in &header.registers {
        let found = known.iter().find(|it| it.1 == *name);
        let wanted = match (found, regs) {
            (Some(it), Some(regs)) => regs.contains(&it.0),
            (Some(_), None) => true,
            (None, Some(_)) => false, // The client has chosen, and it cannot have chosen this one.
            (None, None) => return Err(DbError::BadRegister(name.clone(), "the meter has no such register")),
        };
        if wanted && found.is_some_and(|it| it.2 != *kind) {
            return Err(DbError::BadRegister(name.clone(), "on the meter it is of another type"));
        }
        columns.push(Column {
            did: found.filter(|_| wanted).map(|it| it.0),
            discrete: kind == DISCRETE,
            youngest: None,
            top: None,
            floor: 0,
            spacing: 0,
        });
    }
    for did in regs.unwrap_or_default() {
        if columns.iter().all(|it| it.did != Some(*did)) {
            return Err(DbError::Registers(format!("register {did} is not in the backup")));
        }
    }
    Ok(columns)
}
