//! The API: a request becomes a command or a question, and an outcome becomes a reply. The order of checks is the
//! same everywhere: 404, 405, 401, body; nothing is executed for a request that is answered 401.

pub mod auth;
pub mod cmd;
mod device;
pub mod filter;
pub mod long;
mod openapi;
mod providers;
pub mod query;
pub mod register;
pub mod route;
pub mod status;
pub mod sys;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::auth::{Auth, Identity};
use crate::config::Config;
use crate::drivers::power::Boot;
use crate::drivers::register_db::{DbError, look};
use crate::http::{Answer, Reply, Request};
use crate::ops::{LedgerLine, Store, Table, Who, store};
use crate::platform::Platform;

use cmd::reboot::Why;
use query::Query;
use route::Resource;

/// Everything that a request may touch.
pub struct App {
    /// The configuration.
    pub config: Config,
    /// Logins and rights.
    pub auth: Auth,
    /// Live operations.
    pub table: Arc<Table>,
    /// The thread that writes the database, and those of other operations.
    pub store: Arc<Store>,
    /// The database file, for readers of their own.
    pub db_path: PathBuf,
    /// The folder of staged files.
    pub staged: PathBuf,
    /// What touches the machine itself.
    pub platform: Arc<Platform>,
    /// What is known of the last boot.
    pub boot: Boot,
    /// Which boot of the machine this is.
    pub boot_id: String,
    /// The clock is being set.
    pub setting_time: AtomicBool,
    /// The meter goes down: whoever asks for anything is told to wait.
    pub going_down: AtomicBool,
    /// Sends the service down, to reboot the machine a second later; keeps the lock of installers until then.
    pub go_down: Box<dyn Fn(Option<File>) + Send + Sync>,
}

impl App {
    /// The answer of a meter that goes down. Clients take it for one that is down, which it is in a moment.
    fn down() -> Reply {
        Reply::error(503, "The meter is going down; try again when it is back.").with("Retry-After", "30")
    }

    /// A connection that only reads; it never waits for the writer and never makes the writer wait.
    fn reader(&self) -> Result<rusqlite::Connection, DbError> {
        look::open(&self.db_path)
    }
}

/// Answers one request.
pub fn handle(app: &Arc<App>, request: &mut Request) -> Answer {
    if app.going_down.load(Ordering::Acquire) {
        return Answer::Now(App::down());
    }
    let Some(found) = route::find(&request.path) else {
        return Answer::Now(Reply::error(404, &format!("{}: no such resource.", request.path)));
    };
    let Some(need) = found.need_of(&request.method) else {
        let text = format!("{}: only {} is allowed here.", request.path, found.methods);
        return Answer::Now(Reply::error(405, &text).with("Allow", found.methods));
    };
    let identity = request.bearer.as_deref().and_then(|it| app.auth.verify(it, &request.peer));
    // A withheld body means that the gate could not verify the token; whatever the token may be worth a moment
    // later, the command that it was sent with is not complete.
    if !need.met_by(identity.as_ref().map(|it| &it.rights)) || request.withheld {
        return Answer::Now(unauthorized(app, identity.as_ref()));
    }
    let query = match Query::parse(request.query.as_deref().unwrap_or("")) {
        Ok(query) => query,
        Err(err) => return Answer::Now(failed(&err.to_string())),
    };
    match found.resource {
        Resource::Login => without_options(query, || Answer::Now(auth::login(app, request))),
        Resource::Register => register::get(app, query),
        Resource::Description => without_options(query, || Answer::Now(openapi::get())),
        resource => {
            let Some(identity) = identity else {
                return Answer::Now(unauthorized(app, None));
            };
            signed_in(app, request, &identity, resource, &found.rest, query)
        }
    }
}

/// Resources that need to know who asks, or at least that somebody is logged in.
fn signed_in(
    app: &Arc<App>,
    request: &Request,
    identity: &Identity,
    resource: Resource,
    rest: &[&str],
    query: Query,
) -> Answer {
    if let Some(name) = resource.command() {
        let who = Who { user: identity.user.clone(), peer: request.peer.to_string() };
        return without_options(query, || match app.config.disabled.iter().any(|it| it == name) {
            true => Answer::Now(failed(&format!("{name}: this meter does not offer this command."))),
            false => command(app, request, resource, who),
        });
    }
    let value = match resource {
        Resource::Logout => return without_options(query, || Answer::Now(auth::logout(app, request))),
        Resource::Rights => return without_options(query, || Answer::Now(auth::rights(identity))),
        Resource::Unauthorized => return without_options(query, || Answer::Now(auth::logged_in())),
        Resource::Status => return Answer::Now(status::get(app, rest, query)),
        Resource::StatusRoot => Ok(json!({})),
        Resource::Login | Resource::Register | Resource::Description => unreachable!("handled before"),
        Resource::SysWlan => return sys::wlan(app, rest, query),
        Resource::Providers(service) => return Answer::Now(providers::list(app, service, query)),
        Resource::Service(service) if request.method == "DELETE" => {
            let who = Who { user: identity.user.clone(), peer: request.peer.to_string() };
            return without_options(query, || providers::end(app, service, who));
        }
        Resource::Service(service) => providers::active(app, service),
        Resource::SysDb => sys::database(app).map_err(|err| err.to_string()),
        Resource::Ledger => sys::ledger(app).map_err(|err| err.to_string()),
        plain => Ok(sys::value(app, plain)),
    };
    Answer::Now(match value {
        Ok(value) => member(value, rest, query),
        Err(text) => failed(&text),
    })
}

/// A command of `/cmd`.
fn command(app: &Arc<App>, request: &Request, resource: Resource, who: Who) -> Answer {
    match resource {
        Resource::Activate => cmd::activate::run(app, &request.body, who),
        Resource::Cancel => cmd::cancel::run(app, &request.body, who),
        Resource::Clear => cmd::clear::run(app, &request.body, who),
        Resource::Db => long::database(app, who, request.respond_async),
        Resource::FactoryRestore => cmd::reboot::run(app, Why::FactoryRestore, &request.body, who),
        Resource::Homeplug => cmd::homeplug::run(app, request, who),
        Resource::Reboot => cmd::reboot::run(app, Why::Reboot, &request.body, who),
        Resource::SetTime => cmd::set_time::run(app, &request.body, who),
        Resource::TestRemote => cmd::test_remote::run(app, &request.body, who),
        Resource::TestEmail => cmd::test_email::run(app, &request.body, who),
        Resource::Update => cmd::update::run(app, request, who),
        Resource::Wlan => cmd::wlan::run(app, request, who),
        other => unreachable!("{other:?} is no command"),
    }
}

/// A resource that has no query options at all.
fn without_options(query: Query, run: impl FnOnce() -> Answer) -> Answer {
    match query.finish() {
        Ok(()) => run(),
        Err(err) => Answer::Now(failed(&err.to_string())),
    }
}

/// `{"result": ...}` of a member of `value`, cut down by `filter` and `max-depth`.
pub(crate) fn member(value: Value, rest: &[&str], query: Query) -> Reply {
    let mut at = value;
    for name in rest {
        let next = match &mut at {
            Value::Object(members) => members.remove(*name),
            Value::Array(items) => {
                name.parse().ok().filter(|it: &usize| *it < items.len()).map(|it| items.swap_remove(it))
            }
            _ => None,
        };
        match next {
            Some(next) => at = next,
            None => return failed(&format!("{name}: there is no such member (now).")),
        }
    }
    match shape(at, query) {
        Ok(value) => Reply::json(200, &json!({ "result": value })),
        Err(text) => failed(&text),
    }
}

pub(crate) fn shape(value: Value, mut query: Query) -> Result<Value, String> {
    let filter = query.take("filter").map(|it| filter::Filter::parse(&it)).transpose();
    let filter = filter.map_err(|err| err.to_string())?;
    let depth = query
        .take("max-depth")
        .map(|it| it.parse::<usize>().ok().filter(|it| *it > 0))
        .map(|it| it.ok_or_else(|| "max-depth: must be a whole number of at least 1.".to_string()));
    let depth = depth.transpose()?;
    query.finish().map_err(|err| err.to_string())?;
    let value = match filter {
        Some(filter) => filter.apply(value),
        None => value,
    };
    Ok(match depth {
        Some(depth) => filter::max_depth(value, depth),
        None => value,
    })
}

/// 401 with all that a client needs to log in.
fn unauthorized(app: &App, identity: Option<&Identity>) -> Reply {
    let text = match identity {
        None => "Authentication required.",
        Some(_) => "This account has not the right to do this.",
    };
    let challenge = app.auth.challenge();
    Reply::json(401, &json!({ "rlm": challenge.rlm, "nnc": challenge.nnc, "error": text }))
}

/// A failed command or question: HTTP 200 with `error`, as the WebAPI has it.
pub(crate) fn failed(text: &str) -> Reply {
    Reply::error(200, text)
}

/// `{"status": "OK"}`
pub(crate) fn ok() -> Reply {
    Reply::json(200, &json!({ "status": "OK" }))
}

/// Notes in the ledger that a command was run, and how it ended.
pub(crate) fn note(app: &App, who: &Who, command: &str, outcome: &str) {
    app.store.note(LedgerLine { outcome: outcome.into(), ..store::ledger_line(who, command) });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(rest: &[&str], query: &str) -> String {
        let value = json!({"a": [1, {"b": 2}], "c": "x"});
        let reply = member(value, rest, Query::parse(query).unwrap());
        assert_eq!(reply.status, 200);
        String::from_utf8(reply.body.into_owned()).unwrap()
    }

    #[test]
    fn members_are_reached_by_name_and_index() {
        assert_eq!(get(&["a", "1", "b"], ""), r#"{"result":2}"#);
        assert_eq!(get(&["c"], ""), r#"{"result":"x"}"#);
        for rest in [&["d"][..], &["a", "2"], &["a", "x"], &["c", "x"]] {
            assert!(get(rest, "").contains("no such member"), "{rest:?}");
        }
    }

    #[test]
    fn unsupported_options_are_an_error() {
        assert!(get(&[], "depth=1").contains("depth"));
        assert!(get(&[], "max-depth=0").contains("max-depth"));
        assert!(get(&[], "max-depth=x").contains("max-depth"));
    }
}
