//! The installer at work: what it says becomes progress, how it ends becomes the outcome. It knows no particular
//! installer. A line that begins with a percentage (`40% Copying image`) is progress, as RAUC prints it; one that
//! begins with a tag (`FLASH /dev/mmcblk0p3 40%`) says what is being done as well; all other lines count when it fails.

use std::collections::VecDeque;
use std::thread;
use std::time::Duration;

use super::Failure;
use crate::drivers::Watch;
use crate::platform::Installing;
use crate::sys::clock;

/// How long an installer may take.
const WITHIN: Duration = Duration::from_secs(60 * 60);
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Last lines that are told of one that fails.
const LAST_LINES: usize = 5;
/// Characters of a line or of an argument that are told.
const MAX_TEXT: usize = 200;

/// What a line tells.
#[derive(Debug, PartialEq)]
struct Told {
    tag: Option<&'static str>,
    what: String,
    percent: Option<u8>,
}

/// Looks after an installer to its end. It is asked to stop only while it says itself that it has not begun to write:
/// after `VALIDATE` or `EXTRACT` and before any other tag. Whoever cancels later gets the installed image.
pub fn attend(
    mut program: Installing,
    version: &str,
    watch: &dyn Watch,
    on_progress: &dyn Fn(f64),
) -> Result<(), Failure> {
    let deadline = clock::boottime() + WITHIN;
    let mut last: VecDeque<String> = VecDeque::new();
    let (mut tag, mut what) = ("INSTALL", version.to_owned());
    let mut may_stop = false;
    let fail = |tag, what: &str, why: String| {
        // Whatever it had said of itself, it is the installation that failed.
        let what = if tag == "INSTALL" { String::new() } else { what.to_owned() };
        Err(Failure::Installer(tag, what, why))
    };
    loop {
        let seen = match program.look() {
            Ok(seen) => seen,
            Err(err) => return fail("INSTALL", "", err.to_string()),
        };
        for line in seen.lines {
            let told = tell(&line);
            if let Some(new) = told.tag {
                tag = new;
                what = if told.what.is_empty() { version.to_owned() } else { told.what };
                may_stop = matches!(tag, "VALIDATE" | "EXTRACT");
                let has_none = matches!(tag, "VALIDATE" | "FINALIZE");
                watch.info(tag, if has_none { vec![] } else { vec![what.clone()] });
            }
            if let Some(percent) = told.percent {
                on_progress(f64::from(percent) / 100.0);
            }
            if last.len() == LAST_LINES {
                last.pop_front();
            }
            last.push_back(line.chars().take(MAX_TEXT).collect());
        }
        let said = || last.iter().cloned().collect::<Vec<_>>().join(" / ");
        match seen.ended {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return fail(tag, &what, format!("{} failed ({status}): {}", program.name(), said())),
            None if may_stop && watch.cancelled() => {
                program.stop();
                return Err(Failure::Cancelled);
            }
            None if deadline <= clock::boottime() => {
                let why = format!("{} did not end within {} s: {}", program.name(), WITHIN.as_secs(), said());
                program.stop();
                return fail(tag, &what, why);
            }
            None => thread::sleep(LOOK_EVERY),
        }
    }
}

fn tell(line: &str) -> Told {
    let mut words: Vec<&str> = line.split_whitespace().collect();
    let percent = |it: &str| it.strip_suffix('%').and_then(|it| it.parse().ok()).filter(|it| *it <= 100);
    let tags = ["VALIDATE", "EXTRACT", "FLASH", "INSTALL", "FINALIZE"];
    let Some(tag) = words.first().and_then(|first| tags.into_iter().find(|it| it == first)) else {
        return Told { tag: None, what: String::new(), percent: words.first().and_then(|it| percent(it)) };
    };
    words.remove(0);
    let percent = words.last().and_then(|it| percent(it));
    if percent.is_some() {
        words.pop();
    }
    Told { tag: Some(tag), what: words.join(" ").chars().take(MAX_TEXT).collect(), percent }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, tag: Option<&'static str>, what: &str, percent: Option<u8>) {
        assert_eq!(tell(line), Told { tag, what: what.into(), percent }, "{line}");
    }

    #[test]
    fn lines_tell_tags_and_percentages() {
        check("installing", None, "", None);
        check(" 40% Checking bundle", None, "", Some(40));
        check("100% Installing done.", None, "", Some(100));
        check("140% x", None, "", None);
        check("-1% x", None, "", None);
        check("FLASH /dev/mmcblk0p3 40%", Some("FLASH"), "/dev/mmcblk0p3", Some(40));
        check("EXTRACT the root file system", Some("EXTRACT"), "the root file system", None);
        check("FINALIZE", Some("FINALIZE"), "", None);
        check("VALIDATE 7%", Some("VALIDATE"), "", Some(7));
        check("FLASHING 7%", None, "", None);
        check("flash x", None, "", None);
    }
}
