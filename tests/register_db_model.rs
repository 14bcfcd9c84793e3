//! Random sequences of commands, appended rows, cancelled and resumed jobs against the model, compared after every batch.
//! `METERD_CASES` sets the number of cases, `METERD_SEED` repeats one. A failing case is cut down to the operations that
//! are needed to make it fail.

mod model;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use meterd::drivers::register_db::append::{append, clear_excess};
use meterd::drivers::register_db::backup::Backup;
use meterd::drivers::register_db::restore::{Checking, RestoreArgs, plan_restore};
use meterd::drivers::register_db::rework::{plan_split, plan_zero};
use meterd::drivers::register_db::text::Header;
use meterd::drivers::register_db::{Job, Plan, Range, Stamp, Step, schema};
use model::cases::{CLUSTERS, Rng, chunks, pack, subset, to_samples};
use model::compare::compare;
use model::{Chunk, Model};
use rusqlite::{Connection, TransactionBehavior};

const DAY: i64 = 86_400;
const UNPACKED: u64 = 1 << 20;

#[derive(Clone, Debug)]
enum Op {
    Restore { chunk: Chunk, gzip: bool, control: u64 },
    Zero { regs: Option<Vec<usize>>, range: (i64, i64), control: u64 },
    Split { range: (i64, i64), control: u64 },
    Append { samples: Vec<Option<i64>>, after: i64 },
    Excess { reg: usize, excess: i64 },
    Retention { control: u64 },
}

#[derive(Clone, Debug)]
struct Case {
    /// Whether each register is of type `d`, and its first rows.
    registers: Vec<(&'static str, bool)>,
    rows: Vec<(i64, Vec<Option<i64>>)>,
    ops: Vec<Op>,
}

fn generate(seed: u64) -> Case {
    let mut rng = Rng(seed);
    let all = [("Grid", false), ("Grid+", false), ("Door", true), ("Solar", false)];
    let registers = all[..1 + rng.below(4) as usize].to_vec();
    let n = registers.len();
    let clusters = rng.pick(&[1, 1, 2, 3, 5]);
    let n_rows = rng.below(25);
    let gaps = rng.pick(&[2, 5, 1000]);
    let stamps = rng.stamps(clusters, n_rows);
    let rows = stamps.into_iter().map(|ts| (ts, (0..n).map(|_| rng.maybe(gaps)).collect())).collect();
    let mut ops = Vec::new();
    while ops.len() < 8 {
        let control = rng.next();
        match rng.below(10) {
            0 => ops.push(Op::Zero { regs: subset(&mut rng, n), range: rng.range(clusters), control }),
            1 => ops.push(Op::Split { range: rng.range(clusters), control }),
            2 => ops.push(Op::Retention { control }),
            3 => {
                let samples = (0..n).map(|_| rng.maybe(4)).collect();
                ops.push(Op::Append { samples, after: rng.pick(&[0, 1, 60, 900, 40_000_000]) });
            }
            4 => ops.push(Op::Excess { reg: rng.below(n as u64) as usize, excess: rng.counter() }),
            _ => {
                for chunk in chunks(&mut rng, n, clusters) {
                    ops.push(Op::Restore { chunk, gzip: rng.one_in(4), control: rng.next() });
                }
            }
        }
    }
    Case { registers, rows, ops }
}

/// A folder that goes away.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let dir = std::env::temp_dir().join(format!("meterd-model-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        Scratch(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The database, the model, and what both must agree on.
struct World {
    conn: Connection,
    model: Model,
    dir: PathBuf,
    chain: Option<Header>,
}

impl World {
    fn new(case: &Case, dir: &Path, name: &str) -> World {
        let path = dir.join(name);
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(dir.join(format!("{name}{suffix}")));
        }
        let mut conn = schema::open(&path).unwrap();
        // Power cuts are not what is tested here.
        conn.pragma_update(None, "synchronous", "OFF").unwrap();
        let mut model = Model::default();
        let tx = conn.transaction().unwrap();
        for (name, discrete) in &case.registers {
            schema::create_register(&tx, name, if *discrete { "d" } else { "P" }).unwrap();
            model.add_register(name, *discrete);
        }
        for (ts, samples) in &case.rows {
            append(&tx, *ts, &to_samples(&model, samples)).unwrap();
            model.append(*ts, samples);
        }
        tx.commit().unwrap();
        World { conn, model, dir: dir.into(), chain: None }
    }

    fn compare_backup(&mut self) -> Result<(), String> {
        let mut backup = Backup::open(&self.conn, Range::default(), None).unwrap();
        let mut out = Vec::new();
        while backup.next_page(&mut self.conn, &mut out).unwrap() {}
        let (got, expect) = (String::from_utf8(out).unwrap(), self.model.backup());
        if got == expect { Ok(()) } else { Err(format!("backup:\n{got}\nshould be:\n{expect}")) }
    }

    fn run(&mut self, op: &Op) -> Result<(), String> {
        match op {
            Op::Restore { chunk, gzip, control } => self.restore(chunk, *gzip, *control)?,
            Op::Zero { regs, range, control } => {
                let dids: Option<Vec<u32>> = regs.as_ref().map(|it| it.iter().map(|it| *it as u32).collect());
                let plan = plan_zero(&self.conn, to_range(*range), dids.as_deref()).map_err(|err| err.to_string())?;
                let all: Vec<usize> = (0..self.model.regs.len()).collect();
                let regs = regs.clone().unwrap_or(all);
                let to = range.1.min(self.model.newest().unwrap_or(0));
                self.job(Plan::Zero(plan), *control, i64::MAX, &mut |model, cut| {
                    model.zero(&regs, (range.0.max(cut.unwrap_or(0)), to));
                })?;
            }
            Op::Split { range, control } => {
                let plan = plan_split(&self.conn, to_range(*range), None).map_err(|err| err.to_string())?;
                let pairs = if 2 <= self.model.regs.len() { &[(0, 1)][..] } else { &[] };
                let to = range.1.min(self.model.newest().unwrap_or(0));
                self.job(Plan::Split(plan), *control, i64::MAX, &mut |model, cut| {
                    model.split(pairs, (range.0.max(cut.unwrap_or(0)), to));
                })?;
            }
            Op::Retention { control } => {
                let mut rng = Rng(*control);
                let mut job = Job::start(Plan::Retention(0));
                let rows = 1 + rng.below(20) as usize;
                while in_transaction(&mut self.conn, &mut job, rows, true)? == Step::More {
                    if rng.one_in(4) {
                        job = Job::start(Plan::Retention(0));
                    }
                }
                self.model.retention();
            }
            Op::Append { samples, after } => self.append(samples, *after),
            Op::Excess { reg, excess } => {
                let tx = self.conn.transaction().unwrap();
                tx.execute("UPDATE register SET excess = ?2 WHERE did = ?1", (*reg as i64, excess)).unwrap();
                clear_excess(&tx).map_err(|err| err.to_string())?;
                tx.commit().unwrap();
                self.model.clear_excess(*reg, *excess);
            }
        }
        compare(&self.conn, &self.model)?;
        self.compare_backup()
    }

    fn append(&mut self, samples: &[Option<i64>], after: i64) {
        let ts = self.model.newest().unwrap_or(CLUSTERS[0]) + after;
        let tx = self.conn.transaction().unwrap();
        append(&tx, ts, &to_samples(&self.model, samples)).unwrap();
        tx.commit().unwrap();
        self.model.append(ts, samples);
    }

    fn restore(&mut self, chunk: &Chunk, gzip: bool, control: u64) -> Result<(), String> {
        let continues = self.chain.is_some();
        let Some(plan) = self.plan(chunk, gzip)? else { return Ok(()) };
        self.job(plan, control, chunk.rows[0].0, &mut |model, cut| model.restore(chunk, continues, cut))
    }

    /// Checks a chunk as an upload is checked. Nothing if it lacks its header: when a case is cut down, the chunk that had
    /// it may be gone.
    fn plan(&mut self, chunk: &Chunk, gzip: bool) -> Result<Option<Plan>, String> {
        let path = self.dir.join("chunk");
        std::fs::write(&path, pack(chunk, &self.model, gzip)).unwrap();
        let regs = chunk.regs.as_ref().map(|it| it.iter().map(|it| *it as u32).collect());
        let staged = self.dir.join("rows");
        let mut rows = std::fs::File::create(&staged).unwrap();
        let args = RestoreArgs { file: path, staged, range: to_range(chunk.range), regs, more_chunks: chunk.more };
        let mut fractions = Vec::new();
        let checking = Checking {
            rows: &mut rows,
            chain: self.chain.as_ref(),
            unpacked_bytes: UNPACKED,
            now: Stamp::from_seconds(CLUSTERS[4] + 2 * DAY),
            cancel: &AtomicBool::new(false),
            on_progress: &mut |it| fractions.push(it),
        };
        let plan = match plan_restore(&self.conn, args, checking) {
            Ok(plan) => plan,
            Err(err) if err.tag() == Some("BADHDR") && !chunk.with_header => return Ok(None),
            Err(err) => return Err(err.to_string()),
        };
        // The journal keeps plans as text.
        let plan: Plan = serde_json::from_str(&serde_json::to_string(&Plan::Restore(plan)).unwrap()).unwrap();
        let Plan::Restore(restore) = &plan else { unreachable!() };
        self.chain = chunk.more.then(|| restore.header.clone());
        Ok(Some(plan))
    }

    /// Works a plan off in small batches: some are rolled back, after some the job is taken up anew from its position, in
    /// between rows are appended, and some jobs are cancelled. After each batch `expect` says what must be there.
    fn job(
        &mut self,
        plan: Plan,
        control: u64,
        top: i64,
        expect: &mut dyn FnMut(&mut Model, Option<i64>),
    ) -> Result<(), String> {
        let mut rng = Rng(control);
        let rough = rng.one_in(2);
        let before = self.model.clone();
        let mut appended: Vec<(i64, Vec<Option<i64>>)> = Vec::new();
        let mut job = Job::start(plan.clone());
        let mut position = None;
        let mut progress = 0.0;
        loop {
            let rows = 1 + rng.below(if rough { 4 } else { 100 }) as usize;
            if rng.one_in(2) {
                job.prepare().map_err(|err| err.to_string())?;
            }
            if rough && rng.one_in(8) {
                in_transaction(&mut self.conn, &mut job, rows, false)?;
                job = taken_up(&plan, &position)?;
                continue;
            }
            let step = in_transaction(&mut self.conn, &mut job, rows, true)?;
            position = Some(job.position());
            if !(0.0..=1.0).contains(&job.progress()) || (job.progress() < progress && step == Step::More) {
                return Err(format!("progress {} after {progress}", job.progress()));
            }
            progress = job.progress();
            let mut model = before.clone();
            expect(&mut model, job.reached().filter(|_| step == Step::More));
            for (ts, samples) in &appended {
                model.append(*ts, samples);
            }
            compare(&self.conn, &model).map_err(|err| format!("after {position:?}: {err}"))?;
            self.model = model;
            if step == Step::Done || (rough && rng.one_in(30)) {
                return Ok(());
            }
            if rough && rng.one_in(5) {
                job = taken_up(&plan, &position)?;
                progress = 0.0;
            }
            // Above everything that the job changes, so that the order of this and of its batches is of no matter.
            if let Some(newest) = self.model.newest().max(before.newest())
                && rng.one_in(6)
            {
                let samples: Vec<Option<i64>> = (0..self.model.regs.len()).map(|_| rng.maybe(3)).collect();
                let ts = if top < newest && rng.one_in(2) { newest } else { newest + 60 };
                let tx = self.conn.transaction().unwrap();
                append(&tx, ts, &to_samples(&self.model, &samples)).unwrap();
                tx.commit().unwrap();
                appended.push((ts, samples));
            }
        }
    }
}

fn taken_up(plan: &Plan, position: &Option<String>) -> Result<Job, String> {
    match position {
        Some(position) => Job::resume(plan.clone(), position).map_err(|err| err.to_string()),
        None => Ok(Job::start(plan.clone())),
    }
}

fn in_transaction(conn: &mut Connection, job: &mut Job, rows: usize, commit: bool) -> Result<Step, String> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    let step = job.step(&tx, rows).map_err(|err| err.to_string())?;
    if commit {
        tx.commit().unwrap();
    }
    Ok(step)
}

fn to_range((from, to): (i64, i64)) -> Range {
    let stamp = |it: i64| Some(Stamp::from_seconds(it));
    Range { from: stamp(from).filter(|_| from != 0), to: stamp(to).filter(|_| to != i64::MAX - 1) }
}

fn check(case: &Case, dir: &Path) -> Result<(), String> {
    let mut world = World::new(case, dir, "case.db");
    compare(&world.conn, &world.model)?;
    for (i, op) in case.ops.iter().enumerate() {
        world.run(op).map_err(|err| format!("operation {i}: {err}"))?;
    }
    Ok(())
}

/// Leaves out operations and rows as long as the case still fails.
fn cut_down(mut case: Case, fails: &dyn Fn(&Case) -> bool) -> Case {
    loop {
        let mut smaller = Vec::new();
        for i in 0..case.ops.len() {
            let mut it = case.clone();
            it.ops.remove(i);
            smaller.push(it);
            if let Op::Restore { chunk, .. } = &case.ops[i]
                && 2 < chunk.rows.len()
            {
                for row in 0..chunk.rows.len() {
                    let mut it = case.clone();
                    let Op::Restore { chunk, .. } = &mut it.ops[i] else { unreachable!() };
                    chunk.rows.remove(row);
                    smaller.push(it);
                }
            }
        }
        for i in 0..case.rows.len() {
            let mut it = case.clone();
            it.rows.remove(i);
            smaller.push(it);
        }
        match smaller.into_iter().find(|it| fails(it)) {
            Some(it) => case = it,
            None => return case,
        }
    }
}

/// Runs a property over many seeds.
fn for_all(name: &str, default_cases: u64, property: fn(&Case, &Path) -> Result<(), String>) {
    let number = |key: &str| std::env::var(key).ok().map(|it| it.parse::<u64>().expect("a number"));
    let cases = number("METERD_CASES").unwrap_or(default_cases);
    let seeds = match number("METERD_SEED") {
        Some(seed) => vec![seed],
        None => (1..=cases).collect(),
    };
    let scratch = Scratch::new(name);
    for seed in seeds {
        let case = generate(seed);
        if property(&case, &scratch.0).is_err() {
            let case = cut_down(case, &|it| property(it, &scratch.0).is_err());
            let why = property(&case, &scratch.0).unwrap_err();
            panic!("seed {seed}: {why}\n{case:#?}");
        }
    }
}

#[test]
fn any_sequence_of_commands_keeps_the_guarantee_after_every_batch() {
    for_all("commands", 800, check);
}

/// The whole content of a database, with all that the next chunk of a chain depends on.
fn content(world: &mut World) -> String {
    let mut out = Vec::new();
    let mut backup = Backup::open(&world.conn, Range::default(), None).unwrap();
    while backup.next_page(&mut world.conn, &mut out).unwrap() {}
    let sql = "SELECT did, ts, counter, more_chunks, moved FROM edge ORDER BY did, ts";
    let mut stmt = world.conn.prepare(sql).unwrap();
    let edges = stmt.query_map([], |row| {
        let numbers: Vec<i64> = (0..4).map(|i| row.get(i)).collect::<Result<_, _>>()?;
        Ok(format!("edge {numbers:?} {:?}\n", row.get::<_, Option<String>>(4)?))
    });
    String::from_utf8(out).unwrap() + &edges.unwrap().map(|it| it.unwrap()).collect::<String>()
}

/// The first chain of a case, in chunks and in one piece.
fn chain_of(ops: &[Op]) -> Option<(Vec<Chunk>, Chunk)> {
    let mut chunks: Vec<Chunk> = Vec::new();
    for op in ops {
        let Op::Restore { chunk, .. } = op else { continue };
        if chunks.is_empty() && !chunk.more {
            continue;
        }
        chunks.push(chunk.clone());
        if !chunk.more {
            break;
        }
    }
    let first = chunks.first()?;
    let rows: Vec<_> = chunks.iter().flat_map(|it| it.rows.clone()).collect();
    let is_chain = 2 <= chunks.len()
        && chunks.iter().all(|it| it.columns == first.columns && it.range == first.range && it.regs == first.regs)
        && rows.is_sorted_by(|a, b| b.0 < a.0)
        && chunks.last().is_some_and(|it| !it.more);
    let whole = Chunk { rows, more: false, with_header: true, ..first.clone() };
    is_chain.then_some((chunks, whole))
}

/// One file in chunks of an open chain is the same as in one piece, also if every chunk is sent twice.
fn cuts_make_no_difference(case: &Case, dir: &Path) -> Result<(), String> {
    let Some((chunks, whole)) = chain_of(&case.ops) else { return Ok(()) };
    let mut worlds = ["whole.db", "cut.db", "twice.db"].map(|it| World::new(case, dir, it));
    worlds[0].restore_only(&whole, 100)?;
    for (i, chunk) in chunks.iter().enumerate() {
        worlds[1].restore_only(chunk, 1 + i)?;
        worlds[2].restore_only(chunk, 1 + i)?;
        worlds[2].restore_only(&Chunk { with_header: true, ..chunk.clone() }, 1 + i)?;
    }
    let [whole, cut, twice] = worlds.each_mut().map(content);
    if whole != cut {
        return Err(format!("in one piece:\n{whole}\nin chunks:\n{cut}"));
    }
    if whole != twice {
        return Err(format!("in one piece:\n{whole}\nevery chunk twice:\n{twice}"));
    }
    Ok(())
}

impl World {
    /// Restores without anything else going on.
    fn restore_only(&mut self, chunk: &Chunk, rows: usize) -> Result<(), String> {
        let plan = self.plan(chunk, false)?.ok_or("no header")?;
        let mut job = Job::start(plan);
        while in_transaction(&mut self.conn, &mut job, rows, true)? == Step::More {}
        Ok(())
    }
}

#[test]
fn a_file_in_chunks_of_an_open_chain_is_as_good_as_one_piece() {
    for_all("cuts", 400, cuts_make_no_difference);
}
