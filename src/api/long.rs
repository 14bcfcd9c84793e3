//! The course of a long command on its thread: take the body in, check it, begin the operation, and answer when it
//! is done or after `reply_seconds`, whichever comes first.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::cmd::db::{self, Action, DbCommand};
use super::cmd::db_body::scan;
use super::{App, failed, note};
use crate::drivers::register_db::restore::{Checking, RestoreArgs, RestorePlan, plan_restore};
use crate::drivers::register_db::text::Header;
use crate::drivers::register_db::{DbError, Plan, Stamp, rework};
use crate::http::{Answer, Exchange, Reply};
use crate::ops::staging::{self, Draft, Staged};
use crate::ops::{Begin, BeginError, Fault, Op, Token, Who, store};
use crate::sys::{clock, fs};

/// How long an operation may take to begin; the gate has given the request up a little later.
const BEGIN_WITHIN: Duration = Duration::from_secs(6);

/// `POST /cmd/db`
pub(super) fn database(app: &Arc<App>, who: Who, respond_async: bool) -> Answer {
    let app = Arc::clone(app);
    Answer::Detach(Box::new(move |mut exchange: Exchange| {
        let reply = run_database(&app, &who, respond_async, &mut exchange);
        exchange.reply(reply);
    }))
}

fn run_database(app: &App, who: &Who, respond_async: bool, exchange: &mut Exchange) -> Reply {
    let (command, upload) = match take_in(app, exchange) {
        Ok(taken) => taken,
        Err(text) => {
            app.store.break_chain();
            return failed(&text);
        }
    };
    let name = format!("db {}", command.action.name());
    // A client that asks for it gets its answer as soon as the operation cannot get lost any more, and may send the next
    // chunk while this one is applied.
    let patience = if respond_async { Duration::ZERO } else { app.config.limits.reply_within() };
    let deadline = exchange.received() + patience;
    let begun = begin(app, who, &name, &command, upload);
    if begun.is_err() && command.action == Action::Restore {
        app.store.break_chain();
    }
    match begun {
        Ok((op, token)) => answer(&op, &token, deadline),
        Err(Refusal::Text(text)) => {
            note(app, who, &name, &text);
            failed(&text)
        }
        Err(Refusal::Fault(fault)) => {
            let text = fault.text.clone();
            match app.store.refuse(command.action.name(), fault, who.clone(), &name) {
                Some(token) => Reply::json(200, &json!({ "error": text, "token": token.as_str() })),
                None => failed(&text),
            }
        }
    }
}

/// Why nothing was begun: in words alone, or with the tag that a client library knows.
enum Refusal {
    Text(String),
    Fault(Fault),
}

impl From<DbError> for Refusal {
    fn from(err: DbError) -> Self {
        match err.tag() {
            Some(_) => Refusal::Fault(store::fault(&err)),
            None => Refusal::Text(err.to_string()),
        }
    }
}

/// A backup as it came.
struct Upload {
    draft: Draft,
    digest: Sha256,
}

/// Reads the body; `data` goes to a file as it arrives.
fn take_in(app: &App, exchange: &mut Exchange) -> Result<(DbCommand, Option<Upload>), String> {
    let limits = &app.config.limits;
    let mut upload: Option<Upload> = None;
    let mut sink = |bytes: &[u8]| {
        let upload = match &mut upload {
            Some(upload) => upload,
            slot => slot.insert(Upload { draft: new_draft(app, limits.data_chars)?, digest: Sha256::new() }),
        };
        upload.digest.update(bytes);
        upload.draft.write_all(bytes)
    };
    let members = scan(exchange.body(), limits.data_chars, &mut sink).map_err(|err| err.to_string())?;
    let command = db::parse(&members).map_err(|err| err.to_string())?;
    Ok((command, upload))
}

/// A file in the staging folder, if there is room for it beside what the meter itself needs.
fn new_draft(app: &App, expected: u64) -> io::Result<Draft> {
    let limits = &app.config.limits;
    let rest = limits.staged_bytes.saturating_sub(staging::bytes(&app.staged)?);
    if fs::free_space(&app.staged)? < limits.reserve_bytes + expected {
        return Err(io::ErrorKind::StorageFull.into());
    }
    if rest < expected {
        return Err(io::ErrorKind::QuotaExceeded.into());
    }
    Draft::new(&app.staged, rest)
}

/// Checks the command against the database and the backup, and enters the operation.
fn begin(
    app: &App,
    who: &Who,
    name: &str,
    command: &DbCommand,
    upload: Option<Upload>,
) -> Result<(Arc<Op>, Token), Refusal> {
    let (plan, digest, staged, chain) = match upload {
        None => (rework(app, command)?, None, None, None),
        Some(upload) => {
            let digest = digest(command, upload.digest);
            let arrival = app.store.arrive(&digest).ok_or_else(|| Refusal::Text(BeginError::Stopping.to_string()))?;
            if let Some(same) = arrival.same {
                return Ok(same);
            }
            let (plan, staged) = restore(app, command, &upload.draft, arrival.chain.as_ref())?;
            let chain = command.more_chunks.then(|| plan.header.clone());
            (Plan::Restore(plan), Some(digest), Some(staged), chain)
        }
    };
    let kind = command.action.name();
    let deadline = clock::boottime() + BEGIN_WITHIN;
    let begin = Begin { plan, kind, digest, staged, chain, who: who.clone(), command: name.into(), deadline };
    app.store.begin(begin).map_err(|err| Refusal::Text(err.to_string()))
}

fn rework(app: &App, command: &DbCommand) -> Result<Plan, DbError> {
    let reader = app.reader()?;
    let regs = command.regs.as_deref();
    Ok(match command.action {
        Action::Zero => Plan::Zero(rework::plan_zero(&reader, command.range, regs)?),
        Action::Split => Plan::Split(rework::plan_split(&reader, command.range, regs)?),
        Action::Restore => unreachable!("restore without data is refused by the parser"),
    })
}

/// Checks a backup and puts its rows down, durably, for the database thread.
fn restore(
    app: &App,
    command: &DbCommand,
    upload: &Draft,
    chain: Option<&Header>,
) -> Result<(RestorePlan, Staged), DbError> {
    // What the rows take is only known at the end; the upload's own size is a fair guess.
    let expected = app.config.limits.data_chars;
    let mut rows = new_draft(app, expected).map_err(DbError::Staging)?;
    let args = RestoreArgs {
        file: upload.path().to_path_buf(),
        staged: rows.path().to_path_buf(),
        range: command.range,
        regs: command.regs.clone(),
        more_chunks: command.more_chunks,
    };
    let checking = Checking {
        chain,
        rows: &mut rows,
        unpacked_bytes: app.config.limits.unpacked_bytes,
        now: Stamp::from_nanos(clock::wall().as_nanos()),
        // There is no token yet by which anybody could cancel, and a check takes less than a second.
        cancel: &AtomicBool::new(false),
        on_progress: &mut |_| {},
    };
    let plan = plan_restore(&app.reader()?, args, checking)?;
    let staged = rows.seal().map_err(DbError::Staging)?;
    Ok((plan, staged))
}

/// What makes two restore requests the same: the bytes of `data` and every member that says how to apply them.
fn digest(command: &DbCommand, data: Sha256) -> [u8; 32] {
    let show = |it: Option<Stamp>| it.map_or_else(String::new, |it| it.to_string());
    let text = format!(
        "{}\n{}\n{}\n{:?}\n{}\n",
        command.action.name(),
        show(command.range.from),
        show(command.range.to),
        command.regs,
        command.more_chunks
    );
    Sha256::new().chain_update(text).chain_update(data.finalize()).finalize().into()
}

/// The reply once the operation is over, or when holding it back longer would try a client's patience. `deadline` is
/// a reading of the boot clock.
pub(super) fn answer(op: &Op, token: &Token, deadline: Duration) -> Reply {
    let outcome = op.wait(deadline.saturating_sub(clock::boottime()));
    let token = token.as_str();
    let body: Value = match outcome.map(|it| it.fault) {
        None => json!({ "status": "in progress", "token": token }),
        Some(None) => json!({ "status": "OK", "token": token }),
        Some(Some(fault)) => json!({ "error": fault.text, "token": token }),
    };
    Reply::json(200, &body)
}
