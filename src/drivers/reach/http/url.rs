//! The addresses of HTTP: parsing, relative references, and what of them may be shown.

use ureq::http::Uri;

use super::super::ReachError;

/// Bytes of a URL.
const MAX_URL: usize = 2048;

/// A full `http` or `https` URL without user and password.
pub(super) fn parse(text: &str) -> Result<Uri, ReachError> {
    let wrong = |why: &str| ReachError::Http(format!("the URL is not usable: {why}"));
    if MAX_URL < text.len() {
        return Err(wrong("it is too long"));
    }
    // What comes after the hash is the reader's business, and the library would refuse it.
    let text = text.split('#').next().unwrap_or_default();
    let res: Uri = text.parse().map_err(|err| wrong(&format!("{err}")))?;
    let Some(authority) = res.authority() else {
        return Err(wrong("it must begin with https:// and a host"));
    };
    match res.scheme_str() {
        Some("http" | "https") => {}
        _ => return Err(wrong("only https and http are known here")),
    }
    if authority.as_str().contains('@') {
        return Err(wrong("it must not hold a user name"));
    }
    if authority.host().is_empty() {
        return Err(wrong("there is no host in it"));
    }
    Ok(res)
}

/// What a reference means that was found at `base` (RFC 3986, 5.2).
pub(super) fn join(base: &Uri, reference: &str) -> Result<Uri, ReachError> {
    let scheme = base.scheme_str().unwrap_or_default();
    let authority = base.authority().map_or("", |it| it.as_str());
    let has_scheme = reference.split(['/', '?', '#']).next().is_some_and(|it| it.contains(':'));
    if has_scheme {
        return parse(reference);
    }
    if let Some(rest) = reference.strip_prefix("//") {
        return parse(&format!("{scheme}://{rest}"));
    }
    let path = match reference.as_bytes().first() {
        Some(b'/') => reference.to_string(),
        Some(b'?') => format!("{}{reference}", base.path()),
        None | Some(b'#') => base.path_and_query().map_or("/", |it| it.as_str()).to_string(),
        Some(_) => {
            let folder = base.path().rsplit_once('/').map_or("", |it| it.0);
            format!("{folder}/{reference}")
        }
    };
    let (path, query) = path.split_once('?').map_or((path.as_str(), None), |it| (it.0, Some(it.1)));
    let query = query.map_or(String::new(), |it| format!("?{it}"));
    parse(&format!("{scheme}://{authority}{}{query}", without_dots(path)))
}

/// A path without `.` and `..` (RFC 3986, 5.2.4).
fn without_dots(path: &str) -> String {
    let mut res: Vec<&str> = Vec::new();
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    for (at, part) in parts.iter().enumerate() {
        let is_last = at + 1 == parts.len();
        match *part {
            "." => {}
            ".." => drop(res.pop()),
            part => {
                res.push(part);
                continue;
            }
        }
        if is_last {
            res.push("");
        }
    }
    format!("/{}", res.join("/"))
}

/// Whether what goes there is encrypted.
pub(super) fn is_secure(at: &Uri) -> bool {
    at.scheme_str() == Some("https")
}

/// The port of a URL.
pub(super) fn port(at: &Uri) -> u16 {
    at.port_u16().unwrap_or(if is_secure(at) { 443 } else { 80 })
}

/// Whether credentials for one may go to the other.
pub(super) fn same_server(one: &Uri, other: &Uri) -> bool {
    let host = |it: &Uri| it.host().unwrap_or_default().to_ascii_lowercase();
    host(one) == host(other) && port(one) == port(other) && is_secure(one) == is_secure(other)
}

/// A URL for an error text, without its query, in which there may be a secret.
pub(super) fn shown(at: &Uri) -> String {
    format!("{}://{}{}", at.scheme_str().unwrap_or_default(), at.host().unwrap_or_default(), at.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(base: &str, reference: &str, expect: &str) {
        let got = join(&parse(base).unwrap(), reference).map_or_else(|err| err.to_string(), |it| it.to_string());
        assert!(got == expect || got.starts_with("the URL") && got.contains(expect), "{got}\nexpected {expect}");
    }

    #[test]
    fn references_are_joined_as_rfc_3986_has_it() {
        let base = "http://a/b/c/d?q";
        for (reference, expect) in [
            ("https://x/y", "https://x/y"),
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g/"),
            ("//g:81/h", "http://g:81/h"),
            ("?y", "http://a/b/c/d?y"),
            ("g?y#s", "http://a/b/c/g?y"),
            ("#s", "http://a/b/c/d?q"),
            ("", "http://a/b/c/d?q"),
            (".", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../../../g", "http://a/g"),
            ("g?a=../b", "http://a/b/c/g?a=../b"),
            ("ftp://x/", "only https"),
            ("javascript:alert(1)", "not usable"),
            ("http://u:p@x/", "user name"),
            ("http://", "not usable"),
        ] {
            check(base, reference, expect);
        }
    }

    #[test]
    fn servers_are_compared_with_their_ports() {
        let same = |one: &str, other: &str| same_server(&parse(one).unwrap(), &parse(other).unwrap());
        assert!(same("https://a/x", "https://A:443/y"));
        assert!(!same("https://a/", "http://a:443/"));
        assert!(!same("https://a/", "https://a:444/"));
        assert!(!same("https://a/", "https://b/"));
    }

    #[test]
    fn a_shown_url_has_no_query() {
        assert_eq!(shown(&parse("https://a:1/b?key=secret").unwrap()), "https://a/b");
    }
}
