//! The closed list of verbs that touch the machine itself, and the one place that carries them out. It decides nothing:
//! what is run comes from the configuration, when and in which order from the drivers. In bench mode nothing is
//! touched, and the log says what would have been.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use crate::config::{self, Command, Target};
use crate::sys::program::{self, ProgramError, Running, Start};
use crate::sys::{clock, fs};

/// Something that only a privileged process may do to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Sets the wall clock.
    SetClock {
        /// The time to set, since 1970...
        stamp: Duration,
        /// ...which it was at this moment, on the clock of [`clock::boottime`].
        at: Duration,
    },
    /// Writes the wall clock to the real-time clock.
    WriteRtc,
    /// Stops the NTP service.
    StopNtp,
    /// Starts it.
    StartNtp,
    /// Lists its sources.
    NtpSources,
    /// Stops the PTP service.
    StopPtp,
    /// Starts it.
    StartPtp,
    /// Writes every file system's pending data to disk.
    Sync,
    /// Reboots the machine.
    Reboot,
}

impl Verb {
    /// The key of the configuration that says how; nothing for what the kernel does by itself.
    fn key(self) -> Option<&'static str> {
        Some(match self {
            Verb::SetClock { .. } | Verb::Sync => return None,
            Verb::WriteRtc => "platform.hwclock",
            Verb::StopNtp => "platform.ntp.stop",
            Verb::StartNtp => "platform.ntp.start",
            Verb::NtpSources => "platform.ntp.sources",
            Verb::StopPtp => "platform.ptp.stop",
            Verb::StartPtp => "platform.ptp.start",
            Verb::Reboot => "platform.reboot",
        })
    }
}

/// Why a verb was not carried out.
#[derive(Debug)]
pub enum PlatformError {
    /// The configuration does not say how; the text is the missing key.
    Missing(&'static str),
    /// The program of this key failed.
    Program(&'static str, ProgramError),
    /// The kernel refused to set the clock.
    Clock(io::Error),
}

impl fmt::Display for PlatformError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlatformError::Missing(key) => write!(f, "this meter is not set up for it: {key} is missing in its config"),
            PlatformError::Program(key, err) => write!(f, "{key}: {err}"),
            PlatformError::Clock(err) if err.kind() == io::ErrorKind::InvalidInput => {
                f.write_str("the time is beyond what this meter's clock takes")
            }
            PlatformError::Clock(err) if err.kind() == io::ErrorKind::PermissionDenied => {
                f.write_str("the service is not allowed to set the clock (CAP_SYS_TIME)")
            }
            PlatformError::Clock(err) => write!(f, "the clock could not be set: {err}"),
        }
    }
}

impl std::error::Error for PlatformError {}

/// Whoever carries verbs out: the machine's [`Platform`], or a test's.
pub trait Hands {
    /// Whether the configuration says how to do this.
    fn offers(&self, verb: Verb) -> bool;
    /// Carries a verb out and gives back what its program printed. A program may take as long as `within`.
    fn run(&self, verb: Verb, within: Duration) -> Result<String, PlatformError>;
}

/// Carries verbs out as the configuration says.
pub struct Platform {
    config: config::Platform,
    bench: bool,
    /// Bench mode's own time: what the wall clock was set to, and when on the clock of [`clock::boottime`].
    pretended: Mutex<Option<(Duration, Duration)>>,
}

impl Platform {
    /// The executor of a configuration.
    pub fn new(config: &config::Config) -> Platform {
        Platform { config: config.platform.clone(), bench: config.bench, pretended: Mutex::default() }
    }

    /// Whether verbs are only logged.
    pub fn is_bench(&self) -> bool {
        self.bench
    }

    /// The meter's time since 1970: the wall clock, or in bench mode, which never sets that, what it was last set to.
    pub fn wall(&self) -> Duration {
        match *self.pretended.lock().expect("nobody panics with it") {
            Some((stamp, at)) => stamp.saturating_add(clock::boottime().saturating_sub(at)),
            None => clock::wall(),
        }
    }

    /// The key of the installer of `target`, if the configuration does not say which one that is. Bench mode needs
    /// none.
    pub fn lacks_installer(&self, target: Target) -> Option<&'static str> {
        let is_there = self.bench || self.config.install.command(target).is_some();
        (!is_there).then_some(installer_key(target))
    }

    /// Starts the installer of `target` on an image, which only this meter's own folder holds and which was verified.
    /// It holds `lock` for as long as it or a child of it runs. In bench mode there is nothing to look at.
    pub fn install(&self, target: Target, image: Image, lock: File) -> Result<Option<Running>, PlatformError> {
        let key = installer_key(target);
        let command = self.config.install.command(target);
        if self.bench {
            let name = command.map_or_else(|| "an installer".into(), |it| it.join(" "));
            log::info!("bench mode: would run {name} {}", image.path.display());
            return Ok(None);
        }
        let Some(command) = command else { return Err(PlatformError::Missing(key)) };
        let variables =
            [("METERD_TARGET", target.name()), ("METERD_VERSION", image.version), ("METERD_HARDWARE", image.hardware)];
        let with = Start { argument: image.path.as_os_str(), variables: &variables, input: lock };
        program::start(command, with).map(Some).map_err(|err| PlatformError::Program(key, err))
    }

    fn command(&self, verb: Verb) -> Option<&Command> {
        let (ntp, ptp) = (self.config.ntp.as_ref(), self.config.ptp.as_ref());
        match verb {
            Verb::SetClock { .. } | Verb::Sync => None,
            Verb::WriteRtc => self.config.hwclock.as_ref(),
            Verb::StopNtp => ntp.map(|it| &it.stop),
            Verb::StartNtp => ntp.map(|it| &it.start),
            Verb::NtpSources => ntp.and_then(|it| it.sources.as_ref()),
            Verb::StopPtp => ptp.map(|it| &it.stop),
            Verb::StartPtp => ptp.map(|it| &it.start),
            Verb::Reboot => self.config.reboot.as_ref(),
        }
    }
}

/// What an installer is told of its image.
#[derive(Clone, Copy)]
pub struct Image<'a> {
    /// The file.
    pub path: &'a Path,
    /// Its version.
    pub version: &'a str,
    /// The meter's hardware.
    pub hardware: &'a str,
}

fn installer_key(target: Target) -> &'static str {
    match target {
        Target::Fw => "platform.install.fw",
        Target::Kernel => "platform.install.kernel",
    }
}

impl Hands for Platform {
    /// Bench mode can play a reboot without being told how.
    fn offers(&self, verb: Verb) -> bool {
        verb.key().is_none() || self.command(verb).is_some() || (self.bench && verb == Verb::Reboot)
    }

    fn run(&self, verb: Verb, within: Duration) -> Result<String, PlatformError> {
        let command = match verb.key() {
            None => None,
            Some(key) => match self.command(verb) {
                None if !self.offers(verb) => return Err(PlatformError::Missing(key)),
                command => command.map(|it| (key, it)),
            },
        };
        if self.bench {
            let how = command.map_or_else(|| format!("{verb:?}"), |(_, it)| it.join(" "));
            log::info!("bench mode: would run {how}");
            if let Verb::SetClock { stamp, at } = verb {
                *self.pretended.lock().expect("nobody panics with it") = Some((stamp, at));
            }
            return Ok(String::new());
        }
        match (verb, command) {
            (Verb::SetClock { stamp, at }, _) => {
                let since = clock::boottime().saturating_sub(at);
                clock::set_wall(stamp.saturating_add(since)).map_err(PlatformError::Clock)?;
                Ok(String::new())
            }
            (_, Some((key, command))) => program::run(command, within).map_err(|err| PlatformError::Program(key, err)),
            (_, None) => {
                fs::sync_everything();
                Ok(String::new())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Duration = Duration::from_secs(20);

    fn platform(bench: bool, hwclock: Option<&[&str]>) -> Platform {
        let hwclock = hwclock.map(|it| it.iter().map(|it| it.to_string()).collect());
        let platform = config::Platform { hwclock, ..config::Platform::default() };
        Platform::new(&config::Config { bench, platform, ..config::Config::default() })
    }

    #[test]
    fn a_missing_part_is_named_by_its_key() {
        let err = platform(false, None).run(Verb::WriteRtc, WITHIN).unwrap_err();
        assert!(err.to_string().contains("platform.hwclock"), "{err}");
        assert!(!platform(false, None).offers(Verb::Reboot));
    }

    #[test]
    fn a_configured_program_is_run_and_its_failure_names_the_key() {
        assert_eq!(platform(false, Some(&["echo", "done"])).run(Verb::WriteRtc, WITHIN).unwrap(), "done\n");
        let err = platform(false, Some(&["false"])).run(Verb::WriteRtc, WITHIN).unwrap_err();
        assert!(err.to_string().starts_with("platform.hwclock: false failed"), "{err}");
    }

    #[test]
    fn bench_mode_touches_nothing() {
        assert_eq!(platform(true, Some(&["false"])).run(Verb::WriteRtc, WITHIN).unwrap(), "");
        let verb = Verb::SetClock { stamp: Duration::from_secs(u64::MAX), at: Duration::ZERO };
        assert_eq!(platform(true, None).run(verb, WITHIN).unwrap(), "");
        assert!(platform(true, None).offers(Verb::Reboot));
    }

    #[test]
    fn bench_mode_shows_the_time_that_it_was_set_to() {
        let bench = platform(true, None);
        let real = clock::wall();
        assert!(real <= bench.wall());
        let (stamp, at) = (Duration::from_secs(1_000_000_000), clock::boottime());
        bench.run(Verb::SetClock { stamp, at }, WITHIN).unwrap();
        assert!(stamp <= bench.wall() && bench.wall() < stamp + WITHIN && real <= clock::wall());
    }

    #[test]
    fn a_time_beyond_the_clock_is_said_in_words() {
        let verb = Verb::SetClock { stamp: Duration::from_secs(u64::MAX), at: Duration::ZERO };
        let err = platform(false, None).run(verb, WITHIN).unwrap_err();
        assert!(err.to_string().contains("beyond what this meter's clock takes"), "{err}");
    }
}
