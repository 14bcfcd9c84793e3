//! Versions as vendors write them, and which of two is newer: `4.5alpha1` before `4.5`, `4.5` the same as `4.5.0`,
//! `4.10` after `4.9`, `5.15.95-2` after `5.15.95`.

use std::cmp::Ordering;
use std::fmt;

/// Characters of a version.
const MAX_LENGTH: usize = 64;

/// A version; equal ones may be spelt differently.
#[derive(Clone, Debug)]
pub struct Version {
    text: String,
    /// The numbers in front, without zeros at the end.
    head: Vec<u64>,
    tail: Vec<Part>,
}

/// A piece of what follows the numbers in front.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// A word for something that comes before the release: which one, in the order in which they are published.
    Before(usize),
    /// Where a version ends: after what comes before its release, and before what is added to it.
    End,
    /// Any other word.
    Word(String),
    /// A number.
    Number(u64),
}

/// Words for what comes before a release.
const BEFORE: [&str; 5] = ["dev", "alpha", "beta", "pre", "rc"];

impl Version {
    /// A version of a manifest or of a request; an error says what it must look like.
    pub fn parse(text: &str) -> Result<Version, &'static str> {
        let fits = |it: u8| it.is_ascii_alphanumeric() || b".+~_-".contains(&it);
        if MAX_LENGTH < text.len() || !text.bytes().all(fits) {
            return Err("must be at most 64 letters, digits and characters of .+~_-");
        }
        if !text.starts_with(|it: char| it.is_ascii_digit()) {
            return Err("must begin with a digit");
        }
        let wrong = |_| "has a number that is too large";
        let end = text.find(|it: char| !it.is_ascii_digit() && it != '.').unwrap_or(text.len());
        let (head, tail) = text.split_at(end);
        let numbers = head.split('.').filter(|it| !it.is_empty());
        let mut head = numbers.map(|it| it.parse().map_err(wrong)).collect::<Result<Vec<u64>, _>>()?;
        while head.last() == Some(&0) {
            head.pop();
        }
        let mut parts = Vec::new();
        let mut rest = tail.trim_start_matches(is_separator);
        while let Some(first) = rest.chars().next() {
            let same_kind = |it: char| !is_separator(it) && it.is_ascii_digit() == first.is_ascii_digit();
            let end = rest.find(|it| !same_kind(it)).unwrap_or(rest.len());
            let word = rest[..end].to_ascii_lowercase();
            parts.push(match BEFORE.iter().position(|it| *it == word) {
                Some(place) => Part::Before(place),
                None if first.is_ascii_digit() => Part::Number(word.parse().map_err(wrong)?),
                None => Part::Word(word),
            });
            rest = rest[end..].trim_start_matches(is_separator);
        }
        Ok(Version { text: text.into(), head, tail: parts })
    }

    /// The version of what runs: systems say more of it than the version (`5.15.95+ #47 Thu Feb 23 ...`).
    pub fn of_system(text: &str) -> Result<Version, &'static str> {
        Version::parse(text.split_whitespace().next().unwrap_or_default())
    }
}

fn is_separator(it: char) -> bool {
    !it.is_ascii_alphanumeric()
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let end = Part::End;
        let at = |version: &Version, at: usize| version.tail.get(at).unwrap_or(&end).clone();
        let longest = self.tail.len().max(other.tail.len());
        let tails = (0..longest).map(|it| at(self, it).cmp(&at(other, it)));
        self.head.cmp(&other.head).then_with(|| tails.fold(Ordering::Equal, Ordering::then))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version {}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap_or_else(|err| panic!("{text}: {err}"))
    }

    #[test]
    fn versions_have_one_order() {
        let rising = [
            "0.9",
            "4.0",
            "4.0.1",
            "4.1-dev",
            "4.1",
            "4.5alpha1",
            "4.5-alpha2",
            "4.5~alpha10",
            "4.5_beta1",
            "4.5.rc1",
            "4.5-RC2",
            "4.5",
            "4.5+fix",
            "4.5-fix2",
            "4.5-1",
            "4.5-1-rt",
            "4.5-2",
            "4.5-10",
            "4.5.1",
            "4.9",
            "4.10",
            "5.15.95",
            "2026.11.22",
        ];
        for (at, one) in rising.iter().enumerate() {
            for (other_at, other) in rising.iter().enumerate() {
                assert_eq!(version(one).cmp(&version(other)), at.cmp(&other_at), "{one} and {other}");
            }
        }
    }

    #[test]
    fn spellings_of_the_same_version_are_equal() {
        for (one, other) in [("4.5", "4.5.0"), ("4.5.0.0-rc1", "4.5rc1"), ("5.15.95+", "5.15.95"), ("04.05", "4.5")] {
            assert_eq!(version(one), version(other), "{one} and {other}");
        }
        assert_eq!(Version::of_system("5.15.95+ #47 Thu Feb 23").unwrap(), version("5.15.95"));
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for text in [
            "",
            "x",
            "v4.5",
            "-1",
            "4.5 ",
            "4.5/..",
            "4,5",
            "4.5\u{e9}",
            "99999999999999999999",
            "1-99999999999999999999",
        ] {
            assert!(Version::parse(text).is_err(), "{text}");
        }
        assert!(Version::parse(&"1".repeat(65)).is_err());
        assert!(Version::of_system("").is_err());
    }
}
