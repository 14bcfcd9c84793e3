//! The report for a terminal: what is wrong first in full, then the counts.

use std::fmt::Write;

use super::{Counts, rule_of};
use crate::danger::Class;
use crate::transcript::Transcript;
use crate::verdict::{Finding, Verdict};

/// The whole report.
pub fn report(transcript: &Transcript, verdicts: &[Verdict]) -> String {
    let mut res = String::new();
    for it in verdicts {
        if !is_allowed(transcript, it.class) {
            continue;
        }
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
    for class in Class::ALL.into_iter().filter(|it| !is_allowed(transcript, *it)) {
        let count = verdicts.iter().filter(|it| it.class == class).count();
        if 0 < count {
            let _ = writeln!(res, "NOT_TESTED {count} rules of class {class}, which was not allowed");
        }
    }
    if let Some(why) = &transcript.gone {
        let _ = writeln!(res, "The run ended early: {why}");
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

fn is_allowed(transcript: &Transcript, class: Class) -> bool {
    class == Class::Safe || transcript.allowed.contains(&class)
}
