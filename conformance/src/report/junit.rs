//! The report for build servers: JUnit's XML as they read it, a test case for each rule. What JUnit has no word for, a
//! warning and a note, stands in the case's output.

use std::fmt::Write;

use super::{Counts, rule_of};
use crate::transcript::Transcript;
use crate::verdict::{Finding, Mark, Rule, Verdict};

/// The whole report; a suite for each area of the catalogue, told by the rules' ids.
pub fn report(transcript: &Transcript, verdicts: &[Verdict]) -> String {
    let mut res = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let (counts, early) = (Counts::of(verdicts), usize::from(transcript.gone.is_some()));
    let _ = writeln!(
        res,
        "<testsuites name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{early}\">",
        escaped(&transcript.meter),
        verdicts.len() + early,
        counts.fail
    );
    if let Some(why) = &transcript.gone {
        // What a build server shows of a run that proves nothing, or it would pass for one that does.
        res.push_str(" <testsuite name=\"run\" tests=\"1\" failures=\"0\" errors=\"1\" skipped=\"0\">\n");
        res.push_str("  <testcase classname=\"run\" name=\"The run comes to its end.\">");
        let _ = writeln!(res, "<error message=\"The run ended early: {}\"/></testcase>", escaped(why));
        res.push_str(" </testsuite>\n");
    }
    for suite in verdicts.chunk_by(|a, b| place(a) == place(b)) {
        let counts = Counts::of(suite);
        let _ = writeln!(
            res,
            " <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\">",
            place(&suite[0]),
            suite.len(),
            counts.fail,
            counts.not_tested
        );
        for it in suite {
            case(&mut res, it);
        }
        res.push_str(" </testsuite>\n");
    }
    res.push_str("</testsuites>\n");
    res
}

fn case(res: &mut String, verdict: &Verdict) {
    let rule = rule_of(verdict);
    let owes = escaped(rule.owes);
    let _ = write!(res, "  <testcase classname=\"{}\" name=\"{} {owes}\"", place(verdict), verdict.id);
    let inside = match (&verdict.finding, verdict.mark) {
        (Finding::Kept, _) => {
            res.push_str("/>\n");
            return;
        }
        (Finding::NoEvidence(why), _) => format!("<skipped message=\"{}\"/>", escaped(why)),
        (Finding::Quirk(note), Mark::Fail) => failure(rule, note),
        (Finding::Quirk(note), _) => format!("<system-out>note: {}</system-out>", escaped(note)),
        (Finding::Broken { sent, came }, Mark::Fail) => {
            failure(rule, &format!("clause: {}\nsent: {sent}\ncame: {came}", rule.clause))
        }
        (Finding::Broken { sent, came }, _) => {
            format!("<system-out>warning\nsent: {}\ncame: {}</system-out>", escaped(sent), escaped(came))
        }
    };
    let _ = writeln!(res, ">{inside}</testcase>");
}

fn failure(rule: &Rule, what: &str) -> String {
    let (kind, owes) = (rule.level.name(), escaped(rule.owes));
    format!("<failure type=\"{kind}\" message=\"{owes}\">{}</failure>", escaped(what))
}

/// The id without its number.
fn place(verdict: &Verdict) -> &'static str {
    verdict.id.rsplit_once('/').map_or(verdict.id, |it| it.0)
}

/// Text for XML 1.0, which has no way to write most control characters.
fn escaped(text: &str) -> String {
    let mut res = String::with_capacity(text.len());
    for it in text.chars() {
        match it {
            '&' => res.push_str("&amp;"),
            '<' => res.push_str("&lt;"),
            '>' => res.push_str("&gt;"),
            '"' => res.push_str("&quot;"),
            '\n' | '\t' => res.push(it),
            '\u{fffe}' | '\u{ffff}' => res.push('\u{fffd}'),
            it if it.is_control() => res.push('\u{fffd}'),
            it => res.push(it),
        }
    }
    res
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::some_verdicts;

    #[test]
    fn every_kind_of_verdict_has_its_place_and_text_is_escaped() {
        let transcript = Transcript { meter: "http://m/api?<&>".into(), ..Transcript::default() };
        let text = report(&transcript, &some_verdicts());
        assert!(text.contains("<testsuites name=\"http://m/api?&lt;&amp;&gt;\" tests=\"5\" failures=\"1\""), "{text}");
        assert!(text.contains("sent: GET &lt;x&gt;\ncame: \u{fffd}&quot;no&quot;</failure>"), "{text}");
        assert_eq!(text.matches("<testcase ").count(), 5);
        assert_eq!(text.matches("<skipped ").count(), 1);
        assert_eq!(text.matches("<system-out>").count(), 2);
        assert_eq!(text.matches("<testsuite ").count(), text.matches("</testsuite>").count());
        assert!(text.contains("errors=\"0\"") && !text.contains("<error"), "{text}");
        let text = report(&Transcript { gone: Some("silence".into()), ..transcript }, &some_verdicts());
        assert!(text.contains("tests=\"6\" failures=\"1\" errors=\"1\""), "{text}");
        assert!(text.contains("<error message=\"The run ended early: silence\"/>"), "{text}");
    }
}
