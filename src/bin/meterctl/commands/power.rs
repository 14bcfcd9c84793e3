//! The way down and up: `reboot --wait`, `factory-restore`, and whatever else makes a meter start anew.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::failure::{Failure, Kind};
use crate::interrupt;
use crate::session::{Liveness, Session};
use crate::terminal::Unit;

/// How long a meter may take to begin to go down.
const DOWN_WITHIN: Duration = Duration::from_secs(60);
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// `reboot`
pub fn reboot(session: &mut Session, wait: bool) -> Result<(), Failure> {
    let terminal = session.terminal;
    terminal.confirm(&format!("Reboot {}?", session.base()))?;
    let before = uptime(session);
    let reply = session.bare_command("reboot")?;
    if !wait {
        return terminal.result("The meter goes down in a second; it is back in a minute or so.", &reply);
    }
    let course = down_and_up(session, before)?;
    let words = format!("The meter was down after {:.1} s and is back after {:.1} s.", course.down, course.up);
    terminal.result(&words, &json!({ "status": "OK", "down_after": course.down, "up_after": course.up }))
}

/// `factory-restore`
pub fn factory_restore(session: &mut Session) -> Result<(), Failure> {
    let question = format!("Remove ALL data and settings of {} and reboot it? This cannot be undone.", session.base());
    session.terminal.confirm(&question)?;
    let reply = session.bare_command("factory-restore")?;
    session.forget();
    let words = "The meter goes down in a second and comes back as from the factory: with the account on its label, and perhaps \
                 at another address.";
    session.terminal.result(words, &reply)
}

/// Seconds since the command.
pub struct Course {
    /// The meter did not answer any more.
    pub down: f64,
    /// It answered again.
    pub up: f64,
}

/// Watches a meter go down and come up. A meter that starts so quickly that nobody sees it down is known by its uptime, or
/// by a token that is not good any more.
pub fn down_and_up(session: &mut Session, uptime_before: Option<f64>) -> Result<Course, Failure> {
    let terminal = session.terminal;
    let begun = Instant::now();
    let bar = terminal.bar("reboot", Unit::Share, 0);
    bar.says("going down");
    let mut down = None;
    loop {
        let seconds = begun.elapsed();
        match (session.liveness(), down) {
            (Liveness::Down, None) => {
                down = Some(seconds.as_secs_f64());
                bar.says("down");
                terminal.note(&format!("Down after {:.1} s.", seconds.as_secs_f64()));
            }
            (Liveness::Down, Some(_)) => {}
            (Liveness::Up | Liveness::Stranger, Some(down)) => {
                // Whoever answers first may be a web server in front, or the meter on its last breath.
                session.forget();
                return Ok(Course { down, up: seconds.as_secs_f64() });
            }
            (Liveness::Stranger, None) => down = Some(seconds.as_secs_f64()),
            (Liveness::Up, None) => {
                let now = if uptime_before.is_some() { uptime(session) } else { None };
                if matches!((now, uptime_before), (Some(now), Some(before)) if now < before) {
                    down = Some(seconds.as_secs_f64());
                }
            }
        }
        if down.is_none() && DOWN_WITHIN < seconds {
            return Err(Failure::new(Kind::Failed, "The meter said that it goes down, but it did not.")
                .hint("An update that is being installed, or its own log, may say why."));
        }
        if session.patience() < seconds {
            let text = format!("The meter is not back after {:.0} s.", seconds.as_secs_f64());
            return Err(Failure::new(Kind::Unreachable, text)
                .hint("If its network settings were changed, it may be at another address now."));
        }
        interrupt::sleep(PAUSE).map_err(|it| it.hint("The meter goes on by itself."))?;
    }
}

/// Seconds that the meter has been up, if it tells.
pub fn uptime(session: &mut Session) -> Option<f64> {
    session.result("/sys/uptime").ok()?.as_f64()
}
