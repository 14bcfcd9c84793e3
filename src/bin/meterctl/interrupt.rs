//! Ctrl-C. The first one is a flag that whoever waits looks at; a second one leaves at once, whatever is going on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::SIGINT;
use signal_hook::flag;

use super::failure::{Failure, Kind};

/// The longest sleep between two looks at the flag.
const SLICE: Duration = Duration::from_millis(50);

static PRESSED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Watches for Ctrl-C from now on.
pub fn watch() -> std::io::Result<()> {
    let pressed = PRESSED.get_or_init(Arc::default);
    // The order counts: the first press finds the flag down, and only then raises it.
    flag::register_conditional_shutdown(SIGINT, Kind::Left.exit_code().into(), Arc::clone(pressed))?;
    flag::register(SIGINT, Arc::clone(pressed))?;
    Ok(())
}

/// Whether Ctrl-C was pressed.
pub fn pressed() -> bool {
    PRESSED.get().is_some_and(|it| it.load(Ordering::Relaxed))
}

/// Sleeps, but not beyond a Ctrl-C, which is an error here.
pub fn sleep(time: Duration) -> Result<(), Failure> {
    let end = Instant::now() + time;
    loop {
        if pressed() {
            return Err(Failure::interrupted());
        }
        match end.checked_duration_since(Instant::now()) {
            Some(left) => thread::sleep(left.min(SLICE)),
            None => return Ok(()),
        }
    }
}
