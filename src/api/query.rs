//! The query of a request target, decoded into options. Whoever reads it takes the options it knows; what is left over is
//! an error that names it, because an option that is silently ignored misleads. It does not know any option.

use std::fmt;

/// Options in one query.
const MAX_OPTIONS: usize = 16;

/// The options that nobody has taken yet.
#[derive(Debug, PartialEq)]
pub struct Query {
    options: Vec<(String, String)>,
}

/// Why a query cannot be read.
#[derive(Debug, PartialEq)]
pub enum QueryError {
    /// A `%` without two hexadecimal digits; the text is the part of the query it is in.
    Percent(String),
    /// A part whose bytes are not UTF-8.
    Utf8(String),
    /// An option that is there twice.
    Twice(String),
    /// More options than any resource has.
    TooMany,
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            QueryError::Percent(part) => write!(f, "query: '%' without two hexadecimal digits in \"{part}\""),
            QueryError::Utf8(part) => write!(f, "query: \"{part}\" is not UTF-8"),
            QueryError::Twice(name) => write!(f, "query: option \"{name}\" is there twice"),
            QueryError::TooMany => write!(f, "query: more than {MAX_OPTIONS} options"),
        }
    }
}

impl std::error::Error for QueryError {}

/// An option that the resource does not have.
#[derive(Debug, PartialEq)]
pub struct UnknownOption(pub String);

impl fmt::Display for UnknownOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "query: option \"{}\" is not supported here", self.0)
    }
}

impl std::error::Error for UnknownOption {}

impl Query {
    /// Reads what follows the `?` of a target. Braces and brackets need no escape, since real clients send them bare, and
    /// `+` is a plus: register names have it. An option without `=` has an empty value.
    pub fn parse(raw: &str) -> Result<Query, QueryError> {
        let mut options: Vec<(String, String)> = Vec::new();
        for part in raw.split('&').filter(|it| !it.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            if options.iter().any(|(it, _)| *it == name) {
                return Err(QueryError::Twice(name));
            }
            if MAX_OPTIONS <= options.len() {
                return Err(QueryError::TooMany);
            }
            options.push((name, value));
        }
        Ok(Query { options })
    }

    /// The value of an option, once.
    pub fn take(&mut self, name: &str) -> Option<String> {
        let at = self.options.iter().position(|(it, _)| it == name)?;
        Some(self.options.remove(at).1)
    }

    /// Ends the reading: whatever nobody took is unknown.
    pub fn finish(self) -> Result<(), UnknownOption> {
        self.options.into_iter().next().map_or(Ok(()), |(name, _)| Err(UnknownOption(name)))
    }
}

fn decode(text: &str) -> Result<String, QueryError> {
    let digit = |it: Option<u8>| char::from(it?).to_digit(16).map(|it| it as u8);
    let mut bytes = text.bytes();
    let mut res = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        res.push(match byte {
            b'%' => match (digit(bytes.next()), digit(bytes.next())) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => return Err(QueryError::Percent(text.into())),
            },
            byte => byte,
        });
    }
    String::from_utf8(res).map_err(|_| QueryError::Utf8(text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(raw: &str) -> String {
        match Query::parse(raw) {
            Ok(it) => it.options.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "),
            Err(err) => err.to_string(),
        }
    }

    #[test]
    fn queries_are_split_and_then_decoded() {
        let cases = [
            ("", ""),
            ("&&", ""),
            ("a=1&b=2", "a=1 b=2"),
            ("flag", "flag="),
            ("a=b=c", "a=b=c"),
            ("filter={a,b{c}}&max-depth=2", "filter={a,b{c}} max-depth=2"),
            ("filter=%7Ba,b%7bc%7D%7d", "filter={a,b{c}}"),
            ("reg=Grid+", "reg=Grid+"),
            ("a=x%26b%3Dy", "a=x&b=y"),
            ("%66ilter=%c3%a9", "filter=é"),
            ("a=%2525", "a=%25"),
            ("=x", "=x"),
            ("a=%", r#"query: '%' without two hexadecimal digits in "%""#),
            ("a=1%4", r#"query: '%' without two hexadecimal digits in "1%4""#),
            ("a=%g0", r#"query: '%' without two hexadecimal digits in "%g0""#),
            ("a=%+1", r#"query: '%' without two hexadecimal digits in "%+1""#),
            ("a=%é", r#"query: '%' without two hexadecimal digits in "%é""#),
            ("a=%ff", r#"query: "%ff" is not UTF-8"#),
            ("a=1&b=2&%61=3", r#"query: option "a" is there twice"#),
        ];
        for (raw, expect) in cases {
            assert_eq!(show(raw), expect, "{raw}");
        }
    }

    #[test]
    fn there_are_only_so_many_options() {
        let raw = |count: usize| (0..count).map(|it| format!("o{it}&")).collect::<String>();
        assert!(Query::parse(&raw(MAX_OPTIONS)).is_ok());
        assert_eq!(Query::parse(&raw(MAX_OPTIONS + 1)), Err(QueryError::TooMany));
    }

    #[test]
    fn what_nobody_takes_is_named() {
        let mut query = Query::parse("max-depth=2&filtre={a}").unwrap();
        assert_eq!(query.take("max-depth").as_deref(), Some("2"));
        assert_eq!(query.take("max-depth"), None);
        assert_eq!(query.take("filter"), None);
        let err = query.finish().unwrap_err();
        assert_eq!(err.to_string(), r#"query: option "filtre" is not supported here"#);
        assert_eq!(Query::parse("").unwrap().finish(), Ok(()));
    }
}
