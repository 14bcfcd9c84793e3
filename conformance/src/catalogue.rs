//! All areas, in the order in which they are played: what leaves the meter as it was comes first, what ends it last. An
//! area is some traffic and the rules that judge it.

use crate::areas;
use crate::danger::Class;
use crate::lab::{Lab, Stop};
use crate::verdict::Rule;

/// Traffic of one kind, and what it shows.
pub struct Area {
    /// Its name, with which its records begin.
    pub name: &'static str,
    /// What leave it needs. Every request of it is of this class or a lesser one.
    pub class: Class,
    /// What it touches, for the tester who decides on the leave.
    pub touches: &'static str,
    /// What the tester may have to name: `--with NAME=VALUE`.
    pub params: &'static [Param],
    /// Makes the traffic.
    pub play: fn(&mut Lab<'_>) -> Result<(), Stop>,
    /// Judge it.
    pub rules: &'static [Rule],
}

/// Something that only the tester knows.
#[derive(Clone, Copy)]
pub struct Param {
    /// `db.from`.
    pub name: &'static str,
    /// One sentence.
    pub meaning: &'static str,
}

/// All areas.
pub fn areas() -> Vec<&'static Area> {
    let mut res: Vec<&'static Area> = areas::ALL.to_vec();
    res.sort_by_key(|it| it.class);
    res
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_rule_has_an_id_of_its_own_that_begins_with_its_place() {
        let mut seen = HashSet::new();
        for area in areas() {
            for rule in area.rules {
                assert!(seen.insert(rule.id), "{} is there twice", rule.id);
                let (place, number) = rule.id.rsplit_once('/').unwrap();
                assert!(number.len() == 2 && number.bytes().all(|it| it.is_ascii_digit()), "{}", rule.id);
                assert!(place.starts_with(area.name), "{} in {}", rule.id, area.name);
                assert!(rule.owes.ends_with('.') && !rule.clause.is_empty(), "{}", rule.id);
            }
        }
    }

    #[test]
    fn every_parameter_is_that_of_its_area_or_shared() {
        let mut seen = HashSet::new();
        for param in areas().iter().flat_map(|it| it.params) {
            assert!(param.name.contains('.') && param.meaning.ends_with('.'), "{}", param.name);
            seen.insert(param.name);
        }
    }
}
