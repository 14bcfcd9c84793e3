//! `backup`, `zero`, `split`, and the backup that is taken before rows are changed.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::readback::Readback;
use crate::args::{self, BackupFirst};
use crate::backup::format::Row;
use crate::backup::survey::{Survey, Wanted};
use crate::failure::{Failure, Kind};
use crate::files::{Identity, write_whole};
use crate::moment::{Moment, compact, shown};
use crate::session::Session;
use crate::terminal::Unit;
use crate::watch;

/// `backup`: the rows of a time with the older neighbours that its oldest rows need to be restored whole.
pub fn backup(session: &mut Session, args: &args::Backup) -> Result<(), Failure> {
    let out = match &args.out {
        Some(out) => out.clone(),
        None => PathBuf::from(file_name(session)),
    };
    let wanted = wanted(args.range, None);
    let to_stdout = out.as_os_str() == "-";
    if to_stdout && session.terminal.json {
        return Err(Failure::new(Kind::Usage, "With --json, standard output is taken; name a file with --out."));
    }
    if out.exists() && !to_stdout {
        session.terminal.confirm(&format!("{} is there already; overwrite it?", out.display()))?;
    }
    session.contact()?;
    let rows = match save(session, &out, &wanted).map(|it| it.rows) {
        // A format that is not known here can still be kept as it is.
        Err(failure) if failure.kind == Kind::Lacking && args.range.from.is_none() && args.range.to.is_none() => {
            return save_as_is(session, &out, &failure);
        }
        res => res?,
    };
    if to_stdout {
        return Ok(());
    }
    let words = format!("{rows} rows are in {}.", out.display());
    session.terminal.result(&words, &json!({ "status": "OK", "file": out.display().to_string(), "rows": rows }))
}

/// `zero` and `split`.
pub fn rework(session: &mut Session, action: &str, args: &args::Rework) -> Result<(), Failure> {
    check_place(&args.first, None)?;
    let mut body = Map::new();
    body.insert("action".into(), json!(action));
    add_range(&mut body, args.range);
    let names = match &args.regs {
        None => None,
        Some(list) => {
            let found = find_registers(session, list)?;
            body.insert("regs".into(), json!(found.iter().map(|it| it.0).collect::<Vec<_>>()));
            found.into_iter().map(|it| it.1).collect::<Option<Vec<_>>>()
        }
    };
    let what = match (action, &args.regs) {
        ("zero", None) => "Zero ALL registers".to_string(),
        ("zero", Some(list)) => format!("Zero {}", list.join(", ")),
        (_, None) => "Split all net registers that have a positive-only one".to_string(),
        (_, Some(list)) => format!("Split {}", list.join(", ")),
    };
    session.terminal.confirm(&format!("{what} {}?", words_of(args.range)))?;
    // What is saved may be more than what is touched, never less: split changes registers that have other names.
    let names = if action == "zero" { names } else { None };
    backup_first(session, &args.first, &Change::Values(wanted(args.range, names)))?;
    let reply = session.command("db", &Value::Object(body))?;
    let label = if action == "zero" { "zero" } else { "split" };
    if let Some(status) = watch::conclude(session, label, &reply, args.detach.detach, |_, _| {})? {
        session.terminal.result("Done.", &status.json)?;
    }
    Ok(())
}

/// What a command is about to change.
pub enum Change {
    /// The samples of a time get other values; no others are touched.
    Values(Wanted),
    /// Samples come and go in a time; the energy of those that come is taken from the next younger ones.
    Samples(Wanted),
}

/// Refuses a place for the backup that cannot be meant, before anybody is asked anything. `source` is what will be restored.
pub fn check_place(first: &BackupFirst, source: Option<&Identity>) -> Result<(), Failure> {
    let Some(out) = &first.backup else { return Ok(()) };
    let refuse = |text: &str| Err(Failure::new(Kind::Usage, text).hint("Name another file for the backup."));
    if out.as_os_str() == "-" {
        return refuse("--backup: standard output is for the command's result.");
    }
    if source.is_some_and(|it| it.is_at(out)) {
        return refuse("--backup names the file that is to be restored, which would be lost.");
    }
    Ok(())
}

/// Takes a backup before rows of a time are changed, if that is wanted.
pub fn backup_first(session: &mut Session, first: &BackupFirst, change: &Change) -> Result<(), Failure> {
    let terminal = session.terminal;
    let out = match &first.backup {
        Some(out) => out.clone(),
        None if first.no_backup || terminal.yes || !terminal.is_interactive() => return Ok(()),
        None => {
            let out = PathBuf::from(file_name(session));
            if !terminal.ask(&format!("Take a backup of that time first, to {}?", out.display()), true)? {
                return Ok(());
            }
            out
        }
    };
    if out.exists() {
        terminal.confirm(&format!("{} is there already; overwrite it?", out.display()))?;
    }
    match save_first(session, &out, change) {
        Ok(()) => Ok(()),
        Err(failure) if failure.kind == Kind::Lacking && first.backup.is_none() => {
            terminal.confirm(&format!("{} Go on without a backup?", failure.text))
        }
        Err(failure) => Err(failure),
    }
}

/// Saves what undoes a change, and says how far it does. Samples that come and go between two saved rows are put right by
/// restoring these two; beyond the meter's youngest and oldest rows nothing can be saved.
fn save_first(session: &mut Session, out: &Path, change: &Change) -> Result<(), Failure> {
    session.contact()?;
    let (saved, is_enclosed) = match change {
        Change::Values(wanted) => (save(session, out, wanted)?, true),
        Change::Samples(wanted) => {
            let above = next_above(session, wanted)?;
            let saved = save(session, out, &Wanted { to: above.or(wanted.to), ..wanted.clone() })?;
            let is_enclosed = above.is_some() && saved.inside + saved.skip < saved.rows;
            (saved, is_enclosed)
        }
    };
    let (rows, out) = (saved.rows, out.display());
    match (rows, is_enclosed) {
        (0..2, _) => session.terminal.warn(&format!(
            "Only {rows} rows are there to be saved, in {out}; what is changed now cannot be undone with them."
        )),
        (_, true) => session.terminal.note(&format!("{rows} rows are in {out}; meterctl restore puts them back.")),
        (_, false) => session.terminal.warn(&format!(
            "{rows} rows are in {out}; meterctl restore puts them back, but what comes before or after all of them stays."
        )),
    }
    Ok(())
}

/// The stamp up to which the rows above a time have to be saved with it, so that each register's next younger sample is
/// among them.
fn next_above(session: &mut Session, wanted: &Wanted) -> Result<Option<i64>, Failure> {
    let Some(to) = wanted.to else { return Ok(None) };
    let mut rows = Readback::open(session, None)?;
    let mut nearest = vec![None; rows.backup().registers.len()];
    let bar = session.terminal.bar("backup", Unit::Rows, 0);
    let (mut row, mut looked_at) = (Row::default(), 0u64);
    while rows.next_row(session, &mut row)? && to < row.ts {
        looked_at += 1;
        if looked_at.is_multiple_of(512) {
            bar.says(&format!("looking for its end, back to {}", shown(row.ts)));
        }
        for (nearest, _) in nearest.iter_mut().zip(&row.fields).filter(|(_, field)| field.is_some()) {
            *nearest = Some(row.ts);
        }
    }
    Ok(nearest.into_iter().flatten().max())
}

/// Writes rows to a file that appears when it is whole; which ones.
fn save(session: &mut Session, out: &Path, wanted: &Wanted) -> Result<Survey, Failure> {
    let mut rows = Readback::open(session, wanted.to)?;
    let mut survey = Survey::new(&rows.backup().registers, wanted);
    let bar = session.terminal.bar("backup", Unit::Rows, 0);
    let mut row = Row::default();
    write_whole(out, |sink| {
        let put = |sink: &mut dyn Write, bytes: &[u8]| sink.write_all(bytes).map_err(|err| Failure::output(out, err));
        put(sink, rows.backup().header().as_bytes())?;
        while rows.next_row(session, &mut row)? {
            if wanted.is_below(row.ts) && survey.is_complete(wanted) {
                break;
            }
            survey.note(&row, wanted);
            row.line.push(b'\n');
            put(sink, &row.line)?;
            if survey.rows.is_multiple_of(512) {
                bar.at(survey.rows);
                bar.says(&format!("back to {}", shown(row.ts)));
            }
        }
        Ok(())
    })?;
    Ok(survey)
}

/// Keeps a backup of whatever format; nothing of it is understood.
fn save_as_is(session: &mut Session, out: &Path, why: &Failure) -> Result<(), Failure> {
    let mut source = session.stream("/register?format=backup").map_err(|_| Failure::new(why.kind, why.text.clone()))?;
    let bar = session.terminal.bar("backup", Unit::Share, 0);
    let mut n = 0;
    write_whole(out, |sink| {
        n = io::copy(&mut source, sink)
            .map_err(|err| Failure::new(Kind::Unreachable, format!("The link broke: {err}.")))?;
        Ok(())
    })?;
    drop(bar);
    session.terminal.warn(&format!("{} It is kept as it came.", why.text));
    if out.as_os_str() == "-" {
        return Ok(());
    }
    let words = format!("{n} bytes are in {}.", out.display());
    session.terminal.result(&words, &json!({ "status": "OK", "file": out.display().to_string(), "bytes": n }))
}

/// A name that says of which meter and when.
fn file_name(session: &Session) -> String {
    let host = session.base().split("://").nth(1).and_then(|it| it.split('/').next()).unwrap_or("meter");
    let plain = |it: char| if it.is_ascii_alphanumeric() || it == '.' { it } else { '-' };
    let host: String = host.chars().map(plain).collect();
    format!("backup-{host}-{}.txt.gz", compact(Moment::now().seconds))
}

/// The wanted time in whole seconds.
pub fn wanted(range: args::Range, names: Option<Vec<String>>) -> Wanted {
    Wanted { from: range.from.map(Moment::ceil), to: range.to.map(|it| it.seconds), names }
}

/// `from` and `to` of a body.
pub fn add_range(body: &mut Map<String, Value>, range: args::Range) {
    for (name, moment) in [("from", range.from), ("to", range.to)] {
        if let Some(moment) = moment {
            body.insert(name.into(), json!(moment.to_string()));
        }
    }
}

/// A time for a question.
pub fn words_of(range: args::Range) -> String {
    match (range.from, range.to) {
        (None, None) => "over all time".into(),
        (Some(from), None) => format!("from {} on", shown(from.seconds)),
        (None, Some(to)) => format!("up to {}", shown(to.seconds)),
        (Some(from), Some(to)) => format!("from {} to {}", shown(from.seconds), shown(to.seconds)),
    }
}

/// Database ids of registers that are given by name or id, with the names as far as the meter tells them.
pub fn find_registers(session: &mut Session, list: &[String]) -> Result<Vec<(u64, Option<String>)>, Failure> {
    let known = match session.get("/register") {
        Ok(reply) => reply.get("registers").and_then(Value::as_array).cloned().unwrap_or_default(),
        // Ids alone need no list.
        Err(_) if list.iter().all(|it| it.parse::<u64>().is_ok()) => Vec::new(),
        Err(failure) => return Err(failure),
    };
    let name_of = |it: &Value| Some(it.get("name")?.as_str()?.to_string());
    let did_of = |it: &Value| it.get("did")?.as_u64();
    let find = |text: &String| {
        // No register's name is all digits.
        if let Ok(did) = text.parse() {
            return Ok((did, known.iter().find(|it| did_of(it) == Some(did)).and_then(name_of)));
        }
        let found = known.iter().find(|it| name_of(it).as_ref() == Some(text));
        match found.map(did_of) {
            Some(Some(did)) => Ok((did, Some(text.clone()))),
            Some(None) => {
                let failure =
                    Failure::new(Kind::Lacking, format!("This meter does not tell the database id of {text}."));
                Err(failure.hint("Give the number instead of the name."))
            }
            None => {
                let names: Vec<String> = known.iter().filter_map(name_of).collect();
                let failure = Failure::new(Kind::Usage, format!("There is no register {text:?} on this meter."));
                Err(failure.hint(format!("There are: {}", names.join(", "))))
            }
        }
    };
    list.iter().map(find).collect()
}
