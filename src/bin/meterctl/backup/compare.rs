//! Whether a meter's rows say what a restored file says: increments, not counters, per register, in the restored time.
//!
//! Two things may differ after a right restore, and count for nothing here: the increment of a register's oldest restored
//! sample, whose older neighbour the file has not; and a newer sample whose span reached into the restored time, from
//! which the restored energy was taken. Rows that a meter has put together since, because it keeps old ones coarser, are
//! told from wrong ones: what they add up to must be the same.

use super::format::Row;
use super::survey::{Column, Wanted};
use crate::failure::Failure;

/// Differences that are named one by one.
const MAX_NAMED: usize = 5;

/// What came out.
#[derive(Debug, Default, PartialEq)]
pub struct Verdict {
    /// Increments that were compared and are the same.
    pub same: u64,
    /// Samples that the meter has put together with a younger one, adding up to the same.
    pub merged: u64,
    /// Differences.
    pub wrong: u64,
    /// The first of them: register, stamp, what it is.
    pub named: Vec<(String, i64, String)>,
}

impl Verdict {
    fn wrong(&mut self, register: &str, ts: i64, what: String) {
        self.wrong += 1;
        if self.named.len() < MAX_NAMED {
            self.named.push((register.into(), ts, what));
        }
    }
}

/// How far one register has been compared, coming from the youngest row.
struct Course<'a> {
    column: &'a Column,
    /// Its field in the meter's rows.
    field: usize,
    /// The youngest sample that is not closed off by an older one yet, as the meter has it: stamp and counters.
    open: Option<Open>,
    /// The file's neighbour below the wanted time; what is left is the meter's own next sample at or below it.
    neighbour: Option<(i64, i64)>,
    is_over: bool,
}

struct Open {
    ts: i64,
    file: i64,
    meter: i64,
    /// Samples of the file since, which the meter has not.
    missing: u64,
}

/// Compares two backups row by row in steady memory. `file` must be the one that was surveyed; `fields` says which field of the
/// meter's rows each of its columns is. `coarse_below` is the stamp below which the meter may keep rows coarser.
/// `on_stamp` is told where it is. Ends as soon as nothing is left to compare.
pub fn compare(
    file: &mut dyn FnMut(&mut Row) -> Result<bool, Failure>,
    meter: &mut dyn FnMut(&mut Row) -> Result<bool, Failure>,
    columns: &[Column],
    fields: &[Option<usize>],
    wanted: &Wanted,
    coarse_below: Option<i64>,
    on_stamp: &mut dyn FnMut(i64),
) -> Result<Verdict, Failure> {
    let mut verdict = Verdict::default();
    let mut courses = Vec::new();
    for (at, column) in columns.iter().enumerate().filter(|(_, it)| it.is_wanted && it.youngest.is_some()) {
        match fields.get(at).copied().flatten() {
            Some(field) => {
                courses.push((at, Course { column, field, open: None, neighbour: None, is_over: false }));
            }
            None => verdict.wrong(
                &column.register.name,
                column.youngest.unwrap_or(0),
                "the meter has no such register".into(),
            ),
        }
    }
    let (mut ours, mut theirs) = (Row::default(), Row::default());
    let mut has_ours = file(&mut ours)?;
    let mut has_theirs = meter(&mut theirs)?;
    while courses.iter().any(|(_, it)| !it.is_over) && (has_ours || has_theirs) {
        let ts = match (has_ours, has_theirs) {
            (true, true) => ours.ts.max(theirs.ts),
            (true, false) => ours.ts,
            _ => theirs.ts,
        };
        let (take_ours, take_theirs) = (has_ours && ours.ts == ts, has_theirs && theirs.ts == ts);
        for (at, course) in &mut courses {
            let ours = if take_ours { ours.fields[*at] } else { None };
            let theirs = if take_theirs { theirs.fields.get(course.field).copied().flatten() } else { None };
            if !course.is_over {
                course.step(ts, ours, theirs, wanted, coarse_below, &mut verdict);
            }
        }
        on_stamp(ts);
        if take_ours {
            has_ours = file(&mut ours)?;
        }
        if take_theirs {
            has_theirs = meter(&mut theirs)?;
        }
    }
    for (_, course) in &mut courses {
        course.end(coarse_below, &mut verdict);
    }
    Ok(verdict)
}

impl Course<'_> {
    fn step(
        &mut self,
        ts: i64,
        ours: Option<i64>,
        theirs: Option<i64>,
        wanted: &Wanted,
        coarse_below: Option<i64>,
        verdict: &mut Verdict,
    ) {
        let oldest = self.column.oldest.unwrap_or(i64::MAX);
        let is_restored = self.column.youngest.is_some_and(|youngest| ts <= youngest) && oldest <= ts;
        if let Some(file) = ours.filter(|_| is_restored && wanted.is_below(ts)) {
            self.neighbour = Some((ts, file));
        } else if let Some(file) = ours.filter(|_| is_restored) {
            match theirs {
                Some(meter) => self.both(ts, file, meter, coarse_below, verdict),
                None => self.missing(ts, coarse_below, verdict),
            }
            if ts == oldest {
                // Without a neighbour in the file, what the meter has below is its own.
                self.is_over = true;
            }
            return;
        }
        let Some(meter) = theirs else { return };
        match self.neighbour {
            Some((at, file)) if ts <= at => {
                if let Some(open) = self.open.take() {
                    self.close(open, file, meter, coarse_below, verdict);
                }
                self.is_over = true;
            }
            _ if is_restored && ours.is_none() => {
                verdict.wrong(self.name(), ts, "the meter has a sample here that the file has not".into());
            }
            _ => {}
        }
    }

    fn both(&mut self, ts: i64, file: i64, meter: i64, coarse_below: Option<i64>, verdict: &mut Verdict) {
        if self.column.register.is_discrete() {
            match file == meter {
                true => verdict.same += 1,
                false => verdict.wrong(self.name(), ts, format!("{meter} instead of {file}")),
            }
            return;
        }
        if let Some(open) = self.open.take() {
            self.close(open, file, meter, coarse_below, verdict);
        }
        self.open = Some(Open { ts, file, meter, missing: 0 });
    }

    /// The increment of the open sample, now that its older neighbour is known on both sides. Counters wrap.
    fn close(&self, open: Open, file: i64, meter: i64, coarse_below: Option<i64>, verdict: &mut Verdict) {
        let (expect, got) = (open.file.wrapping_sub(file), open.meter.wrapping_sub(meter));
        let may_merge = coarse_below.is_none_or(|it| open.ts < it);
        if expect != got {
            verdict.wrong(self.name(), open.ts, format!("it grew by {got} instead of {expect}"));
        } else if 0 < open.missing && !may_merge {
            verdict.wrong(self.name(), open.ts, format!("{} samples before it are missing", open.missing));
        } else {
            verdict.same += 1;
            verdict.merged += open.missing;
        }
    }

    fn missing(&mut self, ts: i64, coarse_below: Option<i64>, verdict: &mut Verdict) {
        let may_merge = coarse_below.is_none_or(|it| ts < it);
        match &mut self.open {
            Some(open) if !self.column.register.is_discrete() => open.missing += 1,
            _ if may_merge => verdict.merged += 1,
            _ => verdict.wrong(self.name(), ts, "the meter has no sample here".into()),
        }
    }

    /// The rows of one side ended: whatever is open has no older neighbour to compare with, which is no difference,
    /// unless samples are missing that the meter should still have.
    fn end(&mut self, coarse_below: Option<i64>, verdict: &mut Verdict) {
        let Some(open) = self.open.take() else { return };
        if coarse_below.is_none_or(|it| open.ts < it) {
            verdict.merged += open.missing;
        } else if 0 < open.missing {
            verdict.wrong(self.name(), open.ts, format!("{} samples before it are missing", open.missing));
        }
    }

    fn name(&self) -> &str {
        &self.column.register.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::format::Register;
    use crate::backup::format::testing::backup;

    const FILE: &str = "600,60\n540,48\n480,40\n420,33\n360,30\n";

    /// Compares rows of one register, of type `kind`, in a time.
    fn check(kind: &str, file: &str, meter: &str, from: Option<i64>, to: Option<i64>, coarse: Option<i64>) -> Verdict {
        let head = format!("meterd-backup,1\nts,a:{kind}\n");
        let wanted = Wanted { from, to, names: None };
        let (mut ours, mut theirs) = (backup(&format!("{head}{file}")), backup(&format!("{head}{meter}")));
        let mut column = Column {
            register: Register { name: "a".into(), kind: kind.into() },
            is_wanted: true,
            youngest: None,
            oldest: None,
            samples: 0,
        };
        let stamps = file
            .lines()
            .filter(|it| !it.ends_with(','))
            .map(|it| it.split(',').next().unwrap().parse::<i64>().unwrap());
        for ts in stamps {
            if wanted.has(ts) {
                column.youngest.get_or_insert(ts);
                column.oldest = Some(ts);
            } else if wanted.is_below(ts) && column.oldest.is_some_and(|it| !wanted.is_below(it)) {
                column.oldest = Some(ts);
            }
        }
        compare(
            &mut |row| Ok(ours.next_row(row).unwrap()),
            &mut |row| Ok(theirs.next_row(row).unwrap()),
            &[column],
            &[Some(0)],
            &wanted,
            coarse,
            &mut |_| {},
        )
        .unwrap()
    }

    fn whole(meter: &str) -> Verdict {
        check("P", FILE, meter, None, None, Some(0))
    }

    #[test]
    fn increments_count_and_counters_do_not() {
        let verdict = whole("600,1060\n540,1048\n480,1040\n420,1033\n360,1030\n");
        assert_eq!((verdict.same, verdict.wrong), (4, 0));
        let verdict = whole("600,1060\n540,1048\n480,1041\n420,1033\n360,1030\n");
        assert_eq!((verdict.same, verdict.wrong), (2, 2));
        assert_eq!(verdict.named[0], ("a".into(), 540, "it grew by 7 instead of 8".into()));
    }

    #[test]
    fn the_oldest_sample_and_what_lies_outside_are_not_compared() {
        let verdict = whole("700,999\n600,60\n540,48\n480,40\n420,33\n360,30\n330,-500\n300,7\n");
        assert_eq!((verdict.same, verdict.wrong), (4, 0));
    }

    #[test]
    fn counters_may_wrap() {
        let file = format!("180,{}\n120,{}\n60,{}\n", i64::MIN + 4, i64::MAX, i64::MAX - 9);
        assert_eq!(check("P", &file, "180,14\n120,9\n60,0\n", None, None, Some(0)).same, 2);
    }

    #[test]
    fn missing_and_additional_samples_are_differences() {
        let verdict = whole("600,60\n540,48\n420,33\n360,30\n");
        assert_eq!((verdict.wrong, verdict.merged), (1, 0), "{verdict:?}");
        let verdict = whole("600,60\n540,48\n510,44\n480,40\n420,33\n360,30\n");
        assert_eq!((verdict.same, verdict.wrong), (4, 1), "{verdict:?}");
        assert!(0 < whole("").wrong);
        assert!(0 < whole("600,60\n").wrong);
    }

    #[test]
    fn rows_that_were_put_together_since_add_up() {
        let verdict = check("P", FILE, "600,60\n480,40\n360,30\n", None, None, Some(10_000));
        assert_eq!((verdict.same, verdict.merged, verdict.wrong), (2, 2, 0));
        let verdict = check("P", FILE, "600,60\n480,41\n360,30\n", None, None, Some(10_000));
        assert_eq!(verdict.wrong, 2);
    }

    #[test]
    fn in_a_range_the_neighbour_below_it_counts() {
        for (meter, wrong) in [
            ("600,9\n540,148\n480,140\n400,133\n", 0),
            ("600,9\n540,148\n480,140\n450,7\n400,133\n", 1),
            ("600,9\n540,148\n480,140\n430,133\n400,133\n", 1),
            ("600,9\n540,148\n480,140\n400,134\n", 1),
            ("600,9\n540,148\n480,140\n", 0),
            ("600,9\n540,148\n400,140\n", 1),
        ] {
            let verdict = check("P", FILE, meter, Some(450), Some(560), Some(0));
            assert_eq!(verdict.wrong, wrong, "{meter:?}: {verdict:?}");
        }
    }

    #[test]
    fn discrete_registers_are_compared_by_value() {
        assert_eq!(check("d", "180,1\n120,0\n", "180,1\n120,0\n", None, None, Some(0)).same, 2);
        assert_eq!(check("d", "180,1\n120,0\n", "180,11\n120,10\n", None, None, Some(0)).wrong, 2);
    }
}
