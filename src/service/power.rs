//! The way down: a second for the reply to arrive, operations to their safe points, everything to disk, and the command
//! that reboots the machine. The door stays open until the end and says that the meter goes down.

use std::time::Duration;

use crossbeam_channel::Receiver;

use super::{Event, Failure};
use crate::api::App;
use crate::drivers::power;
use crate::platform::{Hands, Verb};
use crate::sys::clock;

/// How long the reply has to reach the client (WebAPI, "Reboot the meter").
const DELAY: Duration = Duration::from_secs(1);
/// How long the command may take that only starts a reboot.
const COMMAND: Duration = Duration::from_secs(20);
/// How long the system may take, after that, to end this process.
const PATIENCE: Duration = Duration::from_secs(90);

/// How the way down ended.
pub(super) enum Down {
    /// The system has told the service to stop.
    Stopped,
    /// There is no machine to reboot: in bench mode the service starts anew instead.
    Played,
}

/// Goes down and waits to be ended. An error means that the machine goes on all the same: then so must the service, in a new
/// process.
pub(super) fn go_down(app: &App, inbox: &Receiver<Event>) -> Result<Down, Failure> {
    log::warn!("going down to reboot");
    let until = clock::boottime() + DELAY;
    app.store.stop();
    let _ = app.platform.run(Verb::Sync, Duration::ZERO);
    std::thread::sleep(until.saturating_sub(clock::boottime()));
    if let Err(err) = app.platform.run(Verb::Reboot, COMMAND) {
        return Err(stays_up(app, &err.to_string()));
    }
    if app.platform.is_bench() {
        return Ok(Down::Played);
    }
    let deadline = clock::boottime() + PATIENCE;
    loop {
        match inbox.recv_timeout(deadline.saturating_sub(clock::boottime())) {
            Ok(Event::Stop) => return Ok(Down::Stopped),
            Ok(_) => {}
            Err(_) => return Err(stays_up(app, "platform.reboot: ended well, but nothing was rebooted")),
        }
    }
}

fn stays_up(app: &App, why: &str) -> Failure {
    if let Err(err) = power::not_asked(&app.config.state_dir) {
        log::error!("the reason of the next boot could not be recorded: {err}");
    }
    why.into()
}
