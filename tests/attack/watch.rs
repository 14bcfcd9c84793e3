//! What the service holds while somebody attacks it: memory, threads and descriptors of all its processes together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two looks.
const EVERY: Duration = Duration::from_millis(20);

/// What all processes of the service hold.
#[derive(Clone, Copy, Debug, Default)]
pub struct Held {
    /// Bytes that are resident, what two processes share counted once; from [`Watch::stop`] the most there were.
    pub resident: u64,
    pub threads: usize,
    pub descriptors: usize,
    pub processes: usize,
}

impl Held {
    /// What is held right now.
    pub fn now(pid: u32) -> Held {
        let mut res = Held { resident: resident(pid, "VmRSS:"), ..Held::default() };
        for pid in family(pid) {
            res.threads += entries(pid, "task");
            res.descriptors += entries(pid, "fd");
            // What has ended and is not waited for yet has no threads to look at.
            res.processes += usize::from(0 < entries(pid, "fd"));
        }
        res
    }

    pub fn megabytes(&self) -> f64 {
        self.resident as f64 / 1e6
    }
}

/// Looks again and again and keeps the highest values.
pub struct Watch {
    pid: u32,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Held>,
}

impl Watch {
    pub fn start(pid: u32) -> Watch {
        // The kernel's own high-water mark starts anew, and misses nothing between two looks.
        let _ = std::fs::write(format!("/proc/{pid}/clear_refs"), "5");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut most = Held::default();
            while !stopped.load(Ordering::Relaxed) {
                let now = Held::now(pid);
                most.threads = most.threads.max(now.threads);
                most.descriptors = most.descriptors.max(now.descriptors);
                most.processes = most.processes.max(now.processes);
                std::thread::sleep(EVERY);
            }
            most
        });
        Watch { pid, stop, thread }
    }

    pub fn stop(self) -> Held {
        self.stop.store(true, Ordering::Relaxed);
        let most = self.thread.join().unwrap();
        Held { resident: resident(self.pid, "VmHWM:"), ..most }
    }
}

/// What a process has or had resident, and what those that come from it have for themselves.
fn resident(pid: u32, name: &str) -> u64 {
    let own = |pid| figure(pid, "smaps_rollup", "Private_Clean:") + figure(pid, "smaps_rollup", "Private_Dirty:");
    figure(pid, "status", name) + family(pid).into_iter().skip(1).map(own).sum::<u64>()
}

/// A process and all that come from it.
fn family(pid: u32) -> Vec<u32> {
    let mut all: Vec<(u32, u32)> = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|it| it.parse().ok()) else { continue };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // Behind the name, which may hold anything: the state, and the parent.
        let parent = stat.rsplit(") ").next().and_then(|it| it.split(' ').nth(1)).and_then(|it| it.parse().ok());
        all.extend(parent.map(|it| (pid, it)));
    }
    let mut res = vec![pid];
    let mut at = 0;
    while let Some(&parent) = res.get(at) {
        res.extend(all.iter().filter(|it| it.1 == parent).map(|it| it.0));
        at += 1;
    }
    res
}

/// A figure of a file of /proc in bytes; none of a process that has just ended.
fn figure(pid: u32, file: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let line = text.lines().find_map(|it| it.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().next().and_then(|it| it.parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn entries(pid: u32, folder: &str) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/{folder}")).map_or(0, |it| it.count())
}
