//! Everything that can go wrong with the register database, once as a tag with arguments for programs and once as a
//! sentence for people. It does not know where either is shown.

use std::fmt;

use rusqlite::ErrorCode;

use super::Stamp;
use super::schema::VERSION;

/// Why a database command is refused or fails.
#[derive(Debug)]
pub enum DbError {
    /// A header line of a backup is wrong: its text and the fault.
    BadHeader(String, &'static str),
    /// The first line of a backup lacks the format's version.
    NoVersion,
    /// A register of a backup cannot be used: its name and the fault.
    BadRegister(String, &'static str),
    /// A row's stamp is wrong.
    BadStamp {
        /// Line in the file, from 1.
        line: u64,
        /// The stamp as it stands there.
        text: String,
        /// The fault.
        why: &'static str,
    },
    /// A row, by its line, has too few or too many fields.
    NoComma(u64),
    /// A row, by its line, has a field that is no integer of 64 bits.
    InvalidInt(u64),
    /// The file as a whole is unusable.
    FileInvalid(String),
    /// The staged file could not be read on after so many lines.
    FileRead(u64, std::io::Error),
    /// The checked rows could not be put down for later.
    Staging(std::io::Error),
    /// A backup has no row.
    NoFirstRow,
    /// A backup has a single row.
    NoSecondRow,
    /// A backup's youngest row lies in the meter's future.
    InFuture(Stamp, Stamp),
    /// The list of register ids is wrong.
    Registers(String),
    /// The database has no room for a further register.
    TooManyRegisters,
    /// Split was asked for a register that is not a net power register.
    NotNet(String),
    /// Split was asked for a net register that has no positive counterpart.
    NoPositive(String),
    /// The command was cancelled.
    Canceled,
    /// A stored plan or position does not fit.
    Position(String),
    /// The database was written by another version of this program.
    Version(i64),
    /// SQLite failed; `reached` is how far the command had come.
    Sqlite {
        /// What kind of failure it is.
        fault: Fault,
        /// The stamp that was worked on, if known.
        reached: Option<i64>,
        /// SQLite's own words.
        text: String,
    },
}

/// The kinds of SQLite failures that a client can tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Another writer held the lock for too long.
    Lock,
    /// No room on the disk.
    Full,
    /// Writing failed.
    Write,
    /// Reading failed, or what was read makes no sense.
    Read,
    /// Out of memory.
    Memory,
}

impl DbError {
    /// The API's tag, if it has one for this.
    pub fn tag(&self) -> Option<&'static str> {
        Some(match self {
            DbError::BadHeader(..) => "BADHDR",
            DbError::NoVersion => "NOVERS",
            DbError::BadRegister(..) => "BADREG",
            DbError::BadStamp { .. } => "BADTS",
            DbError::NoComma(_) => "NOCOMMA",
            DbError::InvalidInt(_) => "INVAL_INT",
            DbError::FileInvalid(_) => "FILE_INVAL",
            DbError::FileRead(..) => "FILE_READ_ERR",
            DbError::NoFirstRow => "NO_FIRST_ROW",
            DbError::NoSecondRow => "NO_SECOND_ROW",
            DbError::InFuture(..) => "IN_FUTURE",
            DbError::NotNet(_) => "NOT_NET_REG",
            DbError::NoPositive(_) => "NO_POS_REG",
            DbError::Canceled => "CANCELED",
            DbError::Sqlite { fault: Fault::Lock, .. } => "LOCK_FAILED",
            DbError::Sqlite { fault: Fault::Full | Fault::Write, .. } => "WRITE_FAILED",
            DbError::Sqlite { fault: Fault::Read, .. } => "DB_READ_ERR",
            DbError::Sqlite { fault: Fault::Memory, .. } => "OOM",
            DbError::Staging(_)
            | DbError::Registers(_)
            | DbError::TooManyRegisters
            | DbError::Position(_)
            | DbError::Version(_) => {
                return None;
            }
        })
    }

    /// The tag's arguments, always as many as the tag needs.
    pub fn args(&self) -> Vec<String> {
        match self {
            DbError::BadHeader(text, _) | DbError::BadRegister(text, _) | DbError::BadStamp { text, .. } => {
                vec![text.clone()]
            }
            DbError::NoComma(line) | DbError::InvalidInt(line) | DbError::FileRead(line, _) => vec![line.to_string()],
            DbError::InFuture(backup, now) => vec![backup.to_string(), now.to_string()],
            DbError::NotNet(name) | DbError::NoPositive(name) => vec![name.clone()],
            DbError::Sqlite { fault: Fault::Full | Fault::Write | Fault::Read, reached, .. } => {
                vec![reached.map_or("?".into(), |it| it.to_string())]
            }
            _ => Vec::new(),
        }
    }

    /// Whether it failed for want of room, which the client can do something about.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, DbError::Sqlite { fault: Fault::Full, .. })
    }

    /// The same failure, saying how far the command had come unless that is known already.
    pub fn at(self, stamp: i64) -> DbError {
        match self {
            DbError::Sqlite { fault, reached: None, text } => DbError::Sqlite { fault, reached: Some(stamp), text },
            other => other,
        }
    }
}

impl fmt::Display for DbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DbError::BadHeader(text, why) => write!(f, "data: header line {text:?}: {why}"),
            DbError::NoVersion => {
                f.write_str("data: line 1: the format's version is missing; it should read \"meterd-backup,1\"")
            }
            DbError::BadRegister(name, why) => write!(f, "data: register {name:?}: {why}"),
            DbError::BadStamp { line, text, why } => write!(f, "data: line {line}: time stamp {text:?}: {why}"),
            DbError::NoComma(line) => write!(f, "data: line {line}: the number of fields differs from the header's"),
            DbError::InvalidInt(line) => write!(f, "data: line {line}: a field is not a decimal integer of 64 bits"),
            DbError::FileInvalid(why) => write!(f, "data: {why}"),
            DbError::FileRead(lines, err) => write!(f, "data: reading failed after {lines} lines: {err}"),
            DbError::Staging(err) => match err.kind() {
                std::io::ErrorKind::FileTooLarge => {
                    f.write_str("data: it holds more rows than the meter can keep aside; restore it in smaller chunks")
                }
                std::io::ErrorKind::QuotaExceeded => {
                    f.write_str("data: as much as the meter stages is waiting already; wait until an operation is done")
                }
                std::io::ErrorKind::StorageFull => f.write_str("data: no room on the meter's disk to hold this chunk"),
                _ => write!(f, "data: its rows could not be put down ({err})"),
            },
            DbError::NoFirstRow => f.write_str("data: there are no rows; a backup needs at least two"),
            DbError::NoSecondRow => f.write_str("data: there is a single row; a backup needs at least two"),
            DbError::InFuture(backup, now) => write!(
                f,
                "data: the youngest row ({backup}) is in the meter's future (its clock says {now}); \
                 set the clock first, or check the file"
            ),
            DbError::Registers(why) => write!(f, "regs: {why}"),
            DbError::TooManyRegisters => f.write_str("the database cannot have more than 64 registers"),
            DbError::NotNet(name) => write!(f, "regs: {name:?} is not a net power register"),
            DbError::NoPositive(name) => {
                write!(f, "regs: {name:?} has no positive counterpart: there is no power register \"{name}+\"")
            }
            DbError::Canceled => f.write_str("cancelled"),
            DbError::Position(why) => write!(f, "the operation cannot be taken up again: {why}"),
            DbError::Version(version) => write!(
                f,
                "the database has version {version}, made by a newer meterd; this one knows versions up to {VERSION}: \
                 install the newer one again, or restore a backup into an empty state folder"
            ),
            DbError::Sqlite { fault, text, .. } => match fault {
                Fault::Lock => write!(f, "the database was locked by another program for too long ({text})"),
                Fault::Full => write!(f, "no room left on the disk ({text})"),
                Fault::Write => write!(f, "writing the database failed ({text})"),
                Fault::Read => write!(f, "reading the database failed ({text})"),
                Fault::Memory => write!(f, "out of memory ({text})"),
            },
        }
    }
}

impl std::error::Error for DbError {}

impl From<rusqlite::Error> for DbError {
    fn from(err: rusqlite::Error) -> DbError {
        let fault = match &err {
            rusqlite::Error::SqliteFailure(failure, _) => match failure.code {
                ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Fault::Lock,
                ErrorCode::DiskFull => Fault::Full,
                ErrorCode::OutOfMemory => Fault::Memory,
                ErrorCode::SystemIoFailure => match failure.extended_code {
                    rusqlite::ffi::SQLITE_IOERR_READ | rusqlite::ffi::SQLITE_IOERR_SHORT_READ => Fault::Read,
                    _ => Fault::Write,
                },
                ErrorCode::ReadOnly | ErrorCode::ConstraintViolation | ErrorCode::CannotOpen => Fault::Write,
                _ => Fault::Read,
            },
            _ => Fault::Read,
        };
        DbError::Sqlite { fault, reached: None, text: err.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: i32) -> DbError {
        rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None).into()
    }

    #[test]
    fn every_tag_has_the_arguments_that_clients_fill_in() {
        let now = Stamp::from_seconds(5);
        for (err, tag, n_args) in [
            (DbError::BadHeader("x".into(), ""), "BADHDR", 1),
            (DbError::NoVersion, "NOVERS", 0),
            (DbError::BadRegister("x".into(), ""), "BADREG", 1),
            (DbError::BadStamp { line: 3, text: "x".into(), why: "" }, "BADTS", 1),
            (DbError::NoComma(3), "NOCOMMA", 1),
            (DbError::InvalidInt(3), "INVAL_INT", 1),
            (DbError::FileInvalid("x".into()), "FILE_INVAL", 0),
            (DbError::FileRead(3, std::io::ErrorKind::Other.into()), "FILE_READ_ERR", 1),
            (DbError::NoFirstRow, "NO_FIRST_ROW", 0),
            (DbError::NoSecondRow, "NO_SECOND_ROW", 0),
            (DbError::InFuture(now, now), "IN_FUTURE", 2),
            (DbError::NotNet("x".into()), "NOT_NET_REG", 1),
            (DbError::NoPositive("x".into()), "NO_POS_REG", 1),
            (DbError::Canceled, "CANCELED", 0),
            (failure(rusqlite::ffi::SQLITE_BUSY), "LOCK_FAILED", 0),
            (failure(rusqlite::ffi::SQLITE_FULL), "WRITE_FAILED", 1),
            (failure(rusqlite::ffi::SQLITE_IOERR_FSYNC), "WRITE_FAILED", 1),
            (failure(rusqlite::ffi::SQLITE_IOERR_READ), "DB_READ_ERR", 1),
            (failure(rusqlite::ffi::SQLITE_CORRUPT), "DB_READ_ERR", 1),
            (failure(rusqlite::ffi::SQLITE_NOMEM), "OOM", 0),
        ] {
            assert_eq!((err.tag(), err.args().len()), (Some(tag), n_args), "{err}");
        }
    }

    #[test]
    fn a_full_disk_is_told_from_other_failures_and_says_how_far_it_came() {
        let err = failure(rusqlite::ffi::SQLITE_FULL).at(60).at(70);
        assert!(err.is_disk_full());
        assert_eq!(err.args(), ["60"]);
        assert!(!failure(rusqlite::ffi::SQLITE_IOERR_WRITE).is_disk_full());
    }
}
