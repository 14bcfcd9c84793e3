//! The course of a restore: chunk after chunk goes out, the next one while the meter applies the one before, and every step
//! is in the journal before it is taken. Whatever happens to the link, the meter, the token or this process, the same chunk
//! is sent again, which the meter knows as the same operation.

use std::thread;
use std::time::Duration;

use super::journal::{Flight, Journal};
use super::{Plan, in_file};
use crate::backup::chunks::{Chunk, Cutter};
use crate::failure::{Failure, Kind};
use crate::http::Request;
use crate::interrupt;
use crate::session::Session;
use crate::terminal::{Bar, Unit};
use crate::watch::{self, Begun};

/// Chunks that are on their way at once: one is applied, one is staged.
const DEPTH: usize = 2;
/// Seconds that an upload may take; a poor link needs them.
const UPLOAD: u64 = 900;
/// How often in a row rows are sent again before that is called hopeless.
const MAX_RETURNS: u32 = 3;
/// The pause between two looks at a chunk.
const PAUSE: Duration = Duration::from_millis(150);

/// Sends everything and waits until it is applied; with `--detach`, until it is sent. The tokens of what is still on its way.
pub fn send(session: &mut Session, plan: &Plan, journal: &mut Journal, key: &str) -> Result<Vec<String>, Failure> {
    let bar = session.terminal.bar("restore", Unit::Rows, plan.survey.send);
    let mut returns = 0;
    // Nobody knows what became of a chain that was left alone.
    journal.note_seam(journal.done);
    journal.note_seam(journal.next());
    loop {
        bar.begin_at(journal.done);
        let begun_at = journal.done;
        match stretch(session, plan, journal, key, &bar) {
            Ok(tokens) => return Ok(tokens),
            Err(End::Forgotten(failure)) => {
                returns = if begun_at < journal.done { 1 } else { returns + 1 };
                if MAX_RETURNS < returns {
                    return Err(failure);
                }
                session.terminal.note(&format!("{} Sending it again.", failure.text));
                journal.go_back();
                journal.keep(session, key);
            }
            Err(End::Failed(failure)) if failure.kind == Kind::Left => {
                return Err(journal.interrupted(plan.survey.send));
            }
            Err(End::Failed(failure)) => {
                let (percent, spike) = (100 * journal.done / plan.survey.send, journal.spike());
                journal.go_back();
                journal.keep(session, key);
                // Whether the last chunk arrived is no question for anybody: it may be sent again.
                let hint = failure.hint.filter(|_| !matches!(failure.kind, Kind::Unreachable | Kind::Silent));
                let failure = Failure { hint, ..failure };
                return Err(failure
                    .hint(format!("{percent} % are restored; the same command with --resume goes on there.{spike}")));
            }
        }
    }
}

/// Why a stretch ended before the end.
enum End {
    /// The meter knows nothing of a chunk, or a restart ended it: it may be sent again.
    Forgotten(Failure),
    /// Everything else.
    Failed(Failure),
}

impl From<Failure> for End {
    fn from(failure: Failure) -> End {
        End::Failed(failure)
    }
}

/// Goes on from the journal to the end.
fn stretch(
    session: &mut Session,
    plan: &Plan,
    journal: &mut Journal,
    key: &str,
    bar: &Bar,
) -> Result<Vec<String>, End> {
    let fault = |it| End::Failed(in_file(plan.args, it));
    // What an earlier run sent is waited for first; a chunk without a token may never have arrived.
    while let Some(first) = journal.flight.first() {
        if first.token.is_none() && !first.is_ok {
            journal.go_back();
            break;
        }
        land(session, plan, journal, key, bar)?;
    }
    let file = plan.open()?;
    let (skip, send) = (plan.survey.skip + journal.next(), plan.survey.send.saturating_sub(journal.next()));
    let mut cutter = Cutter::new(file, skip, send, plan.args.chunk, !plan.args.plain).map_err(fault)?;
    while !cutter.is_at_end() || !journal.flight.is_empty() {
        if interrupt::pressed() {
            return Err(Failure::interrupted().into());
        }
        if cutter.is_at_end() && plan.args.detach.detach {
            break;
        }
        if cutter.is_at_end() || DEPTH <= journal.flight.len() {
            land(session, plan, journal, key, bar)?;
            continue;
        }
        let chunk = cutter.next_chunk().map_err(fault)?;
        take_off(session, plan, journal, key, bar, &chunk, !cutter.is_at_end())?;
    }
    Ok(journal.flight.iter().filter_map(|it| it.token.clone()).collect())
}

/// Sends one chunk until the meter has it.
fn take_off(
    session: &mut Session,
    plan: &Plan,
    journal: &mut Journal,
    key: &str,
    bar: &Bar,
    chunk: &Chunk,
    more_chunks: bool,
) -> Result<(), End> {
    let at = journal.next();
    journal.flight.push(Flight { at, rows: chunk.rows, token: None, is_ok: false });
    journal.keep(session, key);
    let body = plan.body(chunk, more_chunks);
    let mut attempts = 0;
    let mut upload = |session: &mut Session| {
        session.until_taken(|session| {
            attempts += 1;
            bar.says("sending");
            session.request(Request {
                respond_async: true,
                within: UPLOAD,
                ..Request::post("/cmd/db", body.as_bytes())
            })
        })
    };
    let mut reply = upload(session);
    if matches!(&reply, Err(it) if it.kind == Kind::Failed) && 1 < journal.flight.len() {
        // The meter may have no room for a second one; then there is none on its way any more.
        let this = journal.flight.pop();
        while !journal.flight.is_empty() {
            land(session, plan, journal, key, bar)?;
        }
        journal.flight.extend(this);
        journal.note_seam(at);
        reply = upload(session);
    }
    bar.says("");
    if 1 < attempts {
        journal.note_seam(at);
    }
    let begun = Begun::of(&reply?);
    if let Some(flight) = journal.flight.last_mut() {
        match begun {
            Begun::Done => flight.is_ok = true,
            Begun::Token { token, is_ok } => (flight.token, flight.is_ok) = (Some(token), is_ok),
        }
    }
    journal.keep(session, key);
    Ok(())
}

/// Waits until the first chunk on its way is applied.
fn land(session: &mut Session, plan: &Plan, journal: &mut Journal, key: &str, bar: &Bar) -> Result<(), End> {
    let Some(flight) = journal.flight.first().cloned() else { return Ok(()) };
    if let Some(token) = &flight.token {
        loop {
            let status = match session.patiently(|session| watch::look(session, token)) {
                Ok(status) => status,
                // Its reply said already that it is done, and such a meter may keep no record of it.
                Err(failure) if flight.is_ok && matches!(failure.kind, Kind::Failed | Kind::Lacking) => break,
                Err(failure) if failure.kind == Kind::Failed => return Err(End::Forgotten(failure)),
                Err(failure) => return Err(failure.into()),
            };
            let share = status.progress.unwrap_or(0.0).clamp(0.0, 1.0);
            bar.at(journal.done + (share * flight.rows as f64) as u64);
            if status.done {
                match status.check() {
                    Ok(()) => break,
                    Err(failure) if status.error.as_ref().is_some_and(|it| it.0 == "INTERRUPTED") => {
                        return Err(End::Forgotten(failure));
                    }
                    Err(failure) => return Err(failure.into()),
                }
            }
            if interrupt::pressed() {
                return Err(Failure::interrupted().into());
            }
            bar.says(status.info.as_deref().unwrap_or(""));
            thread::sleep(PAUSE);
        }
    }
    journal.flight.remove(0);
    journal.done = flight.at + flight.rows;
    journal.chunks += 1;
    journal.keep(session, key);
    bar.at(journal.done);
    // The meter goes on with what it has, but nothing more is sent after a Ctrl-C.
    if interrupt::pressed() && journal.done < plan.survey.send {
        return Err(Failure::interrupted().into());
    }
    Ok(())
}
