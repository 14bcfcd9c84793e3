//! A program that is looked at while it runs: what it says, line by line, and how it ends. It outlives whoever started
//! it: its output goes to memory, so that it never waits for a reader and never dies of having lost one.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;
use std::{io, thread};

use super::{LOOK_EVERY, ProgramError, in_memory, kill_group, signal_group};
use crate::sys::clock;

/// Bytes that are read at a time.
const PIECE: usize = 4096;
/// Bytes that are taken in by one look; more has to wait for the next one.
const MAX_LOOK: usize = 64 * PIECE;
/// Bytes of a line; longer ones are cut into several.
const MAX_LINE: usize = 1024;
/// How long a program may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(5);

/// What a program is started with, beside its command.
pub struct Start<'a> {
    /// One more argument, at the end.
    pub argument: &'a OsStr,
    /// Variables that are added to its environment.
    pub variables: &'a [(&'a str, &'a str)],
    /// Its standard input. It stays open for as long as the program or any child of it lives, which makes it the place
    /// for a lock on an empty file.
    pub input: File,
}

/// A program that runs.
pub struct Running {
    name: String,
    child: Child,
    out: File,
    /// What has been read of `out`.
    at: u64,
    line: Vec<u8>,
}

/// What there was to see at one look.
#[derive(Debug, Default)]
pub struct Seen {
    /// What it said since the last look: lines without their ends, never empty.
    pub lines: Vec<String>,
    /// How it ended, if it has; there is nothing more to read then.
    pub ended: Option<ExitStatus>,
}

/// Starts `command`, in a process group of its own.
pub fn start(command: &[String], with: Start) -> Result<Running, ProgramError> {
    let Some((name, arguments)) = command.split_first() else {
        return Err(ProgramError::Start("\"\"".into(), io::ErrorKind::InvalidInput.into()));
    };
    let fail = |err| ProgramError::Start(name.clone(), err);
    let out = in_memory(0).map_err(fail)?;
    let child = Command::new(name)
        .args(arguments)
        .arg(with.argument)
        .envs(with.variables.iter().copied())
        .stdin(with.input)
        .stdout(out.try_clone().map_err(fail)?)
        .stderr(out.try_clone().map_err(fail)?)
        .process_group(0)
        .spawn()
        .map_err(fail)?;
    Ok(Running { name: name.clone(), child, out, at: 0, line: Vec::new() })
}

impl Running {
    /// The program's name, as it is configured.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Looks without waiting.
    pub fn look(&mut self) -> Result<Seen, ProgramError> {
        // In this order: what it has said before it ended is there when its end is seen.
        let status = self.child.try_wait().map_err(|err| ProgramError::Start(self.name.clone(), err))?;
        let mut res = Seen::default();
        let whole = self.read(&mut res.lines).map_err(|err| ProgramError::Start(self.name.clone(), err))?;
        if whole && status.is_some() {
            let rest = std::mem::take(&mut self.line);
            push_line(&rest, &mut res.lines);
            res.ended = status;
        }
        Ok(res)
    }

    /// Asks the program and its children to end, and ends them if they do not.
    pub fn stop(mut self) {
        signal_group(self.child.id(), libc::SIGTERM);
        let deadline = clock::boottime() + GRACE;
        while clock::boottime() < deadline {
            match self.child.try_wait() {
                Ok(None) => thread::sleep(LOOK_EVERY),
                Ok(Some(_)) | Err(_) => return,
            }
        }
        kill_group(self.child.id());
        let _ = self.child.wait();
    }

    /// Takes in what is new; false if there may be more.
    fn read(&mut self, lines: &mut Vec<String>) -> io::Result<bool> {
        let mut piece = [0; PIECE];
        let from = self.at;
        while self.at - from < MAX_LOOK as u64 {
            // Reading at a place of our own: where the file itself stands is where the program writes next.
            let length = self.out.read_at(&mut piece, self.at)?;
            if length == 0 {
                self.give_back();
                return Ok(true);
            }
            self.at += length as u64;
            for byte in &piece[..length] {
                // A carriage return ends a line of programs that show their progress in place.
                if matches!(byte, b'\n' | b'\r') || self.line.len() == MAX_LINE {
                    push_line(&self.line, lines);
                    self.line.clear();
                }
                if !matches!(byte, b'\n' | b'\r') {
                    self.line.push(*byte);
                }
            }
        }
        self.give_back();
        Ok(false)
    }

    /// Gives back the memory of what has been read.
    fn give_back(&self) {
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        // SAFETY: fallocate takes plain numbers and a descriptor that `out` keeps open; what is freed was read before.
        // Should it fail, the memory is held until the program ends.
        unsafe { libc::fallocate64(self.out.as_raw_fd(), mode, 0, self.at as libc::off64_t) };
    }
}

fn push_line(line: &[u8], lines: &mut Vec<String>) {
    let text = String::from_utf8_lossy(line);
    let text = text.trim();
    if !text.is_empty() {
        lines.push(text.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Running {
        let command = ["/bin/sh", "-c", script].map(String::from);
        let input = File::open("/dev/null").unwrap();
        let with = Start { argument: OsStr::new("argument"), variables: &[("COLOUR", "blue")], input };
        start(&command, with).unwrap()
    }

    fn to_the_end(mut program: Running) -> (Vec<String>, ExitStatus) {
        let mut lines = Vec::new();
        let deadline = clock::boottime() + Duration::from_secs(30);
        loop {
            let seen = program.look().unwrap();
            lines.extend(seen.lines);
            match seen.ended {
                Some(status) => return (lines, status),
                None => assert!(clock::boottime() < deadline, "{lines:?}"),
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    #[test]
    fn lines_of_both_outputs_come_in_order() {
        let (lines, status) =
            to_the_end(sh("echo one; echo two >&2; printf '10%%\\r20%%\\r\\n\\n'; printf end; exit 3"));
        assert_eq!((lines.join("|").as_str(), status.code()), ("one|two|10%|20%|end", Some(3)));
    }

    #[test]
    fn arguments_and_variables_arrive() {
        assert_eq!(to_the_end(sh("echo $0 $COLOUR")).0, ["argument blue"]);
    }

    #[test]
    fn what_it_says_is_seen_while_it_runs() {
        let mut program = sh("echo begun; read line; sleep 60");
        let deadline = clock::boottime() + Duration::from_secs(30);
        let seen = loop {
            let seen = program.look().unwrap();
            if !seen.lines.is_empty() || deadline < clock::boottime() {
                break seen;
            }
            thread::sleep(LOOK_EVERY);
        };
        assert_eq!((seen.lines.as_slice(), seen.ended), (&["begun".to_string()][..], None));
        let before = clock::boottime();
        program.stop();
        assert!(clock::boottime() - before < GRACE);
    }

    #[test]
    fn one_that_does_not_listen_is_ended_too() {
        let mut program = sh("trap '' TERM; echo deaf; while :; do sleep 1; done");
        while program.look().unwrap().lines.is_empty() {
            thread::sleep(LOOK_EVERY);
        }
        let before = clock::boottime();
        program.stop();
        let took = clock::boottime() - before;
        assert!(GRACE <= took && took < GRACE * 3, "{took:?}");
    }

    #[test]
    fn a_chatty_program_holds_no_memory() {
        // Above what one look takes in, so that the end is seen only after all of it was read.
        let mut program = sh("head -c 3000000 /dev/zero | tr '\\0' x; echo; echo last");
        let mut count = 0;
        let last = loop {
            let seen = program.look().unwrap();
            count += seen.lines.iter().map(String::len).sum::<usize>();
            if seen.ended.is_some() {
                break seen.lines.last().cloned();
            }
            thread::sleep(LOOK_EVERY);
        };
        assert_eq!((count, last.as_deref()), (3_000_004, Some("last")));
        use std::os::unix::fs::MetadataExt;
        let held = program.out.metadata().unwrap().blocks() * 512;
        assert!(held < 64 * 1024, "{held} bytes");
    }
}
