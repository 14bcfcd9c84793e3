//! The rows of a checked backup as the staged file keeps them until they are applied: differences as variable-length
//! integers, a few bytes a field. Reading them back costs next to nothing, so the text is inflated and parsed only once.
//! It trusts what it reads as far as memory safety does: the file is the service's own.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use super::DbError;
use super::schema::MAX_REGISTERS;

const BUFFER: usize = 16 * 1024;
/// Bytes of a row at most: stamp, mask and every field at the longest a 64-bit integer can get.
const MAX_PACKED: usize = 10 * (2 + MAX_REGISTERS);

/// What both sides know of the row above.
struct Above {
    ts: i64,
    present: u64,
    counters: [i64; MAX_REGISTERS],
}

impl Above {
    const NONE: Above = Above { ts: 0, present: 0, counters: [0; MAX_REGISTERS] };
}

/// Packs rows, youngest first.
pub(super) struct Packer<'a> {
    sink: &'a mut dyn Write,
    buffer: Vec<u8>,
    above: Above,
}

impl<'a> Packer<'a> {
    pub(super) fn new(sink: &'a mut dyn Write) -> Packer<'a> {
        Packer { sink, buffer: Vec::with_capacity(BUFFER), above: Above::NONE }
    }

    /// Adds a row; `values` holds something for every set bit of `present`.
    pub(super) fn row(&mut self, ts: i64, present: u64, values: &[i64]) -> io::Result<()> {
        if BUFFER < self.buffer.len() + MAX_PACKED {
            self.flush()?;
        }
        // The mask rarely changes, so one bit says whether it does.
        let changed = present != self.above.present;
        put(&mut self.buffer, zigzag(self.above.ts.wrapping_sub(ts)));
        put(&mut self.buffer, if changed { 1 } else { 0 });
        if changed {
            put(&mut self.buffer, present);
        }
        let mut mask = present;
        while mask != 0 {
            let i = mask.trailing_zeros() as usize;
            mask &= mask - 1;
            put(&mut self.buffer, zigzag(self.above.counters[i].wrapping_sub(values[i])));
            self.above.counters[i] = values[i];
        }
        (self.above.ts, self.above.present) = (ts, present);
        Ok(())
    }

    /// Hands on what is still in the buffer.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.sink.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

/// Reads packed rows.
pub(super) struct Unpacker {
    file: File,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    rows: u64,
    above: Above,
}

impl Unpacker {
    pub(super) fn open(path: &Path) -> Result<Unpacker, DbError> {
        let file = File::open(path).map_err(|err| DbError::FileRead(0, err))?;
        Ok(Unpacker { file, buffer: vec![0; BUFFER], start: 0, end: 0, rows: 0, above: Above::NONE })
    }

    /// The next row's stamp and mask, its fields in `values`; nothing at the end of the file.
    pub(super) fn row(&mut self, values: &mut [i64]) -> Result<Option<(i64, u64)>, DbError> {
        if self.end - self.start < MAX_PACKED {
            self.fill().map_err(|err| DbError::FileRead(self.rows, err))?;
        }
        if self.start == self.end {
            return Ok(None);
        }
        let res = self.unpack(values);
        self.rows += 1;
        res.map(Some).ok_or_else(|| DbError::FileRead(self.rows, io::ErrorKind::UnexpectedEof.into()))
    }

    fn unpack(&mut self, values: &mut [i64]) -> Option<(i64, u64)> {
        let ts = self.above.ts.wrapping_sub(unzigzag(self.take()?));
        if self.take()? == 1 {
            self.above.present = self.take()?;
        }
        self.above.ts = ts;
        let mut mask = self.above.present;
        while mask != 0 {
            let i = mask.trailing_zeros() as usize;
            mask &= mask - 1;
            let counter = self.above.counters[i].wrapping_sub(unzigzag(self.take()?));
            self.above.counters[i] = counter;
            *values.get_mut(i)? = counter;
        }
        Some((ts, self.above.present))
    }

    /// The next integer (LEB128).
    fn take(&mut self) -> Option<u64> {
        let mut res = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.buffer[..self.end].get(self.start)?;
            self.start += 1;
            res |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(res);
            }
        }
        None
    }

    fn fill(&mut self) -> io::Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        while self.end < MAX_PACKED {
            match self.file.read(&mut self.buffer[self.end..]) {
                Ok(0) => break,
                Ok(n) => self.end += n,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }
}

/// Appends an integer, seven bits a byte (LEB128).
fn put(out: &mut Vec<u8>, mut value: u64) {
    while 0x80 <= value {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Small numbers of either sign become small numbers.
fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::register_db::testing::Scratch;

    fn round_trip(rows: &[(i64, u64, Vec<i64>)]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut packer = Packer::new(&mut out);
        for (ts, present, values) in rows {
            packer.row(*ts, *present, values).unwrap();
        }
        packer.flush().unwrap();
        let scratch = Scratch::new();
        let mut unpacker = Unpacker::open(&scratch.file("rows", &out)).unwrap();
        let mut values = [0; MAX_REGISTERS];
        for (ts, present, expect) in rows {
            assert_eq!(unpacker.row(&mut values).unwrap(), Some((*ts, *present)));
            for i in (0..64).filter(|i| present >> i & 1 == 1) {
                assert_eq!(values[i], expect[i], "field {i} of row {ts}");
            }
        }
        assert_eq!(unpacker.row(&mut values).unwrap(), None);
        out
    }

    #[test]
    fn rows_come_back_as_they_went_in() {
        round_trip(&[]);
        let wide = |at: i64| (0..64).map(|i| at.wrapping_mul(0x9E37_79B9_7F4A_7C15u64 as i64) ^ i).collect::<Vec<_>>();
        let rows: Vec<_> = (0..500).map(|at| (1_700_000_000 - at * 60, u64::MAX >> (at % 64), wide(at))).collect();
        round_trip(&rows);
        let edges = vec![i64::MIN, i64::MAX, 0, -1];
        round_trip(&[(i64::MAX, 15, edges.clone()), (0, 0, vec![]), (-5, 10, edges), (i64::MIN, 1, vec![7])]);
    }

    #[test]
    fn steady_counters_take_two_bytes_a_field() {
        let rows: Vec<_> = (0..1000).map(|at| (1_700_000_000 - at * 60, 3, vec![at * 5000, -at * 5000])).collect();
        let bytes = round_trip(&rows).len();
        assert!(bytes < 1000 * 8, "{bytes}");
    }

    #[test]
    fn a_shortened_file_is_noticed() {
        let mut out = Vec::new();
        let mut packer = Packer::new(&mut out);
        packer.row(100, 1, &[1 << 40]).unwrap();
        packer.flush().unwrap();
        let scratch = Scratch::new();
        let mut unpacker = Unpacker::open(&scratch.file("rows", &out[..out.len() - 1])).unwrap();
        assert!(unpacker.row(&mut [0]).is_err());
    }
}
