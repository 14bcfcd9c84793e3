//! Secrets come from a file, the environment or a prompt without echo, never from an argument: those are in everybody's
//! `ps`. They have no Debug and no Display, and the heap overwrites what is freed.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::failure::{Failure, Kind};
use super::interrupt;
use super::terminal::Terminal;

/// Bytes that a secret or an answer may have.
const MAX_LINE: u64 = 16 * 1024;
/// How long a prompt sleeps between two looks at Ctrl-C.
const SLICE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Something that nobody else may see.
pub struct Secret(String);

impl Secret {
    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Where one secret may come from.
pub struct Source<'a> {
    /// What it is, for the prompt: `Password of owner`.
    pub what: &'a str,
    /// The file that was named.
    pub file: Option<&'a PathBuf>,
    /// The option that names it.
    pub option: &'a str,
    /// The environment variable, where one can say what is meant.
    pub variable: Option<&'a str>,
    /// It is a new one, so it is asked for twice.
    pub is_new: bool,
}

impl Source<'_> {
    /// Fetches it.
    pub fn read(&self, terminal: &Terminal) -> Result<Secret, Failure> {
        if let Some(path) = self.file {
            return from_file(path);
        }
        if let Some(text) = self.variable.and_then(std::env::var_os) {
            let text =
                text.into_string().map_err(|_| Failure::new(Kind::Usage, format!("{}: not UTF-8.", self.what)))?;
            return Ok(Secret(text));
        }
        if !terminal.is_interactive() {
            let text = format!("{} is needed, and nobody can be asked here.", self.what);
            let variable = self.variable.map_or_else(String::new, |it| format!("set {it}, or "));
            return Err(
                Failure::new(Kind::Usage, text).hint(format!("Please {variable}name a file with {}.", self.option))
            );
        }
        let first = line(&format!("{}: ", self.what), false)?;
        if self.is_new && line("The same again: ", false)? != first {
            return Err(Failure::new(Kind::Usage, "The two are not the same; nothing was done."));
        }
        Ok(Secret(first))
    }
}

/// The first line of a file.
fn from_file(path: &Path) -> Result<Secret, Failure> {
    let mut text = String::new();
    let file = File::open(path).map_err(|err| Failure::file(path, err))?;
    file.take(MAX_LINE).read_to_string(&mut text).map_err(|err| Failure::file(path, err))?;
    Ok(Secret(text.lines().next().unwrap_or("").to_string()))
}

/// All lines of a file that are neither empty nor a remark.
pub fn lines_of(path: &Path) -> Result<Vec<Secret>, Failure> {
    let mut text = String::new();
    let file = File::open(path).map_err(|err| Failure::file(path, err))?;
    file.take(MAX_LINE).read_to_string(&mut text).map_err(|err| Failure::file(path, err))?;
    let lines = text.lines().map(str::trim).filter(|it| !it.is_empty() && !it.starts_with('#'));
    Ok(lines.map(|it| Secret(it.to_string())).collect())
}

/// The words of an environment variable.
pub fn words_of(variable: &str) -> Result<Vec<Secret>, Failure> {
    let Some(text) = std::env::var_os(variable) else { return Ok(Vec::new()) };
    let text = text.into_string().map_err(|_| Failure::new(Kind::Usage, format!("{variable} is not UTF-8.")))?;
    Ok(text.split_whitespace().map(|it| Secret(it.to_string())).collect())
}

/// Asks on standard error and reads a line of standard input, which must be a terminal. Ctrl-C ends it, and the echo is
/// back in any case.
pub fn line(question: &str, echo: bool) -> Result<String, Failure> {
    let fail = |err: io::Error| Failure::new(Kind::Usage, format!("The terminal cannot be read: {err}."));
    let stdin = io::stdin();
    // Before the question is seen, or a quick answer would be as well.
    let quiet = if echo { None } else { Some(Quiet::new(&stdin).map_err(fail)?) };
    eprint!("{question}");
    io::stderr().flush().map_err(fail)?;
    let mut text = Vec::new();
    while !text.ends_with(b"\n") && (text.len() as u64) < MAX_LINE {
        if interrupt::pressed() {
            drop(quiet);
            eprintln!();
            return Err(Failure::interrupted());
        }
        let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
        match poll(&mut fds, Some(&SLICE)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(err) => return Err(fail(err.into())),
        }
        // Not through std's buffer: what is behind this line is for the next question.
        let mut byte = [0];
        match rustix::io::read(&stdin, &mut byte) {
            Ok(0) => break,
            Ok(_) => text.push(byte[0]),
            Err(rustix::io::Errno::INTR) => {}
            Err(err) => return Err(fail(err.into())),
        }
    }
    if quiet.is_some() {
        eprintln!();
    }
    let text = String::from_utf8(text).map_err(|_| fail(io::ErrorKind::InvalidData.into()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_string())
}

/// A terminal without echo, until this is dropped.
struct Quiet(Termios);

impl Quiet {
    fn new(stdin: &io::Stdin) -> io::Result<Quiet> {
        let before = tcgetattr(stdin)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(stdin, OptionalActions::Flush, &silent)?;
        Ok(Quiet(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}
