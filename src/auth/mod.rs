//! Who may do what: users, digest login, tokens, rights and throttling.
//! It knows nothing of HTTP beyond the members of a login body.

mod peer;

pub use peer::Peer;
