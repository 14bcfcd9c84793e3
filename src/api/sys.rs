//! The read-only neighbours that real clients ask for: `/sys/...` and `/config/net/hostname`.

use serde_json::{Map, Value, json};

use super::query::Query;
use super::route::Resource;
use super::{App, failed, member};
use crate::drivers::register_db::{DbError, look, schema};
use crate::drivers::{power, wlan};
use crate::http::Answer;
use crate::ops::{journal, store};
use crate::platform::PlatformError;
use crate::sys::{self, clock};

/// Lines of `/sys/ledger`.
const LEDGER_LINES: u32 = 200;

/// The value of a resource that needs nothing but the configuration, the system and small files.
pub(super) fn value(app: &App, resource: Resource) -> Value {
    let identity = &app.config.identity;
    let or_empty = |it: &Option<String>| json!(it.as_deref().unwrap_or(""));
    match resource {
        Resource::Boot => json!({ "reason": app.boot.reason, "time": app.boot.time }),
        Resource::Hostname => match &identity.hostname {
            Some(name) => json!(name),
            None => json!(sys::host::name()),
        },
        Resource::Model => or_empty(&identity.model),
        Resource::Serial => or_empty(&identity.serial),
        Resource::RebootNeeded => json!(power::is_needed(&app.config.state_dir, &app.boot_id)),
        Resource::Time => json!(store::stamp(app.platform.wall())),
        Resource::Uptime => json!(clock::boottime().as_secs_f64()),
        Resource::Version => version(app),
        other => unreachable!("{other:?} has a function of its own"),
    }
}

/// `/sys/version`: what the configuration says, and the running kernel if it does not say that.
fn version(app: &App) -> Value {
    let identity = &app.config.identity;
    let mut res: Map<String, Value> = identity.versions.iter().map(|(name, it)| (name.clone(), json!(it))).collect();
    // The configuration speaks of the update target `fw`; the WebAPI's member is `firmware`.
    if let Some(fw) = res.remove("fw") {
        res.insert("firmware".into(), fw);
    }
    if let Some(hardware) = &identity.hardware {
        res.insert("hardware".into(), json!(hardware));
    }
    res.entry("kernel").or_insert_with(|| json!(sys::host::kernel()));
    Value::Object(res)
}

/// `/sys/db`: the levels that retention keeps, with the youngest row of each.
pub(super) fn database(app: &App) -> Result<Value, DbError> {
    let reader = app.reader()?;
    let level = look::levels(&reader)?.into_iter().map(|it| {
        json!({
            "head": it.head.map(|it| it.to_string()),
            "interval": it.interval * 1000,
            "row-count": it.rows,
            "volatile": false,
        })
    });
    Ok(json!({ "level": level.collect::<Vec<_>>(), "max-registers": schema::MAX_REGISTERS }))
}

/// `/sys/net/wlan`: what is on the air and what the supplicant knows. A scan may be due, so it takes a thread of its own.
pub(super) fn wlan(app: &App, rest: &[&str], query: Query) -> Answer {
    let Some(settings) = app.config.wlan.clone() else {
        return Answer::Now(failed(&PlatformError::Missing("wlan").to_string()));
    };
    let rest: Vec<String> = rest.iter().map(|it| it.to_string()).collect();
    Answer::Detach(Box::new(move |exchange| {
        let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
        exchange.reply(match wlan::view(&settings) {
            Ok(value) => member(value, &rest, query),
            Err(err) => failed(&err.to_string()),
        });
    }))
}

/// `/sys/ledger`: who ran which command from where with what outcome, youngest first.
pub(super) fn ledger(app: &App) -> Result<Value, DbError> {
    let lines = journal::read_ledger(&app.reader()?, LEDGER_LINES)?;
    Ok(json!(lines))
}
