//! `POST /cmd/cancel`: `{"token": "..."}`.

use serde::Deserialize;

use super::super::{App, failed, note, ok};
use super::{BadMember, bad};
use crate::http::Reply;
use crate::ops::{CancelError, Token, Who};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    token: Option<String>,
}

/// The token of a body.
fn parse(body: &[u8]) -> Result<Token, BadMember> {
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

/// Asks the operation to stop; how it ended is for its status to say.
pub(in crate::api) fn run(app: &App, body: &[u8], who: Who) -> Reply {
    let token = match parse(body) {
        Ok(token) => token,
        Err(err) => return failed(&err.to_string()),
    };
    let (outcome, reply) = match app.table.cancel(&token) {
        Ok(_) => ("OK", ok()),
        Err(CancelError::Unknown) => ("unknown token", failed("token: unknown; nothing was cancelled.")),
        Err(CancelError::Finished) => ("finished already", failed("token: that operation is over already.")),
    };
    note(app, &who, "cancel", outcome);
    reply
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
        check("[", "error: body: EOF");
    }
}
