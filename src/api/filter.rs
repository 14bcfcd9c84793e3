//! The WebAPI's ways to ask for less of an answer: `filter` picks members and elements, `max-depth` cuts off what is
//! deep. Both work on a finished JSON value (that of `result`) and know nothing of the resource it came from.

use std::fmt;
use std::iter::Peekable;
use std::str::CharIndices;

use serde_json::Value;

/// Bytes of the longest filter.
const MAX_LENGTH: usize = 2048;
/// How deep braces and brackets may be nested.
const MAX_NESTING: usize = 16;
/// The characters of the grammar; all others may be in a name.
const DELIMITERS: [char; 7] = ['{', '}', '[', ']', '(', ')', ','];

/// What to keep of a value.
///
/// The grammar, after percent-decoding, without blanks:
/// ```text
/// spec    = [ "{" member { "," member } "}" | "[" element { "," element } "]" ]
/// member  = [ name  | "(" name  { "," name  } ")" ] spec
/// element = [ range | "(" range { "," range } ")" ] spec
/// range   = digits [ ":" digits ]
/// ```
/// A spec of nothing keeps all, and so do `{}` and `[]`; a member or element without a name or range stands for every
/// one. Where several fit, the first one counts. A value of another kind than the spec speaks of is kept as it is.
#[derive(Debug, PartialEq)]
pub struct Filter(Spec);

#[derive(Debug, PartialEq)]
enum Spec {
    All,
    Members(Vec<Rule<String>>),
    Elements(Vec<Rule<(usize, usize)>>),
}

/// What to keep below the keys; no keys stand for every one.
#[derive(Debug, PartialEq)]
struct Rule<K> {
    keys: Vec<K>,
    below: Spec,
}

/// Why a filter cannot be read; positions count bytes from 0.
#[derive(Debug, PartialEq)]
pub enum FilterError {
    /// It is longer than any real one.
    TooLong,
    /// It is nested deeper than any answer.
    TooDeep,
    /// Something else should be at this position.
    Expected(&'static str, usize),
    /// A range from high to low.
    Backwards(usize, usize),
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FilterError::TooLong => write!(f, "filter: longer than {MAX_LENGTH} bytes"),
            FilterError::TooDeep => write!(f, "filter: nested deeper than {MAX_NESTING}"),
            FilterError::Expected(what, at) => write!(f, "filter: expected {what} at position {at}"),
            FilterError::Backwards(from, to) => write!(f, "filter: range {from}:{to} runs backwards"),
        }
    }
}

impl std::error::Error for FilterError {}

impl Filter {
    /// Reads a decoded filter.
    pub fn parse(text: &str) -> Result<Filter, FilterError> {
        if MAX_LENGTH < text.len() {
            return Err(FilterError::TooLong);
        }
        let mut parser = Parser { text, chars: text.char_indices().peekable() };
        let spec = parser.spec(MAX_NESTING)?;
        match parser.chars.peek() {
            None => Ok(Filter(spec)),
            Some((at, _)) => Err(FilterError::Expected(if *at == 0 { "'{' or '['" } else { "the end" }, *at)),
        }
    }

    /// What the filter keeps of a value. Elements keep their order and close ranks; absent members stay absent.
    pub fn apply(&self, value: Value) -> Value {
        self.0.apply(value)
    }
}

impl Spec {
    fn apply(&self, value: Value) -> Value {
        match (self, value) {
            (Spec::Members(rules), Value::Object(members)) => {
                let keep = |(name, value): (String, Value)| {
                    let rule = rules.iter().find(|it| it.keys.is_empty() || it.keys.contains(&name))?;
                    Some((name, rule.below.apply(value)))
                };
                members.into_iter().filter_map(keep).collect()
            }
            (Spec::Elements(rules), Value::Array(elements)) => {
                let keep = |(at, value): (usize, Value)| {
                    let fits = |(from, to): &(usize, usize)| (*from..=*to).contains(&at);
                    let rule = rules.iter().find(|it| it.keys.is_empty() || it.keys.iter().any(fits))?;
                    Some(rule.below.apply(value))
                };
                elements.into_iter().enumerate().filter_map(keep).collect()
            }
            (_, value) => value,
        }
    }
}

/// Cuts a value off below `depth` levels. At the last level that is left an object becomes the list of its member names
/// and an array its length; depth 1 does that to the value itself, depth 2 to its members, and so on. Depth 0, which the
/// API does not have, is taken as 1.
pub fn max_depth(value: Value, depth: usize) -> Value {
    match value {
        Value::Object(members) if depth <= 1 => members.into_iter().map(|(name, _)| Value::String(name)).collect(),
        Value::Array(elements) if depth <= 1 => elements.len().into(),
        Value::Object(members) => members.into_iter().map(|(name, it)| (name, max_depth(it, depth - 1))).collect(),
        Value::Array(elements) => elements.into_iter().map(|it| max_depth(it, depth - 1)).collect(),
        scalar => scalar,
    }
}

struct Parser<'a> {
    text: &'a str,
    chars: Peekable<CharIndices<'a>>,
}

impl Parser<'_> {
    fn spec(&mut self, nesting: usize) -> Result<Spec, FilterError> {
        if self.eat('{') {
            Ok(Spec::Members(self.rules(nesting, '}', "',' or '}'", Self::name)?))
        } else if self.eat('[') {
            Ok(Spec::Elements(self.rules(nesting, ']', "',' or ']'", Self::range)?))
        } else {
            Ok(Spec::All)
        }
    }

    fn rules<K>(
        &mut self,
        nesting: usize,
        close: char,
        expected: &'static str,
        key: fn(&mut Self) -> Result<K, FilterError>,
    ) -> Result<Vec<Rule<K>>, FilterError> {
        let nesting = nesting.checked_sub(1).ok_or(FilterError::TooDeep)?;
        let mut res = Vec::new();
        loop {
            let keys = self.keys(key)?;
            res.push(Rule { keys, below: self.spec(nesting)? });
            if self.eat(close) {
                return Ok(res);
            }
            if !self.eat(',') {
                return Err(FilterError::Expected(expected, self.at()));
            }
        }
    }

    fn keys<K>(&mut self, key: fn(&mut Self) -> Result<K, FilterError>) -> Result<Vec<K>, FilterError> {
        if self.eat('(') {
            let mut res = vec![key(self)?];
            while self.eat(',') {
                res.push(key(self)?);
            }
            return if self.eat(')') { Ok(res) } else { Err(FilterError::Expected("',' or ')'", self.at())) };
        }
        match self.chars.peek() {
            Some((_, it)) if !DELIMITERS.contains(it) => Ok(vec![key(self)?]),
            _ => Ok(Vec::new()),
        }
    }

    fn name(&mut self) -> Result<String, FilterError> {
        let (at, name) = self.word();
        // A blank after a comma is a mistake that would otherwise ask for a member that no object has.
        if name.is_empty() || name.trim() != name {
            return Err(FilterError::Expected("a name without blanks around it", at));
        }
        Ok(name.into())
    }

    fn range(&mut self) -> Result<(usize, usize), FilterError> {
        let (at, word) = self.word();
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
            text.parse().ok().filter(|_| digits).ok_or(FilterError::Expected("an index or a range of them", at))
        };
        let (from, to) = word.split_once(':').unwrap_or((word, word));
        let (from, to) = (number(from)?, number(to)?);
        if to < from { Err(FilterError::Backwards(from, to)) } else { Ok((from, to)) }
    }

    /// Everything up to the next delimiter, and where it begins.
    fn word(&mut self) -> (usize, &str) {
        let from = self.at();
        while self.chars.next_if(|(_, it)| !DELIMITERS.contains(it)).is_some() {}
        let to = self.at();
        (from, &self.text[from..to])
    }

    fn eat(&mut self, delimiter: char) -> bool {
        self.chars.next_if(|(_, it)| *it == delimiter).is_some()
    }

    fn at(&mut self) -> usize {
        self.chars.peek().map_or(self.text.len(), |(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sample() -> Value {
        json!({
            "a": 1,
            "b": {"c": 2, "d": {"c": 3, "e": "x"}},
            "two words": null,
            "list": [{"x": 0, "y": 0}, {"x": 1}, 2, {"x": 3, "y": 3}, [4], {"x": 5, "y": 5}],
        })
    }

    #[test]
    fn filters_keep_what_they_name() {
        let list = |it: Value| json!({"list": it});
        let cases = [
            ("", sample()),
            ("{}", sample()),
            ("[]", sample()),
            ("{a}", json!({"a": 1})),
            ("{a,nope}", json!({"a": 1})),
            ("{nope}", json!({})),
            ("{two words}", json!({"two words": null})),
            ("{b{c}}", json!({"b": {"c": 2}})),
            ("{a,b{d{e}}}", json!({"a": 1, "b": {"d": {"e": "x"}}})),
            ("{b{}}", json!({"b": sample()["b"]})),
            ("{(a,b){c}}", json!({"a": 1, "b": {"c": 2}})),
            ("{{c}}", json!({"a": 1, "b": {"c": 2}, "two words": null, "list": sample()["list"]})),
            ("{{d{c}},[0]}", json!({"a": 1, "b": {"d": {"c": 3}}, "two words": null, "list": sample()["list"]})),
            ("{b{c},b{d}}", json!({"b": {"c": 2}})),
            ("{list[]}", list(sample()["list"].clone())),
            ("{list[2]}", list(json!([2]))),
            ("{list[5,0]}", list(json!([{"x": 0, "y": 0}, {"x": 5, "y": 5}]))),
            ("{list[0,3:5{x}]}", list(json!([{"x": 0, "y": 0}, {"x": 3}, [4], {"x": 5}]))),
            ("{list[(0,3:5){x}]}", list(json!([{"x": 0}, {"x": 3}, [4], {"x": 5}]))),
            ("{list[{x}]}", list(json!([{"x": 0}, {"x": 1}, 2, {"x": 3}, [4], {"x": 5}]))),
            ("{list[4[7]]}", list(json!([[]]))),
            ("{list[99]}", list(json!([]))),
            ("{list[2{x}]}", list(json!([2]))),
            ("{list{x}}", list(sample()["list"].clone())),
            ("{a[0]}", json!({"a": 1})),
        ];
        for (filter, expect) in cases {
            assert_eq!(Filter::parse(filter).unwrap().apply(sample()), expect, "{filter}");
        }
    }

    #[test]
    fn filters_that_make_no_sense_say_where() {
        let cases = [
            ("a", "filter: expected '{' or '[' at position 0"),
            ("{a}}", "filter: expected the end at position 3"),
            ("{a}{b}", "filter: expected the end at position 3"),
            ("{a", "filter: expected ',' or '}' at position 2"),
            ("{a]", "filter: expected ',' or '}' at position 2"),
            ("{é)", "filter: expected ',' or '}' at position 3"),
            ("{a{b}c}", "filter: expected ',' or '}' at position 5"),
            ("{a, b}", "filter: expected a name without blanks around it at position 3"),
            ("{()}", "filter: expected a name without blanks around it at position 2"),
            ("{(a,)}", "filter: expected a name without blanks around it at position 4"),
            ("{(a", "filter: expected ',' or ')' at position 3"),
            ("[1", "filter: expected ',' or ']' at position 2"),
            ("[x]", "filter: expected an index or a range of them at position 1"),
            ("[-1]", "filter: expected an index or a range of them at position 1"),
            ("[+1]", "filter: expected an index or a range of them at position 1"),
            ("[1:]", "filter: expected an index or a range of them at position 1"),
            ("[1:2:3]", "filter: expected an index or a range of them at position 1"),
            ("[99999999999999999999]", "filter: expected an index or a range of them at position 1"),
            ("[5:3]", "filter: range 5:3 runs backwards"),
        ];
        for (filter, expect) in cases {
            assert_eq!(Filter::parse(filter).map_err(|it| it.to_string()), Err(expect.into()), "{filter}");
        }
    }

    #[test]
    fn length_and_nesting_are_bounded() {
        let nested = |depth| format!("{}{}", "{".repeat(depth), "}".repeat(depth));
        assert!(Filter::parse(&nested(MAX_NESTING)).is_ok());
        assert_eq!(Filter::parse(&nested(MAX_NESTING + 1)), Err(FilterError::TooDeep));
        assert_eq!(Filter::parse(&"[".repeat(MAX_LENGTH)), Err(FilterError::TooDeep));
        let long = |name| format!("{{{}}}", "n".repeat(name));
        assert!(Filter::parse(&long(MAX_LENGTH - 2)).is_ok());
        assert_eq!(Filter::parse(&long(MAX_LENGTH - 1)), Err(FilterError::TooLong));
    }

    #[test]
    fn depth_is_counted_from_the_value_itself() {
        let value = json!({"obj": {"a": {"x": 1}, "b": 2}, "arr": [1, [2, 3], 4, {}], "text": "t", "none": null});
        let cases = [
            (1, json!(["arr", "none", "obj", "text"])),
            (2, json!({"obj": ["a", "b"], "arr": 4, "text": "t", "none": null})),
            (3, json!({"obj": {"a": ["x"], "b": 2}, "arr": [1, 2, 4, []], "text": "t", "none": null})),
            (4, value.clone()),
            (usize::MAX, value.clone()),
        ];
        for (depth, expect) in cases {
            assert_eq!(max_depth(value.clone(), depth), expect, "{depth}");
        }
        assert_eq!(max_depth(json!([1, 2]), 1), json!(2));
        assert_eq!(max_depth(json!("text"), 1), json!("text"));
        assert_eq!(max_depth(json!([1, 2]), 0), json!(2));
    }
}
