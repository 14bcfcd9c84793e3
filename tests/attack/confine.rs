//! A small machine for the service: few descriptors, little address space, 16 MiB of memory. The first two are resource
//! limits, the last is a memory cgroup below the one that this program runs in, where that can be made.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Descriptors: what the service says that it needs at most.
const DESCRIPTORS: u32 = 256;
/// Bytes of address space.
const ADDRESSES: u64 = 192 << 20;
/// Bytes of memory, page cache and socket buffers included.
const MEMORY: u64 = 16 << 20;

/// The limits that a service is started under.
pub struct Confined {
    /// A program that takes them upon itself and becomes the service.
    pub starter: PathBuf,
    /// What they are, in words.
    pub words: String,
    group: Option<Group>,
}

struct Group {
    path: PathBuf,
    version: u8,
}

impl Drop for Group {
    fn drop(&mut self) {
        // The last process in it may be on its way out.
        let until = Instant::now() + Duration::from_secs(5);
        while let Err(err) = fs::remove_dir(&self.path) {
            if until < Instant::now() {
                return eprintln!("{}: {err}", self.path.display());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Confined {
    /// Writes the starter of `binary` into `folder`.
    pub fn new(folder: &Path, binary: &Path) -> Confined {
        let (group, memory) = match Group::new() {
            Ok(group) => (Some(group), format!("a memory cgroup of {} MiB", MEMORY >> 20)),
            Err(why) => (None, format!("no memory cgroup here ({why})")),
        };
        let enter =
            group.as_ref().map_or(String::new(), |it| format!("echo $$ >'{}/cgroup.procs'\n", it.path.display()));
        let text = format!(
            "#!/bin/sh\nset -e\n{enter}ulimit -n {DESCRIPTORS}\nulimit -v {}\nexec '{}' \"$@\"\n",
            ADDRESSES >> 10,
            binary.display()
        );
        let starter = folder.join("confined");
        fs::write(&starter, text).unwrap();
        fs::set_permissions(&starter, fs::Permissions::from_mode(0o755)).unwrap();
        let words = format!("{DESCRIPTORS} descriptors, {} MiB of address space, {memory}", ADDRESSES >> 20);
        Confined { starter, words, group }
    }

    /// How often the kernel had to take memory back in the cgroup, and whether it killed anybody there.
    pub fn pressure(&self) -> Option<(u64, u64)> {
        let group = self.group.as_ref()?;
        let read = |file: &str| fs::read_to_string(group.path.join(file)).unwrap_or_default();
        let value = |text: &str, name: &str| {
            text.lines().find_map(|it| it.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0)
        };
        Some(match group.version {
            1 => (value(&read("memory.failcnt"), ""), value(&read("memory.oom_control"), "oom_kill ")),
            _ => (value(&read("memory.events"), "max "), value(&read("memory.events"), "oom_kill ")),
        })
    }
}

impl Group {
    fn new() -> Result<Group, String> {
        let own = fs::read_to_string("/proc/self/cgroup").map_err(|err| err.to_string())?;
        let own = own.lines().filter_map(|it| it.split_once(':')?.1.split_once(':'));
        // Version 1 has a tree for memory alone; version 2 has one for everything, and no name.
        let (_, below) =
            own.clone().find(|it| it.0 == "memory").or(own.clone().find(|it| it.0.is_empty())).ok_or("none")?;
        let is_old = own.clone().any(|it| it.0 == "memory");
        let (root, limit) =
            if is_old { ("/sys/fs/cgroup/memory", "memory.limit_in_bytes") } else { ("/sys/fs/cgroup", "memory.max") };
        let path =
            Path::new(root).join(below.trim_start_matches('/')).join(format!("meterd-attack-{}", std::process::id()));
        fs::create_dir(&path).map_err(|err| format!("{}: {err}", path.display()))?;
        let group = Group { path, version: if is_old { 1 } else { 2 } };
        let file = group.path.join(limit);
        fs::write(&file, MEMORY.to_string()).map_err(|err| format!("{}: {err}", file.display()))?;
        Ok(group)
    }
}
