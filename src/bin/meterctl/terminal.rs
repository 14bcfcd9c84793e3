//! What people see. Results go to standard output, everything else to standard error, and only if that is a terminal:
//! a script sees results and errors alone. With `--json` there is one object on standard output, whatever happens.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
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
        self.beside_the_bar(write).map_err(|err| Failure::output(Path::new("standard output"), err))
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
        if failure.kind == Kind::Unread {
            return;
        }
        if self.json {
            let mut object = json!({ "error": failure.text, "exit": failure.kind.exit_code() });
            if let Some(hint) = &failure.hint {
                object["hint"] = json!(hint);
            }
            if let Some(operation) = &failure.operation {
                object["operation"] = operation.clone();
            }
            // If nobody reads it, the exit code still tells.
            let _ = self.raw(format!("{object}\n").as_bytes());
            return;
        }
        if let Some(result) = failure.operation.as_ref().and_then(|it| it.get("result")) {
            self.said_on_the_way(result);
        }
        eprintln!("{} {}", self.coloured("1;31", "meterctl:"), failure.text);
        if let Some(hint) = &failure.hint {
            eprintln!("          {hint}");
        }
    }

    /// What an operation had to say before it failed, unless people have seen it come.
    fn said_on_the_way(&self, result: &Value) {
        let trace = result.get("trace").and_then(Value::as_array);
        match (result.get("log").and_then(Value::as_str), trace) {
            (Some(_), _) | (_, Some(_)) if self.chatty => {}
            (Some(log), _) => eprintln!("{}", log.trim_end()),
            (_, Some(trace)) => {
                trace.iter().filter_map(|it| it.get("msg")?.as_str()).for_each(|it| eprintln!("{it}"));
            }
            _ if result.is_null() => {}
            _ => eprintln!("{}", serde_json::to_string_pretty(result).unwrap_or_default()),
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
            (Unit::Share, 0) => "{prefix}  {spinner} {msg}",
            (Unit::Share, _) => "{prefix}  {bar:30} {percent:>3} %  {msg}",
            (Unit::Rows, 0) => "{prefix}  {spinner} {human_pos} rows  {rate}  {msg}",
            (Unit::Rows, _) => {
                "{prefix}  {bar:30} {percent:>3} %  {human_pos}/{human_len} rows  {rate}  {left} left  {msg}"
            }
        };
        let begun_at = Arc::new(AtomicU64::new(0));
        let style = ProgressStyle::with_template(template).expect("a template of our own").progress_chars("=> ");
        let (for_rate, for_left) = (Arc::clone(&begun_at), Arc::clone(&begun_at));
        let style = style.with_key("rate", move |state: &ProgressState, out: &mut dyn fmt::Write| {
            let _ = write!(out, "{:.0} rows/s", rate(state, &for_rate));
        });
        let style = style.with_key("left", move |state: &ProgressState, out: &mut dyn fmt::Write| {
            let rest = state.len().unwrap_or(0).saturating_sub(state.pos()) as f64;
            let _ = match rate(state, &for_left) {
                rate if 0.0 < rate => write!(out, "{}", in_words(rest / rate)),
                _ => write!(out, "?"),
            };
        });
        bar.set_style(style);
        bar.set_prefix(label.to_string());
        bar.enable_steady_tick(Duration::from_millis(200));
        *self.bar.borrow_mut() = Some(bar.clone());
        Bar { terminal: self, bar, begun_at }
    }
}

/// The rate since the beginning, without what was there before: it tells more of a restore than that of the last second.
fn rate(state: &ProgressState, begun_at: &AtomicU64) -> f64 {
    let new = state.pos().saturating_sub(begun_at.load(Ordering::Relaxed));
    new as f64 / state.elapsed().as_secs_f64().max(0.001)
}

fn in_words(seconds: f64) -> String {
    let seconds = seconds.ceil().min(1e9) as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
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
    begun_at: Arc<AtomicU64>,
}

impl Bar<'_> {
    /// How far it is.
    pub fn at(&self, position: u64) {
        self.bar.set_position(position);
    }

    /// Begins at `position` without counting what was there before into the rate.
    pub fn begin_at(&self, position: u64) {
        self.begun_at.store(position, Ordering::Relaxed);
        self.bar.reset_elapsed();
        self.bar.set_position(position);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short_words() {
        for (seconds, expect) in [(0.2, "1 s"), (59.0, "59 s"), (61.5, "1 min 02 s"), (7320.0, "2 h 02 min")] {
            assert_eq!(in_words(seconds), expect);
        }
    }
}
