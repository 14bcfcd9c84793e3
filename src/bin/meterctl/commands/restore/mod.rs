//! `restore`: check the file, take a backup if wanted, send it in chunks, and read back what became of it.

mod course;
mod journal;
mod seams;
mod verify;

use std::fs::File;
use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::database::{Change, add_range, backup_first, check_place, find_registers, wanted, words_of};
use crate::args;
use crate::backup::chunks::{Chunk, MAX_CHARS};
use crate::backup::format::{Backup, Fault};
use crate::backup::survey::{Survey, Wanted, survey};
use crate::failure::{Failure, Kind};
use crate::files::Identity;
use crate::interrupt;
use crate::moment::{Moment, shown};
use crate::session::Session;
use crate::terminal::{Terminal, Unit};
use crate::watch;

use journal::Journal;

/// Bytes of a file that is sent as it is.
const MAX_BYTES: u64 = MAX_CHARS / 4 * 3;

/// What is restored, and how: everything that the parts of a restore need to know.
struct Plan<'a> {
    args: &'a args::Restore,
    /// The file as it was before it was looked at.
    identity: Identity,
    wanted: Wanted,
    survey: Survey,
    /// The members of every chunk's body but `data` and `more_chunks`.
    members: Map<String, Value>,
}

/// `restore --check`: no meter is needed.
pub fn check(terminal: &Terminal, args: &args::Restore) -> Result<(), Failure> {
    let wanted = wanted(args.range, None);
    let survey = look_at(terminal, args, &wanted)?;
    let (youngest, oldest) = survey.span.unwrap_or_default();
    let registers: Vec<String> =
        survey.columns.iter().map(|it| format!("{}:{}", it.register.name, it.register.kind)).collect();
    let mut words = format!(
        "{} is a sound backup: {} rows of {} registers, from {} to {}\nregisters: {}",
        args.file.display(),
        survey.rows,
        registers.len(),
        shown(oldest),
        shown(youngest),
        registers.join(", "),
    );
    if args.range.from.is_some() || args.range.to.is_some() {
        words += &format!("\n{} rows lie in the time that was asked for", survey.inside);
    }
    if Moment::now().seconds < youngest {
        words += "\nIts youngest row is in the future: a meter will refuse it until its clock has come there.";
    }
    let object = json!({
        "status": "OK", "rows": survey.rows, "inside": survey.inside, "registers": registers,
        "oldest": oldest, "youngest": youngest, "sha256": survey.digest,
    });
    terminal.result(&words, &object)
}

/// `restore`
pub fn run(session: &mut Session, args: &args::Restore) -> Result<(), Failure> {
    let terminal = session.terminal;
    let identity = Identity::of_regular(&args.file)?;
    check_place(&args.first, Some(&identity))?;
    if args.as_is {
        return as_is(session, args);
    }
    // A mistake in the file is found before anybody is asked anything.
    let first_look = look_at(terminal, args, &wanted(args.range, None))?;
    session.contact()?;
    let mut members = Map::new();
    members.insert("action".into(), json!("restore"));
    add_range(&mut members, args.range);
    let mut wanted = wanted(args.range, None);
    let mut survey = first_look;
    if let Some(list) = &args.regs {
        let found = find_registers(session, list)?;
        members.insert("regs".into(), json!(found.iter().map(|it| it.0).collect::<Vec<_>>()));
        wanted.names = found.into_iter().map(|it| it.1).collect();
        survey = look_at(terminal, args, &wanted)?;
    }
    if survey.inside == 0 {
        return Err(Failure::file(&args.file, format!("no row lies in the time {}", words_of(args.range)))
            .hint("meterctl restore --check shows the time that the file covers."));
    }
    let key = Journal::key(&survey.digest, session.base(), &members, args);
    let kept = session.state().and_then(|it| it.read::<Journal>(&key));
    let mut journal = match (args.resume, kept) {
        (true, Some(journal)) => journal,
        (true, None) => {
            let text = "Nothing is known here of an interrupted restore of this file to this meter with these options.";
            return Err(Failure::new(Kind::Usage, text)
                .hint("Leave --resume away to start; what is there already does no harm."));
        }
        (false, Some(journal)) => {
            let percent = 100 * journal.done / survey.send.max(1);
            terminal.note(&format!("Starting anew; --resume would have gone on at {percent} %."));
            Journal::default()
        }
        (false, None) => Journal::default(),
    };
    let plan = Plan { args, identity, wanted, survey, members };
    if !args.resume {
        let regs = args.regs.as_ref().map_or_else(String::new, |it| format!(" of {}", it.join(", ")));
        let question = format!("Restore {} rows{regs}, {}?", plan.survey.inside, plan.covers());
        terminal.confirm(&question)?;
        backup_first(session, &args.first, &Change::Samples(plan.touched()))?;
    }
    journal.file = args.file.display().to_string();
    let tokens = course::send(session, &plan, &mut journal, &key)?;
    if args.detach.detach {
        terminal.note("The meter applies the rest by itself; restore --resume waits for it and verifies.");
        return terminal.result(&tokens.join("\n"), &json!({ "tokens": tokens }));
    }
    seams::close(session, &plan, &mut journal, &key)?;
    let verdict = if args.no_verify { None } else { verify::verify(session, &plan)? };
    if let Some(state) = session.state() {
        state.remove(&key);
    }
    report(terminal, &plan, &journal, verdict)
}

impl Plan<'_> {
    /// Opens the file, if it is still what was looked at: what was counted and asked about must be what is sent.
    fn open(&self) -> Result<Backup, Failure> {
        let path = &self.args.file;
        let fail = |err| Failure::file(path, err);
        let file = File::open(path).map_err(fail)?;
        if Identity::of(&file.metadata().map_err(fail)?) != self.identity {
            return Err(Failure::file(path, "it has changed since it was looked at")
                .hint("Nothing of what it has become was sent. Run the command again, without --resume."));
        }
        Backup::read(Box::new(file)).map_err(|it| in_file(self.args, it))
    }

    /// The body that sends a chunk; put together by hand, because `data` is by far the most of it and would be there twice.
    fn body(&self, chunk: &Chunk, more_chunks: bool) -> String {
        let mut members = self.members.clone();
        members.insert("more_chunks".into(), json!(more_chunks));
        let members = Value::Object(members).to_string();
        let members = members.trim_end_matches('}');
        let mut res = String::with_capacity(members.len() + chunk.data.len() + 16);
        res.push_str(members);
        res.push_str(",\"data\":\"");
        res.push_str(&chunk.data);
        res.push_str("\"}");
        res
    }

    /// The time that is restored, in words.
    fn covers(&self) -> String {
        let (youngest, oldest) = self.reach();
        format!("from {} to {}", shown(oldest), shown(youngest))
    }

    /// The time in which samples come and go. It begins with the file's neighbours below what is wanted: a row stands for
    /// all the time since its neighbour.
    fn touched(&self) -> Wanted {
        let (youngest, oldest) = self.reach();
        let oldest = self.survey.columns.iter().filter_map(|it| it.oldest).fold(oldest, i64::min);
        Wanted { from: Some(oldest), to: Some(youngest), names: None }
    }

    /// Stamps of the youngest and the oldest second that are restored.
    fn reach(&self) -> (i64, i64) {
        let (youngest, oldest) = self.survey.span.unwrap_or_default();
        (self.wanted.to.map_or(youngest, |it| it.min(youngest)), self.wanted.from.map_or(oldest, |it| it.max(oldest)))
    }
}

fn look_at(terminal: &Terminal, args: &args::Restore, wanted: &Wanted) -> Result<Survey, Failure> {
    let bar = terminal.bar("check", Unit::Rows, 0);
    let on_row = |rows| {
        bar.at(rows);
        !interrupt::pressed()
    };
    survey(&args.file, wanted, on_row).map_err(|fault| match interrupt::pressed() {
        true => Failure::interrupted(),
        false => in_file(args, fault),
    })
}

fn in_file(args: &args::Restore, fault: Fault) -> Failure {
    let failure = Failure::file(&args.file, &fault);
    match fault.line {
        1 => failure.hint("A file of another format can be sent as it is with --as-is, up to 1.5 MB."),
        0 => failure,
        _ => failure.hint("Nothing was sent. Take the backup anew, or correct that line."),
    }
}

fn report(
    terminal: &Terminal,
    plan: &Plan,
    journal: &Journal,
    verdict: Option<crate::backup::compare::Verdict>,
) -> Result<(), Failure> {
    let mut object = json!({
        "status": "OK", "rows": plan.survey.inside, "sent": plan.survey.send, "chunks": journal.chunks,
        "verified": Value::Null,
    });
    let mut words = format!("{} rows are restored, {}.", plan.survey.inside, plan.covers());
    if let Some(verdict) = verdict {
        object["verified"] = json!(verdict.wrong == 0);
        object["same"] = json!(verdict.same);
        object["merged"] = json!(verdict.merged);
        object["differences"] = json!(verdict.wrong);
        if 0 < verdict.wrong {
            let lines = verdict.named.iter().map(|(name, ts, what)| format!("\n  {name} at {}: {what}", shown(*ts)));
            let more = if verdict.named.len() as u64 == verdict.wrong { "" } else { "\n  ..." };
            let text = format!(
                "What was restored reads back with {} differences:{}{more}",
                verdict.wrong,
                lines.collect::<String>()
            );
            return Err(Failure::new(Kind::Differs, text)
                .hint("Has something else changed these rows meanwhile? To restore once more does no harm."));
        }
        words += &format!(" Read back: {} increments are the file's.", verdict.same);
        if 0 < verdict.merged {
            words += &format!(" {} older samples are kept coarser by the meter; they add up.", verdict.merged);
        }
    }
    terminal.result(&words, &object)
}

/// Sends a file that is not understood here.
fn as_is(session: &mut Session, args: &args::Restore) -> Result<(), Failure> {
    let fail = |err| Failure::file(&args.file, err);
    let mut bytes = Vec::new();
    // All of it now, so that what is sent is what was there when somebody was asked.
    File::open(&args.file).map_err(fail)?.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(fail)?;
    if MAX_BYTES < bytes.len() as u64 {
        return Err(Failure::file(
            &args.file,
            "it is too large to be sent in one piece, and how to cut it is not known",
        ));
    }
    let mut members = Map::new();
    members.insert("action".into(), json!("restore"));
    add_range(&mut members, args.range);
    if let Some(list) = &args.regs {
        let found = find_registers(session, list)?;
        members.insert("regs".into(), json!(found.into_iter().map(|it| it.0).collect::<Vec<_>>()));
    }
    let question = format!("Restore {} as it is, {}?", args.file.display(), words_of(args.range));
    session.terminal.confirm(&question)?;
    backup_first(session, &args.first, &Change::Samples(wanted(args.range, None)))?;
    members.insert("data".into(), json!(STANDARD.encode(bytes)));
    let reply = session.command("db", &Value::Object(members))?;
    if let Some(status) = watch::conclude(session, "restore", &reply, args.detach.detach, |_, _| {})? {
        session.terminal.result("Restored; a file that is not understood cannot be verified.", &status.json)?;
    }
    Ok(())
}
