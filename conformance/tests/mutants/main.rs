//! Judges the suite: a proxy breaks one behaviour of a healthy meter at a time, and the rules that are about it have to
//! say so. METERD names the service's binary.
//!
//! Usage: METERD=/path/of/meterd cargo test -p meter-conformance --test mutants [-- [--all] [--jobs N] [NAME...]]
//! Without `--all` each mutant meets the rules that it is made for, with it every rule there is; and those
//! whose rules wait for something to expire are left out.

mod bench;
mod message;
mod mutants;
mod proxy;
mod publisher;
mod suite;

use std::collections::BTreeMap;
use std::panic;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use bench::Bench;
use mutants::{Mutant, NONE};
use proxy::Proxy;
use publisher::Publisher;
use suite::{Said, Suite};

/// What the command line asks for.
struct Choice {
    all_rules: bool,
    jobs: usize,
    names: Vec<String>,
}

/// What came of a mutant.
struct Outcome {
    name: &'static str,
    /// Why it was not caught as it should have been.
    missed: Option<String>,
    /// The rules that caught it.
    caught_by: Vec<String>,
    seconds: f64,
}

/// Whether a mutant's own code failed, which a rule might take for the meter's failure.
static PANICKED: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        PANICKED.store(true, Ordering::SeqCst);
        report(info);
    }));
    match judge_all() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("mutants: {why}");
            ExitCode::from(2)
        }
    }
}

/// Whether every mutant came out as expected, after a healthy meter passed everything.
fn judge_all() -> Result<bool, String> {
    let choice = choice()?;
    let binary = std::env::var_os("METERD").map(PathBuf::from).ok_or("METERD must name the service's binary")?;
    let folder = std::env::temp_dir().join(format!("meter-mutants-{}", std::process::id()));
    let params = suite::known_params()?;
    let res = judge_in(&choice, &binary, &folder, params);
    let _ = std::fs::remove_dir_all(&folder);
    res
}

fn judge_in(choice: &Choice, binary: &Path, folder: &Path, params: String) -> Result<bool, String> {
    let mut chosen: Vec<_> = mutants::all().into_iter().filter(|it| choice.chooses(it)).collect();
    // Those that wait begin first, beside the others.
    chosen.sort_by_key(|it| !it.slow);
    let patient = chosen.iter().any(|it| it.slow);
    let suite = Suite { params };
    let publisher = Publisher::open(&folder.join("vendor"))?;
    let begun = Instant::now();
    // Where only some mutants are tried, their rules are enough.
    let rules: Vec<_> = chosen.iter().flat_map(|it| it.rules.iter().copied()).collect();
    let only = if choice.names.is_empty() { &[][..] } else { &rules };
    let healthy = attempt(binary, &folder.join("healthy"), &publisher, &NONE, only, (&suite, patient))?;
    let mut sound = true;
    for (id, said) in healthy.iter().filter(|it| it.1.caught()) {
        println!("FAIL  the healthy meter and {id}: {} {}", said.result, said.why);
        sound = false;
    }
    for mutant in &chosen {
        for id in mutant.rules.iter().filter(|it| healthy.get(**it).is_none_or(|said| said.result != "PASS")) {
            let said = healthy.get(*id).map_or("is no rule".into(), |it| format!("{} {}", it.result, it.why));
            println!("FAIL  {} counts on {id}, which does not pass on the healthy meter: {said}", mutant.name);
            sound = false;
        }
    }
    let passed = healthy.values().filter(|it| it.result == "PASS").count();
    println!("figure: {passed} of {} rules pass on the healthy meter in {:.0} s", healthy.len(), seconds(begun));

    let outcomes = try_all(&chosen, choice, &healthy, |mutant, only| {
        attempt(binary, &folder.join(mutant.name.replace('/', "-")), &publisher, mutant, only, (&suite, mutant.slow))
    });
    let mut caught = 0;
    for (mutant, outcome) in chosen.iter().zip(&outcomes) {
        let by = outcome.caught_by.join(", ");
        let line = format!("{:44} {:4.1} s", outcome.name, outcome.seconds);
        match (&outcome.missed, mutant.survives) {
            (None, None) => {
                caught += 1;
                println!("ok    {line}  {by}");
            }
            (Some(_), Some(reason)) => println!("lives {line}  as expected: {reason}"),
            (Some(why), None) => {
                println!("FAIL  {line}  survived: {why}");
                sound = false;
            }
            (None, Some(_)) => {
                println!("FAIL  {line}  was expected to survive and was caught: {by}");
                sound = false;
            }
        }
    }
    println!("figure: {caught} of {} mutants caught in {:.0} s", chosen.len(), seconds(begun));
    let failed = chosen.len() - caught - chosen.iter().filter(|it| it.survives.is_some()).count();
    println!("{caught} passed, {failed} failed");
    Ok(sound && !PANICKED.load(Ordering::SeqCst))
}

/// Verdicts by the ids of their rules.
type Verdicts = BTreeMap<String, Said>;

/// Tries mutants several at a time; their outcomes in order.
fn try_all(
    chosen: &[&'static Mutant],
    choice: &Choice,
    healthy: &Verdicts,
    attempt: impl Fn(&'static Mutant, &[&str]) -> Result<Verdicts, String> + Sync,
) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..choice.jobs {
            scope.spawn(|| {
                while let Some(mutant) = chosen.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let begun = Instant::now();
                    let said = attempt(mutant, if choice.all_rules { &[] } else { mutant.rules });
                    outcomes.lock().unwrap().insert(mutant.name, outcome(mutant, said, healthy, seconds(begun)));
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap();
    chosen.iter().filter_map(|it| outcomes.remove(it.name)).collect()
}

/// A fresh meter behind a proxy with this mutant, judged by the rules `only`.
fn attempt(
    binary: &Path,
    folder: &Path,
    publisher: &Publisher,
    mutant: &'static Mutant,
    only: &[&str],
    (suite, patient): (&Suite, bool),
) -> Result<Verdicts, String> {
    let bench = Bench::start(binary, folder, publisher)?;
    let proxy = Proxy::start(bench.address, bench.owner(), mutant).map_err(|err| format!("no proxy: {err}"))?;
    suite.run(&bench, proxy.address, only, patient)
}

fn outcome(mutant: &Mutant, said: Result<Verdicts, String>, healthy: &Verdicts, seconds: f64) -> Outcome {
    let new = |id: &str, it: &Said| healthy.get(id).is_none_or(|before| before.why != it.why);
    let caught = |id: &str, it: &Said| it.caught() || mutant.noted && it.noted && new(id, it);
    let (missed, caught_by) = match said {
        Err(why) => (Some(why), Vec::new()),
        Ok(said) => {
            let blind = mutant.rules.iter().find_map(|id| match said.get(*id) {
                Some(it) if caught(id, it) => None,
                Some(it) => Some(format!("{id} says {} {}", it.result, it.why)),
                None => Some(format!("{id} says nothing")),
            });
            (blind, said.into_iter().filter(|it| caught(&it.0, &it.1)).map(|it| it.0).collect())
        }
    };
    Outcome { name: mutant.name, missed, caught_by, seconds }
}

fn choice() -> Result<Choice, String> {
    let (mut res, mut jobs) = (Choice { all_rules: false, jobs: 6, names: Vec::new() }, None);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--all" => res.all_rules = true,
            "--jobs" => {
                let number = args.next().and_then(|it| it.parse().ok()).filter(|it| (1..=16).contains(it));
                jobs = Some(number.ok_or("--jobs needs a number from 1 to 16")?);
            }
            // What `cargo test` may hand over for harnesses of its own.
            "--quiet" | "-q" => {}
            name if mutants::all().iter().any(|it| it.name.starts_with(name)) => res.names.push(name.into()),
            other => return Err(format!("no mutant's name begins with {other}")),
        }
    }
    // All rules mostly wait.
    res.jobs = jobs.unwrap_or(if res.all_rules { 12 } else { res.jobs });
    Ok(res)
}

impl Choice {
    fn chooses(&self, mutant: &Mutant) -> bool {
        let named = self.names.iter().any(|it| mutant.name.starts_with(it.as_str()));
        named || self.names.is_empty() && (self.all_rules || !mutant.slow)
    }
}

fn seconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64()
}
