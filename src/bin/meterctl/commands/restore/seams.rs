//! The seams of a restore that did not go through undisturbed. A meter joins a chunk to the one before as long as nothing
//! comes in between; where a link broke or a run ended it may not have. A few rows across each such place, sent as one
//! chunk, put that right: only their own oldest row has no neighbour, and that one keeps what it has.

use super::journal::Journal;
use super::{Plan, in_file};
use crate::backup::chunks::Cutter;
use crate::failure::Failure;
use crate::http::Request;
use crate::session::Session;
use crate::watch::{self, Begun};

/// Rows on each side of a seam, the first choice that fits one chunk.
const REACHES: [u64; 4] = [512, 128, 32, 8];

/// Sends the rows around every seam that the journal knows.
pub fn close(session: &mut Session, plan: &Plan, journal: &mut Journal, key: &str) -> Result<(), Failure> {
    while let Some(seam) = journal.seams.last().copied() {
        if seam < plan.survey.send {
            bridge(session, plan, seam).map_err(|it| it.hint("The same command with --resume goes on there."))?;
        }
        journal.seams.pop();
        journal.keep(session, key);
    }
    Ok(())
}

fn bridge(session: &mut Session, plan: &Plan, seam: u64) -> Result<(), Failure> {
    let fault = |it| in_file(plan.args, it);
    for reach in REACHES {
        let (first, end) = (seam.saturating_sub(reach), plan.survey.send.min(seam + reach));
        let file = plan.open()?;
        let skip = plan.survey.skip + first;
        let mut cutter = Cutter::new(file, skip, end - first, plan.args.chunk, !plan.args.plain).map_err(fault)?;
        let chunk = cutter.next_chunk().map_err(fault)?;
        if !cutter.is_at_end() {
            continue;
        }
        let body = plan.body(&chunk, false);
        let reply = session
            .until_taken(|it| it.request(Request { within: 120, ..Request::post("/cmd/db", body.as_bytes()) }))?;
        if let Begun::Token { token, is_ok } = Begun::of(&reply) {
            match watch::follow(session, "seams", &token, |_, _| {}) {
                Ok(status) => status.check()?,
                Err(_) if is_ok => {}
                Err(failure) => return Err(failure),
            }
        }
        return Ok(());
    }
    // Rows as long as that do not exist.
    Ok(())
}
