//! `POST /cmd/cancel`: `{"token": "..."}`.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;

use super::super::{App, failed, note, ok};
use super::{BadMember, bad};
use crate::http::{Answer, Reply};
use crate::ops::{CancelError, Cancelled, Token, Who};

/// What there is to say when nothing is left to stop.
const OVER: &str = "token: that operation is over already.";

/// What there is to say when the disk fails or is full.
const UNRECORDED: &str =
    "OK, but it could not be recorded: should the meter restart before the operation has stopped, it goes on.";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    token: Option<String>,
}

/// The token of a body.
pub(super) fn parse(body: &[u8]) -> Result<Token, BadMember> {
    // serde would take a list for the members in their order.
    if body.trim_ascii_start().starts_with(b"[") {
        return bad("body", "must be an object with the member token.");
    }
    let body: Option<Body> = if body.trim_ascii().is_empty() {
        None
    } else {
        match serde_json::from_slice(body) {
            Ok(body) => body,
            Err(err) => return bad("body", format!("{err}.")),
        }
    };
    match body.and_then(|it| it.token) {
        None => bad("token", "missing; it is what the reply that began the operation gave."),
        Some(text) => match Token::parse(&text) {
            Some(token) => Ok(token),
            None => bad("token", "must be 32 hexadecimal digits."),
        },
    }
}

/// Asks the operation to stop; how it ended is for its status to say. What cannot be cancelled is answered at once; a
/// cancellation is recorded first.
pub(in crate::api) fn run(app: &Arc<App>, body: &[u8], who: Who) -> Answer {
    let token = match parse(body) {
        Ok(token) => token,
        Err(err) => return Answer::Now(failed(&err.to_string())),
    };
    match app.table.find(&token) {
        None => return Answer::Now(failed("token: unknown; nothing was cancelled.")),
        Some(op) if op.outcome().is_some() => return Answer::Now(failed(OVER)),
        Some(_) => {}
    }
    let app = Arc::clone(app);
    Answer::Detach(Box::new(move |exchange| {
        exchange.reply(match app.store.cancel(&token) {
            Ok(Cancelled::ForGood) => {
                note(&app, &who, "cancel", "OK");
                ok()
            }
            Ok(Cancelled::WhileRunning) => {
                note(&app, &who, "cancel", UNRECORDED);
                Reply::json(200, &json!({ "status": UNRECORDED }))
            }
            Err(CancelError::Unknown | CancelError::Finished) => failed(OVER),
        });
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, expect: &str) {
        let got = match parse(body.as_bytes()) {
            Ok(token) => token.as_str().to_string(),
            Err(err) => format!("error: {err}"),
        };
        assert!(got.starts_with(expect), "{got}\nexpected {expect}");
    }

    #[test]
    fn a_token_is_needed_and_must_be_hexadecimal() {
        check(r#"{"token":"473c31462e62848b5352314dfc608669"}"#, "473c31462e62848b5352314dfc608669");
        for body in ["", "{}", "null", r#"{"token":null}"#] {
            check(body, "error: token: missing");
        }
        check(r#"{"token":"473c"}"#, "error: token: must be 32");
        check(r#"{"token":7}"#, "error: body: invalid type");
        check(r#"{"tokn":"x"}"#, "error: body: unknown field `tokn`");
        check(r#"{"token":"a","token":"b"}"#, "error: body: duplicate field `token`");
        check(r#"["473c31462e62848b5352314dfc608669"]"#, "error: body: must be an object");
        check("{", "error: body: EOF");
    }
}
