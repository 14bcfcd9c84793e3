//! What a meter owes as an HTTP server, whatever is asked of it.

pub mod refusals;
pub mod replies;
pub mod requests;
