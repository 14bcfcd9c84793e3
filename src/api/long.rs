//! The course of a long command on its thread: take the body in, check it, begin the operation, and answer when it
//! is done or after `reply_seconds`, whichever comes first.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::cmd::db::{self, Action, DbCommand};
use super::cmd::db_body::{BodyError, scan};
use super::{App, failed, note};
use crate::drivers::register_db::restore::{Checking, RestoreArgs, plan_restore};
use crate::drivers::register_db::text::Header;
use crate::drivers::register_db::{DbError, Plan, Stamp, rework};
use crate::http::{Answer, Exchange, Reply};
use crate::ops::staging::{self, Draft, Staged};
use crate::ops::{Begin, Fault, Op, Token, Who, store};
use crate::sys::{clock, fs};

/// `POST /cmd/db`
pub(super) fn database(app: &Arc<App>, who: Who) -> Answer {
    let app = Arc::clone(app);
    Answer::Detach(Box::new(move |mut exchange: Exchange| {
        let reply = run_database(&app, &who, &mut exchange);
        exchange.reply(reply);
    }))
}

fn run_database(app: &App, who: &Who, exchange: &mut Exchange) -> Reply {
    let (command, staged) = match take_in(app, exchange) {
        Ok(taken) => taken,
        Err(text) => return failed(&text),
    };
    let name = format!("db {}", command.action.name());
    let deadline = exchange.received() + app.config.limits.reply_within();
    match begin(app, who, &name, &command, staged) {
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

/// Reads the body; `data` goes to a staged file as it arrives.
fn take_in(app: &App, exchange: &mut Exchange) -> Result<(DbCommand, Option<Staged>), String> {
    let limits = &app.config.limits;
    let mut draft: Option<Draft> = None;
    let mut sink = |bytes: &[u8]| {
        let draft = match &mut draft {
            Some(draft) => draft,
            slot => slot.insert(new_draft(app)?),
        };
        draft.write(bytes)
    };
    let members = scan(exchange.body(), limits.data_chars, &mut sink).map_err(|err| err.to_string())?;
    let command = db::parse(&members).map_err(|err| err.to_string())?;
    let staged = draft.map(Draft::seal).transpose().map_err(|err| BodyError::Write(err).to_string())?;
    Ok((command, staged))
}

/// A staging file, if there is room for a whole chunk beside what the meter itself needs.
fn new_draft(app: &App) -> io::Result<Draft> {
    let limits = &app.config.limits;
    let chunk = limits.data_chars / 4 * 3;
    let full = || io::Error::from(io::ErrorKind::StorageFull);
    if fs::free_space(&app.staged)? < limits.reserve_bytes + chunk {
        return Err(full());
    }
    if staging::bytes(&app.staged)? + chunk > limits.staged_bytes {
        return Err(full());
    }
    Draft::new(&app.staged)
}

/// Checks the command against the database and the file, and enters the operation.
fn begin(
    app: &App,
    who: &Who,
    name: &str,
    command: &DbCommand,
    staged: Option<Staged>,
) -> Result<(Arc<Op>, Token), Refusal> {
    let going_down = || Refusal::Text("The meter is going down; try again when it is back.".into());
    let digest = staged.as_ref().map(|it| digest(command, &it.digest));
    let mut open_chain = None;
    if let Some(digest) = digest {
        let arrival = app.store.arrive(digest).ok_or_else(going_down)?;
        if let Some(same) = arrival.same {
            return Ok(same);
        }
        open_chain = arrival.chain;
    }
    let (plan, chain) = plan(app, command, staged.as_ref(), open_chain.as_ref())?;
    let kind = command.action.name();
    let begin = Begin { plan, kind, digest, staged, chain, who: who.clone(), command: name.into() };
    app.store.begin(begin).map_err(|err| Refusal::Text(err.to_string()))
}

fn plan(
    app: &App,
    command: &DbCommand,
    staged: Option<&Staged>,
    open_chain: Option<&Header>,
) -> Result<(Plan, Option<Header>), DbError> {
    let reader = app.reader()?;
    let regs = command.regs.as_deref();
    Ok(match (command.action, staged) {
        (Action::Restore, None) => unreachable!("restore without data is refused by the parser"),
        (Action::Restore, Some(staged)) => {
            let args = RestoreArgs {
                file: staged.path().to_path_buf(),
                range: command.range,
                regs: command.regs.clone(),
                more_chunks: command.more_chunks,
            };
            let checking = Checking {
                chain: open_chain,
                unpacked_bytes: app.config.limits.unpacked_bytes,
                now: Stamp::from_nanos(clock::wall().as_nanos()),
                // There is no token yet by which anybody could cancel, and a check takes less than a second.
                cancel: &AtomicBool::new(false),
                on_progress: &mut |_| {},
            };
            let plan = plan_restore(&reader, args, checking)?;
            let chain = command.more_chunks.then(|| plan.header.clone());
            (Plan::Restore(plan), chain)
        }
        (Action::Split, _) => (Plan::Split(rework::plan_split(&reader, command.range, regs)?), None),
        (Action::Zero, _) => (Plan::Zero(rework::plan_zero(&reader, command.range, regs)?), None),
    })
}

/// What makes two restore requests the same: the bytes of `data` and every member that says how to apply them.
fn digest(command: &DbCommand, data: &[u8; 32]) -> [u8; 32] {
    let show = |it: Option<Stamp>| it.map_or_else(String::new, |it| it.to_string());
    let text = format!(
        "{}\n{}\n{}\n{:?}\n{}\n",
        command.action.name(),
        show(command.range.from),
        show(command.range.to),
        command.regs,
        command.more_chunks
    );
    Sha256::new().chain_update(text).chain_update(data).finalize().into()
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
