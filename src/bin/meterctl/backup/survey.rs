//! The first reading of a file: every line is checked, and what a restore must know beforehand is noted: how much there is,
//! which rows lie in the wanted time, and where each register's samples begin and end.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};

use super::format::{Backup, Fault, Register, Row};
use crate::state::hex;

/// The time and the registers that count.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Oldest second.
    pub from: Option<i64>,
    /// Youngest second.
    pub to: Option<i64>,
    /// Names of registers; all if absent.
    pub names: Option<Vec<String>>,
}

impl Wanted {
    /// Whether a row's own stamp lies in the time.
    pub fn has(&self, ts: i64) -> bool {
        self.from.is_none_or(|from| from <= ts) && self.to.is_none_or(|to| ts <= to)
    }

    /// Whether a row is older than the time.
    pub fn is_below(&self, ts: i64) -> bool {
        self.from.is_some_and(|from| ts < from)
    }

    /// Whether a register counts.
    pub fn has_register(&self, register: &Register) -> bool {
        self.names.as_ref().is_none_or(|it| it.contains(&register.name))
    }
}

/// What is known of one register.
#[derive(Clone, Debug)]
pub struct Column {
    /// The register.
    pub register: Register,
    /// It is restored.
    pub is_wanted: bool,
    /// Its youngest sample in the wanted time.
    pub youngest: Option<i64>,
    /// Its oldest sample in the wanted time, or the next older one that serves as its neighbour.
    pub oldest: Option<i64>,
    /// Its samples in the wanted time.
    pub samples: u64,
}

/// What the first reading found.
#[derive(Clone, Debug)]
pub struct Survey {
    /// SHA-256 of the file, in hexadecimal.
    pub digest: String,
    /// Rows of the file.
    pub rows: u64,
    /// Stamps of its youngest and its oldest row.
    pub span: Option<(i64, i64)>,
    /// Rows above those that are sent.
    pub skip: u64,
    /// Rows that are sent: those in the wanted time and the older neighbours that they need.
    pub send: u64,
    /// Rows in the wanted time.
    pub inside: u64,
    /// The registers.
    pub columns: Vec<Column>,
}

/// Reads a file from its first line to its last. `on_row` is told of every so many rows, and says
/// whether to go on.
pub fn survey(path: &Path, wanted: &Wanted, mut on_row: impl FnMut(u64) -> bool) -> Result<Survey, Fault> {
    let file = File::open(path).map_err(|err| Fault { line: 0, why: err.to_string(), io: None })?;
    let sha = Arc::new(Mutex::new(Sha256::new()));
    let mut backup = Backup::read(Box::new(Hashing { file, sha: Arc::clone(&sha) }))?;
    let mut res = Survey::new(&backup.registers, wanted);
    let mut row = Row::default();
    while backup.next_row(&mut row)? {
        res.note(&row, wanted);
        if res.rows.is_multiple_of(4096) && !on_row(res.rows) {
            return Err(Fault { line: backup.line(), why: "reading was given up".into(), io: None });
        }
    }
    if res.rows < 2 {
        let why = format!("{} rows; a backup needs at least two", res.rows);
        return Err(Fault { line: backup.line(), why, io: None });
    }
    // A meter wants two rows at least; a further one outside the wanted time does no harm.
    if res.send == 1 {
        if res.skip + 1 < res.rows {
            res.send = 2;
        } else {
            (res.skip, res.send) = (res.skip - 1, 2);
        }
    }
    let sha = sha.lock().map(|it| it.clone()).unwrap_or_default();
    res.digest = hex(&sha.finalize());
    Ok(res)
}

impl Survey {
    /// What is known before the first row.
    pub fn new(registers: &[Register], wanted: &Wanted) -> Survey {
        let columns = registers.iter().map(|it| Column {
            register: it.clone(),
            is_wanted: wanted.has_register(it),
            youngest: None,
            oldest: None,
            samples: 0,
        });
        let columns = columns.collect();
        Survey { digest: String::new(), rows: 0, span: None, skip: 0, send: 0, inside: 0, columns }
    }

    /// Whether no older row can matter any more: every register that has a sample in the wanted time has one below it.
    pub fn is_complete(&self, wanted: &Wanted) -> bool {
        wanted.from.is_some() && self.columns.iter().all(|it| it.oldest.is_none_or(|it| wanted.is_below(it)))
    }

    /// Takes note of the next older row.
    pub fn note(&mut self, row: &Row, wanted: &Wanted) {
        self.rows += 1;
        let youngest = self.span.map_or(row.ts, |it| it.0);
        self.span = Some((youngest, row.ts));
        if wanted.has(row.ts) {
            self.inside += 1;
            self.send = self.rows - self.skip;
            for (column, field) in self.columns.iter_mut().zip(&row.fields) {
                if column.is_wanted && field.is_some() {
                    column.samples += 1;
                    column.youngest.get_or_insert(row.ts);
                    column.oldest = Some(row.ts);
                }
            }
        } else if wanted.is_below(row.ts) {
            for (column, field) in self.columns.iter_mut().zip(&row.fields) {
                let has_neighbour = column.oldest.is_none_or(|it| wanted.is_below(it));
                if column.is_wanted && field.is_some() && !has_neighbour {
                    column.oldest = Some(row.ts);
                    self.send = self.rows - self.skip;
                }
            }
        } else {
            self.skip += 1;
        }
    }
}

/// Hashes what passes.
struct Hashing {
    file: File,
    sha: Arc<Mutex<Sha256>>,
}

impl Read for Hashing {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buf)?;
        if let Ok(mut sha) = self.sha.lock() {
            sha.update(&buf[..n]);
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "meterd-backup,1\nts,Grid:P,Solar:P\n\
                        600,60,6\n540,54,\n480,48,4\n420,42,\n360,36,3\n300,30,\n";

    fn look(text: &str, wanted: &Wanted) -> Result<Survey, Fault> {
        let name = format!("meterctl-{}", hex(&crate::state::random::<8>().unwrap()));
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        let res = survey(&path, wanted, |_| true);
        std::fs::remove_file(&path).unwrap();
        res
    }

    #[test]
    fn a_whole_file_is_sent_whole() {
        let found = look(TEXT, &Wanted::default()).unwrap();
        assert_eq!((found.rows, found.skip, found.send, found.inside, found.span), (6, 0, 6, 6, Some((600, 300))));
        let solar = &found.columns[1];
        assert_eq!((solar.youngest, solar.oldest, solar.samples), (Some(600), Some(360), 3));
        assert_eq!(found.digest, hex(&Sha256::digest(TEXT)));
    }

    #[test]
    fn a_range_takes_the_neighbours_along_that_its_oldest_samples_need() {
        let wanted = Wanted { from: Some(450), to: Some(560), names: None };
        let found = look(TEXT, &wanted).unwrap();
        assert_eq!((found.skip, found.send, found.inside), (1, 4, 2));
        assert_eq!((found.columns[0].oldest, found.columns[1].oldest), (Some(420), Some(360)));
        let wanted = Wanted { names: Some(vec!["Grid".into()]), ..wanted };
        assert_eq!(look(TEXT, &wanted).unwrap().send, 3);
    }

    #[test]
    fn never_less_than_two_rows_are_sent() {
        let only = |ts| Wanted { from: Some(ts), to: Some(ts), names: None };
        let found = look(TEXT, &only(300)).unwrap();
        assert_eq!((found.skip, found.send), (4, 2));
        let found = look(TEXT, &only(310)).unwrap();
        assert_eq!((found.inside, found.send), (0, 0));
        assert!(look("meterd-backup,1\nts,Grid:P\n60,1\n", &Wanted::default()).is_err());
    }
}
