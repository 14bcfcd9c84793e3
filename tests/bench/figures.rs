//! The figures of the README: one table, medians of five, every speed as a ratio against a peer of the same run, and a
//! chart of how costs grow.
//!
//! `cargo bench --bench figures` prints the table and writes the chart. Further arguments name sections (restore, load,
//! memory, growth); `--quick` measures little, once, and leaves the chart below target/. METERD_STATIC names a static
//! build for the memory figures.

mod chart;
mod growth;
mod load;
mod memory;
mod meter;
mod outward;
mod peers;
mod restore;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use load::{Load, Question, press};
use meter::{Meter, folder};
use outward::Outward;
use peers::Peer;
use restore::{Order, Series};

/// Rows in a transaction of the bare loop: about what the service's batches have.
const BATCH: usize = 10_000;
/// Where the full chart belongs, below the project's folder.
const CHART: &str = "tests/bench/growth.svg";

/// How much is measured.
struct Scale {
    runs: usize,
    /// Rows of the restore that is compared with a bare loop, of 16 registers.
    rows: usize,
    /// How long each load lasts.
    press: Duration,
    /// Decades of rows from ten thousand.
    decades: u32,
    /// Rows where registers grow.
    wide: usize,
    chart: PathBuf,
}

impl Scale {
    fn full() -> Scale {
        let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join(CHART);
        Scale { runs: 5, rows: 525_600, press: Duration::from_secs(1), decades: 4, wide: 1_000_000, chart }
    }

    fn quick() -> Scale {
        let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/growth.svg");
        Scale { runs: 1, rows: 200_000, press: Duration::from_millis(300), decades: 2, wide: 10_000, chart }
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, port] = args.as_slice()
        && flag == "--bare-tiny-http"
    {
        return peers::serve_bare(port.parse().unwrap());
    }
    let scale = if args.iter().any(|it| it == "--quick") { Scale::quick() } else { Scale::full() };
    let named: Vec<&String> = args.iter().filter(|it| !it.starts_with("--")).collect();
    let binary = Path::new(env!("CARGO_BIN_EXE_meterd"));
    let small = std::env::var_os("METERD_STATIC").map_or_else(|| binary.to_path_buf(), PathBuf::from);

    println!("| what | here | must | aim |\n|---|---|---|---|");
    let sections: [(&str, &dyn Fn()); 4] = [
        ("restore", &|| restore_figures(binary, &scale)),
        ("load", &|| load_figures(binary, &scale)),
        ("memory", &|| start_and_memory(&small, &scale)),
        ("growth", &|| growth_figures(binary, &scale)),
    ];
    let mut failed = false;
    for (name, section) in sections {
        if !named.is_empty() && !named.iter().any(|it| *it == name) {
            continue;
        }
        let started = Instant::now();
        // What is wrong with one section, such as a tool that is missing, does not cost the figures of the others.
        if catch_unwind(AssertUnwindSafe(section)).is_err() {
            failed = true;
            line(&format!("{name}: the rest"), "not measured, see the error".into(), "", "");
        }
        eprintln!("{name}: {:.0} s", started.elapsed().as_secs_f64());
    }
    let _ = std::fs::remove_dir_all(meter::root());
    if failed {
        std::process::exit(1);
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn line(what: &str, here: String, must: &str, aim: &str) {
    println!("| {what} | {here} | {must} | {aim} |");
}

/// An empty state folder.
fn fresh(name: &str) -> PathBuf {
    let state = folder(name).join("state");
    std::fs::create_dir_all(&state).unwrap();
    state
}

fn restore_figures(binary: &Path, scale: &Scale) {
    let year = Series::new(scale.rows, 16, 60);
    let (with, without) = (year.chunks(true), year.chunks(false));
    let seconds = |times: &[Duration]| times.iter().sum::<Duration>().as_secs_f64();
    let (mut ratio, mut as_chunks, mut rate, mut serial) = (vec![], vec![], vec![], vec![]);
    let (mut unchained, mut oldest, mut zero) = (vec![], vec![], vec![]);
    let (mut cpu, mut bare_cpu) = (vec![], vec![]);
    for _ in 0..scale.runs {
        let insert = |order| year.insert_bare(&folder("bare").join("bare.db"), BATCH, order).as_secs_f64();
        let before = memory::cpu_seconds(std::process::id());
        let bare = insert(Order::OldestFirst);
        bare_cpu.push(memory::cpu_seconds(std::process::id()) - before);
        let bare_as_chunks = insert(Order::YoungestBatchFirst);
        let meter = Meter::start(binary, &fresh("ahead"));
        let before = memory::cpu_seconds(meter.pid());
        let ahead = restore::ahead_over_http(&meter, &with).as_secs_f64();
        cpu.push(memory::cpu_seconds(meter.pid()) - before);
        meter.stop();
        ratio.push(bare / ahead);
        as_chunks.push(bare_as_chunks / ahead);
        rate.push(year.rows as f64 / ahead);

        let state = fresh("with");
        let meter = Meter::start(binary, &state);
        let chained = restore::over_http(&meter, &with);
        meter.stop();
        serial.push(bare / seconds(&chained));
        // Per row, because the last chunk is not full; the second counts as first, as the very first makes registers.
        let per_row = |at: usize| chained[at].as_secs_f64() / with[at].rows as f64;
        oldest.push(per_row(with.len() - 2) / per_row(1));
        zero.push(zero_ratio(binary, &state));
        let meter = Meter::start(binary, &fresh("without"));
        unchained.push(seconds(&restore::over_http(&meter, &without)) / seconds(&chained));
        meter.stop();
    }
    let what = format!("restore {} x {} over HTTP against a bare SQLite loop", year.rows, year.registers);
    let here = format!("{:.2}x ({:.0} rows/s, {} chunks)", median(ratio), median(rate), with.len());
    line(&what, here, ">= 0.5x", "0.8x");
    let what = "the same against a loop that gets its rows youngest batch first, as chunks come";
    line(what, format!("{:.2}x", median(as_chunks)), "report", "");
    let here = format!("{:.2} s against {:.2} s", median(cpu), median(bare_cpu));
    line("its processor time against that of the bare loop", here, "report", "");
    let what = "the same with each chunk sent only after the one before is applied";
    line(what, format!("{:.2}x", median(serial)), "report", "");
    line("the same without `more_chunks` against with", format!("{:.2}x time", median(unchained)), "<= 1.2x", "1.0x");
    line("oldest full chunk against the second, per row", format!("{:.2}x time", median(oldest)), "<= 1.3x", "1.0x");
    line("zero of one register against one SQL UPDATE", format!("{:.2}x time", median(zero)), "<= 1.5x", "1.1x");
}

/// Zero over the whole range, against the UPDATE that a person would type, on copies of one database.
fn zero_ratio(binary: &Path, state: &Path) -> f64 {
    let copy = folder("update").join("meter.db");
    std::fs::copy(state.join("meter.db"), &copy).unwrap();
    let conn = restore::open(&copy);
    let started = Instant::now();
    conn.execute("UPDATE row SET r0 = 0", []).unwrap();
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let update = started.elapsed().as_secs_f64();
    drop(conn);
    let meter = Meter::start(binary, state);
    let started = Instant::now();
    meter.database(br#"{"action":"zero","regs":[0]}"#);
    let zero = started.elapsed().as_secs_f64();
    meter.stop();
    zero / update
}

/// A request without a token, for a peer.
fn plain(method: &str, peer: &Peer, body: &str) -> Vec<u8> {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    format!("{method} {} HTTP/1.1\r\nHost: m\r\n{length}\r\n{body}", peer.path).into_bytes()
}

/// Runs all questions in turn, `runs` times: the medians.
fn medians(questions: &[Question], connections: usize, scale: &Scale) -> Vec<Load> {
    let mut all: Vec<Vec<Load>> = questions.iter().map(|_| Vec::new()).collect();
    for _ in 0..scale.runs {
        for (loads, question) in all.iter_mut().zip(questions) {
            loads.push(press(question, connections, scale.press));
        }
    }
    let of = |loads: &[Load], value: fn(&Load) -> f64| median(loads.iter().map(value).collect());
    let middle =
        |it: &Vec<Load>| Load { rate: of(it, |it| it.rate), p50: of(it, |it| it.p50), p99: of(it, |it| it.p99) };
    all.iter().map(middle).collect()
}

/// A meter that has a finished operation, and what to send to poll its status.
fn polled(binary: &Path, name: &str) -> (Meter, Vec<u8>) {
    let meter = Meter::start(binary, &fresh(name));
    meter.database(&Series::new(1000, 1, 60).chunks(false)[0].body);
    let token = meter.begin(br#"{"action":"zero"}"#);
    meter.finish(&token);
    let request = meter.head("GET", &format!("/sys/status/{token}"), 0).into_bytes();
    (meter, request)
}

fn load_figures(binary: &Path, scale: &Scale) {
    let (meter, status) = polled(binary, "load");
    let body = format!("{{\"token\":\"{}\"}}\n", "0".repeat(32));
    let post = [meter.head("POST", "/cmd/cancel", body.len()).as_bytes(), body.as_bytes()].concat();
    let peers = [peers::bare_tiny_http(), peers::lighttpd(&folder("lighttpd")), peers::busybox(&folder("busybox"))];
    let own = |request| Question { addr: meter.addr, request, keeps: true };
    let question = |peer: &Peer, request| Question { addr: peer.addr, request, keeps: peer.keeps };

    let posts: Vec<Vec<u8>> = peers.iter().map(|it| plain("POST", it, &body)).collect();
    let with_peers = |first, requests: &[Vec<u8>], connections| {
        let mut questions = vec![own(first)];
        questions.extend(peers.iter().zip(requests).map(|(peer, request)| Question { request, ..question(peer, &[]) }));
        medians(&questions, connections, scale)
    };
    let [own_post, bare, lighttpd, busybox] = with_peers(&post, &posts, 4)[..] else { unreachable!() };
    let rates =
        |it: Load| format!("{:.1}x ({:.0} against {:.0} requests/s)", own_post.rate / it.rate, own_post.rate, it.rate);
    line(
        "small authorised POST, keep-alive, 4 connections, against lighttpd + shell CGI",
        rates(lighttpd),
        ">= 5x",
        "12x",
    );
    line("the same against busybox httpd + shell CGI, which keeps no connection", rates(busybox), "report", "");
    let here = format!("{:.2}x ({:.0} requests/s)", own_post.rate / bare.rate, bare.rate);
    line("the same against bare tiny_http answering a constant", here, "report", ">= 0.5x");

    let gets: Vec<Vec<u8>> = peers.iter().map(|it| plain("GET", it, "")).collect();
    for connections in [1, 16, 64] {
        let loads = with_peers(&status, &gets, connections);
        let names = std::iter::once("meterd").chain(peers.iter().map(|it| it.name));
        let one = |(name, it): (&str, &Load)| format!("{name} {:.0} ({:.2}, {:.2})", it.rate, it.p50, it.p99);
        let here: Vec<String> = names.zip(&loads).map(one).collect();
        let s = if connections == 1 { "" } else { "s" };
        line(&format!("status polls/s, {connections} connection{s} (p50, p99 in ms)"), here.join("; "), "report", "");
    }
    meter.stop();
}

fn start_and_memory(binary: &Path, scale: &Scale) {
    let state = fresh("start");
    Meter::start(binary, &state).stop();
    let mut first = vec![];
    for _ in 0..scale.runs {
        let meter = Meter::start(binary, &state);
        first.push(meter.first_answer.as_secs_f64() * 1000.0);
        meter.stop();
    }
    line("start to first answer", format!("{:.1} ms", median(first)), "<= 20 ms", "5 ms");

    let chunks = Series::new(scale.rows, 16, 60).chunks(true);
    let (mut idle, mut extra) = (vec![], vec![]);
    for _ in 0..scale.runs {
        let meter = Meter::start(binary, &fresh("memory"));
        settle();
        idle.push(memory::kib(meter.pid(), "smaps_rollup", "Pss_Dirty") as f64);
        // The first chunk makes registers and fills caches that stay.
        meter.database(&chunks[0].body);
        settle();
        let before = memory::kib(meter.pid(), "status", "VmRSS");
        extra.push(peak(&meter, || meter.database(&chunks[1].body)) - before as f64);
        meter.stop();
    }
    let mib = |kib: f64| kib.max(0.0) / 1024.0;
    line(
        "extra memory while a 2 MiB chunk is applied",
        format!("{:.2} MiB", mib(median(extra))),
        "<= 1.5 MiB",
        "0.5 MiB",
    );
    line("idle private-dirty memory", format!("{:.2} MB", median(idle) * 1024.0 / 1e6), "<= 1.2 MB", "0.6 MB");
    resident(binary, &chunks, scale);
    sizes(binary);
}

/// The highest resident memory of all that is done, each in a service of its own.
fn resident(binary: &Path, chunks: &[restore::Chunk], scale: &Scale) {
    let outward = Outward::start();
    let mut all: [Vec<f64>; 5] = Default::default();
    for _ in 0..scale.runs {
        let (meter, status) = polled(binary, "resident");
        settle();
        all[0].push(memory::kib(meter.pid(), "status", "VmRSS") as f64);
        let question = Question { addr: meter.addr, request: &status, keeps: true };
        all[1].push(peak(&meter, || _ = press(&question, 64, scale.press)));
        meter.stop();
        let meter = Meter::start(binary, &fresh("resident"));
        all[2].push(peak(&meter, || _ = restore::ahead_over_http(&meter, chunks)));
        meter.stop();
        for (at, run) in [(3, Outward::update as fn(&Outward, &Meter)), (4, Outward::mail)] {
            let meter = Meter::start_with(binary, &fresh("resident"), &outward.keys());
            all[at].push(peak(&meter, || run(&outward, &meter)));
            meter.stop();
        }
    }
    let names = ["idle", "64 connections polling", "restore", "update of 16 MiB over TLS", "mail over TLS"];
    let here = names.iter().zip(all).map(|(name, it)| format!("{name} {:.1}", median(it) * 1024.0 / 1e6));
    line("highest resident memory, MB", here.collect::<Vec<_>>().join("; "), "report", "");
}

/// Until what was just started or done has calmed down.
fn settle() {
    std::thread::sleep(Duration::from_millis(300));
}

/// The highest resident memory, in KiB, while something is done.
fn peak(meter: &Meter, run: impl FnOnce()) -> f64 {
    memory::reset_peak(meter.pid());
    run();
    memory::kib(meter.pid(), "status", "VmHWM") as f64
}

/// Of the measured build and of those that `init/dist.sh` has left.
fn sizes(binary: &Path) {
    let size = |path: &Path| std::fs::metadata(path).unwrap().len() as f64 / 1e6;
    let mut here = vec![format!("measured {:.2}", size(binary))];
    for arch in ["x86_64", "aarch64", "armv7"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("target/dist/meterd-{arch}"));
        if path.exists() {
            here.push(format!("static {arch} {:.2}", size(&path)));
        }
    }
    line("size of the binary, MB", here.join("; "), "report", "");
}

fn growth_figures(binary: &Path, scale: &Scale) {
    let rows: Vec<_> = (0..scale.decades)
        .map(|it| 10_000 * 10usize.pow(it))
        .map(|rows| growth::point(binary, rows, 4, rows, scale))
        .collect();
    let registers: Vec<_> =
        [1, 4, 16, 64].into_iter().map(|it| growth::point(binary, scale.wide, it, it, scale)).collect();
    let (meter, status) = polled(binary, "connections");
    let question = Question { addr: meter.addr, request: &status, keeps: true };
    let connections: Vec<_> = [1, 2, 4, 8, 16, 32, 64]
        .into_iter()
        .map(|it| (it, medians(std::slice::from_ref(&question), it, scale)[0]))
        .collect();
    meter.stop();

    let list = |values: Vec<String>| values.join(", ");
    let seconds = |points: &[growth::Point], cost: fn(&growth::Point) -> f64| {
        list(points.iter().map(|it| format!("{:.3}", cost(it))).collect()) + " s"
    };
    let wide = format!("registers x {}", chart::short(scale.wide as f64));
    for (points, of) in [(&rows, "rows x 4"), (&registers, &wide)] {
        let sizes = list(points.iter().map(|it| chart::short(it.size as f64)).collect());
        line(&format!("restore of {sizes} {of}"), seconds(points, |it| it.restore), "report", "");
        line("backup of these", seconds(points, |it| it.backup), "report", "");
        line("zero of one register of these", seconds(points, |it| it.zero), "report", "");
    }
    let sizes = list(connections.iter().map(|it| it.0.to_string()).collect());
    let here = list(connections.iter().map(|it| format!("{:.0}", it.1.rate)).collect());
    line(&format!("status polls/s over {sizes} connections"), here, "report", "");
    let panels = growth::panels(&rows, &registers, scale.wide, &connections);
    std::fs::write(&scale.chart, chart::svg(&panels)).unwrap();
    eprintln!("chart: {}", scale.chart.display());
}
