//! Demo registers for bench mode: a house with a grid connection that goes both ways, a solar plant and a switch, three days
//! of minute rows. The same moment always gives the same rows.

use rusqlite::Transaction;

use super::append::{Sample, append};
use super::schema;
use super::{DbError, Stamp};

const DAYS: i64 = 3;
const MINUTE: i64 = 60;
const DAY: i64 = 86_400;

/// Name and type of each, in the order of their ids.
const REGISTERS: [(&str, &str); 5] = [("Grid", "P"), ("Grid+", "P"), ("Solar", "P"), ("Solar+", "P"), ("Heating", "d")];

/// Fills an empty database up to the last full minute.
pub fn demo(tx: &Transaction, now: Stamp) -> Result<(), DbError> {
    let mut registers = Vec::new();
    for (name, kind) in REGISTERS {
        registers.push(schema::create_register(tx, name, kind)?);
    }
    let end = now.floor() / MINUTE * MINUTE;
    for ts in (end - DAYS * DAY..=end).step_by(MINUTE as usize).filter(|ts| 0 <= *ts) {
        let (solar, heating) = (solar_watts(ts), i64::from(ts / MINUTE % 180 < 40));
        let grid = 350 + noise(ts) % 200 + 1_800 * heating - solar;
        // Increments of power registers are watt-seconds; the plant's inverter draws a little at night.
        let samples = [grid * MINUTE, grid.max(0) * MINUTE, solar * MINUTE, solar.max(0) * MINUTE, heating];
        let samples: Vec<Sample> = registers
            .iter()
            .zip(samples)
            .map(|(it, value)| Sample { did: it.did, discrete: it.is_discrete(), value })
            .collect();
        append(tx, ts, &samples)?;
    }
    Ok(())
}

/// A parabola over the day, with clouds.
fn solar_watts(ts: i64) -> i64 {
    let from_noon = (ts % DAY - DAY / 2).abs() / MINUTE;
    if 360 <= from_noon {
        return -8;
    }
    let clear = 5_000 - 5_000 * from_noon * from_noon / (360 * 360);
    clear - clear * (noise(ts / 600) % 60) / 100
}

/// Small numbers without a pattern to the eye.
fn noise(seed: i64) -> i64 {
    let mut it = (seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    it ^= it >> 29;
    it = it.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (it >> 40) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::register_db::testing::{Scratch, dump};

    #[test]
    fn three_days_that_every_command_finds_work_in() {
        let now = Stamp::parse("1700000030.5").unwrap();
        let make = || {
            let scratch = Scratch::new();
            let mut conn = scratch.db(&[], &[]);
            let tx = conn.transaction().unwrap();
            demo(&tx, now).unwrap();
            tx.commit().unwrap();
            let count = |what: &str| -> i64 {
                conn.query_row(&format!("SELECT count(*) FROM row WHERE {what}"), [], |row| row.get(0)).unwrap()
            };
            assert_eq!(schema::extent(&conn).unwrap(), Some((1_699_999_980 - 3 * DAY, 1_699_999_980)));
            assert_eq!(count("1"), 3 * 1440 + 1);
            assert!(500 < count("r0 > 0") && 500 < count("r0 < 0") && 500 < count("r2 < 0"));
            assert_eq!(count("r1 <> max(r0, 0) OR r3 <> max(r2, 0) OR r4 NOT IN (0, 1)"), 0);
            dump(&conn)
        };
        assert_eq!(make(), make());
    }
}
