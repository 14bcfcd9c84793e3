//! What people see. Results go to standard output, everything else to standard error, and only if that is a terminal:
//! a script sees results and errors alone. With `--json` there is one object on standard output, whatever happens.

use std::cell::RefCell;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::failure::{Failure, Kind};
use super::prompt;

/// How to behave, and the bar that is on the screen.
pub struct Terminal {
    /// One JSON object instead of words.
    pub json: bool,
    /// Every question is answered with yes.
    pub yes: bool,
    chatty: bool,
    interactive: bool,
    colours: bool,
    bar: RefCell<Option<ProgressBar>>,
}

impl Terminal {
    /// Looks at the streams and at `NO_COLOR`, `TERM`.
    pub fn new(json: bool, yes: bool, quiet: bool) -> Terminal {
        let is_terminal = io::stderr().is_terminal();
        let is_dumb = std::env::var_os("TERM").is_none_or(|it| it == "dumb");
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty());
        Terminal {
            json,
            yes,
            chatty: is_terminal && !quiet && !json,
            interactive: is_terminal && io::stdin().is_terminal(),
            colours: is_terminal && !is_dumb && !no_color,
            bar: RefCell::new(None),
        }
    }

    /// Whether anybody can be asked.
    pub fn is_interactive(&self) -> bool {
        self.interactive
    }

    /// A result: words, or the object of `--json`.
    pub fn result(&self, words: &str, object: &Value) -> Result<(), Failure> {
        let text = if self.json { object.to_string() } else { words.trim_end().to_string() };
        self.raw(format!("{text}\n").as_bytes())
    }

    /// Bytes on standard output as they are.
    pub fn raw(&self, bytes: &[u8]) -> Result<(), Failure> {
        let write = || {
            let mut out = io::stdout().lock();
            out.write_all(bytes)?;
            out.flush()
        };
        self.beside_the_bar(write).map_err(|err| Failure::new(Kind::File, format!("Standard output: {err}.")))
    }

    /// What is going on, for whoever watches.
    pub fn note(&self, text: &str) {
        if self.chatty {
            self.beside_the_bar(|| eprintln!("{text}"));
        }
    }

    /// What must be seen in any case.
    pub fn warn(&self, text: &str) {
        if !self.json {
            self.beside_the_bar(|| eprintln!("{} {text}", self.coloured("33", "warning:")));
        }
    }

    /// How it failed.
    pub fn failure(&self, failure: &Failure) {
        if self.json {
            let mut object = json!({ "error": failure.text, "exit": failure.kind.exit_code() });
            if let Some(hint) = &failure.hint {
                object["hint"] = json!(hint);
            }
            println!("{object}");
            return;
        }
        eprintln!("{} {}", self.coloured("1;31", "meterctl:"), failure.text);
        if let Some(hint) = &failure.hint {
            eprintln!("          {hint}");
        }
    }

    fn coloured(&self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.into() }
    }

    fn beside_the_bar<T>(&self, write: impl FnOnce() -> T) -> T {
        match &*self.bar.borrow() {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Goes on only if that is wanted.
    pub fn confirm(&self, question: &str) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        let hint = "Say --yes to go on without being asked.";
        if !self.interactive {
            return Err(
                Failure::new(Kind::Usage, format!("Nothing was done: {question} Nobody can be asked here.")).hint(hint)
            );
        }
        match self.ask(question, false)? {
            true => Ok(()),
            false => Err(Failure::new(Kind::Cancelled, "Nothing was done.")),
        }
    }

    /// A question whose answer is `default` for whoever only presses Enter.
    pub fn ask(&self, question: &str, default: bool) -> Result<bool, Failure> {
        let choice = if default { "[Y/n]" } else { "[y/N]" };
        let answer = self.beside_the_bar(|| prompt::line(&format!("{question} {choice} "), true))?;
        Ok(match answer.trim().to_ascii_lowercase() {
            it if it.is_empty() => default,
            it => it.starts_with('y'),
        })
    }

    /// Shows a bar of `len` units until what is returned is dropped; nothing where nobody watches. A length of 0 means that
    /// the end is not known.
    pub fn bar<'a>(&'a self, label: &str, unit: Unit, len: u64) -> Bar<'a> {
        let target = if self.chatty { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target((0 < len).then_some(len), target);
        let template = match (unit, len) {
            (Unit::Share, _) => "{prefix}  {bar:30} {percent:>3} %  {msg}",
            (Unit::Rows, 0) => "{prefix}  {spinner} {human_pos} rows  {per_sec}  {msg}",
            (Unit::Rows, _) => {
                "{prefix}  {bar:30} {percent:>3} %  {human_pos}/{human_len} rows  {per_sec}  {eta} left  {msg}"
            }
        };
        bar.set_style(ProgressStyle::with_template(template).expect("a template of our own").progress_chars("=> "));
        bar.set_prefix(label.to_string());
        bar.enable_steady_tick(Duration::from_millis(200));
        *self.bar.borrow_mut() = Some(bar.clone());
        Bar { terminal: self, bar }
    }
}

/// What a bar counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Thousandths.
    Share,
    /// Rows.
    Rows,
}

/// A bar on the screen.
pub struct Bar<'a> {
    terminal: &'a Terminal,
    bar: ProgressBar,
}

impl Bar<'_> {
    /// How far it is.
    pub fn at(&self, position: u64) {
        self.bar.set_position(position);
    }

    /// Begins at `position` without counting what was there before into the rate.
    pub fn begin_at(&self, position: u64) {
        self.bar.set_position(position);
        self.bar.reset_eta();
    }

    /// What is being done.
    pub fn says(&self, text: &str) {
        self.bar.set_message(text.to_string());
    }
}

impl Drop for Bar<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        self.terminal.bar.borrow_mut().take();
    }
}
