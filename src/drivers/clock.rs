//! Setting the clock: NTP and PTP out of the way, the clock, the real-time clock, NTP and PTP back again, also when a
//! step fails. It knows the order and what to say about it; [`crate::platform`] knows how.

use std::fmt;
use std::time::Duration;

use crate::platform::{Hands, PlatformError, Verb};

/// How long a script may take that stops or starts a service.
const SCRIPT: Duration = Duration::from_secs(5);
/// How long writing the real-time clock may take; it waits for the turn of a second.
const RTC: Duration = Duration::from_secs(4);
/// How long NTP may take to say what it sees.
const SOURCES: Duration = Duration::from_secs(1);

/// What can be said of a success.
#[derive(Debug, PartialEq)]
pub enum Remark {
    /// Nothing.
    Plain,
    /// This NTP server is reachable and will set the clock again.
    Overridden(String),
}

/// What went wrong, and what was done all the same.
#[derive(Debug)]
pub struct ClockError {
    /// Whether the clock was set.
    set: Option<bool>,
    failures: Vec<PlatformError>,
}

impl fmt::Display for ClockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.set {
            Some(true) => f.write_str("The time was set, but not all went well: ")?,
            Some(false) => f.write_str("The time was not set: ")?,
            None => f.write_str("The time services were not all restarted: ")?,
        }
        for (n, failure) in self.failures.iter().enumerate() {
            write!(f, "{}{failure}", if n == 0 { "" } else { "; " })?;
        }
        f.write_str(".")
    }
}

impl std::error::Error for ClockError {}

/// Sets the clock to `stamp`, which it was at `received` (run time), or without one only restarts NTP and PTP.
pub fn set_time(hands: &dyn Hands, stamp: Option<Duration>, received: Duration) -> Result<Remark, ClockError> {
    // Asked before anything stops: afterwards NTP takes seconds to find its servers again.
    let server = stamp.and_then(|_| hands.offers(Verb::NtpSources).then(|| reachable(hands)).flatten());
    let mut failures = Vec::new();
    let services = [(Verb::StopNtp, Verb::StartNtp), (Verb::StopPtp, Verb::StartPtp)];
    for (stop, _) in services {
        // What does not run cannot be stopped, and that is no reason to leave the clock wrong; starting will tell.
        if hands.offers(stop)
            && let Err(err) = hands.run(stop, SCRIPT)
        {
            log::warn!("{err}");
        }
    }
    let mut set = None;
    if let Some(stamp) = stamp {
        let res = hands.run(Verb::SetClock { stamp, at: received }, Duration::ZERO);
        set = Some(res.is_ok());
        failures.extend(res.err());
        if set == Some(true) && hands.offers(Verb::WriteRtc) {
            failures.extend(hands.run(Verb::WriteRtc, RTC).err());
        }
    }
    for (_, start) in services {
        if hands.offers(start) {
            failures.extend(hands.run(start, SCRIPT).err());
        }
    }
    if !failures.is_empty() {
        return Err(ClockError { set, failures });
    }
    Ok(server.map_or(Remark::Plain, Remark::Overridden))
}

/// A server or reference clock that NTP hears.
fn reachable(hands: &dyn Hands) -> Option<String> {
    match hands.run(Verb::NtpSources, SOURCES) {
        Ok(text) => heard(&text),
        // A daemon that does not run hears nobody.
        Err(err) => {
            log::debug!("{err}");
            None
        }
    }
}

/// The first source of chrony's comma-separated list (`mode,state,name,stratum,poll,reach,...`) whose reach register,
/// an octal number of the last eight polls, is not zero. Sources that contradict the others (`x`) are not followed.
fn heard(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let mut fields = line.split(',');
        let (_, state, name) = (fields.next()?, fields.next()?, fields.next()?);
        let reach = u32::from_str_radix(fields.nth(2)?, 8).ok()?;
        (reach != 0 && state != "x").then(|| name.to_string())
    })
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io;

    use super::*;

    /// Notes what is run; verbs in `fail` fail.
    struct Script {
        fail: Vec<Verb>,
        lacks: Vec<Verb>,
        sources: &'static str,
        done: RefCell<Vec<Verb>>,
    }

    impl Hands for Script {
        fn offers(&self, verb: Verb) -> bool {
            !self.lacks.contains(&verb)
        }

        fn run(&self, verb: Verb, _: Duration) -> Result<String, PlatformError> {
            self.done.borrow_mut().push(verb);
            if self.fail.contains(&verb) {
                return Err(PlatformError::Clock(io::ErrorKind::PermissionDenied.into()));
            }
            Ok(if verb == Verb::NtpSources { self.sources.into() } else { String::new() })
        }
    }

    fn script(fail: &[Verb], lacks: &[Verb]) -> Script {
        Script { fail: fail.into(), lacks: lacks.into(), sources: "", done: RefCell::default() }
    }

    const STAMP: Duration = Duration::from_secs(1_700_000_000);
    const SET: Verb = Verb::SetClock { stamp: STAMP, at: Duration::from_secs(5) };

    #[track_caller]
    fn check(script: &Script, stamp: Option<Duration>, expect: &[Verb], text: &str) {
        let got = match set_time(script, stamp, Duration::from_secs(5)) {
            Ok(remark) => format!("{remark:?}"),
            Err(err) => format!("error: {err}"),
        };
        assert_eq!(&*script.done.borrow(), expect);
        assert!(got.starts_with(text), "{got}");
    }

    #[test]
    fn services_are_out_of_the_way_while_the_clock_is_set() {
        use Verb::*;
        let all = [NtpSources, StopNtp, StopPtp, SET, WriteRtc, StartNtp, StartPtp];
        check(&script(&[], &[]), Some(STAMP), &all, "Plain");
        check(&script(&[], &[]), None, &[StopNtp, StopPtp, StartNtp, StartPtp], "Plain");
        let bare = [NtpSources, StopNtp, StartNtp, StopPtp, StartPtp, WriteRtc];
        check(&script(&[], &bare), Some(STAMP), &[SET], "Plain");
        check(&script(&[], &bare), None, &[], "Plain");
    }

    #[test]
    fn services_start_again_whatever_failed() {
        use Verb::*;
        let text = "error: The time was not set: the service is not allowed";
        let done = [NtpSources, StopNtp, StopPtp, SET, StartNtp, StartPtp];
        check(&script(&[SET, StopNtp], &[]), Some(STAMP), &done, text);
        let all = [NtpSources, StopNtp, StopPtp, SET, WriteRtc, StartNtp, StartPtp];
        check(&script(&[WriteRtc, StartNtp], &[]), Some(STAMP), &all, "error: The time was set, but not all");
        let none = [StopNtp, StopPtp, StartNtp, StartPtp];
        check(&script(&[StartPtp], &[]), None, &none, "error: The time services were not all restarted");
        check(&script(&[StopPtp], &[]), None, &none, "Plain");
    }

    #[test]
    fn a_server_that_is_heard_is_named() {
        let sources = "^,?,192.0.2.1,0,6,0,0,0.0,0.0,0.0\n^,*,10.0.2.2,8,6,17,3,0.00001,0.00002,0.0003\n";
        let script = Script { sources, ..script(&[], &[]) };
        assert_eq!(set_time(&script, Some(STAMP), STAMP).unwrap(), Remark::Overridden("10.0.2.2".into()));
        for text in ["", "506 Cannot talk to daemon\n", "^,x,10.0.2.2,8,6,377,3", "^,?,a,0,6,0,0", "^,?,a,0,6,zz,0"] {
            assert_eq!(heard(text), None, "{text}");
        }
    }
}
