//! `/sys/status/{token}`: what a long operation is doing, for whoever holds its token.

use super::query::Query;
use super::{App, failed, member};
use crate::http::Reply;
use crate::ops::Token;

/// The status object or one of its members. `rest` begins with the token.
pub(super) fn get(app: &App, rest: &[&str], query: Query) -> Reply {
    let [token, rest @ ..] = rest else { return failed("token: missing.") };
    match Token::parse(token).and_then(|it| app.table.find(&it)) {
        Some(op) => member(op.status().to_json(), rest, query),
        // An empty result would make the official client poll for ever.
        None => failed("token: unknown; operations are forgotten 15 minutes after their end."),
    }
}
