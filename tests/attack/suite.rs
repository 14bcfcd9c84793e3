//! Attacks on the whole service, and how a healthy client fares meanwhile: `attack [--short] [NAME...]` prints one table.
//! Each attack has a service of its own, at first without limits, then in a small machine; `--short` makes one attack
//! after the other on one service in the small machine. METERD names the service's binary.

mod attacks;
mod confine;
mod healthy;
#[path = "../bench/meter.rs"]
#[allow(dead_code)] // The benchmark needs more of it.
mod meter;
mod watch;
mod wire;

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;

use attacks::{ALL, Attack};
use confine::Confined;
use healthy::{Health, Healthy};
use meter::{Meter, folder};
use watch::{Held, Watch};
use wire::Front;

/// Bytes that may be resident at most, whatever is done.
const RESIDENT: u64 = 12_000_000;
/// Bytes that the C library may keep for later when everything is over.
const KEPT: u64 = 2_000_000;
/// Descriptors of the connections inside the service that it keeps for the next requests: four, at either end.
const KEPT_LINKS: usize = 12;
/// By when everything is given back: connections linger and threads wait for more work for seconds, on purpose.
const RECOVERY: Duration = Duration::from_secs(40);

/// How long a client tries to log in.
const RETRIES: Duration = Duration::from_secs(5);

/// How long things take.
struct Plan {
    /// Undisturbed, for comparison.
    quiet: Duration,
    attack: Duration,
}

fn main() -> ExitCode {
    let mut names: Vec<String> = std::env::args().skip(1).collect();
    let short = names.iter().any(|it| it == "--short");
    names.retain(|it| it != "--short");
    let chosen: Vec<&Attack> =
        ALL.iter().filter(|it| names.is_empty() || names.iter().any(|name| it.name.contains(name.as_str()))).collect();
    let binary = std::env::var_os("METERD").map_or("target/release/meterd".into(), PathBuf::from);
    let binary = binary.canonicalize().unwrap_or_else(|err| panic!("{}: {err}", binary.display()));
    raise_own_limit();
    let confined = Confined::new(&folder("confined"), &binary);
    println!("The small machine: {}.\n", confined.words);
    println!("| attack | p99 without | p99 under it | answered | memory | threads | descriptors | back to idle |");
    println!("|---|---|---|---|---|---|---|---|");
    let mut faults = Vec::new();
    if short {
        let plan = Plan { quiet: Duration::from_secs(2), attack: Duration::from_millis(700) };
        faults.extend(house("all, one after the other, in the small machine", &confined.starter, &chosen, &plan));
    } else {
        let plan = Plan { quiet: Duration::from_millis(1500), attack: Duration::from_secs(4) };
        for attack in chosen {
            faults.extend(house(attack.name, &binary, &[attack], &plan));
            faults.extend(house("the same in the small machine", &confined.starter, &[attack], &plan));
        }
    }
    if let Some((reclaims, kills)) = confined.pressure() {
        println!("\nThe memory cgroup was full {reclaims} times, and the kernel ended {kills} processes in it.");
        faults.extend((0 < kills).then(|| format!("the kernel ended {kills} processes")));
    }
    drop(confined);
    let _ = std::fs::remove_dir_all(meter::root());
    faults.iter().for_each(|it| println!("FAIL {it}"));
    println!("{} passed, {} failed", usize::from(faults.is_empty()), faults.len());
    if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Attacks one service and prints a line of the table; returns what must not be.
fn house(name: &str, binary: &Path, attacks: &[&Attack], plan: &Plan) -> Vec<String> {
    let state = folder("house").join("state");
    std::fs::create_dir_all(&state).unwrap();
    let meter = Meter::start_with(binary, &state, r#", "allow_targets": ["127.0.0.0/8"]"#);
    fill(&meter);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    warm(&meter);
    let quiet = Healthy::watch(meter.addr, &meter.token, plan.quiet);
    let idle = idle(meter.pid());

    let watch = Watch::start(meter.pid());
    let healthy = Healthy::start(meter.addr, &meter.token);
    let mut faults = Vec::new();
    for attack in attacks {
        let front = front(&meter, silent.local_addr().unwrap(), plan.attack);
        (attack.run)(&front);
        // Somebody who knows the password still gets in, whatever others have tried.
        let until = Instant::now() + RETRIES;
        while let Err(err) = meter.try_login() {
            if until < Instant::now() {
                faults.push(format!("no login after {}: {err}", attack.name));
                break;
            }
        }
    }
    let under = healthy.stop();
    let most = watch.stop();
    let (back, after) = recovery(meter.pid(), idle);
    println!("{}", line(name, &quiet, &under, idle, most, back));

    faults.extend(under.failures.iter().take(3).map(|it| format!("a healthy client: {it}")));
    faults.extend((RESIDENT < most.resident).then(|| format!("{} bytes were resident", most.resident)));
    faults.extend(back.is_none().then(|| format!("{after:?} is left of {idle:?}")));
    if after.processes < idle.processes {
        let log = std::fs::read_to_string(state.with_extension("log")).unwrap_or_default();
        faults.push(format!("the service has ended:\n{log}"));
    } else {
        meter.stop();
    }
    faults.into_iter().map(|it| format!("{name}: {it}")).collect()
}

fn front(meter: &Meter, silent: SocketAddr, time: Duration) -> Front {
    let (addr, pid, token) = (meter.addr, meter.pid(), meter.token.clone());
    Front { addr, pid, token, silent, until: Instant::now() + time }
}

fn line(name: &str, quiet: &Health, under: &Health, idle: Held, most: Held, back: Option<Duration>) -> String {
    let back = back.map_or("no".into(), |it| format!("{:.0} s", it.as_secs_f64()));
    format!(
        "| {name} | {:.1} ms | {:.1} ms | {} of {} | {:.1} -> {:.1} MB | {} -> {} | {} -> {} | {back} |",
        quiet.p99(),
        under.p99(),
        under.times.len(),
        under.times.len() + under.failures.len(),
        idle.megabytes(),
        most.megabytes(),
        idle.threads,
        most.threads,
        idle.descriptors,
        most.descriptors,
    )
}

/// Many ask at once, so that what is kept for the next requests afterwards is kept before too.
fn warm(meter: &Meter) {
    let front = front(meter, meter.addr, Duration::from_secs(1));
    let ask = wire::request("GET", "/auth/unauthorized", None, b"");
    front.repeat(12, |n| {
        let stream = front.say(n, &ask);
        stream.map(|it| meter::try_answer(&mut BufReader::new(it)));
    });
}

/// What the service holds when nobody has asked for anything for a while.
fn idle(pid: u32) -> Held {
    let mut last = Held::now(pid);
    let until = Instant::now() + RECOVERY;
    let mut same = 0;
    while same < 15 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(100));
        let now = Held::now(pid);
        same = if (now.threads, now.descriptors) == (last.threads, last.descriptors) { same + 1 } else { 0 };
        last = now;
    }
    last
}

/// How long it takes until nothing is held that was not held before.
fn recovery(pid: u32, idle: Held) -> (Option<Duration>, Held) {
    let started = Instant::now();
    loop {
        let now = Held::now(pid);
        let is_back = now.threads <= idle.threads
            && now.descriptors <= idle.descriptors + KEPT_LINKS
            && now.processes == idle.processes
            && now.resident <= idle.resident + KEPT;
        if is_back {
            return (Some(started.elapsed()), now);
        }
        if RECOVERY < started.elapsed() {
            return (None, now);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Makes the database so large that a backup fills every buffer on its way.
fn fill(meter: &Meter) {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(b"meterd-backup,1\nts,Grid:P,Grid+:P,Solar:P,Solar+:P\n").unwrap();
    for n in (0..50_000u64).rev() {
        writeln!(gzip, "{},{},{},{},{}", 1_700_000_000 + 60 * n, n * 60, n * 60, n, n).unwrap();
    }
    let data = STANDARD.encode(gzip.finish().unwrap());
    meter.database(format!(r#"{{"action":"restore","data":"{data}"}}"#).as_bytes());
}

/// Thousands of connections need as many descriptors on this side too.
fn raise_own_limit() {
    let pid = std::process::id().to_string();
    let _ = Command::new("prlimit").args(["--pid", &pid, "--nofile=16384"]).status();
}
