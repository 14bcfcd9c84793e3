//! Rules and what they say. A rule's judge reads evidence only; the weight of its finding is settled here, from what the
//! documents owe.

use std::fmt;

use crate::danger::Class;
use crate::evidence::Evidence;

/// How strongly a meter owes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Without it a meter is not one of this API.
    Must,
    /// Clients count on it.
    Should,
    /// Good to have.
    May,
}

impl Level {
    /// As in a report.
    pub fn name(self) -> &'static str {
        match self {
            Level::Must => "must",
            Level::Should => "should",
            Level::May => "may",
        }
    }
}

/// Where a rule comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The API's documents, or what its clients were measured to need.
    Documents,
    /// A choice of this project where the documents are silent: never more than a warning.
    Choice,
}

/// One thing that a meter owes.
pub struct Rule {
    /// Stable, of the form `cmd/db/restore/07`; never used for another rule.
    pub id: &'static str,
    /// The place in the documents.
    pub clause: &'static str,
    /// How strongly.
    pub level: Level,
    /// By whom.
    pub basis: Basis,
    /// One sentence that says what a meter owes.
    pub owes: &'static str,
    /// Reads the evidence.
    pub judge: Judge,
}

/// A rule's reading of the evidence. `Err` is for `?`: what makes further reading pointless.
pub type Judge = fn(&Evidence<'_>) -> Result<Finding, Finding>;

impl Rule {
    /// A rule that the documents make a must.
    pub const fn must(id: &'static str, clause: &'static str, owes: &'static str, judge: Judge) -> Rule {
        Rule { id, clause, level: Level::Must, basis: Basis::Documents, owes, judge }
    }

    /// A rule that the documents make a should.
    pub const fn should(id: &'static str, clause: &'static str, owes: &'static str, judge: Judge) -> Rule {
        Rule { id, clause, level: Level::Should, basis: Basis::Documents, owes, judge }
    }

    /// A rule that the documents make a may.
    pub const fn may(id: &'static str, clause: &'static str, owes: &'static str, judge: Judge) -> Rule {
        Rule { id, clause, level: Level::May, basis: Basis::Documents, owes, judge }
    }

    /// A rule that this project chose.
    pub const fn choice(id: &'static str, clause: &'static str, owes: &'static str, judge: Judge) -> Rule {
        Rule { id, clause, level: Level::Should, basis: Basis::Choice, owes, judge }
    }
}

/// What a judge found.
#[derive(Clone, Debug, PartialEq)]
pub enum Finding {
    /// The meter does what it owes.
    Kept,
    /// It does so in a way that the documents leave open; the text says which.
    Quirk(String),
    /// It does not: what was sent and what came, in the reader's words.
    Broken {
        /// What was sent, shortened, secrets masked.
        sent: String,
        /// What came.
        came: String,
    },
    /// There is nothing to judge by, and why.
    NoEvidence(String),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Kept => f.write_str("as it should be"),
            Finding::Quirk(why) | Finding::NoEvidence(why) => f.write_str(why),
            Finding::Broken { sent, came } => write!(f, "{sent} => {came}"),
        }
    }
}

/// What the report says of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Kept.
    Pass,
    /// Broken, and the documents make it a must.
    Fail,
    /// Broken, and it was a should, a may or a choice.
    Warn,
    /// Not judged.
    NotTested,
}

impl Mark {
    /// As in a report.
    pub fn name(self) -> &'static str {
        match self {
            Mark::Pass => "PASS",
            Mark::Fail => "FAIL",
            Mark::Warn => "WARN",
            Mark::NotTested => "NOT_TESTED",
        }
    }

    /// The mark of that name.
    pub fn parse(name: &str) -> Option<Mark> {
        [Mark::Pass, Mark::Fail, Mark::Warn, Mark::NotTested].into_iter().find(|it| it.name() == name)
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One line of a report.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The rule's id.
    pub id: &'static str,
    /// The class that its traffic belongs to.
    pub class: Class,
    /// What was found.
    pub finding: Finding,
    /// What that comes to.
    pub mark: Mark,
}

/// The weight of a finding. With `strict`, a quirk counts as broken.
pub fn weigh(rule: &Rule, finding: &Finding, strict: bool) -> Mark {
    let broken = match (rule.level, rule.basis) {
        (Level::Must, Basis::Documents) => Mark::Fail,
        _ => Mark::Warn,
    };
    match finding {
        Finding::Kept => Mark::Pass,
        Finding::Quirk(_) if strict => broken,
        Finding::Quirk(_) => Mark::Pass,
        Finding::Broken { .. } => broken,
        Finding::NoEvidence(_) => Mark::NotTested,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_documents_demand_can_fail_and_notes_count_when_the_tester_is_strict() {
        let judge: Judge = |_| Ok(Finding::Kept);
        let all = [
            Rule::must("a/01", "", "", judge),
            Rule::should("a/02", "", "", judge),
            Rule::choice("a/03", "", "", judge),
        ];
        let marks = |finding: &Finding, strict| all.each_ref().map(|rule| weigh(rule, finding, strict));
        let (broken, quirk) = (Finding::Broken { sent: "".into(), came: "".into() }, Finding::Quirk("".into()));
        for strict in [false, true] {
            assert_eq!(marks(&Finding::Kept, strict), [Mark::Pass; 3]);
            assert_eq!(marks(&broken, strict), [Mark::Fail, Mark::Warn, Mark::Warn]);
            assert_eq!(marks(&Finding::NoEvidence("".into()), strict), [Mark::NotTested; 3]);
        }
        assert_eq!(marks(&quirk, false), [Mark::Pass; 3]);
        assert_eq!(marks(&quirk, true), [Mark::Fail, Mark::Warn, Mark::Warn]);
    }
}
