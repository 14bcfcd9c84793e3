//! Who I am, and what was run: `login`, `logout`, `whoami`, `status`, `wait`, `cancel`, `ledger`.

use serde_json::{Value, json};

use crate::failure::{Failure, Kind};
use crate::moment::shown;
use crate::session::Session;
use crate::watch;

/// `login`
pub fn login(session: &mut Session) -> Result<(), Failure> {
    session.forget();
    let seconds = session.login()?;
    let words =
        format!("Logged in to {} as {}; the token is kept for {} minutes.", session.base(), session.user, seconds / 60);
    let object = json!({ "status": "OK", "url": session.base(), "user": session.user, "seconds": seconds });
    session.terminal.result(&words, &object)
}

/// `logout`
pub fn logout(session: &mut Session) -> Result<(), Failure> {
    if session.kept_token().is_none() {
        return session.terminal.result("There was no token.", &json!({ "status": "OK" }));
    }
    let reply = session.logout()?;
    session.terminal.result("Logged out.", &reply)
}

/// `whoami`
pub fn whoami(session: &mut Session) -> Result<(), Failure> {
    let reply = session.get("/auth/rights")?;
    let user = reply.get("usr").and_then(Value::as_str).unwrap_or(session.user).to_string();
    let rights = reply.get("rights").and_then(Value::as_array).cloned().unwrap_or_default();
    let rights: Vec<&str> = rights.iter().filter_map(Value::as_str).collect();
    let words = match rights.as_slice() {
        [] => format!("{user}, with no rights but to look"),
        rights => format!("{user}, with the rights {}", rights.join(", ")),
    };
    session.terminal.result(&words, &reply)
}

/// `status`
pub fn status(session: &mut Session, token: &str) -> Result<(), Failure> {
    let status = watch::look(session, token)?;
    let mut words = status.words();
    if let Some(result) = status.json.get("result").filter(|it| !it.is_null()) {
        words += &format!("\n{}", serde_json::to_string_pretty(result).unwrap_or_default());
    }
    session.terminal.result(&words, &status.json)
}

/// `wait`
pub fn wait(session: &mut Session, token: &str) -> Result<(), Failure> {
    session.contact()?;
    let status = watch::follow(session, "wait", token, |_, _| {})?;
    status.check()?;
    session.terminal.result("Done.", &status.json)
}

/// `cancel`
pub fn cancel(session: &mut Session, token: &str) -> Result<(), Failure> {
    watch::check_token(token)?;
    watch::cancel(session, token)?;
    session
        .terminal
        .result("The operation is being cancelled; meterctl wait says how it ends.", &json!({ "status": "OK" }))
}

/// `ledger`: beyond the WebAPI, so a meter may well have none.
pub fn ledger(session: &mut Session) -> Result<(), Failure> {
    let lines = session.result("/sys/ledger").map_err(|failure| match failure.kind {
        Kind::Lacking | Kind::Failed => {
            Failure::new(Kind::Lacking, "This meter keeps no ledger of commands; that is beyond the WebAPI.")
        }
        _ => failure,
    })?;
    let text = |it: &Value, name: &str| it.get(name).and_then(Value::as_str).unwrap_or("?").to_string();
    let line = |it: &Value| {
        let ts = text(it, "ts");
        let when = ts.split('.').next().and_then(|it| it.parse().ok()).map_or(ts.clone(), shown);
        format!(
            "{when}  {:<12} {:<15} {:<24} {}\n",
            text(it, "user"),
            text(it, "peer"),
            text(it, "command"),
            text(it, "outcome")
        )
    };
    let words: String = lines.as_array().into_iter().flatten().map(line).collect();
    let words = if words.is_empty() { "Nothing was run yet.".into() } else { words };
    session.terminal.result(&words, &json!({ "ledger": lines }))
}
