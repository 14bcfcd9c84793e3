//! Cuts a backup into what a meter takes in one piece, youngest rows first. The same rows always give the same bytes, so
//! that a chunk that is sent again is known as the same by the meter.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::format::{Backup, Fault, Row};

/// Base64 characters that a meter takes in `data` (2 MiB).
pub const MAX_CHARS: u64 = 2 * 1024 * 1024;
/// Bytes that a chunk unpacks to: what packs very well must still fit where a meter puts it down.
const MAX_TEXT: usize = 8 * 1024 * 1024;
/// Base64 characters that a chunk must have room for.
pub const MIN_CHARS: u64 = 64 * 1024;
/// Bytes that two rows cannot exceed: stamps and 64 counters of 20 digits, with signs and commas.
const TWO_ROWS: usize = 4096;
/// What the encoder may still hold back: zlib's pending output and one block of symbols, generously.
const HELD_BACK: usize = 192 * 1024;

/// A piece of a backup with header lines of its own.
pub struct Chunk {
    /// Base64 of the text, packed or not.
    pub data: String,
    /// Its rows.
    pub rows: u64,
}

/// Cuts the rows that are left of a backup.
pub struct Cutter {
    backup: Backup,
    left: u64,
    chars: u64,
    is_packed: bool,
    row: Row,
}

impl Cutter {
    /// Leaves out `skip` rows and cuts the `send` rows behind them.
    pub fn new(mut backup: Backup, skip: u64, send: u64, chars: u64, is_packed: bool) -> Result<Cutter, Fault> {
        let mut row = Row::default();
        for _ in 0..skip {
            backup.next_row(&mut row)?;
        }
        Ok(Cutter { backup, left: send, chars, is_packed, row })
    }

    /// Whether nothing is left.
    pub fn is_at_end(&self) -> bool {
        self.left == 0
    }

    /// Cuts the next chunk, of at least two rows.
    pub fn next_chunk(&mut self) -> Result<Chunk, Fault> {
        let room = (self.chars / 4 * 3) as usize;
        let mut packing = match self.is_packed {
            true => Packing::Gzip(Box::new(GzEncoder::new(Vec::new(), Compression::new(6)))),
            false => Packing::Plain(Vec::new()),
        };
        let header = self.backup.header();
        packing.write(header.as_bytes());
        let (mut rows, mut text) = (0, header.len());
        while 0 < self.left {
            // A single row that is left goes along: a meter wants two.
            if 2 <= rows && self.left != 1 && packing.is_full(text, room) {
                break;
            }
            if !self.backup.next_row(&mut self.row)? {
                return Err(Fault { line: self.backup.line(), why: "the file has become shorter".into(), io: None });
            }
            self.row.line.push(b'\n');
            packing.write(&self.row.line);
            text += self.row.line.len();
            self.left -= 1;
            rows += 1;
        }
        Ok(Chunk { data: STANDARD.encode(packing.finish()), rows })
    }
}

/// Bytes on their way into a chunk. Writing to memory does not fail.
enum Packing {
    Gzip(Box<GzEncoder<Vec<u8>>>),
    Plain(Vec<u8>),
}

impl Packing {
    fn write(&mut self, bytes: &[u8]) {
        match self {
            Packing::Gzip(encoder) => encoder.write_all(bytes).expect("memory takes it"),
            Packing::Plain(text) => text.extend_from_slice(bytes),
        }
    }

    /// Whether `room` bytes may be used up by two further rows, after `text` bytes were written.
    fn is_full(&self, text: usize, room: usize) -> bool {
        let certain = match self {
            Packing::Gzip(encoder) => encoder.get_ref().len() + text.min(HELD_BACK),
            Packing::Plain(text) => text.len(),
        };
        room <= certain + TWO_ROWS || MAX_TEXT <= text
    }

    fn finish(self) -> Vec<u8> {
        match self {
            Packing::Gzip(encoder) => encoder.finish().expect("memory takes it"),
            Packing::Plain(text) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::format::testing::backup;

    /// As hard to pack as rows get.
    fn text(rows: i64) -> String {
        let noise = |at: i64| at.wrapping_mul(0x9E37_79B9_7F4A_7C15u64 as i64);
        let row = |at: i64| {
            let fields: Vec<String> = (0..8).map(|i| noise(at * 8 + i + 1).to_string()).collect();
            format!("{},{}\n", 1_600_000_000 + at * 60, fields.join(","))
        };
        let head = "meterd-backup,1\nts,a:P,b:P,c:P,d:P,e:P,f:P,g:P,h:P\n";
        head.to_string() + &(0..rows).rev().map(row).collect::<String>()
    }

    fn cut(text: &str, skip: u64, send: u64, chars: u64, is_packed: bool) -> Vec<Chunk> {
        let mut cutter = Cutter::new(backup(text), skip, send, chars, is_packed).unwrap();
        let mut res = Vec::new();
        while !cutter.is_at_end() {
            res.push(cutter.next_chunk().unwrap());
        }
        res
    }

    fn rows_of(chunk: &Chunk) -> Vec<i64> {
        let bytes = STANDARD.decode(&chunk.data).unwrap();
        let mut backup = Backup::read(Box::new(std::io::Cursor::new(bytes))).unwrap();
        let (mut res, mut row) = (Vec::new(), Row::default());
        while backup.next_row(&mut row).unwrap() {
            res.push(row.ts);
        }
        res
    }

    #[test]
    fn chunks_keep_the_limit_and_together_are_the_file() {
        for (rows, chars, is_packed) in [
            (22_000, MAX_CHARS, true),
            (11_000, MAX_CHARS, false),
            (3000, MIN_CHARS, true),
            (5000, 300_000, true),
            (3000, 100_000, false),
        ] {
            let text = text(rows);
            let chunks = cut(&text, 0, rows as u64, chars, is_packed);
            assert!(1 < chunks.len());
            assert!(chunks.iter().all(|it| it.data.len() as u64 <= chars), "{chars} {is_packed}");
            let fullest = chunks.iter().map(|it| it.data.len() as u64).max().unwrap();
            assert!(MAX_CHARS != chars || chars / 10 * 7 < fullest, "{fullest} of {chars}");
            let all: Vec<i64> = chunks.iter().flat_map(rows_of).collect();
            assert_eq!(all.len() as u64, chunks.iter().map(|it| it.rows).sum::<u64>());
            assert!(all.iter().copied().eq((0..rows).rev().map(|it| 1_600_000_000 + it * 60)));
        }
    }

    #[test]
    fn the_same_rows_give_the_same_bytes_wherever_cutting_begins() {
        let text = text(4000);
        let whole = cut(&text, 10, 3000, MIN_CHARS, true);
        let later = cut(&text, 10 + whole[0].rows, 3000 - whole[0].rows, MIN_CHARS, true);
        assert!(2 < whole.len());
        assert!(whole[1..].iter().map(|it| &it.data).eq(later.iter().map(|it| &it.data)));
    }

    #[test]
    fn no_chunk_has_a_single_row() {
        let text = text(800);
        let n = cut(&text, 0, 800, MIN_CHARS, false)[0].rows;
        for send in n - 1..n + 3 {
            let chunks = cut(&text, 0, send, MIN_CHARS, false);
            assert!(chunks.iter().all(|it| 2 <= it.rows), "{send}");
            assert_eq!(chunks.iter().map(|it| it.rows).sum::<u64>(), send);
            assert!(chunks.iter().all(|it| it.data.len() as u64 <= MIN_CHARS));
        }
    }

    #[test]
    fn rows_that_pack_to_nothing_are_still_cut() {
        let row = |at: i64| format!("{},1,1,1,1,1,1,1,1\n", 2_000_000_000 - at);
        let head = "meterd-backup,1\nts,a:P,b:P,c:P,d:P,e:P,f:P,g:P,h:P\n";
        let rows = MAX_TEXT as i64 / 27 + 1000;
        let text = head.to_string() + &(0..rows).map(row).collect::<String>();
        assert_eq!(cut(&text, 0, rows as u64, MAX_CHARS, true).len(), 2);
    }
}
