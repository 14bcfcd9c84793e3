//! `backup`, `zero`, `split`, and the backup that is taken before rows are changed.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Map, Value, json};

use super::readback::Readback;
use crate::args::{self, BackupFirst};
use crate::backup::format::Row;
use crate::backup::survey::{Survey, Wanted};
use crate::failure::{Failure, Kind};
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
    let rows = match save(session, &out, &wanted) {
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
    backup_first(session, &args.first, &wanted(args.range, names))?;
    let reply = session.command("db", &Value::Object(body))?;
    let label = if action == "zero" { "zero" } else { "split" };
    if let Some(status) = watch::conclude(session, label, &reply, args.detach.detach, |_, _| {})? {
        session.terminal.result("Done.", &status.json)?;
    }
    Ok(())
}

/// Takes a backup before rows of a time are changed, if that is wanted.
pub fn backup_first(session: &mut Session, first: &BackupFirst, wanted: &Wanted) -> Result<(), Failure> {
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
    match save(session, &out, wanted) {
        Ok(rows) => terminal.note(&format!("{rows} rows are in {}; meterctl restore puts them back.", out.display())),
        Err(failure) if failure.kind == Kind::Lacking && first.backup.is_none() => {
            terminal.confirm(&format!("{} Go on without a backup?", failure.text))?;
        }
        Err(failure) => return Err(failure),
    }
    Ok(())
}

/// Writes rows to a file that appears when it is whole; how many.
fn save(session: &mut Session, out: &Path, wanted: &Wanted) -> Result<u64, Failure> {
    session.contact()?;
    let mut rows = Readback::open(session, wanted.to)?;
    let mut survey = Survey::new(&rows.backup().registers, wanted);
    let bar = session.terminal.bar("backup", Unit::Rows, 0);
    let mut written = 0u64;
    let mut row = Row::default();
    write_whole(out, |sink| {
        let put = |sink: &mut dyn Write, bytes: &[u8]| sink.write_all(bytes).map_err(|err| Failure::file(out, err));
        put(sink, rows.backup().header().as_bytes())?;
        while rows.next_row(session, &mut row)? {
            if wanted.is_below(row.ts) && survey.is_complete(wanted) {
                break;
            }
            survey.note(&row, wanted);
            row.line.push(b'\n');
            put(sink, &row.line)?;
            written += 1;
            if written.is_multiple_of(512) {
                bar.at(written);
                bar.says(&format!("back to {}", shown(row.ts)));
            }
        }
        Ok(())
    })?;
    Ok(written)
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

/// Writes beside the file and renames at the end; `-` is standard output, a name in `.gz` is packed.
fn write_whole(out: &Path, write: impl FnOnce(&mut dyn Write) -> Result<(), Failure>) -> Result<(), Failure> {
    let fail = |err: io::Error| Failure::file(out, err);
    if out.as_os_str() == "-" {
        let mut sink = BufWriter::new(io::stdout().lock());
        write(&mut sink)?;
        return sink.flush().map_err(fail);
    }
    let mut draft = out.as_os_str().to_owned();
    draft.push(".part");
    let draft = PathBuf::from(draft);
    let file = File::create(&draft).map_err(|err| Failure::file(&draft, err))?;
    let finish = |file: io::Result<File>| file.and_then(|it| it.sync_all()).and_then(|()| fs::rename(&draft, out));
    let buffered = BufWriter::new(file);
    let written = if out.extension().is_some_and(|it| it == "gz") {
        let mut sink = GzEncoder::new(buffered, Compression::new(6));
        write(&mut sink).and_then(|()| {
            finish(sink.finish().and_then(|it| it.into_inner().map_err(io::IntoInnerError::into_error))).map_err(fail)
        })
    } else {
        let mut sink = buffered;
        write(&mut sink).and_then(|()| finish(sink.into_inner().map_err(io::IntoInnerError::into_error)).map_err(fail))
    };
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written
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
