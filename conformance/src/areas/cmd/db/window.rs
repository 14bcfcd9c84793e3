//! The data that the tester gives up: what there was before, commands that stay inside, and how it is put back. A meter
//! that gives no backup is not touched.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::prelude::*;
use serde_json::{Value, json};

use crate::catalogue::Param;
use crate::evidence::Evidence;
use crate::evidence::backup::{Backup, Register, compare, registers, stamp, stamp_text};
use crate::http::Request;
use crate::lab::{Lab, Stop};
use crate::transcript::Exchange;
use crate::verdict::Finding;

/// What the tester names.
pub const PARAMS: &[Param] = &[
    Param { name: "db.from", meaning: "Unix time where the data begin that may be changed." },
    Param { name: "db.to", meaning: "Unix time where they end; some rows must be newer." },
    Param { name: "db.regs", meaning: "The dids of the registers that may be changed, with commas; two or more." },
    Param { name: FOLDER, meaning: "The folder where a backup is kept until all is put back (the current one)." },
];
const FOLDER: &str = "db.folder";

/// Rows that the window must have: enough for chunks that have an inside.
const ROWS: usize = 12;

/// A window of time and registers, and its backup.
pub struct Window {
    /// Where it begins, in nanoseconds.
    pub from: i128,
    /// Where it ends.
    pub to: i128,
    /// The dids that may be changed.
    pub regs: Vec<u64>,
    /// All registers of the meter.
    pub registers: Vec<Register>,
    /// The data in the window and around it.
    pub original: Backup,
    query: String,
    wait: Duration,
    /// Where the backup is kept until all is put back.
    kept: PathBuf,
}

impl Window {
    /// Gives the window up to `traffic`, and puts everything back, whatever became of it.
    pub fn give(lab: &mut Lab<'_>, traffic: fn(&mut Lab<'_>, &Window) -> Result<(), Stop>) -> Result<(), Stop> {
        let window = Window::open(lab)?;
        let res = traffic(lab, &window);
        res.and(window.close(lab))
    }

    /// Takes the backup. Ends the area if the tester named no window, or if the meter gives no backup of it.
    pub fn open(lab: &mut Lab<'_>) -> Result<Window, Stop> {
        let bound = |lab: &Lab<'_>, name: &str| {
            let text = lab.need(name)?;
            stamp(text).ok_or_else(|| Stop::Skip(format!("--with {name}={text}: a Unix time is expected")))
        };
        let (from, to) = (bound(lab, "db.from")?, bound(lab, "db.to")?);
        if to <= from {
            return Err(Stop::Skip("--with db.to=... must be later than db.from".into()));
        }
        let list = lab.need("db.regs")?;
        let regs: Result<Vec<u64>, _> = list.split(',').map(str::parse).collect();
        let regs = regs.map_err(|_| Stop::Skip(format!("--with db.regs={list}: numbers with commas are expected")))?;
        lab.fact("from", stamp_text(from));
        lab.fact("to", stamp_text(to));
        lab.fact("regs", regs.clone());
        let skip = |why: Finding| Stop::Skip(format!("no backup to put back: {why}"));
        let registers = registers(&lab.get("registers", "/register")?).map_err(skip)?;
        if let Some(did) = regs.iter().find(|did| !registers.iter().any(|it| it.did == **did)) {
            return Err(Stop::Skip(format!("--with db.regs={list}: the meter has no register {did}")));
        }
        // As much again on both sides, to see what a command does outside.
        let margin = (to - from).max(600_000_000_000);
        let around = format!("&from={}&to={}", stamp_text((from - margin).max(0)), stamp_text(to + margin));
        let mut query = format!("/register?format=backup{around}");
        let mut original = Backup::read(&lab.get("picture/limited", &query)?);
        if original.as_ref().is_ok_and(|it| it.lines.is_empty()) || original.is_err() {
            // The documents know no limits for a backup.
            query = "/register?format=backup".into();
            original = Backup::read(&lab.get("picture/unlimited", &query)?);
        }
        let original = original.map_err(skip)?;
        let host: String =
            lab.options.target.host.chars().map(|it| if it.is_alphanumeric() { it } else { '-' }).collect();
        let (area, begun) = (lab.area().replace('/', "-"), lab.transcript.begun);
        let name = format!("backup-of-{host}-{area}-{begun}-{}.txt", std::process::id());
        let kept = Path::new(lab.param(FOLDER).unwrap_or(".")).join(name);
        let res = Window { from, to, regs, registers, original, query, wait: lab.options.max_wait, kept };
        let rows = res.rows().len();
        if rows < ROWS || res.original.lines.range(..from).next().is_none() {
            let why = format!("the window has {rows} rows; {ROWS} are needed, and one that is older");
            return Err(Stop::Skip(why));
        }
        res.picture(lab, "original")?;
        res.keep(lab)?;
        Ok(res)
    }

    /// Keeps the backup in a file before anything is changed, whatever becomes of this program.
    fn keep(&self, lab: &Lab<'_>) -> Result<(), Stop> {
        let rows: Vec<_> = self.original.lines.iter().rev().map(|(stamp, line)| (*stamp, line.as_str())).collect();
        let write = || {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.kept)?;
            file.write_all(self.file(&rows).as_bytes())?;
            file.sync_all()
        };
        write().map_err(|err| Stop::Skip(format!("{}: the backup cannot be kept: {err}", self.kept.display())))?;
        if !lab.options.quiet {
            lab.warn(&format!("until all is put back, the backup is kept in {}", self.kept.display()));
        }
        Ok(())
    }

    /// Takes another backup, recorded as `picture/label`.
    pub fn picture(&self, lab: &mut Lab<'_>, label: &str) -> Result<(), Stop> {
        lab.get(&format!("picture/{label}"), &self.query)?;
        Ok(())
    }

    /// Puts everything back, whatever became of it, and takes the picture `final`. The kept file goes once that shows that
    /// all is there.
    pub fn close(&self, lab: &mut Lab<'_>) -> Result<(), Stop> {
        let mut body = self.restore(&self.rows());
        body.as_object_mut().expect("it is made of members").remove("regs");
        let res = lab.put_back(|lab| self.run(lab, "put-back", &body).and_then(|()| self.picture(lab, "final")));
        let all_there = |it: &Exchange| {
            let now = Backup::read(it)?;
            compare(&self.registers, &self.original, (&now, it), |_, _, old| [old; 2])
        };
        match lab.last("picture/final").is_some_and(|it| all_there(it) == Ok(Finding::Kept)) {
            true => drop(fs::remove_file(&self.kept)),
            false => lab.warn(&format!("not all data could be put back; their backup is {}", self.kept.display())),
        }
        res
    }

    /// Sends a command and waits for its end.
    pub fn run(&self, lab: &mut Lab<'_>, label: &str, body: &Value) -> Result<(), Stop> {
        lab.operation(label, &Request::post("/cmd/db", body), self.wait)?;
        Ok(())
    }

    /// The same, where the meter is asked for the token at once rather than at the end.
    pub fn run_aside(&self, lab: &mut Lab<'_>, label: &str, body: &Value) -> Result<(), Stop> {
        let request = Request::post("/cmd/db", body).header("Prefer", "respond-async");
        lab.operation(label, &request, self.wait)?;
        Ok(())
    }

    /// The command that makes these registers flat in the window.
    pub fn zero(&self, regs: &[u64]) -> Value {
        json!({"action": "zero", "from": stamp_text(self.from), "to": stamp_text(self.to), "regs": regs})
    }

    /// The command that puts these rows back, of the registers that may be changed.
    pub fn restore(&self, rows: &[(i128, &str)]) -> Value {
        self.restore_file(&self.file(rows))
    }

    /// The command that restores this file.
    pub fn restore_file(&self, file: &str) -> Value {
        let data = BASE64_STANDARD.encode(file);
        let (from, to) = (stamp_text(self.from), stamp_text(self.to));
        json!({"action": "restore", "from": from, "to": to, "regs": self.regs, "data": data})
    }

    /// A backup file of these rows.
    pub fn file(&self, rows: &[(i128, &str)]) -> String {
        let lines = self.original.header.iter().map(String::as_str).chain(rows.iter().map(|it| it.1));
        lines.map(|it| format!("{it}\n")).collect()
    }

    /// The window's rows, youngest first, with one that is older, from which the oldest step is known.
    pub fn rows(&self) -> Vec<(i128, &str)> {
        let older = self.original.lines.range(..self.from).next_back();
        let inside = self.original.lines.range(self.from..=self.to).rev();
        inside.chain(older).map(|(stamp, line)| (*stamp, line.as_str())).collect()
    }

    /// Some rows from the middle of the window, youngest first.
    pub fn inside(&self, count: usize) -> Vec<(i128, &str)> {
        let rows = self.rows();
        rows[rows.len() / 2..rows.len() / 2 + count].to_vec()
    }

    /// A did that no register has.
    pub fn unknown_did(&self) -> u64 {
        self.registers.iter().map(|it| it.did).max().unwrap_or_default() + 1
    }
}

/// What a judge knows of the window.
pub struct Scene {
    /// Where it begins, in nanoseconds.
    pub from: i128,
    /// Where it ends.
    pub to: i128,
    /// The dids that were given up.
    pub regs: Vec<u64>,
    /// All registers.
    pub registers: Vec<Register>,
}

impl Scene {
    /// As the area recorded it.
    pub fn of(ev: &Evidence<'_>) -> Result<Scene, Finding> {
        let bound = |name: &str| Ok(ev.fact(name)?.as_str().and_then(stamp).unwrap_or_default());
        let regs: Vec<_> = ev.fact("regs")?.as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
        if regs.is_empty() {
            return Err(Finding::NoEvidence("no registers were given up".into()));
        }
        let registers = registers(ev.get("registers")?)?;
        Ok(Scene { from: bound("from")?, to: bound("to")?, regs, registers })
    }

    /// Whether the stamp is in the window, not at its ends.
    pub fn inside(&self, stamp: i128) -> bool {
        self.from < stamp && stamp < self.to
    }

    /// Whether the stamp is one of its ends.
    pub fn at_end(&self, stamp: i128) -> bool {
        stamp == self.from || stamp == self.to
    }

    /// Whether the register may be changed.
    pub fn given(&self, register: &Register) -> bool {
        self.regs.contains(&register.did)
    }
}

/// Compares two pictures; `want` says which values a step may have that was `old`.
pub fn differs(
    ev: &Evidence<'_>,
    before: &str,
    after: &str,
    want: impl Fn(&Scene, &Register, i128, i64) -> [i64; 2],
) -> Result<Finding, Finding> {
    let scene = Scene::of(ev)?;
    let (_, before) = picture(ev, before)?;
    let (exchange, after) = picture(ev, after)?;
    compare(&scene.registers, &before, (&after, exchange), |it, stamp, old| want(&scene, it, stamp, old))
}

/// Two pictures show the same.
pub fn unchanged(ev: &Evidence<'_>, before: &str, after: &str) -> Result<Finding, Finding> {
    differs(ev, before, after, |_, _, _, old| [old; 2])
}

/// The picture of that label.
pub fn picture<'a>(ev: &Evidence<'a>, label: &str) -> Result<(&'a Exchange, Backup), Finding> {
    let exchange = ev.get(&format!("picture/{label}"))?;
    Ok((exchange, Backup::read(exchange)?))
}

/// The command was accepted: `status` as the documents have it, or a token, or both; and it came to a good end.
pub fn accepted(ev: &Evidence<'_>, label: &str) -> Result<Finding, Finding> {
    let command = ev.get(label)?;
    let body = command.success()?;
    let (status, token) = (body.get("status"), body.get("token"));
    if token.is_some() {
        crate::evidence::status::succeeded(ev, label)?;
    }
    match (status.is_some_and(Value::is_string), token.is_some_and(Value::is_string)) {
        (true, _) => Ok(Finding::Kept),
        (false, true) => Ok(Finding::Quirk("the reply has a token, but no `status`".into())),
        (false, false) => Err(command.broken("`status` or `token` is owed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::testing::{broken, kept, transcript};
    use crate::transcript::Transcript;
    use serde_json::json;

    const REGISTERS: &str = r#"{"registers":[{"did":0,"name":"A","type":"P"},{"did":1,"name":"B","type":"P"}]}"#;

    /// Two pictures of registers A and B, one sample a second from 1 on; A is given up from 3 to 6.
    fn pictures(before: [&[i64]; 2], after: [&[i64]; 2]) -> Transcript {
        let file = |columns: [&[i64]; 2]| {
            let rows =
                (0..columns[0].len()).rev().map(|it| format!("{},{},{}\n", it + 1, columns[0][it], columns[1][it]));
            format!("backup\nts,A:P,B:P\n{}", rows.collect::<String>())
        };
        let (before, after) = (file(before), file(after));
        let mut res = transcript(
            "cmd/db/zero",
            [
                ("registers", 200, REGISTERS),
                ("picture/original", 200, before.as_str()),
                ("picture/zero", 200, after.as_str()),
            ],
        );
        for (name, value) in [("from", json!("3")), ("to", json!("6")), ("regs", json!([0]))] {
            res.facts.insert(format!("cmd/db/zero/{name}"), value);
        }
        res
    }

    const GROWS: [&[i64]; 2] = [&[0, 10, 20, 30, 40, 50, 60, 70], &[0, 1, 2, 3, 4, 5, 6, 7]];

    fn judge(id: &str, after: [&[i64]; 2]) -> Result<Finding, Finding> {
        let run = pictures(GROWS, after);
        let rule = super::super::zero::AREA.rules.iter().find(|it| it.id == id).unwrap();
        (rule.judge)(&Evidence::new(&run, "cmd/db/zero"))
    }

    #[test]
    fn a_window_that_was_made_flat_is_flat_inside_and_untouched_outside() {
        let flat: [&[i64]; 2] = [&[30, 40, 40, 40, 40, 40, 50, 60], GROWS[1]];
        for id in ["cmd/db/zero/02", "cmd/db/zero/03", "cmd/db/zero/05"] {
            kept(judge(id, flat));
        }
    }

    #[test]
    fn what_zero_does_wrong_is_found() {
        // Not flat; a spike behind the window; a shift by a row; a register that was not asked for; an end that jumps.
        broken(judge("cmd/db/zero/02", GROWS));
        broken(judge("cmd/db/zero/03", [&[0, 10, 10, 10, 10, 10, 60, 70], GROWS[1]]));
        broken(judge("cmd/db/zero/03", [&[30, 40, 50, 50, 50, 50, 50, 60], GROWS[1]]));
        broken(judge("cmd/db/zero/02", [&[30, 40, 40, 40, 40, 40, 50, 60], &[0, 1, 2, 2, 2, 2, 3, 4]]));
        broken(judge("cmd/db/zero/05", [&[0, 10, 10, 10, 10, 50, 60, 70], GROWS[1]]));
    }

    #[test]
    fn a_record_without_registers_is_no_evidence() {
        let mut run = pictures(GROWS, GROWS);
        run.facts.insert("cmd/db/zero/regs".into(), json!([]));
        let rule = super::super::zero::AREA.rules.iter().find(|it| it.id == "cmd/db/zero/04").unwrap();
        crate::evidence::testing::untested((rule.judge)(&Evidence::new(&run, "cmd/db/zero")));
    }

    #[test]
    fn rows_at_the_ends_that_are_left_alone_are_a_note() {
        crate::evidence::testing::quirk(judge("cmd/db/zero/05", [&[20, 30, 40, 40, 40, 50, 60, 70], GROWS[1]]));
    }
}
