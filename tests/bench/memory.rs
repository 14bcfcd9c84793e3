//! Memory and processor time of a service, all its processes taken together, out of /proc.
//! What it has others run, such as an installer, is not its own and does not count.

use std::fs;

/// Clock ticks per second in /proc/PID/stat, the same on every Linux.
const TICKS: f64 = 100.0;

/// The processes that run the same program as `root`, itself and its descendants.
pub fn processes(root: u32) -> Vec<u32> {
    let program = |pid: u32| fs::read_link(format!("/proc/{pid}/exe")).ok();
    let all: Vec<(u32, u32)> = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|it| it.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid: u32| Some((pid, stat(pid)?.get(1)?.parse().ok()?)))
        .collect();
    let (own, mut res, mut at) = (program(root), vec![root], 0);
    while at < res.len() {
        let children = all.iter().filter(|(_, parent)| *parent == res[at]).map(|(pid, _)| *pid);
        let mut same: Vec<u32> = children.filter(|pid| program(*pid) == own).collect();
        res.append(&mut same);
        at += 1;
    }
    res
}

/// The fields of /proc/PID/stat behind the program's name: state, parent and so on.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(") ")?.1.split_whitespace().map(str::to_owned).collect())
}

/// Seconds that a process and its threads, ended ones included, have kept a processor busy.
fn seconds(pid: u32) -> f64 {
    let fields = stat(pid).unwrap_or_default();
    let ticks = |at: usize| fields.get(at).and_then(|it| it.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / TICKS
}

/// Processor seconds of all processes of a service.
pub fn cpu_seconds(root: u32) -> f64 {
    processes(root).into_iter().map(seconds).sum()
}

/// A figure of /proc/PID/status or smaps_rollup, in KiB, summed over all processes. Resident memory that two of them share
/// counts twice; the proportional figures of smaps_rollup count it once.
pub fn kib(root: u32, file: &str, name: &str) -> u64 {
    let one = |pid: u32| {
        // A process that has just ended has no memory.
        let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
        let line = text.lines().find(|it| it.split(':').next() == Some(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    let found: Vec<u64> = processes(root).into_iter().filter_map(one).collect();
    assert!(!found.is_empty(), "no {name} in {file}");
    found.into_iter().sum()
}

/// Makes the high-water marks of resident memory start anew.
pub fn reset_peak(root: u32) {
    for pid in processes(root) {
        let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
    }
}
