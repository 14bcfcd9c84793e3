//! The report for programs.

use serde_json::{Value, json};

use super::{basis, rule_of};
use crate::transcript::Transcript;
use crate::verdict::{Finding, Verdict};

/// The whole report, a line for each verdict, with what changed since an older one if there is one.
pub fn report(transcript: &Transcript, verdicts: &[Verdict], changes: Option<Value>) -> String {
    let allowed: Vec<_> = transcript.allowed.iter().map(|it| it.name()).collect();
    let mut head = json!({
        "suite": env!("CARGO_PKG_VERSION"), "meter": transcript.meter, "begun": transcript.begun, "allowed": allowed,
        "requests": transcript.exchanges.len(),
    });
    if let Some(why) = &transcript.gone {
        head["ended_early"] = json!(why);
    }
    if let Some(changes) = changes {
        head["changes"] = changes;
    }
    let head = head.to_string();
    let rows: Vec<_> = verdicts.iter().map(|it| row(it).to_string()).collect();
    format!("{},\"verdicts\":[\n{}\n]}}\n", &head[..head.len() - 1], rows.join(",\n"))
}

fn row(verdict: &Verdict) -> Value {
    let rule = rule_of(verdict);
    let mut res = json!({
        "id": verdict.id, "result": verdict.mark.name(), "level": rule.level.name(), "class": verdict.class.name(),
        "basis": basis(rule), "clause": rule.clause, "owes": rule.owes,
    });
    match &verdict.finding {
        Finding::Kept => {}
        Finding::Quirk(note) => res["note"] = json!(note),
        Finding::NoEvidence(why) => res["reason"] = json!(why),
        Finding::Broken { sent, came } => {
            res["sent"] = json!(sent);
            res["came"] = json!(came);
        }
    }
    res
}
