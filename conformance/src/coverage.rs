//! What the documents promise, sentence by sentence in own words, and which rules judge it; where none can, why not. It is
//! data with its reading; a promise without either does not compile into a report.

mod commands;
mod requirements;

use std::fmt::Write;

/// A sentence that promises something.
pub struct Promise {
    /// Where it stands.
    pub clause: &'static str,
    /// What it promises.
    pub says: &'static str,
    /// What comes of it here.
    pub judged: Judged,
}

/// Whether a promise can be judged.
pub enum Judged {
    /// By these rules.
    By(&'static [&'static str]),
    /// Not from outside, or not here, and why.
    Not(&'static str),
}

/// All promises: those of the command pages, then the requirements that were gathered from the other documents.
pub const PROMISES: [&Promise; commands::ALL.len() + requirements::ALL.len()] = all();

const fn all() -> [&'static Promise; commands::ALL.len() + requirements::ALL.len()] {
    let mut res = [&commands::ALL[0]; commands::ALL.len() + requirements::ALL.len()];
    let mut at = 0;
    while at < res.len() {
        res[at] = match at < commands::ALL.len() {
            true => &commands::ALL[at],
            false => &requirements::ALL[at - commands::ALL.len()],
        };
        at += 1;
    }
    res
}

impl Promise {
    /// As `--list` shows it.
    pub fn line(&self) -> String {
        let mut res = format!("{}: {} ->", self.clause, self.says);
        let _ = match self.judged {
            Judged::By(ids) => write!(res, " {}", ids.join(", ")),
            Judged::Not(why) => write!(res, " not judged: {why}"),
        };
        res
    }
}

const fn by(clause: &'static str, says: &'static str, ids: &'static [&'static str]) -> Promise {
    Promise { clause, says, judged: Judged::By(ids) }
}

const fn not(clause: &'static str, says: &'static str, why: &'static str) -> Promise {
    Promise { clause, says, judged: Judged::Not(why) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::areas;
    use crate::verdict::Basis;

    #[test]
    fn every_promise_has_rules_that_exist_or_a_reason() {
        let known: Vec<_> = areas().iter().flat_map(|it| it.rules).map(|it| it.id).collect();
        for it in PROMISES {
            match it.judged {
                Judged::By(ids) => {
                    assert!(!ids.is_empty(), "{}", it.line());
                    for id in ids {
                        assert!(known.contains(id), "{id} is no rule: {}", it.line());
                    }
                }
                Judged::Not(why) => assert!(10 < why.len(), "{}", it.line()),
            }
        }
    }

    #[test]
    fn no_promise_rests_on_what_this_project_chose_alone() {
        let rules: Vec<_> = areas().iter().flat_map(|it| it.rules).collect();
        let chosen = |id: &str| rules.iter().any(|it| it.id == id && it.basis == Basis::Choice);
        for it in PROMISES {
            if let Judged::By(ids) = it.judged {
                // What a client may do leaves open what a meter makes of it.
                let open = it.says.contains(" may ");
                assert!(open || !ids.iter().all(|it| chosen(it)), "{}", it.line());
            }
        }
        // What the documents do not say of networks and nonces, they cannot be broken by.
        for id in ["cmd/wlan/07", "cmd/wlan/08", "cmd/wlan/17", "cmd/wlan/18", "auth/nonces/01"] {
            assert!(chosen(id), "{id}");
        }
    }

    #[test]
    fn every_must_row_of_the_requirements_is_there() {
        for row in 1..=17 {
            let clause = format!("WebAPI §11 row {row}");
            assert!(PROMISES.iter().any(|it| it.clause == clause), "{clause}");
        }
    }

    #[test]
    fn every_command_has_promises() {
        for area in areas().iter().filter(|it| it.name.starts_with("cmd/")) {
            let ids = PROMISES.iter().flat_map(|it| match it.judged {
                Judged::By(ids) => ids,
                Judged::Not(_) => &[],
            });
            let named = ids.into_iter().any(|id| area.rules.iter().any(|rule| rule.id == *id));
            assert!(named, "{} judges no promise", area.name);
        }
    }
}
