//! Register data as a backup has it, and how two backups differ. Of the file's grammar it takes what every one must
//! have: lines in front, the last of which names the columns, then rows of a stamp and whole numbers, separated by
//! commas.

use std::collections::BTreeMap;

use crate::transcript::Exchange;
use crate::verdict::Finding;

/// A register as `/register` lists it.
#[derive(Clone, Debug, PartialEq)]
pub struct Register {
    /// Its column in the database.
    pub did: u64,
    /// Its name.
    pub name: String,
    /// Its type code: `P`.
    pub kind: String,
}

/// A backup.
#[derive(Clone, Debug, Default)]
pub struct Backup {
    /// The lines in front of the rows, as they came.
    pub header: Vec<String>,
    /// What the last of them says of the columns, without that of the stamps.
    pub columns: Vec<String>,
    /// Rows as they came, by their stamps in nanoseconds.
    pub lines: BTreeMap<i128, String>,
    cells: BTreeMap<i128, Vec<Option<i64>>>,
}

/// The registers that `/register` lists.
pub fn registers(exchange: &Exchange) -> Result<Vec<Register>, Finding> {
    let body = exchange.success()?;
    let list = body.get("registers").and_then(|it| it.as_array());
    let list = list.ok_or_else(|| exchange.broken("`registers` must be a list"))?;
    let register = |it: &serde_json::Value| {
        let text = |name: &str| Some(it.get(name)?.as_str()?.to_string());
        Some(Register { did: it.get("did")?.as_u64()?, name: text("name")?, kind: text("type")? })
    };
    // Virtual registers have no column.
    Ok(list.iter().filter_map(register).collect())
}

impl Backup {
    /// Reads a backup; the error says why this is none.
    pub fn read(exchange: &Exchange) -> Result<Backup, Finding> {
        let reply = exchange.status(200)?;
        if reply.body.starts_with(&[0x1f, 0x8b]) {
            return Err(Finding::NoEvidence("the meter's backup is compressed, which is not read here".into()));
        }
        let text = String::from_utf8_lossy(&reply.body);
        let mut res = Backup::default();
        for line in text.lines().filter(|it| !it.trim().is_empty()) {
            match row(line) {
                Some((stamp, cells)) => {
                    res.lines.insert(stamp, line.into());
                    res.cells.insert(stamp, cells);
                }
                None if res.lines.is_empty() => res.header.push(line.into()),
                None => return Err(exchange.broken(format!("{line:?} is no row of a backup"))),
            }
        }
        let columns = res.header.last().map(|it| it.split(',').skip(1).map(|it| it.trim_matches('"').into()).collect());
        res.columns = columns.unwrap_or_default();
        if res.cells.values().any(|it| it.len() != res.columns.len()) {
            return Err(exchange.broken("the line in front of the rows does not name each column"));
        }
        Ok(res)
    }

    /// The column of a register.
    pub fn column(&self, register: &Register) -> Option<usize> {
        let with_type = format!("{}:{}", register.name, register.kind);
        self.columns.iter().position(|it| *it == register.name || *it == with_type)
    }

    /// What a register grew by since its sample before, by stamp; for one of type `d` its values. The oldest sample of
    /// a register that grows is not among them.
    pub fn steps(&self, register: &Register) -> BTreeMap<i128, i64> {
        let Some(column) = self.column(register) else { return BTreeMap::new() };
        let samples = self.cells.iter().filter_map(|(stamp, cells)| Some((*stamp, cells[column]?)));
        if register.kind == "d" {
            return samples.collect();
        }
        let mut before = None;
        let step = |(stamp, value): (i128, i64)| Some((stamp, value.wrapping_sub(before.replace(value)?)));
        samples.filter_map(step).collect()
    }
}

/// Compares the steps of all registers. `want` says which two values a step may have now that was `old`.
pub fn compare(
    registers: &[Register],
    before: &Backup,
    (after, exchange): (&Backup, &Exchange),
    want: impl Fn(&Register, i128, i64) -> [i64; 2],
) -> Result<Finding, Finding> {
    let wrong = |it: &Register, stamp: i128, text: String| {
        Err(exchange.broken(format!("register {} (did {}) at {}: {text}", it.name, it.did, stamp_text(stamp))))
    };
    for register in registers {
        let (old, new) = (before.steps(register), after.steps(register));
        for (stamp, step) in &old {
            let owed = want(register, *stamp, *step);
            match new.get(stamp) {
                Some(step) if owed.contains(step) => {}
                Some(step) => return wrong(register, *stamp, format!("a step of {step}, where {} is owed", owed[0])),
                None if owed.contains(&0) => {}
                None => return wrong(register, *stamp, "the sample is gone".into()),
            }
        }
        let (Some(first), Some(last)) = (old.keys().next(), old.keys().next_back()) else { continue };
        for (stamp, step) in new.range(*first..=*last) {
            if *step != 0 && !old.contains_key(stamp) {
                return wrong(register, *stamp, format!("a step of {step}, where there was no sample"));
            }
        }
    }
    Ok(Finding::Kept)
}

/// A decimal stamp in nanoseconds.
pub fn stamp(text: &str) -> Option<i128> {
    if !super::status::is_decimal(text) {
        return None;
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fraction = format!("{fraction:0<9}");
    whole.parse::<i128>().ok()?.checked_mul(1_000_000_000)?.checked_add(fraction[..9].parse::<i128>().ok()?)
}

/// The same as text, with all nine digits where there is a fraction.
pub fn stamp_text(stamp: i128) -> String {
    match (stamp / 1_000_000_000, stamp % 1_000_000_000) {
        (whole, 0) => whole.to_string(),
        (whole, fraction) => format!("{whole}.{fraction:09}"),
    }
}

fn row(line: &str) -> Option<(i128, Vec<Option<i64>>)> {
    let (ts, rest) = line.split_once(',')?;
    let cell = |it: &str| match it.trim() {
        "" => Some(None),
        it => it.parse::<i64>().or_else(|_| it.parse::<u64>().map(|it| it as i64)).ok().map(Some),
    };
    Some((stamp(ts.trim())?, rest.split(',').map(cell).collect::<Option<_>>()?))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{broken, exchange, kept};
    use super::*;

    fn backup(rows: &str) -> (Backup, Exchange) {
        let body = format!("some-backup 7\nwhen,A:P,B:d\n{rows}");
        let exchange = exchange("a", "b", 0.0, b"GET /register HTTP/1.1\r\n\r\n", 200, &body);
        (Backup::read(&exchange).unwrap(), exchange)
    }

    fn registers() -> Vec<Register> {
        let register = |did, name: &str, kind: &str| Register { did, name: name.into(), kind: kind.into() };
        vec![register(3, "A", "P"), register(4, "B", "d")]
    }

    #[test]
    fn steps_are_differences_and_values_of_discrete_registers() {
        let (backup, _) = backup("40,9223372036854775807,1\n30.5,,0\n20,-9223372036854775808,1\n10,5,1\n");
        assert_eq!(backup.header.len(), 2);
        let steps = backup.steps(&registers()[0]);
        let second = 1_000_000_000;
        assert_eq!(steps, BTreeMap::from([(20 * second, i64::MIN.wrapping_sub(5)), (40 * second, -1)]));
        assert_eq!(backup.steps(&registers()[1]).len(), 4);
    }

    #[test]
    fn what_is_not_as_it_was_is_found() {
        let (before, _) = backup("40,30,1\n30,20,0\n20,10,1\n10,0,1\n");
        let check = |rows| {
            let (after, exchange) = backup(rows);
            compare(&registers(), &before, (&after, &exchange), |_, _, old| [old; 2])
        };
        kept(check("50,99,0\n40,130,1\n30,120,0\n20,110,1\n10,100,1\n"));
        broken(check("40,30,1\n30,20,0\n20,11,1\n10,0,1\n"));
        broken(check("40,30,1\n20,10,1\n10,0,1\n"));
        broken(check("40,30,1\n30,20,1\n20,10,1\n10,0,1\n"));
        broken(check("40,30,1\n35,25,1\n30,20,0\n20,10,1\n10,0,1\n"));
    }

    #[test]
    fn stamps_keep_nine_digits() {
        for text in ["1795387680", "1795387680.000000001", "0.999999999"] {
            assert_eq!(stamp_text(stamp(text).unwrap()), text);
        }
        assert_eq!((stamp("1e9"), stamp("-1"), stamp("1.5")), (None, None, Some(1_500_000_000)));
        assert_eq!(stamp(&"9".repeat(35)), None);
    }
}
