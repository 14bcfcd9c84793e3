//! Two flat buffers of rows, youngest first: what was read of the file, and what the database has in a window of time.
//! No allocation per row; the number of rows follows from a fixed number of bytes.

use rusqlite::{Connection, Row, types::ValueRef};

use crate::drivers::register_db::DbError;

/// Bytes that the rows of the file take. They are written oldest first, so the more there are at once the fuller SQLite's
/// pages get.
const FILE_BYTES: usize = 256 * 1024;

/// Bytes that the rows of the database take.
const FOUND_BYTES: usize = 96 * 1024;

/// Rows of one sample per column; a mask says which samples are there.
pub(super) struct Rows {
    columns: usize,
    capacity: usize,
    start: usize,
    ts: Vec<i64>,
    present: Vec<u64>,
    values: Vec<i64>,
}

impl Rows {
    /// A buffer for the rows of the file.
    pub(super) fn of_file(columns: usize) -> Rows {
        Rows::new(columns, FILE_BYTES)
    }

    fn new(columns: usize, bytes: usize) -> Rows {
        let capacity = (bytes / (8 * (columns + 2))).max(16);
        Rows {
            columns,
            capacity,
            start: 0,
            ts: Vec::with_capacity(capacity),
            present: Vec::with_capacity(capacity),
            values: Vec::with_capacity(capacity * columns),
        }
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn len(&self) -> usize {
        self.ts.len() - self.start
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() == self.capacity
    }

    pub(super) fn ts(&self, i: usize) -> i64 {
        self.ts[self.start + i]
    }

    pub(super) fn present(&self, i: usize) -> u64 {
        self.present[self.start + i]
    }

    pub(super) fn values(&self, i: usize) -> &[i64] {
        let at = (self.start + i) * self.columns;
        &self.values[at..at + self.columns]
    }

    pub(super) fn push(&mut self, ts: i64, present: u64, values: &[i64]) {
        self.ts.push(ts);
        self.present.push(present);
        self.values.extend_from_slice(values);
    }

    /// Drops the youngest `n` rows.
    pub(super) fn consume(&mut self, n: usize) {
        self.start += n;
    }

    /// Moves what is left to the front, so that there is room again.
    pub(super) fn compact(&mut self) {
        self.ts.drain(..self.start);
        self.present.drain(..self.start);
        self.values.drain(..self.start * self.columns);
        self.start = 0;
    }

    fn clear(&mut self) {
        self.consume(self.len());
        self.compact();
    }
}

/// The rows that the database has in a window.
pub(super) struct Found {
    pub rows: Rows,
    /// Whether each has a sample of a register that is not restored.
    pub others: Vec<bool>,
}

impl Found {
    pub(super) fn new(columns: usize) -> Found {
        Found { rows: Rows::new(columns, FOUND_BYTES), others: Vec::new() }
    }

    /// Loads the youngest `most` rows with `low <= ts < high`. `columns` tells which selected field of the statement,
    /// counted from its third, goes to which column.
    pub(super) fn load(
        &mut self,
        conn: &Connection,
        sql: &str,
        columns: &[usize],
        (low, high): (i64, i64),
        most: usize,
    ) -> Result<(), DbError> {
        self.rows.clear();
        self.others.clear();
        let mut stmt = conn.prepare_cached(sql)?;
        let mut found = stmt.query((low, high, most as i64))?;
        let mut values = [0; u64::BITS as usize];
        while let Some(row) = found.next()? {
            let mut present = 0;
            for (field, column) in columns.iter().enumerate() {
                if let Some(sample) = sample(row, field + 2)? {
                    values[*column] = sample;
                    present |= 1 << column;
                }
            }
            self.rows.push(row.get(0)?, present, &values[..self.rows.columns]);
            self.others.push(row.get(1)?);
        }
        Ok(())
    }
}

fn sample(row: &Row, field: usize) -> Result<Option<i64>, DbError> {
    match row.get_ref(field)? {
        ValueRef::Integer(sample) => Ok(Some(sample)),
        _ => Ok(None),
    }
}
