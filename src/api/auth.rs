//! `/auth`: login, logout, rights and the resource that is there to be unauthorized.

use serde_json::json;

use super::{App, failed};
use crate::auth::{Identity, Login};
use crate::http::{Reply, Request};

/// `POST /auth/login`: a digest or a password against a token.
pub(super) fn login(app: &App, request: &Request) -> Reply {
    match app.auth.login(&request.body, &request.peer) {
        Login::Token(jwt) => Reply::json(200, &json!({ "jwt": jwt })),
        Login::Refused(text) => failed(text),
        Login::Malformed => Reply::error(400, "Bad Request"),
        Login::Throttled { retry_after } => {
            let text = "Too many logins; wait before the next one.";
            Reply::error(429, text).with("Retry-After", retry_after.to_string())
        }
    }
}

/// `GET /auth/logout`: the token that came with the request is revoked.
pub(super) fn logout(app: &App, request: &Request) -> Reply {
    if request.bearer.as_deref().is_some_and(|it| app.auth.logout(it)) {
        Reply::json(200, &json!({ "status": "OK" }))
    } else {
        Reply::error(400, "Bad Request")
    }
}

/// `GET /auth/rights`
pub(super) fn rights(identity: &Identity) -> Reply {
    let rights: Vec<_> = identity.rights.names().collect();
    Reply::json(200, &json!({ "usr": identity.user, "rights": rights }))
}

/// `GET /auth/unauthorized` with a valid token.
pub(super) fn logged_in() -> Reply {
    Reply::json(200, &json!({ "status": "You are logged in." }))
}
