//! The report in its forms. It says what was found, and changes nothing of it.

mod json;
mod text;

use std::fs;

use crate::catalogue::areas;
use crate::options::{Form, Options};
use crate::transcript::Transcript;
use crate::verdict::{Basis, Rule, Verdict};

/// Writes the report where the options want it.
pub fn write(transcript: &Transcript, verdicts: &[Verdict], options: &Options) -> Result<(), String> {
    let text = match options.form {
        Form::Text => text::report(transcript, verdicts),
        Form::Json => json::report(transcript, verdicts),
        Form::Junit | Form::Markdown => return Err("this form is not there yet".into()),
    };
    match &options.out {
        Some(path) => fs::write(path, text).map_err(|err| format!("{}: {err}", path.display())),
        None => {
            print!("{text}");
            Ok(())
        }
    }
}

/// Prints the catalogue.
pub fn list() {
    for area in areas() {
        println!("\n{} (class {}): {}", area.name, area.class, area.touches);
        for param in area.params {
            println!("  --with {}=...  {}", param.name, param.meaning);
        }
        for rule in area.rules {
            println!("  {:28} {:6} {:9} {}  [{}]", rule.id, rule.level.name(), basis(rule), rule.owes, rule.clause);
        }
    }
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
