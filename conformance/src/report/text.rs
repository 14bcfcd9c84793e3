//! The report for a terminal: what is wrong first in full, then the counts.

use std::fmt::Write;

use super::rule_of;
use crate::transcript::Transcript;
use crate::verdict::{Finding, Mark, Verdict};

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
    let count = |mark| verdicts.iter().filter(|it| it.mark == mark).count();
    let _ = writeln!(
        res,
        "{}: {} pass, {} fail, {} warn, {} not tested ({} requests)",
        transcript.meter,
        count(Mark::Pass),
        count(Mark::Fail),
        count(Mark::Warn),
        count(Mark::NotTested),
        transcript.exchanges.len()
    );
    res
}
