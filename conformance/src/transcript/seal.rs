//! Takes the secrets out of a transcript: those that are told by the names of members and fields, and those that the tester
//! named, in whatever words a meter repeats them.

use serde_json::Value;

use super::{Transcript, masked};
use crate::http::Fault;

/// A shorter secret would be found in every other word, and is soon guessed anyway.
const SHORTEST: usize = 4;

impl Transcript {
    /// The same without secrets. The logins' tokens stay, because rules read them; they end with the run.
    pub fn sealed(mut self) -> Transcript {
        let named = std::mem::take(&mut self.secrets);
        let long = |it: &&String| SHORTEST <= it.chars().count();
        let mut secrets: Vec<String> = named.iter().filter(long).flat_map(|it| forms(it)).collect();
        // The longest first: one may be a part of another.
        secrets.sort_by_key(|it| std::cmp::Reverse(it.len()));
        secrets.dedup();
        let plain = |text: &str| secrets.iter().fold(text.to_string(), |text, it| without(&text, it));
        let bytes = |bytes: &mut Vec<u8>| {
            *bytes = match std::str::from_utf8(bytes) {
                Ok(text) => plain(&masked(text, false)).into_bytes(),
                // A character for each byte, and back: what is no text may have a password in it all the same.
                Err(_) => {
                    let text = masked(&bytes.iter().map(|it| char::from(*it)).collect::<String>(), false);
                    plain(&text).chars().map(|it| u8::try_from(u32::from(it)).unwrap_or(b'?')).collect()
                }
            }
        };
        for it in &mut self.exchanges {
            bytes(&mut it.sent);
            match &mut it.answer {
                Ok(reply) => {
                    bytes(&mut reply.body);
                    bytes(&mut reply.extra);
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
