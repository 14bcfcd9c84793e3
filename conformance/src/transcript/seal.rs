//! Takes the secrets out of a transcript: those that are told by the names of members and fields, and those that the tester
//! named, in whatever words a meter repeats them.

use serde_json::Value;

use super::mask::{end_of_string, unsigned};
use super::{Transcript, masked};
use crate::http::Fault;

/// A shorter secret would be found in every other word, and is soon guessed anyway.
const SHORTEST: usize = 4;

impl Transcript {
    /// The same without secrets. Of the logins' tokens that is left which rules read, and lets nobody in.
    pub fn sealed(mut self) -> Transcript {
        let named = std::mem::take(&mut self.secrets);
        let long = |it: &&String| SHORTEST <= it.chars().count();
        let mut secrets: Vec<String> = named.iter().filter(long).flat_map(|it| forms(it)).collect();
        // The longest first: one may be a part of another.
        secrets.sort_by_key(|it| std::cmp::Reverse(it.len()));
        secrets.dedup();
        let plain = |text: &str| secrets.iter().fold(text.to_string(), |text, it| without(&text, it));
        let body = |text: &str| {
            let text = unsigned(&masked(text, false));
            // What holds the form of JSON together is no secret, whatever it looks like.
            let json = serde_json::from_str::<Value>(&text).is_ok();
            if json { in_strings(&text, &plain) } else { plain(&text) }
        };
        let bytes = |bytes: &mut Vec<u8>, change: &dyn Fn(&str) -> String| {
            *bytes = match std::str::from_utf8(bytes) {
                Ok(text) => change(text).into_bytes(),
                // A character for each byte, and back: what is no text may have a password in it all the same.
                Err(_) => {
                    let text = change(&bytes.iter().map(|it| char::from(*it)).collect::<String>());
                    text.chars().map(|it| u8::try_from(u32::from(it)).unwrap_or(b'?')).collect()
                }
            }
        };
        let message = |text: &str| match text.split_once("\r\n\r\n") {
            Some((head, rest)) => format!("{}\r\n\r\n{}", masked(head, false), body(rest)),
            None => masked(text, false),
        };
        for it in &mut self.exchanges {
            bytes(&mut it.sent, &message);
            match &mut it.answer {
                Ok(reply) => {
                    bytes(&mut reply.body, &body);
                    bytes(&mut reply.extra, &body);
                    reply.headers.iter_mut().for_each(|it| it.1 = plain(&it.1));
                }
                Err(Fault::Malformed(why) | Fault::Unreachable(why)) => *why = plain(why),
                Err(_) => {}
            }
        }
        self.facts.values_mut().for_each(|it| each_text(it, &plain));
        self.stopped.values_mut().chain(&mut self.gone).for_each(|it| *it = plain(it));
        self
    }
}

/// A secret as it is, and as it stands in JSON, and in JSON within JSON: a meter may repeat a whole body as a text.
pub fn forms(secret: &str) -> Vec<String> {
    let mut res = vec![secret.to_string()];
    for _ in 0..3 {
        let quoted = Value::from(res[res.len() - 1].as_str()).to_string();
        res.push(quoted[1..quoted.len() - 1].to_string());
    }
    res.dedup();
    res
}

/// The text of JSON with its strings changed, apart from the names of members.
fn in_strings(text: &str, change: &dyn Fn(&str) -> String) -> String {
    let (mut res, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find('"') {
        let (before, inside) = rest.split_at(at + 1);
        res.push_str(before);
        let (string, behind) = inside.split_at(end_of_string(inside));
        let is_name = behind.trim_start().starts_with(':');
        res.push_str(&if is_name { string.to_string() } else { change(string) });
        rest = behind;
    }
    res.push_str(rest);
    res
}

/// The text with `***` for the secret. A member's name stays, even if the password is no better than such a word.
fn without(text: &str, secret: &str) -> String {
    let mut parts = text.split(secret);
    let mut res = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let is_name = part.trim_start_matches('\\').starts_with("\":");
        res.push_str(if is_name { secret } else { "***" });
        res.push_str(part);
    }
    res
}

fn each_text(value: &mut Value, change: &dyn Fn(&str) -> String) {
    match value {
        Value::String(text) => *text = change(text),
        Value::Array(all) => all.iter_mut().for_each(|it| each_text(it, change)),
        Value::Object(all) => all.values_mut().for_each(|it| each_text(it, change)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::evidence::testing::{exchange, transcript};
    use crate::http::Fault;

    #[test]
    fn a_password_that_is_a_word_of_the_api_spoils_no_reply() {
        let mut run = transcript("a", [("x", 200, r#"{"status":"OK","error":"the status is status"}"#)]);
        run.secrets = vec!["status".into()];
        let body = &run.sealed().exchanges[0].answer.as_ref().unwrap().body.clone();
        assert_eq!(String::from_utf8_lossy(body), r#"{"status":"OK","error":"the *** is ***"}"#);
    }

    #[test]
    fn a_password_that_looks_like_a_number_or_a_word_of_json_spoils_none() {
        for (secret, body) in
            [("true", r#"{"done":true,"x":"untrue"}"#), ("1795", r#"{"ts": 1795369200.5, "n":[1795]}"#)]
        {
            let mut run = transcript("a", [("x", 200, body)]);
            run.secrets = vec![secret.into()];
            let sealed = run.sealed().exchanges[0].answer.as_ref().unwrap().body.clone();
            assert_eq!(String::from_utf8_lossy(&sealed), body.replace("untrue", "un***"));
        }
        let mut run = transcript("a", [("x", 200, r#"{"error": no hunter2 here}"#)]);
        run.secrets = vec!["hunter2".into()];
        let sealed = run.sealed().exchanges[0].answer.as_ref().unwrap().body.clone();
        assert_eq!(String::from_utf8_lossy(&sealed), r#"{"error": no *** here}"#);
    }

    #[test]
    fn no_secret_is_left_in_whatever_words_it_came_back() {
        let answer = r#"{"error":"correct \"horse\" is wrong; key correct \"horse\" battery"}"#;
        let mut run = transcript("a", [("x", 200, answer)]);
        let sent = b"POST / HTTP/1.1\r\nAuthorization: Bearer a.b.c\r\n\r\n{\"password\":\"hunter2\",\"x\":\"\xff\"}";
        run.exchanges.push(exchange("a", "y", 0.0, sent, 200, "{}"));
        run.facts.insert("a/seen".into(), json!([{"line": "AUTH correct \"horse\""}]));
        run.stopped.insert("a".into(), "no login: correct \"horse\"".into());
        run.exchanges[1].answer = Err(Fault::Closed(0));
        run.secrets = vec!["correct \"horse\"".into(), "correct \"horse\" battery".into(), "no".into()];
        let sealed = run.sealed();
        let body = &sealed.exchanges[0].answer.as_ref().unwrap().body;
        assert_eq!(String::from_utf8_lossy(body), r#"{"error":"*** is wrong; key ***"}"#);
        assert!(sealed.exchanges[1].sent.ends_with(b"Bearer ***\r\n\r\n{\"password\":\"***\",\"x\":\"\xff\"}"));
        assert_eq!(sealed.facts["a/seen"], json!([{"line": "AUTH ***"}]));
        assert_eq!(sealed.stopped["a"], "no login: ***");
        assert!(sealed.secrets.is_empty());
    }
}
