//! The report for a terminal: what is wrong first in full, then the counts.

use std::fmt::Write;

use super::{Counts, rule_of};
use crate::transcript::Transcript;
use crate::verdict::{Finding, Verdict};

/// The whole report.
pub fn report(transcript: &Transcript, verdicts: &[Verdict]) -> String {
    let mut res = String::new();
    for it in verdicts {
        let rule = rule_of(it);
        let _ = match &it.finding {
            Finding::Kept => continue,
            Finding::Quirk(note) => writeln!(res, "{:5} {}  {}\n      note: {note}", it.mark, it.id, rule.owes),
            Finding::NoEvidence(why) => writeln!(res, "{:5} {}  {why}", it.mark, it.id),
            Finding::Broken { sent, came } => writeln!(
                res,
                "{:5} {}  {} [{}, {}]\n      sent: {sent}\n      came: {came}",
                it.mark,
                it.id,
                rule.owes,
                rule.level.name(),
                rule.clause
            ),
        };
    }
    let counts = Counts::of(verdicts);
    let _ = writeln!(
        res,
        "{}: {} pass, {} fail, {} warn, {} not tested ({} requests)",
        transcript.meter,
        counts.pass,
        counts.fail,
        counts.warn,
        counts.not_tested,
        transcript.exchanges.len()
    );
    res
}
