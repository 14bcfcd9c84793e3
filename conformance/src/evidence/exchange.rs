//! Readings of one exchange. Each returns what was asked for, or the finding that ends the rule.

use serde_json::{Map, Value};

use crate::http::{Fault, Reply};
use crate::transcript::{Exchange, masked};
use crate::verdict::Finding;

/// Characters of a body that a finding shows.
const SHOWN: usize = 400;

impl Exchange {
    /// The finding that the meter does not do what it owes, with `why` in words.
    pub fn broken(&self, why: impl AsRef<str>) -> Finding {
        Finding::Broken { sent: self.request_text(), came: format!("{} ({})", self.answer_text(), why.as_ref()) }
    }

    /// Goes on if `kept`.
    pub fn want(&self, kept: bool, why: impl AsRef<str>) -> Result<(), Finding> {
        if kept { Ok(()) } else { Err(self.broken(why)) }
    }

    /// The reply; none is a fault of the meter.
    pub fn reply(&self) -> Result<&Reply, Finding> {
        self.answer.as_ref().map_err(|fault| match fault {
            Fault::Long => Finding::NoEvidence(fault.to_string()),
            _ => self.broken(fault.to_string()),
        })
    }

    /// The reply with this status.
    pub fn status(&self, status: u16) -> Result<&Reply, Finding> {
        let reply = self.reply()?;
        self.want(reply.status == status, format!("status {status} is owed"))?;
        Ok(reply)
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<Value, Finding> {
        serde_json::from_slice(&self.reply()?.body).map_err(|err| self.broken(format!("the body is no JSON: {err}")))
    }

    /// The body as an object, whatever the status.
    pub fn object(&self) -> Result<Map<String, Value>, Finding> {
        match self.json()? {
            Value::Object(res) => Ok(res),
            _ => Err(self.broken("the body is no JSON object")),
        }
    }

    /// The object of a success: 200 without `error`.
    pub fn success(&self) -> Result<Map<String, Value>, Finding> {
        self.status(200)?;
        let res = self.object()?;
        self.want(!res.contains_key("error"), "`error` must be absent on success")?;
        Ok(res)
    }

    /// A success whose `status` is a string.
    pub fn done(&self) -> Result<Finding, Finding> {
        let res = self.success()?;
        self.want(res.get("status").is_some_and(Value::is_string), "`status` must be a string")?;
        Ok(Finding::Kept)
    }

    /// The value of `result` of a success.
    pub fn result(&self) -> Result<Value, Finding> {
        let mut res = self.success()?;
        res.remove("result").ok_or_else(|| self.broken("`result` is missing"))
    }

    /// The text of an `error`, with 200 as the API has it or with a 4xx. Never with 401, which means a missing login.
    pub fn error(&self) -> Result<String, Finding> {
        let reply = self.reply()?;
        let fits = reply.status == 200 || (400..500).contains(&reply.status) && reply.status != 401;
        self.want(fits, "an error is owed, as 200 or 4xx with `error`")?;
        match self.object()?.get("error") {
            Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
            Some(_) => Err(self.broken("`error` must be a string that says something")),
            None => Err(self.broken("`error` is owed")),
        }
    }

    /// An error as the API has it; a 4xx is a note.
    pub fn refused(&self) -> Result<Finding, Finding> {
        self.error()?;
        match self.reply()?.status {
            200 => Ok(Finding::Kept),
            status => {
                Ok(Finding::Quirk(format!("refused with status {status}, where the documents have 200 with `error`")))
            }
        }
    }

    /// A login that was refused: an error, and no token.
    pub fn denied(&self) -> Result<Finding, Finding> {
        self.error()?;
        self.want(!self.object()?.contains_key("jwt"), "no token is owed")?;
        Ok(Finding::Kept)
    }

    /// A request that the API does not have is not obeyed: an error as 200, or any 4xx or 501, whatever its body.
    pub fn declined(&self) -> Result<Finding, Finding> {
        match self.reply()?.status {
            200 => self.error().map(|_| Finding::Kept),
            status => {
                self.want(
                    (400..500).contains(&status) || status == 501,
                    "an error is owed, as 200 with `error` or 4xx",
                )?;
                Ok(Finding::Kept)
            }
        }
    }

    /// A 401 with what a client needs to log in.
    pub fn unauthorized(&self) -> Result<Finding, Finding> {
        self.status(401)?;
        let body = self.object()?;
        for member in ["rlm", "nnc", "error"] {
            let text = body.get(member).and_then(Value::as_str);
            self.want(
                text.is_some_and(|it| !it.is_empty()),
                format!("`{member}` must be a string that says something"),
            )?;
        }
        Ok(Finding::Kept)
    }

    /// What was sent: the request line, the fields that matter and the beginning of the body.
    pub fn request_text(&self) -> String {
        let text = masked(&String::from_utf8_lossy(&self.sent), true);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let line = short(head.lines().next().unwrap_or_default());
        if body.is_empty() { line } else { format!("{line} {}", short(body)) }
    }

    /// What came: the status and the beginning of the body, or why nothing did.
    pub fn answer_text(&self) -> String {
        match &self.answer {
            Ok(reply) => {
                let body = masked(&String::from_utf8_lossy(&reply.body), true);
                format!("{} {}", reply.status, short(&body)).trim_end().to_string()
            }
            Err(fault) => fault.to_string(),
        }
    }
}

fn short(text: &str) -> String {
    let text = text.replace(['\r', '\n'], " ");
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
