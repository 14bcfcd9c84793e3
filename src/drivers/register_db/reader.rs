//! A staged backup file as a stream of rows: text or gzip, in bounded memory, never more than a limit unpacked.
//! It checks what can be seen from one row and the one above; registers, ranges and the database are not its business.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::DbError;
use super::text::{self, Header, MAX_HEADER, MAX_ROW, Row, RowFault};

const BUFFER: usize = 32 * 1024;
const PACKED_BUFFER: usize = 8 * 1024;

/// Reads one backup from its first line to its last.
pub(super) struct Reader {
    source: Box<dyn Read + Send>,
    /// Shares its offset with the source, which is how far reading has come.
    file: File,
    size: u64,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    ended: bool,
    lines: u64,
    unpacked_left: u64,
    last_ts: Option<i64>,
}

impl Reader {
    /// Opens a file that may unpack to so many bytes.
    pub(super) fn open(path: &Path, unpacked_bytes: u64) -> Result<Reader, DbError> {
        let fail = |err| DbError::FileRead(0, err);
        let mut file = File::open(path).map_err(fail)?;
        let mut magic = Vec::new();
        (&file).take(2).read_to_end(&mut magic).map_err(fail)?;
        file.seek(SeekFrom::Start(0)).map_err(fail)?;
        let size = file.metadata().map_err(fail)?.len();
        let plain = file.try_clone().map_err(fail)?;
        let source: Box<dyn Read + Send> = if magic == [0x1f, 0x8b] {
            Box::new(MultiGzDecoder::new(io::BufReader::with_capacity(PACKED_BUFFER, plain)))
        } else {
            Box::new(plain)
        };
        Ok(Reader {
            source,
            file,
            size,
            buffer: vec![0; BUFFER],
            start: 0,
            end: 0,
            ended: false,
            lines: 0,
            unpacked_left: unpacked_bytes,
            last_ts: None,
        })
    }

    /// Reads the header lines, or takes those of an open chain if the file begins with a row.
    pub(super) fn header(&mut self, chain: Option<&Header>) -> Result<Header, DbError> {
        self.fill(MAX_HEADER)?;
        let first = self.peek_line();
        if first.len() <= MAX_HEADER && text::first_line(first)? {
            self.skip_line();
            self.fill(MAX_HEADER)?;
            let second = self.peek_line();
            if MAX_HEADER < second.len() {
                return Err(DbError::BadHeader(text::lossy(second), "it is too long"));
            }
            let header = Header::parse(second)?;
            self.skip_line();
            return Ok(header);
        }
        match chain {
            Some(header) => Ok(header.clone()),
            None if first.contains(&0) => {
                Err(DbError::FileInvalid("it is neither a backup in text form nor one packed by gzip".into()))
            }
            None => Err(DbError::BadHeader(text::lossy(first), "a backup should begin with \"meterd-backup,1\"")),
        }
    }

    /// Parses the next row into `values`; nothing at the end of the file. Rows must come youngest first.
    pub(super) fn row(&mut self, values: &mut [i64]) -> Result<Option<Row>, DbError> {
        if self.end - self.start < MAX_ROW && !self.ended {
            self.fill(MAX_ROW)?;
        }
        if self.start == self.end {
            return Ok(None);
        }
        let line = self.lines + 1;
        let row = match text::parse_row(&self.buffer[self.start..self.end], values) {
            Ok(row) => row,
            Err(RowFault::Stamp) => return Err(self.bad_stamp("not a whole number of seconds since 1970")),
            Err(RowFault::Comma) => return Err(DbError::NoComma(line)),
            Err(RowFault::Int) => return Err(DbError::InvalidInt(line)),
        };
        if self.last_ts.is_some_and(|above| above <= row.ts) {
            return Err(self.bad_stamp("not older than the row above; rows go from the youngest to the oldest"));
        }
        self.last_ts = Some(row.ts);
        self.start += row.len;
        self.lines = line;
        Ok(Some(row))
    }

    /// How much of the file has been read, from 0 to 1.
    pub(super) fn fraction(&mut self) -> f64 {
        let at = self.file.stream_position().unwrap_or(0);
        if self.size == 0 { 1.0 } else { (at as f64 / self.size as f64).min(1.0) }
    }

    /// Makes at least `wanted` bytes available, unless the file ends before.
    fn fill(&mut self, wanted: usize) -> Result<(), DbError> {
        if self.end - self.start < wanted {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        while !self.ended && self.end < wanted.max(BUFFER / 2) && self.start == 0 {
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(0) => self.ended = true,
                Ok(n) => {
                    self.end += n;
                    self.unpacked_left = self
                        .unpacked_left
                        .checked_sub(n as u64)
                        .ok_or_else(|| DbError::FileInvalid("it unpacks to more than is allowed".into()))?;
                }
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                Err(err) => return Err(self.unreadable(err)),
            }
        }
        Ok(())
    }

    fn unreadable(&self, err: io::Error) -> DbError {
        match err.kind() {
            // What the decoder says of a damaged or shortened file; anything else comes from the disk.
            ErrorKind::InvalidInput | ErrorKind::InvalidData | ErrorKind::UnexpectedEof => {
                DbError::FileInvalid(format!("the gzip file is damaged or cut short after line {}", self.lines))
            }
            _ => DbError::FileRead(self.lines, err),
        }
    }

    fn peek_line(&self) -> &[u8] {
        let rest = &self.buffer[self.start..self.end];
        let line = rest.split(|it| *it == b'\n').next().unwrap_or(rest);
        line.strip_suffix(b"\r").unwrap_or(line)
    }

    fn skip_line(&mut self) {
        let rest = &self.buffer[self.start..self.end];
        self.start += rest.iter().position(|it| *it == b'\n').map_or(rest.len(), |it| it + 1);
        self.lines += 1;
    }

    fn bad_stamp(&self, why: &'static str) -> DbError {
        let line = self.peek_line();
        let text = text::lossy(line.split(|it| *it == b',').next().unwrap_or(line));
        DbError::BadStamp { line: self.lines + 1, text, why }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::drivers::register_db::testing::Scratch;

    const LIMIT: u64 = 1 << 20;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn read(content: &[u8], chain: Option<&Header>, limit: u64) -> Result<Vec<(i64, i64)>, DbError> {
        let scratch = Scratch::new();
        let mut reader = Reader::open(&scratch.file("b", content), limit)?;
        let n = reader.header(chain)?.registers.len();
        let mut values = vec![0; n];
        let mut res = Vec::new();
        while let Some(row) = reader.row(&mut values)? {
            res.push((row.ts, values[0]));
        }
        assert_eq!(reader.fraction(), 1.0);
        Ok(res)
    }

    fn long(n: i64) -> Vec<u8> {
        let mut res = b"meterd-backup,1\nts,Grid:P\n".to_vec();
        for i in 0..n {
            res.extend_from_slice(format!("{},{}\n", 10_000_000 - i, i * 7).as_bytes());
        }
        res
    }

    #[test]
    fn text_and_gzip_are_the_same() {
        let content = long(20_000);
        let expect: Vec<(i64, i64)> = (0..20_000).map(|i| (10_000_000 - i, i * 7)).collect();
        assert_eq!(read(&content, None, LIMIT).unwrap(), expect);
        assert_eq!(read(&gzip(&content), None, LIMIT).unwrap(), expect);
        let (head, tail) = content.split_at(100_001);
        assert_eq!(read(&[gzip(head), gzip(tail)].concat(), None, LIMIT).unwrap(), expect);
    }

    #[test]
    fn line_ends_may_be_of_any_kind() {
        for text in ["meterd-backup,1\r\nts,G:P\r\n9,1\r\n8,2\r\n", "meterd-backup,1\nts,G:P\n9,1\n8,2"] {
            assert_eq!(read(text.as_bytes(), None, LIMIT).unwrap(), [(9, 1), (8, 2)]);
        }
    }

    #[test]
    fn the_header_of_an_open_chain_may_be_left_out() {
        let chain = Header { registers: vec![("Grid".into(), "P".into())] };
        assert_eq!(read(b"9,1\n8,2\n", Some(&chain), LIMIT).unwrap(), [(9, 1), (8, 2)]);
        assert_eq!(read(b"9,1\n8,2\n", None, LIMIT).unwrap_err().tag(), Some("BADHDR"));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (content, tag, words) in [
            (&b""[..], "BADHDR", "begin with"),
            (b"\0\0\0\0", "FILE_INVAL", "neither"),
            (b"meterd-backup,1", "BADHDR", "ts,"),
            (b"meterd-backup,1\nts,G:P\n9,1\n\n8,2\n", "BADTS", "line 4"),
            (b"meterd-backup,1\nts,G:P\n9,1\n9,2\n", "BADTS", "line 4: time stamp \"9\": not older"),
            (b"meterd-backup,1\nts,G:P\n9,1\n10,2\n", "BADTS", "line 4: time stamp \"10\": not older"),
            (b"meterd-backup,1\nts,G:P\n9.5,1\n", "BADTS", "line 3: time stamp \"9.5\""),
            (b"meterd-backup,1\nts,G:P\n9\n", "NOCOMMA", "line 3"),
            (b"meterd-backup,1\nts,G:P\n9,1,1\n", "NOCOMMA", "line 3"),
            (b"meterd-backup,1\nts,G:P\n9,x\n", "INVAL_INT", "line 3"),
        ] {
            let err = read(content, None, LIMIT).unwrap_err();
            assert_eq!(err.tag(), Some(tag), "{err}");
            assert!(err.to_string().contains(words), "{err}");
        }
    }

    #[test]
    fn an_endless_line_is_refused_within_the_buffer() {
        for content in [vec![b'9'; 100_000], [b"meterd-backup,1\nts,".to_vec(), vec![b'x'; 100_000]].concat()] {
            assert_eq!(read(&content, None, LIMIT).unwrap_err().tag(), Some("BADHDR"));
        }
    }

    #[test]
    fn a_damaged_or_cut_gzip_file_is_refused() {
        let packed = gzip(&long(5_000));
        let mut damaged = packed.clone();
        damaged[packed.len() / 2] ^= 0x55;
        for content in [&packed[..packed.len() - 9], &packed[..packed.len() / 2], &damaged, &packed[..3]] {
            assert!(read(content, None, LIMIT).is_err());
        }
        assert_eq!(read(&packed[..packed.len() - 4], None, LIMIT).unwrap_err().tag(), Some("FILE_INVAL"));
    }

    #[test]
    fn a_gzip_bomb_is_stopped_at_the_limit() {
        let err = read(&gzip(&long(100_000)), None, 65_536).unwrap_err();
        assert_eq!(err.tag(), Some("FILE_INVAL"));
        assert!(err.to_string().contains("more than is allowed"), "{err}");
    }
}
