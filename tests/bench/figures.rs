//! The figures of the README: one table, medians of five, every speed as a ratio against a peer of the same run.
//! `cargo bench --bench figures` prints it; METERD_STATIC names a static build for the memory figures.

mod load;
mod meter;
mod restore;

use std::path::{Path, PathBuf};
use std::time::Duration;

use meter::{Meter, folder};
use restore::{Order, Year};

const RUNS: usize = 5;
/// Rows in a transaction of the bare loop: about what the service's batches have.
const BATCH: usize = 10_000;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let [_, flag, port] = args.as_slice()
        && flag == "--bare-tiny-http"
    {
        return load::serve_bare(port.parse().unwrap());
    }
    let binary = Path::new(env!("CARGO_BIN_EXE_meterd"));
    let small = std::env::var_os("METERD_STATIC").map_or_else(|| binary.to_path_buf(), PathBuf::from);
    println!("| what | here | must | aim |\n|---|---|---|---|");
    restore_figures(binary);
    load_figures(binary);
    start_and_memory(&small);
    let _ = std::fs::remove_dir_all(meter::root());
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

fn restore_figures(binary: &Path) {
    let year = Year::new();
    let (with, without) = (year.chunks(true), year.chunks(false));
    let seconds = |times: &[Duration]| times.iter().sum::<Duration>().as_secs_f64();
    let (mut ratio, mut as_chunks, mut rate, mut serial) = (vec![], vec![], vec![], vec![]);
    let (mut unchained, mut oldest, mut zero) = (vec![], vec![], vec![]);
    for _ in 0..RUNS {
        let insert = |order| year.insert_bare(&folder("bare").join("bare.db"), BATCH, order).as_secs_f64();
        let (bare, bare_as_chunks) = (insert(Order::OldestFirst), insert(Order::YoungestBatchFirst));
        let meter = Meter::start(binary, &fresh("ahead"));
        let ahead = restore::ahead_over_http(&meter, &with).as_secs_f64();
        meter.stop();
        ratio.push(bare / ahead);
        as_chunks.push(bare_as_chunks / ahead);
        rate.push(restore::ROWS as f64 / ahead);

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
    let what = format!("restore {} x {} over HTTP against a bare SQLite loop", restore::ROWS, restore::REGISTERS);
    let here = format!("{:.2}x ({:.0} rows/s, {} chunks)", median(ratio), median(rate), with.len());
    line(&what, here, ">= 0.5x", "0.8x");
    let what = "the same against a loop that gets its rows youngest batch first, as chunks come";
    line(what, format!("{:.2}x", median(as_chunks)), "report", "");
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
    let started = std::time::Instant::now();
    conn.execute("UPDATE row SET r0 = 0", []).unwrap();
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let update = started.elapsed().as_secs_f64();
    drop(conn);
    let meter = Meter::start(binary, state);
    let started = std::time::Instant::now();
    meter.database(br#"{"action":"zero","regs":[0]}"#);
    let zero = started.elapsed().as_secs_f64();
    meter.stop();
    zero / update
}

fn load_figures(binary: &Path) {
    let body = format!(r#"{{"token":"{}"}}"#, "0".repeat(32));
    let meter = Meter::start(binary, &fresh("load"));
    let request = [meter.head("POST", "/cmd/cancel", body.len()).as_bytes(), body.as_bytes()].concat();
    let plain = |path: &str| {
        let head = format!("POST {path} HTTP/1.1\r\nHost: m\r\nContent-Length: {}\r\n\r\n", body.len() + 1);
        [head.as_bytes(), body.as_bytes(), b"\n"].concat()
    };
    let lighttpd = load::lighttpd(&folder("cgi"));
    let bare = load::bare_tiny_http();
    let (mut own, mut cgi, mut constant) = (vec![], vec![], vec![]);
    for _ in 0..RUNS {
        own.push(load::rate(meter.addr, &request));
        cgi.push(load::rate(lighttpd.addr, &plain("/cancel.sh")));
        constant.push(load::rate(bare.addr, &plain("/")));
    }
    let (own, cgi, constant) = (median(own), median(cgi), median(constant));
    let here = format!("{:.1}x ({own:.0} against {cgi:.0} requests/s)", own / cgi);
    line("small authorised POST, keep-alive, against lighttpd + shell CGI", here, ">= 5x", "12x");
    let here = format!("{:.2}x ({constant:.0} requests/s)", own / constant);
    line("the same against bare tiny_http answering a constant", here, "report", ">= 0.5x");
}

fn start_and_memory(binary: &Path) {
    let state = fresh("start");
    Meter::start(binary, &state).stop();
    let mut first = vec![];
    for _ in 0..RUNS {
        let meter = Meter::start(binary, &state);
        first.push(meter.first_answer.as_secs_f64() * 1000.0);
        meter.stop();
    }
    line("start to first answer", format!("{:.1} ms", median(first)), "<= 20 ms", "5 ms");

    let chunks = Year::new().chunks(true);
    let (mut idle, mut extra) = (vec![], vec![]);
    for _ in 0..RUNS {
        let meter = Meter::start(binary, &fresh("memory"));
        std::thread::sleep(Duration::from_millis(300));
        idle.push(meter.memory("smaps_rollup", "Private_Dirty") as f64);
        // The first chunk makes registers and fills caches that stay.
        meter.database(&chunks[0].body);
        std::thread::sleep(Duration::from_millis(300));
        meter.reset_peak();
        let before = meter.memory("status", "VmRSS");
        meter.database(&chunks[1].body);
        extra.push(meter.memory("status", "VmHWM").saturating_sub(before) as f64);
        meter.stop();
    }
    let mib = |kib: f64| kib / 1024.0;
    line(
        "extra memory while a 2 MiB chunk is applied",
        format!("{:.2} MiB", mib(median(extra))),
        "<= 1.5 MiB",
        "0.5 MiB",
    );
    line("idle private-dirty memory", format!("{:.2} MB", median(idle) * 1024.0 / 1e6), "<= 1.2 MB", "0.6 MB");
    let size = std::fs::metadata(binary).unwrap().len() as f64 / 1e6;
    line("size of the binary", format!("{size:.2} MB"), "report", "");
}
