//! The report in its forms. It says what was found, and changes nothing of it.

mod compare;
mod json;
mod junit;
mod markdown;
mod text;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;

use crate::catalogue::areas;
use crate::coverage;
use crate::options::{Form, Options};
use crate::transcript::Transcript;
use crate::verdict::{Basis, Finding, Mark, Rule, Verdict};

/// The marks of an older report, by the ids of rules.
pub type Old = BTreeMap<String, Mark>;

/// Reads the older report if one is to be compared with. The error says why the run would be in vain: that one is none, or
/// a file cannot be written.
pub fn prepare(options: &Options) -> Result<Option<Old>, String> {
    for path in [&options.out, &options.record].into_iter().flatten() {
        writable(path).map_err(|err| format!("{}: {err}", path.display()))?;
    }
    options.compare.as_deref().map(compare::load).transpose()
}

/// Leaves what is there as it is, and nothing where there was nothing.
fn writable(path: &Path) -> io::Result<()> {
    let fresh = !path.exists();
    OpenOptions::new().append(true).create(true).open(path)?;
    if fresh { fs::remove_file(path) } else { Ok(()) }
}

/// Prints to standard output. A reader who has seen enough is no error.
pub fn print(text: &str) -> Result<(), String> {
    let mut output = io::stdout();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(err) if err.kind() != ErrorKind::BrokenPipe => Err(format!("standard output: {err}")),
        _ => Ok(()),
    }
}

/// Writes the report where the options want it.
pub fn write(transcript: &Transcript, verdicts: &[Verdict], old: Option<Old>, options: &Options) -> Result<(), String> {
    let changes = old.map(|it| compare::changes(&it, verdicts));
    let text = match options.form {
        Form::Text => {
            let changes = changes.map(|it| it.text()).unwrap_or_default();
            text::report(transcript, verdicts) + &changes
        }
        Form::Markdown => {
            let changes = changes.map(|it| it.markdown()).unwrap_or_default();
            markdown::report(transcript, verdicts) + &changes
        }
        Form::Json => json::report(transcript, verdicts, changes.map(|it| it.json())),
        // Build servers compare by themselves, and their format has no room for it.
        Form::Junit => junit::report(transcript, verdicts),
    };
    match &options.out {
        Some(path) => fs::write(path, text).map_err(|err| format!("{}: {err}", path.display())),
        None => print(&text),
    }
}

/// Verdicts by kind.
struct Counts {
    pass: usize,
    fail: usize,
    warn: usize,
    not_tested: usize,
    notes: usize,
}

impl Counts {
    fn of(verdicts: &[Verdict]) -> Counts {
        let count = |mark| verdicts.iter().filter(|it| it.mark == mark).count();
        let notes = verdicts.iter().filter(|it| matches!(it.finding, Finding::Quirk(_))).count();
        let (pass, fail, warn) = (count(Mark::Pass), count(Mark::Fail), count(Mark::Warn));
        Counts { pass, fail, warn, not_tested: count(Mark::NotTested), notes }
    }
}

/// The catalogue, and what of the documents it covers.
pub fn list() -> String {
    let mut res = String::new();
    for area in areas() {
        let _ = writeln!(res, "\n{} (class {}): {}", area.name, area.class, area.touches);
        for param in area.params {
            let _ = writeln!(res, "  --with {}=...  {}", param.name, param.meaning);
        }
        for rule in area.rules {
            let (level, basis) = (rule.level.name(), basis(rule));
            let _ = writeln!(res, "  {:28} {level:6} {basis:9} {}  [{}]", rule.id, rule.owes, rule.clause);
        }
    }
    res.push_str("\nWhat the documents promise, and the rules that judge it:\n");
    for promise in coverage::PROMISES {
        let _ = writeln!(res, "  {}", promise.line());
    }
    res
}

/// The rule of a verdict.
fn rule_of(verdict: &Verdict) -> &'static Rule {
    let all = areas().into_iter().flat_map(|it| it.rules);
    all.into_iter().find(|it| it.id == verdict.id).expect("verdicts are made of the catalogue's rules")
}

fn basis(rule: &Rule) -> &'static str {
    match rule.basis {
        Basis::Documents => "documents",
        Basis::Choice => "choice",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;

    /// One verdict of each kind: kept, failed, warned, noted, not tested.
    pub fn some_verdicts() -> Vec<Verdict> {
        let findings = [
            Finding::Kept,
            Finding::Broken { sent: "GET <x>".into(), came: "\u{1}\"no\"".into() },
            Finding::Broken { sent: "GET y".into(), came: "no".into() },
            Finding::Quirk("a | b <c>".into()),
            Finding::NoEvidence("needs --with x.y=...".into()),
        ];
        let marks = [Mark::Pass, Mark::Fail, Mark::Warn, Mark::Pass, Mark::NotTested];
        let area = areas()[0];
        let rules = area.rules.iter().zip(findings).zip(marks);
        rules.map(|((rule, finding), mark)| Verdict { id: rule.id, class: area.class, finding, mark }).collect()
    }

    #[test]
    fn an_older_report_in_json_can_be_compared_with() {
        let path = std::env::temp_dir().join(format!("meter-conformance-{}-old.json", std::process::id()));
        let verdicts = some_verdicts();
        fs::write(&path, json::report(&Transcript::default(), &verdicts, None)).unwrap();
        let old = compare::load(&path).unwrap();
        assert_eq!(old.len(), verdicts.len());
        assert!(compare::changes(&old, &verdicts).text().contains("nothing changed"));
        let out = path.with_extension("out");
        let args = ["--replay", "x", "--report", "json", "--compare", path.to_str().unwrap()];
        let args = args.into_iter().chain(["--out", out.to_str().unwrap()]).map(str::to_string);
        let mut options = Options::parse(args).unwrap();
        let old = prepare(&options).unwrap();
        assert!(!out.exists());
        write(&Transcript::default(), &verdicts, old, &options).unwrap();
        let report: serde_json::Value = serde_json::from_str(&fs::read_to_string(&out).unwrap()).unwrap();
        assert_eq!(report["changes"]["new_failures"], serde_json::json!([]));
        fs::write(&path, "{}").unwrap();
        assert!(prepare(&options).unwrap_err().contains("no report"));
        options.out = Some("/no/such/folder/report".into());
        assert!(prepare(&options).unwrap_err().contains("/no/such/folder/report"));
        let _ = (fs::remove_file(&path), fs::remove_file(&out));
    }
}
