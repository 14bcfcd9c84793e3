//! Takes secrets out of what is shown or kept. It goes by the names of members and fields, since it also has to work on
//! what is no JSON.

use crate::session::md5;

/// Members whose values are secrets, or give an off-line guesser what it needs.
const MEMBERS: [&str; 8] = ["mailpass", "key", "password", "pwd", "hash", "jwt", "pw", "dek"];

/// The text without secrets. With `tokens`, the logins' tokens count as such.
pub fn masked(text: &str, tokens: bool) -> String {
    let mut res = text.to_string();
    for member in MEMBERS {
        if tokens || member != "jwt" {
            res = with_member(&res, member, |_| "***".into());
        }
    }
    res = without_bearer(&res);
    without_deks(&res)
}

/// The text with the logins' tokens made worthless: each has a digest in place of its signature, so that it still shows who
/// may be what for how long, and is like no other.
pub fn unsigned(text: &str) -> String {
    with_member(text, "jwt", |token| {
        let (front, signature) = token.rsplit_once('.').unwrap_or_default();
        format!("{front}.{}", md5(if signature.is_empty() { token } else { signature }))
    })
}

/// `"member" : "secret"` becomes `"member":"..."` with what `change` makes of it.
fn with_member(text: &str, member: &str, change: impl Fn(&str) -> String) -> String {
    let name = format!("\"{member}\"");
    let (mut res, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find(&name) {
        let (before, behind) = rest.split_at(at + name.len());
        res.push_str(before);
        rest = behind;
        let value = behind.trim_start();
        let Some(value) = value.strip_prefix(':').map(str::trim_start) else { continue };
        let Some(inside) = value.strip_prefix('"') else { continue };
        let end = end_of_string(inside);
        let value = inside[..end].strip_suffix('"').unwrap_or(&inside[..end]);
        res.push_str(&format!(":\"{}\"", change(value)));
        rest = &inside[end..];
    }
    res.push_str(rest);
    res
}

/// Where the string ends whose opening quote was just passed: behind its closing quote.
pub(super) fn end_of_string(text: &str) -> usize {
    let mut escaped = false;
    for (at, it) in text.char_indices() {
        match it {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

/// `Bearer x.y.z` becomes `Bearer ***`.
fn without_bearer(text: &str) -> String {
    let mut res = String::new();
    for (number, part) in text.split("Bearer ").enumerate() {
        if number == 0 {
            res.push_str(part);
        } else {
            let secret = part.find(|it: char| it.is_whitespace() || it == '"').unwrap_or(part.len());
            res.push_str("Bearer ***");
            res.push_str(&part[secret..]);
        }
    }
    res
}

/// `aa:bb:cc:dd:ee:ff/ABCD-...` becomes `aa:bb:cc:dd:ee:ff/***`.
fn without_deks(text: &str) -> String {
    let mac = |it: &str| it.len() == 17 && it.bytes().all(|it| it == b':' || it.is_ascii_hexdigit());
    let (mut res, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('/') {
        let (before, behind) = rest.split_at(at + 1);
        res.push_str(before);
        rest = behind;
        let start = (0..=at).rev().find(|it| rest_is_mac_start(before, *it, at)).unwrap_or(at);
        if mac(&before[start..at]) {
            res.push_str("***");
            rest = &behind[behind.find(['"', ',']).unwrap_or(behind.len())..];
        }
    }
    res.push_str(rest);
    res
}

fn rest_is_mac_start(text: &str, start: usize, end: usize) -> bool {
    text.is_char_boundary(start) && end - start == 17
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_and_all_else_stays() {
        for (text, shown) in [
            (r#"{"mailpass" : "a\"b", "mailuser":"u"}"#, r#"{"mailpass":"***", "mailuser":"u"}"#),
            (r#"{"key":"k","keys":"no"}"#, r#"{"key":"***","keys":"no"}"#),
            (r#"{"password":"cut of"#, r#"{"password":"***""#),
            (r#"{"key":7}"#, r#"{"key":7}"#),
            ("Authorization: Bearer a.b.c\r\nHost: m", "Authorization: Bearer ***\r\nHost: m"),
            (r#"["00:b0:52:00:00:01/ABCD-EFGH-IJKL-MNOP","x/y"]"#, r#"["00:b0:52:00:00:01/***","x/y"]"#),
            (r#"{"jwt":"a.b.c"}"#, r#"{"jwt":"***"}"#),
        ] {
            assert_eq!(masked(text, true), shown);
        }
        assert_eq!(masked(r#"{"jwt":"a.b.c"}"#, false), r#"{"jwt":"a.b.c"}"#);
        let [one, two] = [r#"{"jwt":"a.b.secret"}"#, r#"{"jwt":"a.b.other"}"#].map(unsigned);
        assert!(one.starts_with(r#"{"jwt":"a.b."#) && !one.contains("secret") && one != two, "{one} {two}");
    }
}
