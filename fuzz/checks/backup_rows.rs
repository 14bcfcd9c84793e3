//! Backups against a second reading that takes the text apart line by line: both take the same files, with the same
//! registers, stamps and counters, whether packed by gzip or not.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{LazyLock, Mutex};

use flate2::read::MultiGzDecoder;
use meterd::drivers::register_db::restore::{Checking, RestoreArgs, RestorePlan, plan_restore};
use meterd::drivers::register_db::text::{Header, parse_row};
use meterd::drivers::register_db::{DbError, Range, Stamp, schema};
use rusqlite::Connection;

/// Bytes that a backup may unpack to.
const UNPACKED: usize = 64 * 1024;

/// An empty database and the file that is checked; both have no name any more, so that nothing is left behind.
struct Desk {
    conn: Connection,
    file: File,
}

static DESK: LazyLock<Mutex<Desk>> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("meterd-fuzz-backup-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let conn = schema::open(&folder.join("empty.db")).unwrap();
    let file = File::create_new(folder.join("backup")).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    Mutex::new(Desk { conn, file })
});

/// See the module.
pub fn check(data: &[u8]) {
    // The first byte says whether a chain is open, whose header then applies to a file without one.
    let Some((&kind, file)) = data.split_first() else { return };
    let names = [("Grid", "P"), ("Door", "d")].map(|(name, kind)| (name.to_string(), kind.to_string()));
    let chain = Header { registers: names.to_vec() };
    let chain = (kind % 2 == 1).then_some(&chain);
    let plan = plan(file, chain);
    match (plan, unpacked(file).and_then(|it| read(&it, chain))) {
        (Ok(plan), Some(backup)) => compare(&plan, &backup),
        (Err(err), None) => assert!(err.tag().is_some() && !err.to_string().is_empty(), "{err}"),
        (Ok(_), None) => panic!("only the service takes it"),
        (Err(err), Some(_)) => panic!("only the service refuses it: {err}"),
    }
    // A row alone, so that the fuzzer need not find header lines first.
    let end = file.iter().position(|it| *it == b'\n').map_or(file.len(), |it| it + 1);
    let mut values = [0; 2];
    let own = parse_row(file, &mut values).ok();
    let theirs = row(&file[..end], 2);
    assert_eq!(own.map(|it| it.ts), theirs.as_ref().map(|it| it.0));
    for (i, counter) in theirs.iter().flat_map(|it| it.1.iter().enumerate()) {
        assert_eq!(own.filter(|it| it.present >> i & 1 == 1).map(|_| values[i]), *counter);
    }
    assert!(own.is_none_or(|it| it.len == end));
}

fn plan(bytes: &[u8], chain: Option<&Header>) -> Result<RestorePlan, DbError> {
    let desk = DESK.lock().unwrap_or_else(|err| err.into_inner());
    desk.file.set_len(0).unwrap();
    desk.file.write_all_at(bytes, 0).unwrap();
    let file = format!("/proc/self/fd/{}", desk.file.as_raw_fd()).into();
    let args = RestoreArgs { file, staged: PathBuf::new(), range: Range::default(), regs: None, more_chunks: false };
    let checking = Checking {
        chain,
        unpacked_bytes: UNPACKED as u64,
        rows: &mut io::sink(),
        now: Stamp::from_seconds(i64::MAX / 4),
        cancel: &AtomicBool::new(false),
        on_progress: &mut |_| {},
    };
    plan_restore(&desk.conn, args, checking)
}

/// What a backup says, by the second reading.
struct Backup {
    registers: Vec<(String, String)>,
    rows: Vec<(i64, Vec<Option<i64>>)>,
}

fn compare(plan: &RestorePlan, backup: &Backup) {
    assert_eq!(plan.header.registers, backup.registers);
    assert_eq!(plan.rows, backup.rows.len() as u64);
    assert_eq!(plan.columns.len(), backup.registers.len());
    for (i, column) in plan.columns.iter().enumerate() {
        let samples: Vec<(i64, i64)> = backup.rows.iter().filter_map(|it| Some((it.0, it.1[i]?))).collect();
        assert_eq!(column.discrete, backup.registers[i].1 == "d");
        assert_eq!(column.top, samples.first().copied());
        assert_eq!(column.youngest, samples.first().map(|it| it.0));
        assert_eq!(column.floor, samples.last().map_or(0, |it| it.0));
        let spacing = samples.windows(2).last().map_or(0, |it| it[0].0 - it[1].0);
        assert_eq!(column.spacing, spacing);
    }
}

/// The text of a backup, if it can be unpacked and is not too long.
fn unpacked(bytes: &[u8]) -> Option<Vec<u8>> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Some(bytes.to_vec()).filter(|it| it.len() <= UNPACKED);
    }
    let mut text = Vec::new();
    MultiGzDecoder::new(bytes).take(UNPACKED as u64 + 1).read_to_end(&mut text).ok()?;
    (text.len() <= UNPACKED).then_some(text)
}

fn read(text: &[u8], chain: Option<&Header>) -> Option<Backup> {
    let mut lines: Vec<&[u8]> = text.split_inclusive(|it| *it == b'\n').collect();
    let bare = |line: &[u8]| -> Vec<u8> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        line.strip_suffix(b"\r").unwrap_or(line).to_vec()
    };
    let first = bare(lines.first()?);
    let has_header = first == b"meterd-backup" || first.starts_with(b"meterd-backup,");
    let registers = match chain {
        Some(chain) if !has_header => chain.registers.clone(),
        _ if first != b"meterd-backup,1" => return None,
        _ => {
            let second = bare(lines.get(1)?);
            lines.drain(..2);
            registers(std::str::from_utf8(&second).ok()?)?
        }
    };
    let rows: Vec<_> = lines.iter().map(|it| row(it, registers.len())).collect::<Option<_>>()?;
    let falls = rows.windows(2).all(|it| it[1].0 < it[0].0);
    let past = rows.first().is_some_and(|it| it.0 <= i64::MAX / 4);
    (falls && past && 2 <= rows.len()).then_some(Backup { registers, rows })
}

fn registers(line: &str) -> Option<Vec<(String, String)>> {
    let mut columns = line.split(',');
    let mut res: Vec<(String, String)> = Vec::new();
    if columns.next() != Some("ts") {
        return None;
    }
    for column in columns {
        let colon = column.rfind(':')?;
        let (name, kind) = (&column[..colon], &column[colon + 1..]);
        let is_number = name.chars().all(|it| it.is_ascii_digit());
        let is_bad = is_number || column.contains(char::is_control) || name.contains('.') || kind.is_empty();
        if is_bad || res.iter().any(|it| it.0 == name) {
            return None;
        }
        res.push((name.into(), kind.into()));
    }
    (1..=64).contains(&res.len()).then_some(res)
}

/// A stamp and so many counters, in arithmetic that is wide enough for everything.
fn row(line: &[u8], columns: usize) -> Option<(i64, Vec<Option<i64>>)> {
    let ended = line.strip_suffix(b"\r\n").or_else(|| line.strip_suffix(b"\n")).unwrap_or(line);
    let text = std::str::from_utf8(ended).ok()?;
    let mut fields = text.split(',');
    let ts = i64::try_from(number(fields.next()?)?).ok().filter(|it| *it < i64::MAX / 2)?;
    let counters: Vec<_> = fields.map(counter).collect::<Option<_>>()?;
    (counters.len() == columns).then_some((ts, counters))
}

fn counter(field: &str) -> Option<Option<i64>> {
    if field.is_empty() {
        return Some(None);
    }
    let value = match field.strip_prefix('-') {
        Some(size) => -number(size)?,
        None => number(field)?,
    };
    let fits = i128::from(i64::MIN) <= value && value <= i128::from(u64::MAX);
    fits.then_some(Some(value as i64))
}

fn number(text: &str) -> Option<i128> {
    let is_number = text.bytes().all(|it| it.is_ascii_digit()) && (1..=20).contains(&text.len());
    if is_number { text.parse().ok() } else { None }
}
