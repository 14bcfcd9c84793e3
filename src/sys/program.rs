//! Running a program to its end: no shell, an upper time, and what it printed; or with an eye on it while it runs
//! (`running`). It knows nothing of which programs there are.

mod running;

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use super::clock;
pub use running::{Running, Seen, Start, start};

/// Bytes of a program's output that are looked at.
const MAX_OUTPUT: u64 = 16 * 1024;
/// How often a running program is looked after.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Why a program was of no use.
#[derive(Debug)]
pub enum ProgramError {
    /// It could not be started.
    Start(String, io::Error),
    /// It ended with a failure; the text is the last line that it said.
    Failed(String, ExitStatus, String),
    /// It did not end in time and was killed, with all that it had started in its process group.
    Late(String, Duration),
    /// It was no longer wanted and was killed likewise.
    Stopped(String),
}

impl fmt::Display for ProgramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProgramError::Start(name, err) => write!(f, "{name} cannot be started: {err}"),
            ProgramError::Failed(name, status, said) if said.is_empty() => write!(f, "{name} failed ({status})"),
            ProgramError::Failed(name, status, said) => write!(f, "{name} failed ({status}): {said}"),
            ProgramError::Late(name, within) => write!(f, "{name} did not end within {} s", within.as_secs_f32()),
            ProgramError::Stopped(name) => write!(f, "{name} was stopped"),
        }
    }
}

impl std::error::Error for ProgramError {}

/// Runs `command` (program and arguments) and gives back its standard output. A daemon that it leaves behind may keep its
/// output open: that goes to memory, so nobody waits for it.
pub fn run(command: &[String], within: Duration) -> Result<String, ProgramError> {
    let ended = drive(command, Stdio::null(), within, &|| false)?;
    let said = ended.said;
    match ended.status.success() {
        true => Ok(said),
        false => Err(ProgramError::Failed(ended.name, ended.status, last(&ended.complaint, &said))),
    }
}

/// Runs `command` with `input` on its standard input and gives back its standard output, which no error shows: it may be
/// a secret. As soon as `stop` says so the program is killed.
pub fn filter(
    command: &[String],
    input: &[u8],
    within: Duration,
    stop: &dyn Fn() -> bool,
) -> Result<String, ProgramError> {
    let name = command.first().cloned().unwrap_or_default();
    let prepare = || -> io::Result<File> {
        let mut file = in_memory(0)?;
        file.write_all(input)?;
        file.rewind()?;
        Ok(file)
    };
    let input = prepare().map_err(|err| ProgramError::Start(name, err))?;
    let ended = drive(command, input.into(), within, stop)?;
    match ended.status.success() {
        true => Ok(ended.said),
        false => Err(ProgramError::Failed(ended.name, ended.status, last(&ended.complaint, ""))),
    }
}

/// A program that has ended by itself.
struct Ended {
    name: String,
    status: ExitStatus,
    said: String,
    complaint: String,
}

fn drive(command: &[String], input: Stdio, within: Duration, stop: &dyn Fn() -> bool) -> Result<Ended, ProgramError> {
    let Some((name, arguments)) = command.split_first() else {
        return Err(ProgramError::Start("\"\"".into(), io::ErrorKind::InvalidInput.into()));
    };
    let start = |err| ProgramError::Start(name.clone(), err);
    let (mut out, mut errors) = (output().map_err(start)?, output().map_err(start)?);
    let mut child = Command::new(name)
        .args(arguments)
        .stdin(input)
        .stdout(out.try_clone().map_err(start)?)
        .stderr(errors.try_clone().map_err(start)?)
        .process_group(0)
        .spawn()
        .map_err(start)?;
    let deadline = clock::boottime() + within;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(start)? {
            break status;
        }
        let why = if stop() {
            ProgramError::Stopped(name.clone())
        } else if deadline <= clock::boottime() {
            ProgramError::Late(name.clone(), within)
        } else {
            thread::sleep(LOOK_EVERY);
            continue;
        };
        kill_group(child.id());
        let _ = child.wait();
        return Err(why);
    };
    Ok(Ended { name: name.clone(), status, said: text(&mut out), complaint: text(&mut errors) })
}

/// The last line of what a program complained of, else of what it said.
fn last(complaint: &str, said: &str) -> String {
    let last = |it: &str| it.lines().rev().map(str::trim).find(|it| !it.is_empty()).map(str::to_owned);
    last(complaint).or_else(|| last(said)).unwrap_or_default()
}

/// A file that exists in memory only.
fn in_memory(flags: libc::c_uint) -> io::Result<File> {
    // SAFETY: the name is a live C string; the descriptor is new and owned by nobody else.
    Ok(unsafe { File::from_raw_fd(super::check(libc::memfd_create(c"program".as_ptr(), libc::MFD_CLOEXEC | flags))?) })
}

/// A file that exists in memory only and cannot grow beyond [`MAX_OUTPUT`], whoever writes to it for however long.
fn output() -> io::Result<File> {
    let file = in_memory(libc::MFD_ALLOW_SEALING)?;
    file.set_len(MAX_OUTPUT)?;
    let seals = libc::F_SEAL_GROW | libc::F_SEAL_SHRINK | libc::F_SEAL_SEAL;
    // SAFETY: the descriptor is open, and the argument a plain number.
    super::check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) })?;
    Ok(file)
}

fn text(file: &mut File) -> String {
    let mut res = Vec::new();
    // What cannot be read back is as good as not said.
    let _ = file.rewind().and_then(|()| file.take(MAX_OUTPUT).read_to_end(&mut res));
    // What was not written is zero.
    let written = res.iter().rposition(|it| *it != 0).map_or(0, |it| it + 1);
    String::from_utf8_lossy(&res[..written]).into_owned()
}

fn kill_group(leader: u32) {
    signal_group(leader, libc::SIGKILL);
}

fn signal_group(leader: u32, signal: libc::c_int) {
    // SAFETY: kill takes plain numbers; the group is that of a child of ours that has not been waited for, so its number
    // cannot have been given to anybody else.
    unsafe { libc::kill(-(leader as libc::pid_t), signal) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, millis: u64) -> Result<String, String> {
        let command = ["/bin/sh", "-c", script].map(String::from);
        run(&command, Duration::from_millis(millis)).map_err(|err| err.to_string())
    }

    #[test]
    fn output_and_failures_come_back() {
        assert_eq!(sh("echo yes", 20_000).unwrap(), "yes\n");
        assert!(sh("echo no >&2; exit 3", 20_000).unwrap_err().ends_with("(exit status: 3): no"));
        assert!(sh("echo only said; exit 1", 20_000).unwrap_err().ends_with(": only said"));
        assert!(run(&["/nonexistent/x".into()], Duration::ZERO).unwrap_err().to_string().contains("cannot be started"));
        assert!(run(&[], Duration::ZERO).is_err());
    }

    #[test]
    fn a_program_that_hangs_is_killed_with_its_children() {
        let before = clock::boottime();
        assert!(sh("sleep 60 & sleep 60", 200).unwrap_err().contains("did not end within"));
        assert!(clock::boottime() - before < Duration::from_secs(30));
    }

    #[test]
    fn output_is_bounded() {
        let said = sh("head -c 100000 /dev/zero | tr '\\0' x; true", 20_000).unwrap();
        assert_eq!(said.len() as u64, MAX_OUTPUT);
    }

    #[test]
    fn a_filter_gets_its_input_and_can_be_stopped() {
        let sh = |script: &str, stop: bool| {
            let command = ["/bin/sh", "-c", script].map(String::from);
            let begin = clock::boottime();
            let stop = || stop && begin + Duration::from_millis(50) < clock::boottime();
            filter(&command, b"in", Duration::from_secs(20), &stop).map_err(|err| err.to_string())
        };
        assert_eq!(sh("cat; echo out", false).unwrap(), "inout\n");
        let failed = sh("echo secret; exit 3", false).unwrap_err();
        assert!(failed.ends_with("(exit status: 3)"), "{failed}");
        assert!(sh("sleep 60", true).unwrap_err().ends_with("was stopped"));
    }

    #[test]
    fn a_daemon_left_behind_is_not_waited_for() {
        let before = clock::boottime();
        assert_eq!(sh("sleep 30 & echo started", 20_000).unwrap(), "started\n");
        assert!(clock::boottime() - before < Duration::from_secs(15));
    }
}
