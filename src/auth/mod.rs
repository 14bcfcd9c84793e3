//! Who may do what: users, digest login, tokens, rights and throttling. It knows nothing of HTTP beyond the members of a
//! login body, and never reads the wall clock to decide something: a command may move it.

mod digest;
mod directory;
mod login;
mod nonce;
mod peer;
mod revoked;
mod rights;
mod secret;
mod spent;
mod throttle;
mod token;
pub mod users;
mod vicinity;

use std::fmt;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use peer::Peer;
pub use rights::{Privileges, Rights, UnknownPrivilege};
pub use secret::Secret;

use crate::config::Config;
use crate::sys::{clock, net};
use digest::Ha1;
use directory::{Directory, User};
use login::{Attempt, Proof};
use nonce::Nonces;
use revoked::Revoked;
use spent::{Spent, Use};
use throttle::Throttle;
use token::Tokens;
use users::UsersError;
use vicinity::Vicinity;

/// Bytes of the longest realm; with it the longest token stays below what is accepted as one.
pub const MAX_REALM: usize = 256;

/// One text for a wrong user, realm or password, so that it tells nothing.
const WRONG: &str = "Invalid user name or password.";
/// The official client takes exactly this text as the order to fetch a new nonce and try again.
const EXPIRED: &str = "Nonce expired.";
const NEEDS_TLS: &str = "A login with the plain password needs https; without it, log in with nnc, cnnc and hash.";
const NO_USERS: &str = "No user is set up yet; run `meterd user set NAME` on the meter.";

/// The service's knowledge of users, and of everything that it has promised to clients. The keys are made when it is
/// opened: a restart ends all tokens and nonces.
pub struct Auth {
    realm: String,
    senses: Senses,
    nonces: Nonces,
    tokens: Tokens,
    directory: Directory,
    throttle: Throttle,
    spent: Spent,
    revoked: Revoked,
    vicinity: Vicinity,
    decoy: Ha1,
}

/// Where time and interfaces are read; tests put their own in.
#[derive(Clone, Copy)]
struct Senses {
    boottime: fn() -> Duration,
    wall: fn() -> Duration,
    interfaces: fn() -> io::Result<Vec<net::Subnet>>,
}

/// What a client needs for a digest login; part of every 401.
#[derive(Debug)]
pub struct Challenge {
    /// The realm.
    pub rlm: String,
    /// A fresh nonce.
    pub nnc: String,
}

/// The answer to a login.
#[derive(Debug, PartialEq)]
pub enum Login {
    /// It is the user: here is the token.
    Token(String),
    /// Not logged in, for the reason that the text says.
    Refused(&'static str),
    /// The body is not that of a login.
    Malformed,
    /// Too much was tried; the number is the seconds to wait, at least one.
    Throttled {
        /// Seconds to wait.
        retry_after: u64,
    },
}

/// Who makes a request, and what this request may do.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// The user's name.
    pub user: String,
    /// Computed from the user's present record and the request's peer.
    pub rights: Rights,
    /// The name of the token, which differs for every login.
    pub jti: String,
}

/// Why logins cannot be offered at all.
#[derive(Debug)]
pub enum AuthError {
    /// The realm is too long.
    Realm,
    /// There is a users file that cannot be used.
    Users(UsersError),
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AuthError::Realm => write!(f, "realm: longer than {MAX_REALM} bytes"),
            AuthError::Users(err) => err.fmt(f),
        }
    }
}

impl std::error::Error for AuthError {}

impl Auth {
    /// Reads the users and makes the keys.
    pub fn open(config: &Config) -> Result<Auth, AuthError> {
        Auth::with(config, Senses { boottime: clock::boottime, wall: clock::wall, interfaces: net::interfaces })
    }

    fn with(config: &Config, senses: Senses) -> Result<Auth, AuthError> {
        if MAX_REALM < config.realm.len() {
            return Err(AuthError::Realm);
        }
        let now = (senses.boottime)();
        let directory = Directory::open(&config.state_dir, config.factory_users.as_deref(), now);
        Ok(Auth {
            realm: config.realm.clone(),
            senses,
            nonces: Nonces::new(),
            tokens: Tokens::new(&config.realm),
            directory: directory.map_err(AuthError::Users)?,
            throttle: Throttle::new(),
            spent: Spent::default(),
            revoked: Revoked::default(),
            vicinity: Vicinity::new(senses.interfaces),
            decoy: Ha1::decoy(),
        })
    }

    /// What to send with a 401. It costs no memory here.
    pub fn challenge(&self) -> Challenge {
        Challenge { rlm: self.realm.clone(), nnc: self.nonces.issue((self.senses.boottime)()) }
    }

    /// Decides a login. The order matters: who guesses too much is turned away unread; a hash is spent last, so that
    /// only a login that would succeed can take room.
    pub fn login(&self, body: &[u8], peer: &Peer) -> Login {
        let now = (self.senses.boottime)();
        if let Some(wait) = self.throttle.peer(peer.ip, now) {
            return throttled(wait);
        }
        let Some(attempt) = login::parse(body) else { return Login::Malformed };
        if let Some(wait) = self.throttle.user(&attempt.user, peer.ip, now) {
            return throttled(wait);
        }
        if self.directory.is_empty(now) {
            return Login::Refused(NO_USERS);
        }
        let hash = match &attempt.proof {
            Proof::Password(_) if !peer.secure => return Login::Refused(NEEDS_TLS),
            Proof::Password(_) => None,
            Proof::Digest { nonce, .. } if !self.nonces.check(nonce, now) => return Login::Refused(EXPIRED),
            Proof::Digest { hash, .. } => digest::unhex(hash),
        };
        let Some(user) = self.proven(&attempt, now) else {
            self.throttle.failed(&attempt.user, peer.ip, now);
            // Not the name: it may be a password, typed into the wrong field.
            log::warn!("a login from {} was refused", peer.ip.map_or("an unknown peer".into(), |it| it.to_string()));
            return Login::Refused(WRONG);
        };
        match hash.map_or(Use::First, |it| self.spent.spend(&attempt.user, it, now)) {
            Use::First => Login::Token(self.issue(&attempt.user, &user, now)),
            Use::Again => Login::Refused(EXPIRED),
            Use::NoRoom(wait) => throttled(wait),
        }
    }

    /// Who makes a request with this token from this peer; nobody if the token is no good (any more).
    pub fn verify(&self, token: &str, peer: &Peer) -> Option<Identity> {
        let now = (self.senses.boottime)();
        let (claims, user) = self.good(token, now)?;
        let rights = user.privileges.rights(|| self.vicinity.contains(peer.ip, now));
        Some(Identity { user: claims.usr, rights, jti: claims.jti })
    }

    /// Whether a token is good, whatever it entitles to. The gate asks before it lets an upload in.
    pub fn is_live(&self, token: &str) -> bool {
        self.good(token, (self.senses.boottime)()).is_some()
    }

    /// Ends a token; false if it was no good anyway. With too many ended tokens to remember, all of this user end.
    pub fn logout(&self, token: &str) -> bool {
        let now = (self.senses.boottime)();
        let Some((claims, _)) = self.good(token, now) else { return false };
        if !self.revoked.add(&claims, now) {
            self.directory.end_tokens(&claims.usr);
        }
        true
    }

    /// A token for a user without a login, for those who run the service anyway; nothing if the user cannot log in.
    pub fn mint(&self, user: &str) -> Option<String> {
        let now = (self.senses.boottime)();
        let found = self.directory.find(user, now).filter(|it| it.ha1.is_some())?;
        Some(self.issue(user, &found, now))
    }

    /// Reads the users file again at once.
    pub fn reload(&self) {
        self.directory.reload();
    }

    /// The user whose password the attempt proves to know. Nobody learns from the time it takes whether there is such a
    /// user: with none, or a disabled one, the proof is weighed against a decoy.
    fn proven(&self, attempt: &Attempt, now: Duration) -> Option<User> {
        let user = self.directory.find(&attempt.user, now);
        let ha1 = user.as_ref().and_then(|it| it.ha1.as_ref());
        let proves = attempt.proves(ha1.unwrap_or(&self.decoy));
        let good = proves & ha1.is_some() & (attempt.realm == self.realm);
        user.filter(|_| good)
    }

    fn good(&self, token: &str, now: Duration) -> Option<(token::Claims, User)> {
        let claims = self.tokens.open(token, now)?;
        let user = self.directory.find(&claims.usr, now)?;
        (user.generation == claims.generation && !self.revoked.contains(&claims)).then_some((claims, user))
    }

    fn issue(&self, name: &str, user: &User, now: Duration) -> String {
        self.tokens.issue(name, user.privileges.bits(), user.generation, now, (self.senses.wall)())
    }
}

fn throttled(wait: Duration) -> Login {
    Login::Throttled { retry_after: wait.as_millis().div_ceil(1000).max(1) as u64 }
}

/// A panic elsewhere while a lock was held is answered there; the tables here are whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
