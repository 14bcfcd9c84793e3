//! Mail addresses as RFC 5321 has them in its paths, with the UTF-8 of RFC 6531. It checks their form alone;
//! whether one exists only its server can say.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::punycode;

/// Octets of a local part (RFC 5321, 4.5.3.1.1).
const LOCAL: usize = 64;
/// Octets of a domain (4.5.3.1.2; what the DNS can carry).
const DOMAIN: usize = 253;
/// Octets of a whole address: a path has 256 with its angle brackets (4.5.3.1.3).
const ADDRESS: usize = 254;
/// Octets of one label of a domain (RFC 1035).
const LABEL: usize = 63;

/// An address that may stand in `MAIL FROM:<...>` and `RCPT TO:<...>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// As it was given: it may be a quoted string, and its letters' case counts.
    local: String,
    domain: Domain,
}

/// What stands behind the `@`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Domain {
    /// A name in its ASCII form.
    Name(String),
    /// An address in brackets.
    Literal(IpAddr),
}

impl Address {
    /// An address of the form `local@domain`; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Address, String> {
        if let Some(found) = text.chars().find(|it| it.is_control()) {
            return Err(match found {
                '\r' | '\n' => "must not contain a line break.".into(),
                _ => "must not contain control characters.".into(),
            });
        }
        if text.contains(['<', '>']) && !text.starts_with('"') {
            return Err("must be the bare address, such as name@example.org, without < and >.".into());
        }
        // A quoted local part may itself contain an @, a domain never does.
        let Some((local, domain)) = text.rsplit_once('@') else {
            return Err("must be an address such as name@example.org; this has no @.".into());
        };
        check_local(local)?;
        let domain = Domain::parse(domain)?;
        let res = Address { local: local.into(), domain };
        if res.to_string().len() > ADDRESS {
            return Err(format!("is longer than the {ADDRESS} bytes that mail allows."));
        }
        Ok(res)
    }

    /// The part behind the `@`.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// Whether only a server with SMTPUTF8 can take it. A domain alone does not need that, it has an ASCII form.
    pub fn needs_utf8(&self) -> bool {
        !self.local.is_ascii()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.domain)
    }
}

impl Domain {
    /// A host or domain name, or an address in brackets; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Domain, String> {
        match text.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
            Some(inner) => literal(inner).map(Domain::Literal),
            None => name(text).map(Domain::Name),
        }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Domain::Name(name) => f.write_str(name),
            Domain::Literal(IpAddr::V4(ip)) => write!(f, "[{ip}]"),
            Domain::Literal(IpAddr::V6(ip)) => write!(f, "[IPv6:{ip}]"),
        }
    }
}

/// The ASCII form of a domain name (RFC 5321's `Domain`): labels of letters, digits and inner hyphens.
pub(super) fn name(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("has no domain behind the @.".into());
    }
    let labels = text.split('.').map(label).collect::<Result<Vec<_>, _>>()?;
    // The resolver would take four numbers for an address; in mail those stand in brackets.
    if text.parse::<Ipv4Addr>().is_ok() {
        return Err(format!("has a bare IP address as its domain; it must stand in brackets: [{text}]."));
    }
    let res = labels.join(".");
    if res.len() > DOMAIN {
        return Err(format!("has a domain of more than {DOMAIN} characters."));
    }
    Ok(res)
}

fn label(text: &str) -> Result<String, String> {
    let wrong = |why: &str| Err(format!("has a domain with {why}."));
    if text.is_empty() {
        return wrong("an empty part between its dots");
    }
    if text.starts_with('-') || text.ends_with('-') {
        return wrong("a part that begins or ends with a hyphen");
    }
    if let Some(bad) = text.chars().find(|it| it.is_ascii() && !it.is_ascii_alphanumeric() && *it != '-') {
        return wrong(&format!("the character \"{bad}\", which no domain has"));
    }
    if text.chars().any(|it| !it.is_ascii() && !it.is_alphanumeric() && !is_mark(it)) {
        return wrong("a character that is neither letter nor digit");
    }
    let ascii = match text.is_ascii() {
        true => Some(text.to_owned()),
        false => punycode::label(text, LABEL),
    };
    match ascii {
        Some(ascii) if ascii.len() <= LABEL => Ok(ascii),
        _ => wrong(&format!("a part of more than {LABEL} characters")),
    }
}

/// Combining marks and joiners, which are part of words in many scripts though no letters themselves.
fn is_mark(it: char) -> bool {
    matches!(it, '\u{300}'..='\u{36f}' | '\u{900}'..='\u{dff}' | '\u{e31}'..='\u{eff}' | '\u{200c}' | '\u{200d}'
        | '\u{b7}' | '\u{30fb}')
}

fn literal(inner: &str) -> Result<IpAddr, String> {
    let v6 = inner.split_once(':').filter(|(tag, _)| tag.eq_ignore_ascii_case("IPv6")).map(|(_, ip)| ip);
    let res = match v6 {
        Some(ip) => ip.parse::<Ipv6Addr>().map(IpAddr::V6),
        None => inner.parse::<Ipv4Addr>().map(IpAddr::V4),
    };
    res.map_err(|_| "has brackets as its domain, but no address as in [192.0.2.1] or [IPv6:2001:db8::1].".into())
}

fn check_local(local: &str) -> Result<(), String> {
    if local.is_empty() {
        return Err("has no name before the @.".into());
    }
    if local.len() > LOCAL {
        return Err(format!("has more than {LOCAL} bytes before the @."));
    }
    match local.strip_prefix('"') {
        Some(rest) => check_quoted(rest),
        None => check_dots(local),
    }
}

/// RFC 5321's `Dot-string`: atoms between dots.
fn check_dots(local: &str) -> Result<(), String> {
    if local.split('.').any(str::is_empty) {
        return Err("has a dot at the wrong place before the @.".into());
    }
    let is_atext = |it: char| !it.is_ascii() || it.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(it);
    match local.chars().find(|it| !is_atext(*it)) {
        Some(' ') => Err("must not contain spaces.".into()),
        Some(bad) => Err(format!("has the character \"{bad}\" before the @, which must stand in quotes there.")),
        None => Ok(()),
    }
}

/// RFC 5321's `Quoted-string`, behind its opening quote.
fn check_quoted(rest: &str) -> Result<(), String> {
    let mut chars = rest.chars();
    while let Some(it) = chars.next() {
        match it {
            '"' if chars.as_str().is_empty() => return Ok(()),
            '"' => return Err("has more behind the closing quote before the @.".into()),
            '\\' if !chars.next().is_some_and(|it| (' '..='~').contains(&it)) => {
                return Err("has a backslash with nothing to escape before the @.".into());
            }
            _ => {}
        }
    }
    Err("has no closing quote before the @.".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: &str) {
        let got = match Address::parse(text) {
            Ok(address) => format!("{address}{}", if address.needs_utf8() { " utf8" } else { "" }),
            Err(reason) => format!("error: {reason}"),
        };
        assert!(got.starts_with(expect), "{text}: {got}\nexpected {expect}");
    }

    #[test]
    fn addresses_of_all_forms_pass() {
        for text in [
            "user@example.test",
            "nobody@eGauge123456",
            "a.b+c/d=e@x-1.example",
            "!#$%&'*+-/=?^_`{|}~@example.test",
            "\"two words\"@example.test",
            "\"a@b\"@example.test",
            "\"\\\"\\\\<\"@example.test",
            "x@[192.0.2.1]",
            "x@[IPv6:2001:db8::1]",
            "x@1.2.3.4.example",
        ] {
            check(text, text);
        }
        check("x@[ipv6:2001:DB8::1]", "x@[IPv6:2001:db8::1]");
    }

    #[test]
    fn internationalised_ones_pass_and_their_domains_become_ascii() {
        check("jürgen@example.test", "jürgen@example.test utf8");
        check("user@Bücher.example.test", "user@xn--bcher-kva.example.test");
        check("用户@例子.广告", "用户@xn--fsqu00a.xn--4rr70v utf8");
    }

    #[test]
    fn what_is_wrong_is_said() {
        check("", "error: must be an address such as");
        check("user", "error: must be an address such as");
        check("user@", "error: has no domain");
        check("@example.test", "error: has no name");
        check("a@b\r\nRCPT TO:<c@d>", "error: must not contain a line break.");
        check("a\n@b", "error: must not contain a line break.");
        check("a@b\0", "error: must not contain control characters.");
        check("a@b\u{85}", "error: must not contain control characters.");
        check("<a@b>", "error: must be the bare address");
        check("Joe <a@b>", "error: must be the bare address");
        check("two words@example.test", "error: must not contain spaces.");
        check("a,b@example.test", "error: has the character \",\"");
        check(".a@example.test", "error: has a dot");
        check("a..b@example.test", "error: has a dot");
        check("a.@example.test", "error: has a dot");
        check("\"a@example.test", "error: has no closing quote");
        check("\"a\"b@example.test", "error: has more behind");
        check("\"a\\\"@example.test", "error: has no closing quote");
        check("a@example..test", "error: has a domain with an empty part");
        check("a@example.test.", "error: has a domain with an empty part");
        check("a@-x.test", "error: has a domain with a part that begins");
        check("a@x_y.test", "error: has a domain with the character \"_\"");
        check("a@x y.test", "error: has a domain with the character \" \"");
        check("a@x☃.test", "error: has a domain with a character that is neither");
        check("a@192.0.2.1", "error: has a bare IP address");
        check("a@[192.0.2]", "error: has brackets");
        check("a@[2001:db8::1]", "error: has brackets");
        check("a@[IPv6:192.0.2.1]", "error: has brackets");
    }

    #[test]
    fn lengths_are_those_of_the_standard() {
        let label = "x".repeat(63);
        check(&format!("{}@example.test", "a".repeat(64)), "aaa");
        check(&format!("{}@example.test", "a".repeat(65)), "error: has more than 64 bytes");
        check(&format!("a@{label}.test"), "a@xxx");
        check(&format!("a@{label}x.test"), "error: has a domain with a part of more than 63");
        check(&format!("a@{label}.{label}.{label}.{}", "y".repeat(60)), "a@xxx");
        check(&format!("ab@{label}.{label}.{label}.{}", "y".repeat(60)), "error: is longer than");
        check(&format!("a@{label}.{label}.{label}.{label}"), "error: has a domain of more than 253");
    }
}
