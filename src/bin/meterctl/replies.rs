//! What a reply says: its object, or a failure in words. Meters differ in how they refuse; all ways are read here and nowhere
//! else.

use serde_json::Value;

use super::failure::{Failure, Kind};
use super::http::Reply;

/// The text of an `error` member, which some send as null when there is none and some as an object.
pub fn error_of(json: &Value) -> Option<String> {
    match json.get("error")? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// A meter that is there but asks to come back later.
pub fn busy(reply: &Reply) -> Option<Failure> {
    let wait = reply.retry_after.map_or_else(String::new, |it| format!(" for {it} s"));
    let said = error_of(&reply.json).unwrap_or_default();
    match reply.status {
        // Too many failed logins: to go on trying would make it worse.
        429 => Some(
            Failure::new(Kind::Login, format!("The meter wants no more logins{wait}: {said}"))
                .hint("Wait that long, then log in with the right password."),
        ),
        503 => Some(
            Failure::new(Kind::Unreachable, format!("The meter is busy or going down{wait}: {said}"))
                .hint("Nothing was done; try again a little later."),
        ),
        502 | 504 => Some(
            Failure::new(
                if reply.status == 504 { Kind::Silent } else { Kind::Unreachable },
                format!("The web server in front gets no answer from the meter: {said}"),
            )
            .hint("The command may have been carried out all the same: look before you send it again."),
        ),
        _ => None,
    }
}

/// A meter that is somewhere else.
pub fn moved(reply: &Reply) -> Option<Failure> {
    let location = reply.location.as_deref().filter(|_| (300..400).contains(&reply.status))?;
    let base = location.split("/auth/").next().unwrap_or(location);
    Some(
        Failure::new(Kind::Usage, format!("The meter is elsewhere: it points to {location}."))
            .hint(format!("Say --url {base}")),
    )
}

/// What a reply says: its object, or why not.
pub fn judge(path: &str, reply: Reply) -> Result<Value, Failure> {
    if let Some(failure) = busy(&reply).or_else(|| moved(&reply)) {
        return Err(failure);
    }
    let path = path.split('?').next().unwrap_or(path);
    let error = error_of(&reply.json);
    match (reply.status, error) {
        (200..=299, None) if reply.json.is_null() => {
            Err(Failure::new(Kind::Failed, format!("{path} gave no JSON but {:?}.", reply.text)))
        }
        (200..=299, None) => Ok(reply.json),
        (200..=299, Some(text)) => Err(Failure::new(Kind::Failed, sentence(&text)).with(&reply.json)),
        (401 | 403, error) => {
            let text = error.unwrap_or_else(|| "it gives no reason.".into());
            Err(Failure::new(Kind::Login, format!("This account may not use {path}: {text}"))
                .hint("See its rights with meterctl whoami; log in as somebody with the right save."))
        }
        (404 | 405 | 501, error) => {
            let text = error.map_or_else(String::new, |it| format!(" ({})", it.trim_end_matches('.')));
            Err(Failure::new(Kind::Lacking, format!("This meter does not offer {path}{text}.")))
        }
        (413, _) => {
            Err(Failure::new(Kind::Failed, "The meter takes no body of this size.").hint("Try a smaller --chunk."))
        }
        (status, Some(text)) => {
            Err(Failure::new(Kind::Failed, format!("{} ({status})", sentence(&text))).with(&reply.json))
        }
        (status, None) => {
            Err(Failure::new(Kind::Failed, format!("{path} was answered {status}: {}", reply.text.trim())))
        }
    }
}

fn sentence(text: &str) -> String {
    let text = text.trim();
    if text.ends_with(['.', '!', '?']) { text.into() } else { format!("{text}.") }
}

impl Failure {
    /// Names the operation that a refusal belongs to, if it has one.
    fn with(self, json: &Value) -> Failure {
        match json.get("token").and_then(Value::as_str) {
            Some(token) => self.hint(format!("More: meterctl status {token}")),
            None => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, text: &str) -> Reply {
        let json = serde_json::from_str(text).unwrap_or(Value::Null);
        Reply { status, json, text: text.into(), retry_after: None, location: None }
    }

    #[test]
    fn every_way_to_refuse_is_read() {
        for (status, body, kind) in [
            (200, r#"{"status":"OK"}"#, None),
            (200, r#"{"status":"OK","error":null}"#, None),
            (204, "true", None),
            (200, "", Some(Kind::Failed)),
            (200, r#"{"error":"regs: there is no register 9"}"#, Some(Kind::Failed)),
            (400, r#"{"error":"Bad Request"}"#, Some(Kind::Failed)),
            (400, r#"{"error":{"code":"x"}}"#, Some(Kind::Failed)),
            (500, "oops", Some(Kind::Failed)),
            (401, r#"{"rlm":"r","nnc":"n","error":"no right"}"#, Some(Kind::Login)),
            (403, "", Some(Kind::Login)),
            (404, r#"{"error":"no such resource"}"#, Some(Kind::Lacking)),
            (404, "<html>", Some(Kind::Lacking)),
            (501, "", Some(Kind::Lacking)),
            (502, "<html>", Some(Kind::Unreachable)),
            (503, "", Some(Kind::Unreachable)),
            (504, "<html>", Some(Kind::Silent)),
        ] {
            let got = judge("/cmd/db", reply(status, body)).err().map(|it| it.kind);
            assert_eq!(got, kind, "{status} {body}");
        }
    }

    #[test]
    fn a_redirect_says_where_to() {
        let reply = Reply { location: Some("https://m/api/auth/rights".into()), ..reply(301, "") };
        let failure = judge("/auth/rights", reply).unwrap_err();
        assert_eq!(failure.hint.as_deref(), Some("Say --url https://m/api"));
    }
}
