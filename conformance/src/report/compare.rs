//! What changed since an older report: rules that fail now and did not, rules that failed and do not, and what else
//! changed. Rules that one of the two reports does not have are no change.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::Old;
use crate::verdict::{Mark, Verdict};

/// The differences, each in the order of the catalogue.
#[derive(Debug, PartialEq)]
pub struct Changes {
    /// They fail now and did not.
    pub broken: Vec<Change>,
    /// They failed and do so no more.
    pub fixed: Vec<Change>,
    /// Other changes: a warning more or less, tested or not.
    pub other: Vec<Change>,
}

/// One rule, then and now.
#[derive(Debug, PartialEq)]
pub struct Change {
    /// The rule.
    pub id: &'static str,
    /// Its old mark.
    pub old: Mark,
    /// Its new one.
    pub new: Mark,
}

/// The marks of a report in JSON, by id.
pub fn load(path: &Path) -> Result<Old, String> {
    let wrong = |what: &str| format!("{}: {what}", path.display());
    let text = fs::read_to_string(path).map_err(|err| wrong(&err.to_string()))?;
    let report: Value = serde_json::from_str(&text).map_err(|err| wrong(&err.to_string()))?;
    let verdicts = report["verdicts"].as_array().ok_or_else(|| wrong("this is no report in JSON"))?;
    let read = |it: &Value| Some((it["id"].as_str()?.to_string(), Mark::parse(it["result"].as_str()?)?));
    verdicts.iter().map(|it| read(it).ok_or_else(|| wrong(&format!("{it} is no verdict")))).collect()
}

/// What is different now.
pub fn changes(old: &Old, verdicts: &[Verdict]) -> Changes {
    let mut res = Changes { broken: Vec::new(), fixed: Vec::new(), other: Vec::new() };
    for it in verdicts {
        let Some(old) = old.get(it.id).copied().filter(|old| *old != it.mark) else { continue };
        let list = match (old, it.mark) {
            (_, Mark::Fail) => &mut res.broken,
            (Mark::Fail, _) => &mut res.fixed,
            _ => &mut res.other,
        };
        list.push(Change { id: it.id, old, new: it.mark });
    }
    res
}

impl Changes {
    /// A line for each, for a terminal.
    pub fn text(&self) -> String {
        let mut res = String::from("Since the older report:\n");
        for (title, list) in self.lists() {
            for it in list {
                res.push_str(&format!("  {title:12} {}: {} -> {}\n", it.id, it.old, it.new));
            }
        }
        if self.lists().iter().all(|it| it.1.is_empty()) {
            res.push_str("  nothing changed\n");
        }
        res
    }

    /// A section of a document.
    pub fn markdown(&self) -> String {
        let mut res = String::from("\n## Since the older report\n\n");
        if self.lists().iter().all(|it| it.1.is_empty()) {
            res.push_str("Nothing changed.\n");
            return res;
        }
        res.push_str("| change | rule | was | is |\n|---|---|---|---|\n");
        for (title, list) in self.lists() {
            for it in list {
                res.push_str(&format!("| {title} | {} | {} | {} |\n", it.id, it.old, it.new));
            }
        }
        res
    }

    /// A member of the report for programs.
    pub fn json(&self) -> Value {
        let list = |list: &[Change]| -> Vec<Value> {
            list.iter().map(|it| json!({"id": it.id, "was": it.old.name(), "is": it.new.name()})).collect()
        };
        json!({"new_failures": list(&self.broken), "fixed": list(&self.fixed), "changed": list(&self.other)})
    }

    fn lists(&self) -> [(&'static str, &[Change]); 3] {
        [("new failure", &self.broken), ("fixed", &self.fixed), ("changed", &self.other)]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::report::tests::some_verdicts;

    #[test]
    fn changes_are_sorted_by_what_they_mean() {
        // Of the five, the second fails, the third warns and the fifth was not tested.
        let verdicts = some_verdicts();
        let all: BTreeMap<_, _> = verdicts.iter().map(|it| (it.id.to_string(), Mark::Pass)).collect();
        let found = changes(&all, &verdicts);
        let ids = |list: &[Change]| list.iter().map(|it| it.id).collect::<Vec<_>>();
        assert_eq!(ids(&found.broken), [verdicts[1].id]);
        assert_eq!(ids(&found.other), [verdicts[2].id, verdicts[4].id]);
        let all: BTreeMap<_, _> = verdicts.iter().map(|it| (it.id.to_string(), Mark::Fail)).collect();
        let found = changes(&all, &verdicts);
        assert_eq!((found.broken.len(), found.fixed.len(), found.other.len()), (0, 4, 0));
        assert!(found.text().contains("fixed") && found.markdown().contains("| FAIL | PASS |"));
        assert_eq!(found.json()["fixed"][0]["was"], "FAIL");
        let found = changes(&BTreeMap::new(), &verdicts);
        assert!(found.text().contains("nothing changed"));
    }
}
