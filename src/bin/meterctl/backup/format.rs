//! Format 1, as a stream: two header lines, then rows from the youngest to the oldest. Text or gzip, from anywhere, in
//! steady memory. Every fault has its line.

use std::fmt;
use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

/// What the first line is.
pub const FIRST_LINE: &str = "meterd-backup,1";
/// What the first line of every version begins with.
const MAGIC: &str = "meterd-backup";
/// Registers that a backup can have.
pub const MAX_REGISTERS: usize = 64;
/// Bytes of a line.
const MAX_LINE: usize = 16 * 1024;
const BUFFER: usize = 64 * 1024;

/// A register as a backup names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register {
    /// Its name.
    pub name: String,
    /// Its type code.
    pub kind: String,
}

impl Register {
    /// Whether its fields are values rather than counters.
    pub fn is_discrete(&self) -> bool {
        self.kind == "d"
    }
}

/// What is wrong, and where.
#[derive(Debug)]
pub struct Fault {
    /// The line, from 1; 0 if it is no single one.
    pub line: u64,
    /// What is wrong with it.
    pub why: String,
    /// The source failed, rather than what came from it.
    pub io: Option<io::Error>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.why),
            line => write!(f, "line {line}: {}", self.why),
        }
    }
}

/// One row; reading the next one reuses its memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Seconds since 1970.
    pub ts: i64,
    /// The counter of each register; nothing where there is no sample.
    pub fields: Vec<Option<i64>>,
    /// The row as it stands in the file, without its line end.
    pub line: Vec<u8>,
}

/// Reads one backup.
pub struct Backup {
    source: Box<dyn BufRead>,
    /// The registers in the order of the fields.
    pub registers: Vec<Register>,
    line: u64,
    last_ts: Option<i64>,
}

impl Backup {
    /// Reads the header of a backup from any source.
    pub fn read(mut source: Box<dyn Read>) -> Result<Backup, Fault> {
        let mut magic = Vec::new();
        source.by_ref().take(2).read_to_end(&mut magic).map_err(|err| unreadable(0, err))?;
        let is_gzip = magic == [0x1f, 0x8b];
        let source = BufReader::with_capacity(BUFFER, Cursor::new(magic).chain(source));
        let source: Box<dyn BufRead> = if is_gzip {
            Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(source)))
        } else {
            Box::new(source)
        };
        let mut res = Backup { source, registers: Vec::new(), line: 0, last_ts: None };
        let mut line = Vec::new();
        let missing = |line, why: &str| Err(Fault { line, why: why.into(), io: None });
        if !res.next_line(&mut line)? {
            return missing(1, "there is nothing in it");
        }
        check_first(&line).or_else(|why| res.fault(why))?;
        if !res.next_line(&mut line)? {
            return missing(2, "the line that names the registers is missing");
        }
        res.registers = registers(&line).or_else(|why| res.fault(why))?;
        Ok(res)
    }

    /// Both header lines.
    pub fn header(&self) -> String {
        let columns: Vec<String> = self.registers.iter().map(|it| format!(",{}:{}", it.name, it.kind)).collect();
        format!("{FIRST_LINE}\nts{}\n", columns.concat())
    }

    /// Reads the next older row; false at the end.
    pub fn next_row(&mut self, row: &mut Row) -> Result<bool, Fault> {
        if !self.next_line(&mut row.line)? {
            return Ok(false);
        }
        row.fields.clear();
        let text = match std::str::from_utf8(&row.line) {
            Ok(text) => text,
            Err(_) => return self.fault("it is not UTF-8"),
        };
        let mut fields = text.split(',');
        let stamp = fields.next().unwrap_or("");
        row.ts = match stamp.parse() {
            Ok(ts) if stamp.len() <= 20 && stamp.bytes().all(|it| it.is_ascii_digit()) => ts,
            _ => return self.fault(format!("time stamp {}: not a whole number of seconds since 1970", shown(stamp))),
        };
        for field in fields {
            let Some(value) = counter(field) else {
                return self.fault(format!("{}: no decimal integer of 64 bits", shown(field)));
            };
            row.fields.push(value);
        }
        if row.fields.len() != self.registers.len() {
            let (n, expect) = (row.fields.len(), self.registers.len());
            return self.fault(format!("{n} fields behind the time stamp, but the header names {expect} registers"));
        }
        if self.last_ts.is_some_and(|above| above <= row.ts) {
            return self
                .fault(format!("time stamp {stamp}: not older than the row above; rows go from the youngest on"));
        }
        self.last_ts = Some(row.ts);
        Ok(true)
    }

    /// The line that was read last.
    pub fn line(&self) -> u64 {
        self.line
    }

    fn next_line(&mut self, line: &mut Vec<u8>) -> Result<bool, Fault> {
        line.clear();
        let mut limited = self.source.by_ref().take(MAX_LINE as u64);
        let n = limited.read_until(b'\n', line).map_err(|err| unreadable(self.line, err))?;
        if n == 0 {
            return Ok(false);
        }
        self.line += 1;
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if MAX_LINE <= n {
            return self.fault("it is too long");
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(true)
    }

    fn fault<T>(&self, why: impl Into<String>) -> Result<T, Fault> {
        Err(Fault { line: self.line, why: why.into(), io: None })
    }
}

/// What the decoder says of a damaged file is the file's fault; all else is the source's.
fn unreadable(line: u64, err: io::Error) -> Fault {
    use io::ErrorKind::{InvalidData, InvalidInput};
    match err.kind() {
        InvalidData | InvalidInput => {
            Fault { line: line + 1, why: format!("the gzip file is damaged here ({err})"), io: None }
        }
        io::ErrorKind::UnexpectedEof => {
            Fault { line: line + 1, why: "the file is cut short here".into(), io: Some(err) }
        }
        _ => Fault { line: line + 1, why: format!("reading failed: {err}"), io: Some(err) },
    }
}

fn check_first(line: &[u8]) -> Result<(), String> {
    if line == FIRST_LINE.as_bytes() {
        return Ok(());
    }
    match line.starts_with(MAGIC.as_bytes()) {
        true => Err(format!("{}: only version 1 of this format is known", shown_bytes(line))),
        false => Err(format!("{}: a backup that meterctl knows begins with {FIRST_LINE:?}", shown_bytes(line))),
    }
}

fn registers(line: &[u8]) -> Result<Vec<Register>, String> {
    let text = std::str::from_utf8(line).map_err(|_| "it is not UTF-8".to_string())?;
    let list =
        text.strip_prefix("ts,").ok_or("it should begin with \"ts,\", followed by NAME:TYPE for every register")?;
    let mut res: Vec<Register> = Vec::new();
    for column in list.split(',') {
        let Some((name, kind)) = column.rsplit_once(':').filter(|(_, kind)| !kind.is_empty()) else {
            return Err(format!("{}: a register should be given as NAME:TYPE", shown(column)));
        };
        let digits = name.bytes().all(|it| it.is_ascii_digit());
        if digits || name.contains(|it: char| it == '.' || it.is_control()) {
            return Err(format!("{}: no name of a register", shown(name)));
        }
        if res.iter().any(|it| it.name == name) {
            return Err(format!("{}: this register is there twice", shown(name)));
        }
        res.push(Register { name: name.into(), kind: kind.into() });
    }
    match res.len() <= MAX_REGISTERS {
        true => Ok(res),
        false => Err(format!("{} registers; a backup has at most {MAX_REGISTERS}", res.len())),
    }
}

/// A field: empty, or an integer that may be written as signed or, as meters' counters wrap, as unsigned.
fn counter(field: &str) -> Option<Option<i64>> {
    if field.is_empty() {
        return Some(None);
    }
    let digits = field.strip_prefix('-').unwrap_or(field);
    if digits.is_empty() || 20 < digits.len() || !digits.bytes().all(|it| it.is_ascii_digit()) {
        return None;
    }
    field.parse::<i64>().ok().or_else(|| field.parse::<u64>().ok().map(|it| it as i64)).map(Some)
}

fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(60).collect::<String>())
}

fn shown_bytes(bytes: &[u8]) -> String {
    shown(&String::from_utf8_lossy(&bytes[..bytes.len().min(240)]))
}

#[cfg(test)]
pub mod testing {
    use super::*;

    /// A backup from text.
    pub fn backup(text: &str) -> Backup {
        Backup::read(Box::new(Cursor::new(text.as_bytes().to_vec()))).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn rows(bytes: &[u8]) -> Result<Vec<Row>, Fault> {
        let mut backup = Backup::read(Box::new(Cursor::new(bytes.to_vec())))?;
        let (mut res, mut row) = (Vec::new(), Row::default());
        while backup.next_row(&mut row)? {
            res.push(row.clone());
        }
        Ok(res)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    const HEAD: &str = "meterd-backup,1\nts,Grid:P,Door:open:d\n";

    #[test]
    fn text_and_gzip_give_the_same_rows() {
        let text = format!("{HEAD}300,18446744073709551615,\r\n240,-2,1");
        let plain = rows(text.as_bytes()).unwrap();
        assert_eq!(plain.iter().map(|it| it.ts).collect::<Vec<_>>(), [300, 240]);
        assert_eq!(plain[0].fields, [Some(-1), None]);
        assert_eq!(plain[1].fields, [Some(-2), Some(1)]);
        assert_eq!(plain[0].line, b"300,18446744073709551615,");
        assert_eq!(rows(&gzip(text.as_bytes())).unwrap(), plain);
        let (head, tail) = text.split_at(50);
        assert_eq!(rows(&[gzip(head.as_bytes()), gzip(tail.as_bytes())].concat()).unwrap(), plain);
    }

    #[test]
    fn every_fault_has_its_line() {
        for (text, expect) in [
            ("".to_string(), "line 1: there is nothing"),
            ("meterd-backup,1\n".into(), "line 2: the line that names the registers is missing"),
            ("PK\x03\x04".into(), "line 1"),
            ("meterd-backup,2\n".into(), "line 1: \"meterd-backup,2\": only version 1"),
            ("meterd-backup,1\n60,1\n".into(), "line 2: it should begin with"),
            ("meterd-backup,1\nts,Grid\n".into(), "line 2: \"Grid\": a register"),
            ("meterd-backup,1\nts,a:P,a:P\n".into(), "line 2: \"a\": this register is there twice"),
            ("meterd-backup,1\nts,7:P\n".into(), "line 2: \"7\": no name"),
            (format!("{HEAD}300,1,1\n240,1\n"), "line 4: 1 fields behind the time stamp, but the header names 2"),
            (format!("{HEAD}300,1,x\n"), "line 3: \"x\": no decimal integer"),
            (format!("{HEAD}300,1,18446744073709551616\n"), "line 3: "),
            (format!("{HEAD}300,1,+1\n"), "line 3: "),
            (format!("{HEAD}3.5,1,1\n"), "line 3: time stamp \"3.5\": not a whole number"),
            (format!("{HEAD}300,1,1\n300,1,1\n"), "line 4: time stamp 300: not older"),
            (format!("{HEAD}300,1,1\n\n"), "line 4: time stamp \"\""),
            (format!("{HEAD}{}\n", "1".repeat(MAX_LINE)), "line 3: it is too long"),
        ] {
            let fault = rows(text.as_bytes()).unwrap_err();
            assert!(fault.to_string().starts_with(expect), "{text:?}: {fault}");
        }
        let many: Vec<String> = (0..65).map(|it| format!("r{it}:P")).collect();
        assert!(rows(format!("meterd-backup,1\nts,{}\n", many.join(",")).as_bytes()).is_err());
    }

    #[test]
    fn a_cut_or_damaged_gzip_file_is_noticed() {
        let text =
            format!("{HEAD}{}", (0..2000).rev().map(|it| format!("{},{},1\n", it * 60, it * 7919)).collect::<String>());
        let whole = gzip(text.as_bytes());
        assert!(rows(&whole[..whole.len() / 2]).is_err());
        assert!(rows(&whole[..whole.len() - 4]).is_err());
        let mut damaged = whole;
        let at = damaged.len() - 6;
        damaged[at] ^= 1;
        assert!(rows(&damaged).is_err());
    }
}
