//! Reads back what was restored and compares it with the file. A meter that gives no backups, or gives them in a format that
//! is not known here, cannot be read back; that is said, and is no failure of the restore.

use serde_json::Value;

use super::{Plan, in_file};
use crate::backup::compare::{Verdict, compare};
use crate::backup::format::Row;
use crate::commands::readback::Readback;
use crate::failure::{Failure, Kind};
use crate::interrupt;
use crate::moment::shown;
use crate::session::Session;
use crate::terminal::Unit;

/// The verdict; nothing where a meter cannot be read back.
pub fn verify(session: &mut Session, plan: &Plan) -> Result<Option<Verdict>, Failure> {
    let hint = "Everything is restored; the same command with --resume only verifies.";
    let (youngest, _) = plan.reach();
    let mut theirs = match Readback::open(session, Some(youngest)) {
        Ok(rows) => rows,
        Err(failure) if failure.kind == Kind::Lacking => {
            session.terminal.warn(&format!("{} What was restored is not verified.", failure.text));
            return Ok(None);
        }
        Err(failure) => return Err(failure.hint(hint)),
    };
    let coarse_below = coarse_below(session);
    let mut ours = plan.open().map_err(|it| it.hint(hint))?;
    let registers = &theirs.backup().registers;
    let field = |name: &str, kind: &str| registers.iter().position(|it| it.name == name && it.kind == kind);
    let fields: Vec<_> = plan.survey.columns.iter().map(|it| field(&it.register.name, &it.register.kind)).collect();
    let bar = session.terminal.bar("verify", Unit::Rows, plan.survey.rows);
    let mut rows = 0u64;
    let mut file = |row: &mut Row| {
        rows += 1;
        if rows.is_multiple_of(512) {
            bar.at(rows);
            if interrupt::pressed() {
                return Err(Failure::interrupted());
            }
        }
        ours.next_row(row).map_err(|it| in_file(plan.args, it))
    };
    let mut meter = |row: &mut Row| theirs.next_row(session, row);
    let mut looked_at = 0u64;
    let mut on_stamp = |ts| {
        looked_at += 1;
        if looked_at.is_multiple_of(4096) {
            bar.says(&format!("back to {}", shown(ts)));
        }
    };
    let (columns, wanted) = (&plan.survey.columns, &plan.wanted);
    compare(&mut file, &mut meter, columns, &fields, wanted, coarse_below, &mut on_stamp)
        .map(Some)
        .map_err(|it| it.hint(hint))
}

/// The stamp below which the meter puts rows together, as `/sys/db` tells it; unknown on a meter that does not.
fn coarse_below(session: &mut Session) -> Option<i64> {
    let levels = session.result("/sys/db/level").ok()?;
    let durable = levels.as_array()?.iter().find(|it| it.get("volatile") != Some(&Value::Bool(true)))?;
    let head = durable.get("head")?.as_str()?.split('.').next()?.parse::<i64>().ok()?;
    let span = durable.get("interval")?.as_i64()?.checked_mul(durable.get("row-count")?.as_i64()?)? / 1000;
    // Rows begin to be put together a little before the level's end.
    Some(head - span + durable.get("interval")?.as_i64()? / 1000)
}
