//! Bench mode's first start, and what the service says of itself when it is up.

use std::io::{self, Write};
use std::net::SocketAddr;

use super::{Failure, database_path};
use crate::api::App;
use crate::auth::{self, Privileges, Secret};
use crate::config::Config;
use crate::drivers::register_db::{Stamp, demo, schema};
use crate::ops::token::hex;
use crate::sys::{clock, random};

/// The user that bench mode makes.
const BENCH_USER: &str = "owner";

/// Demo registers and a user for the first start; the password that it made.
pub(super) fn prepare(config: &Config) -> Result<Option<String>, Failure> {
    let mut conn = schema::open(&database_path(config))?;
    if schema::registers(&conn)?.is_empty() {
        let tx = conn.transaction()?;
        demo::demo(&tx, Stamp::from_nanos(clock::wall().as_nanos()))?;
        tx.commit()?;
    }
    drop(conn);
    if config.factory_users.is_some() || auth::users::path(&config.state_dir).exists() {
        return Ok(None);
    }
    let password = hex(&random::bytes::<8>());
    let secret = Secret::from(password.clone());
    auth::users::set(&config.state_dir, &config.realm, BENCH_USER, &secret, Privileges::OWNER)?;
    Ok(Some(password))
}

/// Prints where the service is and, in bench mode, what to try next.
pub(super) fn announce(app: &App, addrs: &[SocketAddr], password: Option<&str>) {
    let mut text = String::new();
    for addr in addrs {
        text += &format!("meterd {}: listening on http://{addr}\n", env!("CARGO_PKG_VERSION"));
    }
    if app.config.bench {
        text += &format!("Bench mode: state in {}", app.config.state_dir.display());
        text +=
            "; nothing of this machine is touched: the log says what would be run, a reboot restarts the service.\n";
        if let Some(password) = password {
            text += &format!("Login: user {BENCH_USER}, password {password} (shown this once)\n");
        }
        if let (Some(addr), Some(token)) = (addrs.first(), app.auth.mint(BENCH_USER)) {
            text += "Try, within ten minutes (this token ends then):\n";
            text += &format!("  TOKEN={token}\n");
            let head = "  curl -s -H \"Authorization: Bearer $TOKEN\"";
            text += &format!("{head} http://{addr}/api/register\n");
            text += &format!("{head} 'http://{addr}/api/register?format=backup' | head -4\n");
            text += &format!("{head} http://{addr}/api/cmd/db -d '{{\"action\":\"split\"}}'\n");
        }
    }
    // Tests and scripts wait for these lines, so they leave at once and in one piece.
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
