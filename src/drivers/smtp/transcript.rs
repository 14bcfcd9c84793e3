//! The log of a dialogue as its technician reads it: every line with its time, secrets masked, growing while it goes
//! on. It stands between the driver and whoever watches it, so that every wait also shows what was said so far.

use std::borrow::Cow;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::session::Step;
use crate::drivers::wlan::Hidden;
use crate::drivers::{CancelFlag, Watch};
use crate::sys::clock;

/// How often the growing log is shown at most; each time may be a row that is synced to flash.
const SHOW_EVERY: Duration = Duration::from_millis(250);
/// Bytes of the log; what a server says beyond that is left out, what the meter says of it is not.
const LOG: usize = 32 * 1024;
/// Characters of one line.
const LINE: usize = 400;
/// What stands for a secret.
const MASK: &str = "***";
/// Bytes of the shortest secret that is looked for in what a server says; shorter ones would mask half of every line.
const SHORTEST: usize = 4;

/// See the module.
pub(super) struct Transcript<'a> {
    watch: &'a dyn Watch,
    begun: Duration,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    text: String,
    is_full: bool,
    secrets: Vec<Hidden>,
    /// Bytes of `text` that were shown, and when.
    shown: usize,
    shown_at: Option<Duration>,
}

impl Watch for Transcript<'_> {
    fn cancelled(&self) -> bool {
        if self.watch.cancelled() {
            return true;
        }
        self.show_if_due();
        false
    }

    fn progress(&self, share: f64) {
        self.watch.progress(share);
    }

    fn result(&self, value: Value) {
        self.watch.result(value);
    }

    fn reason(&self) -> &'static str {
        self.watch.reason()
    }

    fn flag(&self) -> CancelFlag {
        self.watch.flag()
    }
}

impl<'a> Transcript<'a> {
    /// An empty log whose clock starts now.
    pub(super) fn new(watch: &'a dyn Watch) -> Transcript<'a> {
        Transcript { watch, begun: clock::boottime(), inner: Mutex::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what the meter does.
    pub(super) fn note(&self, text: &str) {
        self.add('*', text);
    }

    /// Notes a line that is sent.
    pub(super) fn sent(&self, line: &str) {
        self.add('>', line);
    }

    /// Notes a line that came, without the secrets in it, and hands it back like that.
    pub(super) fn received(&self, line: String) -> String {
        let line = self.masked(line);
        self.add('<', &line);
        line
    }

    /// Notes that this step begins.
    pub(super) fn step(&self, step: Step) {
        self.watch.progress(step.share());
    }

    /// From now on this is masked wherever a server repeats it.
    pub(super) fn hide(&self, secret: &Hidden) {
        if SHORTEST <= secret.expose().len() {
            let mut inner = self.inner();
            inner.secrets.push(Hidden::from(secret.expose().to_vec()));
            // The longest first, or a part of one that contains another would stay.
            inner.secrets.sort_by_key(|it| std::cmp::Reverse(it.expose().len()));
        }
    }

    /// The whole log, with its last line.
    pub(super) fn finish(self, last: &str) -> Value {
        let line = self.line('*', last);
        let text = self.inner.into_inner().unwrap_or_else(PoisonError::into_inner).text;
        result(text + line.trim_end())
    }

    fn masked(&self, line: String) -> String {
        // A code stays what it is, whatever the password. What does not begin with one is searched from its first byte:
        // a server may repeat what it was sent.
        let is_code = |it: &str| it.bytes().all(|it| it.is_ascii_digit());
        let (code, text) = match line.split_at_checked(3) {
            Some((code, text)) if is_code(code) && (text.is_empty() || text.starts_with([' ', '-'])) => (code, text),
            _ => ("", line.as_str()),
        };
        let mut res = Cow::Borrowed(text);
        for secret in &self.inner().secrets {
            if let Ok(secret) = std::str::from_utf8(secret.expose())
                && res.contains(secret)
            {
                res = Cow::Owned(res.replace(secret, MASK));
            }
        }
        format!("{code}{res}")
    }

    fn add(&self, mark: char, text: &str) {
        let line = self.line(mark, text);
        let mut inner = self.inner();
        if mark == '<' && LOG < inner.text.len() + line.len() {
            if !inner.is_full {
                inner.text += &self.line('*', "the server says too much; the rest of its lines is left out");
            }
            inner.is_full = true;
        } else {
            inner.text += &line;
        }
    }

    fn line(&self, mark: char, text: &str) -> String {
        let at = clock::boottime().saturating_sub(self.begun).as_secs_f64();
        let mut chars = text.chars().map(|it| if it.is_control() { ' ' } else { it });
        let start: String = chars.by_ref().take(LINE).collect();
        let end = if chars.next().is_some() { "..." } else { "" };
        format!("{at:7.3} {mark} {start}{end}\n")
    }

    fn show_if_due(&self) {
        let now = clock::boottime();
        let mut inner = self.inner();
        let is_due = inner.shown_at.is_none_or(|it| it + SHOW_EVERY <= now);
        if !is_due || inner.shown == inner.text.len() {
            return;
        }
        inner.shown = inner.text.len();
        inner.shown_at = Some(now);
        let value = result(inner.text.trim_end().into());
        drop(inner);
        self.watch.growing(value);
    }
}

/// The WebAPI's TestEmailResult.
fn result(log: String) -> Value {
    json!({ "log": log })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Watcher {
        shown: Mutex<Vec<String>>,
    }

    impl Watch for Watcher {
        fn cancelled(&self) -> bool {
            false
        }
        fn progress(&self, _: f64) {}
        fn result(&self, value: Value) {
            self.shown.lock().unwrap().push(value["log"].as_str().unwrap().into());
        }
    }

    fn secret(text: &str) -> Hidden {
        Hidden::from(text.as_bytes().to_vec())
    }

    #[track_caller]
    fn check(secrets: &[&str], line: &str, expect: &str) {
        let watcher = Watcher::default();
        let log = Transcript::new(&watcher);
        for it in secrets {
            log.hide(&secret(it));
        }
        assert_eq!(log.received(line.into()), expect);
        let log = log.finish("end")["log"].as_str().unwrap().to_string();
        assert_eq!(log.lines().next().unwrap()[7..], format!(" < {expect}"));
    }

    #[test]
    fn secrets_in_a_reply_are_masked() {
        check(&["swordfish"], "535 no user joe/swordfish swordfish", "535 no user joe/*** ***");
        check(&["pässw0rd \"x\"", "cMOkc3N3"], "535 pässw0rd \"x\" cMOkc3N3", "535 *** ***");
        check(&["fish", "swordfish"], "250-swordfish fish", "250-*** ***");
        // What does not begin with a code is a repetition like any other.
        check(&["2502"], "2502 odd", "*** odd");
        check(&["c3dvcmRmaXNo"], "c3dvcmRmaXNo", "***");
        check(&["pässwörd"], "pässwörd", "***");
        check(&["abc", ""], "250 abc", "250 abc");
        check(&["swordfish"], "25", "25");
    }

    #[test]
    fn lines_have_times_and_no_control_characters() {
        let watcher = Watcher::default();
        let log = Transcript::new(&watcher);
        log.note("looking");
        log.sent("QUIT");
        log.received("221 \u{1b}[2Jbye\r".into());
        log.received(format!("220 {}", "x".repeat(1000)));
        let value = log.finish("done");
        let lines: Vec<&str> = value["log"].as_str().unwrap().lines().collect();
        let times = lines.iter().map(|it| it[..7].trim().parse::<f64>().unwrap());
        assert!(times.clone().all(|it| it < 1.0) && times.is_sorted(), "{lines:?}");
        let texts: Vec<&str> = lines.iter().map(|it| &it[8..]).collect();
        assert_eq!(texts[..3], ["* looking", "> QUIT", "< 221  [2Jbye "]);
        assert!(texts[3].len() < 420 && texts[3].ends_with("x..."), "{}", texts[3]);
        assert_eq!(texts[4..], ["* done"]);
    }

    #[test]
    fn a_talkative_server_does_not_push_out_the_end() {
        let watcher = Watcher::default();
        let log = Transcript::new(&watcher);
        for _ in 0..1000 {
            log.received(format!("250-{}", "x".repeat(390)));
        }
        log.note("still noted");
        let value = log.finish("the end");
        let text = value["log"].as_str().unwrap();
        assert!(text.len() < LOG + 500, "{}", text.len());
        let last: Vec<&str> = text.lines().rev().take(3).map(|it| &it[8..]).collect();
        assert!(last[0] == "* the end" && last[1] == "* still noted" && last[2].contains("left out"), "{last:?}");
    }

    #[test]
    fn looking_at_the_flag_shows_what_is_new_but_not_too_often() {
        let watcher = Watcher::default();
        let log = Transcript::new(&watcher);
        log.cancelled();
        log.note("one");
        log.cancelled();
        log.note("two");
        log.cancelled();
        assert_eq!(watcher.shown.lock().unwrap().len(), 1);
        std::thread::sleep(SHOW_EVERY);
        log.cancelled();
        log.cancelled();
        let shown = watcher.shown.lock().unwrap();
        assert_eq!(shown.len(), 2);
        assert!(shown[1].ends_with("* two") && shown[1].contains("* one\n"), "{shown:?}");
    }
}
