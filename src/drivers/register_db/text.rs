//! The backup format, version 1, as pure functions on bytes: two header lines, then rows of a stamp and counters.
//! It reads no file and decides nothing about order, time or registers that a database may have.

use serde::{Deserialize, Serialize};

use super::DbError;
use super::schema::MAX_REGISTERS;

/// What the first line of every backup begins with.
pub const MAGIC: &str = "meterd-backup";

/// The only version there is.
pub const VERSION: &str = "1";

/// Bytes that a row can have at most: a stamp, 64 counters of 20 digits with sign and comma, and a line end.
pub const MAX_ROW: usize = 2048;

/// Bytes that a header line can have at most.
pub const MAX_HEADER: usize = 8192;

/// The registers of a backup, in the order of its columns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Name and type of each.
    pub registers: Vec<(String, String)>,
}

/// Whether the first line of a file is the first of two header lines; an error if it is but cannot be used.
pub fn first_line(line: &[u8]) -> Result<bool, DbError> {
    let Some(rest) = line.strip_prefix(MAGIC.as_bytes()) else { return Ok(false) };
    match rest.strip_prefix(b",") {
        None if rest.is_empty() => Err(DbError::NoVersion),
        None => Ok(false),
        Some(b"") => Err(DbError::NoVersion),
        Some(version) if version == VERSION.as_bytes() => Ok(true),
        Some(_) => Err(DbError::BadHeader(lossy(line), "this version of the format is not known, only version 1")),
    }
}

impl Header {
    /// Parses the second header line, `ts,NAME:TYPE,...`.
    pub fn parse(line: &[u8]) -> Result<Header, DbError> {
        let fail = |why| Err(DbError::BadHeader(lossy(line), why));
        let Ok(text) = std::str::from_utf8(line) else { return fail("it is not UTF-8") };
        let Some(list) = text.strip_prefix("ts,") else { return fail("it should begin with \"ts,\"") };
        let mut registers: Vec<(String, String)> = Vec::new();
        for column in list.split(',') {
            let Some((name, kind)) = column.rsplit_once(':') else {
                return fail("every register should be given as NAME:TYPE");
            };
            check_name(name)?;
            if kind.is_empty() || kind.contains(char::is_control) {
                return Err(DbError::BadRegister(name.into(), "its type is missing"));
            }
            if registers.iter().any(|it| it.0 == name) {
                return Err(DbError::BadRegister(name.into(), "it is there twice"));
            }
            registers.push((name.into(), kind.into()));
        }
        if MAX_REGISTERS < registers.len() {
            return fail("there are more than 64 registers");
        }
        Ok(Header { registers })
    }

    /// Writes both header lines.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{MAGIC},{VERSION}\nts").as_bytes());
        for (name, kind) in &self.registers {
            out.extend_from_slice(format!(",{name}:{kind}").as_bytes());
        }
        out.push(b'\n');
    }
}

/// Refuses names that the API does not allow for registers.
pub fn check_name(name: &str) -> Result<(), DbError> {
    let why = if name.is_empty() {
        "its name is empty"
    } else if name.bytes().all(|it| it.is_ascii_digit()) {
        "its name is only digits"
    } else if name.contains(|it: char| it.is_control() || it == '.' || it == ',') {
        "its name has a point, a comma or a control character"
    } else {
        return Ok(());
    };
    Err(DbError::BadRegister(lossy(name.as_bytes()), why))
}

/// A row that was parsed; its counters are in the caller's slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Whole seconds since 1970.
    pub ts: i64,
    /// Bit `i` is set if column `i` has a counter.
    pub present: u64,
    /// Bytes of the row, its line end included.
    pub len: usize,
}

/// What is wrong with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowFault {
    /// The stamp is not a whole, non-negative number of seconds.
    Stamp,
    /// Too few or too many fields.
    Comma,
    /// A field is neither empty nor an integer of 64 bits.
    Int,
}

/// Parses the row that `bytes` begin with, up to its line end or the end of `bytes`. Its counters go to `values`, which
/// has one place per column; places without a counter are left as they are.
pub fn parse_row(bytes: &[u8], values: &mut [i64]) -> Result<Row, RowFault> {
    let (ts, mut at) = digits(bytes, 0).ok_or(RowFault::Stamp)?;
    let ts = i64::try_from(ts).ok().filter(|it| *it < i64::MAX / 2).ok_or(RowFault::Stamp)?;
    match bytes.get(at) {
        Some(b',') | Some(b'\n') | Some(b'\r') | None => {}
        Some(_) => return Err(RowFault::Stamp),
    }
    let mut present = 0;
    for (i, value) in values.iter_mut().enumerate() {
        match bytes.get(at) {
            Some(b',') => at += 1,
            Some(b'\n') | Some(b'\r') | None => return Err(RowFault::Comma),
            Some(_) => return Err(RowFault::Int),
        }
        match bytes.get(at) {
            Some(b',') | Some(b'\n') | Some(b'\r') | None => continue,
            Some(b'-') => {
                let (size, end) = digits(bytes, at + 1).ok_or(RowFault::Int)?;
                if 1 << 63 < size {
                    return Err(RowFault::Int);
                }
                (*value, at) = ((size as i64).wrapping_neg(), end);
            }
            Some(_) => {
                let (size, end) = digits(bytes, at).ok_or(RowFault::Int)?;
                (*value, at) = (size as i64, end); // Counters above the signed range wrap, as meters' do.
            }
        }
        present |= 1 << i;
    }
    match &bytes[at..] {
        [] => {}
        [b'\n', ..] => at += 1,
        [b'\r', b'\n', ..] => at += 2,
        [b',', ..] => return Err(RowFault::Comma),
        _ => return Err(RowFault::Int),
    }
    Ok(Row { ts, present, len: at })
}

/// The number whose digits begin at `at`, and where they end; nothing if there is none or it exceeds 64 bits.
fn digits(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut end = at;
    let mut res: u64 = 0;
    while let Some(digit) = bytes.get(end).map(|it| it.wrapping_sub(b'0')).filter(|it| *it < 10) {
        res = res.wrapping_mul(10).wrapping_add(u64::from(digit));
        end += 1;
    }
    match end - at {
        0 => None,
        1..=19 => Some((res, end)), // Too short to have wrapped.
        20 => std::str::from_utf8(&bytes[at..end]).ok()?.parse().ok().map(|res| (res, end)),
        _ => None,
    }
}

/// A piece of a file for an error text, shortened.
pub fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn row(text: &str, n: usize) -> Result<(i64, Vec<Option<i64>>, usize), RowFault> {
        let mut values = vec![0; n];
        let row = parse_row(text.as_bytes(), &mut values)?;
        let fields = values.iter().enumerate().map(|(i, it)| (row.present >> i & 1 == 1).then_some(*it)).collect();
        Ok((row.ts, fields, row.len))
    }

    #[test]
    fn rows_are_parsed() {
        for (text, n, expect) in [
            ("60,1,2\n", 2, Ok((60, vec![Some(1), Some(2)], 7))),
            ("60,1,2", 2, Ok((60, vec![Some(1), Some(2)], 6))),
            ("60,1,2\r\n59", 2, Ok((60, vec![Some(1), Some(2)], 8))),
            ("60,,-2\n", 2, Ok((60, vec![None, Some(-2)], 7))),
            ("60,,\n", 2, Ok((60, vec![None, None], 5))),
            ("60,18446744073709551615\n", 1, Ok((60, vec![Some(-1)], 24))),
            ("60,9223372036854775808\n", 1, Ok((60, vec![Some(i64::MIN)], 23))),
            ("60,-9223372036854775808\n", 1, Ok((60, vec![Some(i64::MIN)], 24))),
            ("60,00000000000000000001\n", 1, Ok((60, vec![Some(1)], 24))),
            ("60,18446744073709551616\n", 1, Err(RowFault::Int)),
            ("60,-9223372036854775809\n", 1, Err(RowFault::Int)),
            ("60,000000000000000000001\n", 1, Err(RowFault::Int)),
            ("60,+1\n", 1, Err(RowFault::Int)),
            ("60,1.0\n", 1, Err(RowFault::Int)),
            ("60, 1\n", 1, Err(RowFault::Int)),
            ("60,-\n", 1, Err(RowFault::Int)),
            ("60,1\r", 1, Err(RowFault::Int)),
            ("60,1 ,2\n", 2, Err(RowFault::Int)),
            ("60\n", 1, Err(RowFault::Comma)),
            ("60,1\n", 2, Err(RowFault::Comma)),
            ("60,1,2,3\n", 2, Err(RowFault::Comma)),
            ("60,1,\n", 1, Err(RowFault::Comma)),
            ("", 1, Err(RowFault::Stamp)),
            ("\n", 1, Err(RowFault::Stamp)),
            ("60.5,1\n", 1, Err(RowFault::Stamp)),
            ("-60,1\n", 1, Err(RowFault::Stamp)),
            ("9223372036854775807,1\n", 1, Err(RowFault::Stamp)),
        ] {
            assert_eq!(row(text, n), expect, "{text:?}");
        }
    }

    #[test]
    fn the_longest_row_fits_its_limit() {
        let text = format!("{}{}\r\n", i64::MAX / 2 - 1, ",-9223372036854775808".repeat(MAX_REGISTERS));
        assert!(text.len() <= MAX_ROW);
        assert!(row(&text, MAX_REGISTERS).is_ok());
    }

    #[test]
    fn the_first_line_tells_a_header_from_a_row() {
        for (line, expect) in [
            ("meterd-backup,1", Ok(true)),
            ("60,1,2", Ok(false)),
            ("meterd-backups", Ok(false)),
            ("meterd-backup", Err("NOVERS")),
            ("meterd-backup,", Err("NOVERS")),
            ("meterd-backup,2", Err("BADHDR")),
            ("meterd-backup,1,", Err("BADHDR")),
        ] {
            assert_eq!(first_line(line.as_bytes()).map_err(|err| err.tag().unwrap()), expect, "{line}");
        }
    }

    #[test]
    fn the_second_line_names_registers() {
        for (line, expect) in [
            ("ts,Grid:P,Door:open:d", Ok("[(\"Grid\", \"P\"), (\"Door:open\", \"d\")]")),
            ("ts,Grid+:P", Ok("[(\"Grid+\", \"P\")]")),
            ("ts", Err("BADHDR")),
            ("ts,", Err("BADHDR")),
            ("time,Grid:P", Err("BADHDR")),
            ("ts,Grid", Err("BADHDR")),
            ("ts,Grid:", Err("BADREG")),
            ("ts,:P", Err("BADREG")),
            ("ts,7:P", Err("BADREG")),
            ("ts,a.b:P", Err("BADREG")),
            ("ts,Grid:P,Grid:V", Err("BADREG")),
        ] {
            let got = Header::parse(line.as_bytes()).map(|it| format!("{:?}", it.registers));
            assert_eq!(got.map_err(|err| err.tag().unwrap()), expect.map(String::from), "{line}");
        }
        let many: Vec<String> = (0..65).map(|i| format!("r{i}:P")).collect();
        assert!(Header::parse(format!("ts,{}", many.join(",")).as_bytes()).is_err());
    }

    #[test]
    fn what_is_written_is_read_back() {
        let header = Header { registers: vec![("Grid".into(), "P".into()), ("Türe:1".into(), "d".into())] };
        let mut out = Vec::new();
        header.write(&mut out);
        let lines: Vec<&[u8]> = out.split(|it| *it == b'\n').collect();
        assert!(first_line(lines[0]).unwrap());
        assert_eq!(Header::parse(lines[1]).unwrap(), header);
    }
}
