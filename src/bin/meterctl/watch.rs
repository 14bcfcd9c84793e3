//! An operation that a meter works off: what a reply says of it, its status, and the wait for its end with a bar. Meters
//! differ in whether a command's reply comes at its end or at its beginning; [`Begun::of`] reads both.

use std::time::Duration;

use serde_json::{Value, json};

use super::failure::{Failure, Kind};
use super::interrupt;
use super::session::Session;
use super::terminal::Unit;
use super::words;

/// Milliseconds between two looks at a status: few at first, because most operations are short.
const PAUSES: [u64; 4] = [50, 100, 250, 500];
/// Thousandths of a bar.
const SHARES: u64 = 1000;

/// What the reply to a command says.
#[derive(Debug, PartialEq)]
pub enum Begun {
    /// It is done, and there is no operation to ask about.
    Done,
    /// It has a token.
    Token {
        /// The token.
        token: String,
        /// The reply says that all went well, so an operation that the meter does not know any more is done.
        is_ok: bool,
    },
}

impl Begun {
    /// Reads `{"status": "OK"}`, `{"token": ...}` and both together.
    pub fn of(reply: &Value) -> Begun {
        let is_ok = reply.get("status").and_then(Value::as_str).is_some_and(|it| it.starts_with("OK"));
        match reply.get("token").and_then(Value::as_str) {
            Some(token) => Begun::Token { token: token.into(), is_ok },
            None => Begun::Done,
        }
    }
}

/// A moment of an operation.
#[derive(Debug)]
pub struct Status {
    /// It is over.
    pub done: bool,
    /// From 0 to 1.
    pub progress: Option<f64>,
    /// What is being done, in words.
    pub info: Option<String>,
    /// Why it failed: tag and arguments.
    pub error: Option<(String, Vec<String>)>,
    /// All of it as it came.
    pub json: Value,
}

impl Status {
    /// Reads a status leniently: a progress in quotes, arguments that are null or numbers.
    pub fn of(json: Value) -> Status {
        let text = |it: &Value| it.as_str().map_or_else(|| it.to_string(), String::from);
        let args: Vec<String> = json.get("args").and_then(Value::as_array).into_iter().flatten().map(text).collect();
        let tag = |name: &str| json.get(name).filter(|it| !it.is_null()).map(text);
        let progress = json.get("progress").and_then(|it| it.as_f64().or_else(|| it.as_str()?.parse().ok()));
        let error = tag("error").map(|it| (it, args.clone()));
        let info = tag("info").map(|it| words::info(&it, if error.is_none() { &args } else { &[] }));
        let done = json.get("done") == Some(&Value::Bool(true));
        Status { done, progress, info, error, json }
    }

    /// Fails the way the operation did.
    pub fn check(&self) -> Result<(), Failure> {
        let Some((tag, args)) = &self.error else { return Ok(()) };
        let (text, hint) = words::error(tag, args);
        let kind = if tag == "CANCELED" { Kind::Cancelled } else { Kind::Failed };
        let failure = Failure { operation: Some(self.json.clone()), ..Failure::new(kind, text) };
        Err(match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        })
    }

    /// The same in a line.
    pub fn words(&self) -> String {
        let progress = self.progress.map_or_else(String::new, |it| format!("{:.0} %, ", it.clamp(0.0, 1.0) * 100.0));
        match (self.done, self.check(), &self.info) {
            (true, Ok(()), _) => "done".into(),
            (true, Err(failure), _) => failure.text,
            (false, _, Some(info)) => format!("{progress}{info}"),
            (false, ..) => format!("{progress}under way"),
        }
    }
}

/// Looks at an operation once.
pub fn look(session: &mut Session, token: &str) -> Result<Status, Failure> {
    check_token(token)?;
    let json = session.result(&format!("/sys/status/{token}")).map_err(|failure| match failure.kind {
        Kind::Failed => Failure::new(Kind::Failed, format!("The meter does not know this operation: {}", failure.text))
            .hint("Operations are forgotten some minutes after their end; what it did may show in meterctl ledger."),
        _ => failure,
    })?;
    match json.is_object() {
        true => Ok(Status::of(json)),
        false => Err(Failure::new(Kind::Lacking, format!("This meter's status of an operation is no object: {json}."))),
    }
}

/// A token becomes a part of a path, so it must look like one.
pub fn check_token(token: &str) -> Result<(), Failure> {
    if !token.is_empty() && token.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_".contains(&it)) {
        return Ok(());
    }
    Err(Failure::new(Kind::Usage, format!("{token:?} is no token of an operation."))
        .hint("It is the hexadecimal text that the command printed which began it."))
}

/// Asks a meter to cancel an operation.
pub fn cancel(session: &mut Session, token: &str) -> Result<(), Failure> {
    session.command("cancel", &json!({ "token": token })).map(drop)
}

/// Waits for the end with a bar; a lost link and a meter that starts anew are waited for. The first Ctrl-C cancels.
/// `on_status` sees every status, for what grows in its result.
pub fn follow(
    session: &mut Session,
    label: &str,
    token: &str,
    mut on_status: impl FnMut(&mut Session, &Status),
) -> Result<Status, Failure> {
    let terminal = session.terminal;
    let bar = terminal.bar(label, Unit::Share, SHARES);
    let mut looks = 0;
    let mut is_cancelling = false;
    loop {
        let status = match is_cancelling {
            // The flag of Ctrl-C stays up, so that nothing but the operation's own end is waited for now.
            true => look(session, token)?,
            false => session.patiently(|session| look(session, token)).or_else(|failure| match failure.kind {
                Kind::Left => Ok(Status::of(json!({ "done": false }))),
                _ => Err(failure),
            })?,
        };
        if let Some(progress) = status.progress {
            bar.at((progress.clamp(0.0, 1.0) * SHARES as f64) as u64);
        }
        bar.says(status.info.as_deref().unwrap_or(""));
        on_status(session, &status);
        if status.done {
            return Ok(status);
        }
        let pause = Duration::from_millis(PAUSES[looks.min(PAUSES.len() - 1)]);
        looks += 1;
        if is_cancelling {
            std::thread::sleep(pause);
        } else if interrupt::sleep(pause).is_err() {
            is_cancelling = true;
            terminal.note("Cancelling; Ctrl-C again leaves the operation to itself.");
            match cancel(session, token) {
                Ok(()) => {}
                // It may have ended just now, which its status says.
                Err(failure) if failure.kind == Kind::Failed => terminal.note(&failure.text),
                Err(failure) => return Err(failure),
            }
        }
    }
}

/// What to do with a command that began: leave it, or wait and say how it ended.
pub fn conclude(
    session: &mut Session,
    label: &str,
    reply: &Value,
    detach: bool,
    on_status: impl FnMut(&mut Session, &Status),
) -> Result<Option<Status>, Failure> {
    let terminal = session.terminal;
    let Begun::Token { token, is_ok } = Begun::of(reply) else {
        terminal.result(&status_text(reply), reply)?;
        return Ok(None);
    };
    if detach {
        terminal.note("It goes on by itself; meterctl wait with this token waits for its end:");
        terminal.result(&token, &json!({ "token": token }))?;
        return Ok(None);
    }
    let status = match follow(session, label, &token, on_status) {
        Ok(status) => status,
        Err(failure) if is_ok && matches!(failure.kind, Kind::Failed | Kind::Lacking) => {
            terminal.result(&status_text(reply), reply)?;
            return Ok(None);
        }
        Err(failure) => return Err(failure.hint(format!("It may still be under way: meterctl wait {token}"))),
    };
    status.check()?;
    Ok(Some(status))
}

/// The `status` of a reply in words.
pub fn status_text(reply: &Value) -> String {
    match reply.get("status").and_then(Value::as_str) {
        None | Some("OK") => "Done.".into(),
        Some(text) => format!("{text}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_of_both_readings_are_understood() {
        let token = |is_ok| Begun::Token { token: "ab".into(), is_ok };
        assert_eq!(Begun::of(&json!({ "status": "OK" })), Begun::Done);
        assert_eq!(Begun::of(&json!({ "token": "ab" })), token(false));
        assert_eq!(Begun::of(&json!({ "status": "OK", "token": "ab" })), token(true));
        assert_eq!(Begun::of(&json!({ "status": "in progress", "token": "ab" })), token(false));
    }

    #[test]
    fn a_status_is_read_leniently() {
        for (json, words) in [
            (json!({ "done": false, "info": "FLASH", "args": ["mtd3"], "progress": 0.25 }), "25 %, writing mtd3"),
            (json!({ "done": false, "progress": "1", "args": null }), "100 %, under way"),
            (json!({ "done": true, "progress": 1 }), "done"),
            (
                json!({ "done": true, "error": "NOCOMMA", "args": [7] }),
                "Line 7 of the backup has a wrong number of fields.",
            ),
            (json!({ "done": true, "error": null }), "done"),
            (json!({}), "under way"),
        ] {
            assert_eq!(Status::of(json.clone()).words(), words, "{json}");
        }
    }

    #[test]
    fn a_cancelled_operation_is_told_from_a_failed_one() {
        let kind = |tag: &str| Status::of(json!({ "done": true, "error": tag })).check().unwrap_err().kind;
        assert_eq!(kind("CANCELED"), Kind::Cancelled);
        assert_eq!(kind("OOM"), Kind::Failed);
    }

    #[test]
    fn tokens_cannot_lead_to_other_paths() {
        assert!(check_token("0f3a").is_ok());
        for text in ["", "../time", "a/b", "a?b", "a b"] {
            assert!(check_token(text).is_err(), "{text}");
        }
    }
}
