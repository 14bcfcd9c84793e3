//! The way down: a second for the reply to arrive, operations to their safe points, everything to disk, and the command
//! that reboots the machine. The door stays open until the end and says that the meter goes down.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, after, bounded, select};

use super::{Event, Failure};
use crate::api::App;
use crate::drivers::{factory, power};
use crate::platform::{Hands, PlatformError, Verb};
use crate::sys::clock;

/// How long the reply has to reach the client (WebAPI, "Reboot the meter").
const DELAY: Duration = Duration::from_secs(1);
/// How long a clock that is being set is waited for.
const SETTING_TIME: Duration = Duration::from_secs(5);
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long the command may take; it may well stop this service itself on its way.
const COMMAND: Duration = Duration::from_secs(60);
/// How long the system may take, after that, to end this process.
const PATIENCE: Duration = Duration::from_secs(90);
/// Stack of the thread that runs the command.
const STACK: usize = 128 * 1024;

/// How the way down ended.
pub(super) enum Down {
    /// The system has told the service to stop.
    Stopped,
    /// There is no machine to reboot: in bench mode the service starts anew instead.
    Played,
}

/// Goes down and waits to be ended. An error means that the machine goes on all the same: then so must the service, in a new
/// process.
pub(super) fn go_down(app: &Arc<App>, inbox: &Receiver<Event>) -> Result<Down, Failure> {
    log::warn!("going down to reboot");
    let begun = clock::boottime();
    while app.setting_time.load(Ordering::Acquire) && clock::boottime() < begun + SETTING_TIME {
        thread::sleep(LOOK_EVERY);
    }
    app.store.stop();
    let _ = app.platform.run(Verb::Sync, Duration::ZERO);
    thread::sleep((begun + DELAY).saturating_sub(clock::boottime()));
    let ended = reboot(app)?;
    loop {
        select! {
            recv(inbox) -> event => match event {
                Ok(Event::Stop) | Err(_) => return Ok(Down::Stopped),
                Ok(_) => {}
            },
            recv(ended) -> res => match res {
                Ok(Ok(())) => break,
                Ok(Err(err)) => return Err(stays_up(app, &err.to_string())),
                Err(_) => return Err(stays_up(app, "the thread that reboots the machine has died")),
            },
        }
    }
    if app.platform.is_bench() {
        return Ok(Down::Played);
    }
    let patience = after(PATIENCE);
    loop {
        select! {
            recv(inbox) -> event => match event {
                Ok(Event::Stop) | Err(_) => return Ok(Down::Stopped),
                Ok(_) => {}
            },
            recv(patience) -> _ => {
                return Err(stays_up(app, "platform.reboot: ended well, but nothing was rebooted"));
            }
        }
    }
}

/// Runs the command on a thread of its own, so that a script that begins by stopping this service does not wait for us while
/// we wait for it; what comes is how it ended.
fn reboot(app: &Arc<App>) -> Result<Receiver<Result<(), PlatformError>>, Failure> {
    let (tx, ended) = bounded(1);
    let app = Arc::clone(app);
    let body = move || drop(tx.send(app.platform.run(Verb::Reboot, COMMAND).map(drop)));
    thread::Builder::new().name("reboot".into()).stack_size(STACK).spawn(body)?;
    Ok(ended)
}

/// The machine was not rebooted: nothing that was ordered for its next boot holds.
fn stays_up(app: &App, why: &str) -> Failure {
    let state_dir = &app.config.state_dir;
    if let Err(err) = factory::withdraw(state_dir).and_then(|()| power::not_asked(state_dir)) {
        log::error!("the order to reboot could not be taken back: {err}");
    }
    why.into()
}
