//! `POST /cmd/clear`: a bare JSON string says what.

use std::sync::Arc;

use rusqlite::{Connection, TransactionBehavior};
use serde_json::json;

use super::super::{App, failed, note, ok};
use super::{BadMember, bad};
use crate::drivers::register_db::{DbError, append};
use crate::http::{Answer, Exchange, Reply};
use crate::ops::Who;
use crate::platform::PlatformError;

/// What can be cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Excess,
    WebCache,
}

pub(super) fn parse(body: &[u8]) -> Result<What, BadMember> {
    let choice = "must be the JSON string \"excess\" or \"web_cache\".";
    match serde_json::from_slice::<Option<String>>(body) {
        Ok(Some(text)) if text == "excess" => Ok(What::Excess),
        Ok(Some(text)) if text == "web_cache" => Ok(What::WebCache),
        Ok(_) | Err(_) => bad("body", choice),
    }
}

/// Clears at once; on a thread of its own, because the database may be busy with a batch.
pub(in crate::api) fn run(app: &Arc<App>, body: &[u8], who: Who) -> Answer {
    match parse(body) {
        Err(err) => Answer::Now(failed(&err.to_string())),
        Ok(What::WebCache) => {
            let app = Arc::clone(app);
            Answer::Detach(Box::new(move |exchange| clear_web_cache(&app, &who, exchange)))
        }
        Ok(What::Excess) => {
            let app = Arc::clone(app);
            Answer::Detach(Box::new(move |exchange| {
                let outcome = match app.store.call(clear_excess) {
                    Some(Ok(())) => Ok(()),
                    Some(Err(err)) => Err(format!("excess: {err}")),
                    None => Err("The meter is going down.".into()),
                };
                note(&app, &who, "clear excess", outcome.as_ref().err().map_or("OK", String::as_str));
                exchange.reply(outcome.map_or_else(|text| failed(&text), |()| ok()));
            }))
        }
    }
}

/// Answers as soon as the cache is empty for those who use it.
fn clear_web_cache(app: &App, who: &Who, exchange: Exchange) {
    let note = |outcome: &str| note(app, who, "clear web_cache", outcome);
    let Some(folder) = &app.config.platform.web_cache_dir else {
        let err = PlatformError::Missing("platform.web_cache_dir");
        note(&err.to_string());
        return exchange.reply(failed(&format!("web_cache: {err}.")));
    };
    match app.platform.clear_web_cache() {
        Ok(true) => {
            note("OK");
            exchange.reply(ok());
        }
        Ok(false) => {
            let text = format!("OK; there was nothing to clear: {} does not exist", folder.display());
            note(&text);
            exchange.reply(Reply::json(200, &json!({ "status": text })));
        }
        Err(err) => {
            let text = format!("web_cache: {}: {err}.", folder.display());
            note(&text);
            exchange.reply(failed(&text));
        }
    }
}

fn clear_excess(conn: &mut Connection) -> Result<(), DbError> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    append::clear_excess(&tx)?;
    Ok(tx.commit()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_two_strings_are_taken() {
        assert_eq!(parse(b"\"excess\""), Ok(What::Excess));
        assert_eq!(parse(b" \"web_cache\" "), Ok(What::WebCache));
        for body in ["", "null", "{}", "\"x\"", "excess", "[\"excess\"]", "\"excess\"x"] {
            assert!(parse(body.as_bytes()).is_err(), "{body}");
        }
    }
}
