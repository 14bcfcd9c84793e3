//! The report for documents: counts, what failed in full, and a table of all rules that a lab can paste.

use std::fmt::Write;

use super::{Counts, rule_of};
use crate::transcript::Transcript;
use crate::verdict::{Finding, Mark, Verdict};

/// The whole report.
pub fn report(transcript: &Transcript, verdicts: &[Verdict]) -> String {
    let counts = Counts::of(verdicts);
    let allowed: Vec<_> = transcript.allowed.iter().map(|it| it.name()).collect();
    let mut res = format!("# Conformance of {}\n\n", inline(&transcript.meter));
    let _ = writeln!(
        res,
        "meter-conformance {}, {} requests, begun at Unix time {}. Classes that were allowed: {}.\n",
        env!("CARGO_PKG_VERSION"),
        transcript.exchanges.len(),
        transcript.begun,
        allowed.join(", ")
    );
    if let Some(why) = &transcript.gone {
        let _ = writeln!(res, "**The run ended early:** {}\n", inline(why));
    }
    res.push_str("| rules | PASS | FAIL | WARN | NOT_TESTED | notes |\n|---|---|---|---|---|---|\n");
    let _ = writeln!(
        res,
        "| {} | {} | {} | {} | {} | {} |",
        verdicts.len(),
        counts.pass,
        counts.fail,
        counts.warn,
        counts.not_tested,
        counts.notes
    );
    for (mark, title) in [(Mark::Fail, "Failures"), (Mark::Warn, "Warnings")] {
        let broken: Vec<_> = verdicts.iter().filter(|it| it.mark == mark).collect();
        if !broken.is_empty() {
            let _ = writeln!(res, "\n## {title}");
            broken.into_iter().for_each(|it| full(&mut res, it));
        }
    }
    res.push_str("\n## All rules\n\n| rule | level | result | what a meter owes |\n|---|---|---|---|\n");
    for it in verdicts {
        let rule = rule_of(it);
        let remark = match &it.finding {
            Finding::Quirk(note) => format!(" Note: {}", inline(note)),
            Finding::NoEvidence(why) => format!(" Not tested: {}", inline(why)),
            Finding::Kept | Finding::Broken { .. } => String::new(),
        };
        let (level, owes) = (rule.level.name(), inline(rule.owes));
        let _ = writeln!(res, "| {} | {level} | {} | {owes}{remark} |", it.id, it.mark);
    }
    res
}

/// A rule that was broken, with what shows it.
fn full(res: &mut String, verdict: &Verdict) {
    let rule = rule_of(verdict);
    let _ = writeln!(res, "\n### {}\n\n{} ({}, {})\n", verdict.id, rule.owes, rule.level.name(), inline(rule.clause));
    match &verdict.finding {
        Finding::Broken { sent, came } => {
            let _ = write!(res, "{}{}", code("sent", sent), code("came", came));
        }
        Finding::Quirk(note) => {
            let _ = writeln!(res, "{}", inline(note));
        }
        Finding::Kept | Finding::NoEvidence(_) => {}
    }
}

/// An indented block: whatever stands in it stays as it is.
fn code(name: &str, text: &str) -> String {
    let line: String = text.chars().map(|it| if it.is_control() { ' ' } else { it }).collect();
    format!("    {name}: {line}\n")
}

/// Text that cannot end a cell of a table or begin a tag.
fn inline(text: &str) -> String {
    let plain: String = text.chars().map(|it| if it.is_control() { ' ' } else { it }).collect();
    plain.replace('\\', "\\\\").replace('|', "\\|").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::some_verdicts;

    #[test]
    fn failures_are_told_in_full_and_every_rule_has_its_row() {
        let transcript = Transcript { meter: "http://m/api".into(), ..Transcript::default() };
        let text = report(&transcript, &some_verdicts());
        assert!(text.contains("| 5 | 2 | 1 | 1 | 1 | 1 |"), "{text}");
        assert!(text.contains("    sent: GET <x>\n    came:  \"no\"\n"), "{text}");
        assert!(text.contains("Note: a \\| b &lt;c>"), "{text}");
        let table = text.split("## All rules").nth(1).unwrap();
        assert_eq!(table.lines().filter(|it| it.starts_with("| auth/")).count(), 5);
    }
}
