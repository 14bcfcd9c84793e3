//! The closed list of verbs that touch the machine itself, and the one place that carries them out. It decides nothing:
//! what is run comes from the configuration, when and in which order from the drivers. In bench mode nothing is
//! touched, and the log says what would have been.
//!
//! The work is done by a second process, the *executor*, which keeps the rights that the service was started with; the
//! *worker*, which speaks to the network, has none of them ([`crate::service`] parts the two). [`Platform`] is the
//! worker's side, [`executor`] the other, `message` what they say to each other.

pub mod cache;
pub mod executor;
mod installing;
mod message;

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Mutex;
use std::time::Duration;

use crate::config::{self, Command, Target};
use crate::sys::channel::Channel;
use crate::sys::clock;
use crate::sys::program::ProgramError;
pub use installing::Installing;
use message::{MAX_REPLY, Reply, Request};

/// The EtherType of HomePlug AV, to which a raw socket is bound before it is handed over. Whoever has it may bind it anew.
pub const HOMEPLUG_ETHERTYPE: u16 = 0x88e1;
/// Where images lie that an installer may get, below the state folder.
pub const IMAGES: &str = "update/image";

/// How much longer than its program a verb may take: what the system does by itself has no time of its own, and syncing a
/// slow disk takes long.
const MARGIN: Duration = Duration::from_secs(60);
/// The longest wait without a look at whether the asker wants to stop.
const SLICE: Duration = Duration::from_millis(100);

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
    /// The system refused something else.
    System(io::Error),
    /// The executor does not answer.
    Gone,
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
            PlatformError::System(err) => write!(f, "{err}"),
            PlatformError::Gone => f.write_str("the process that would do it does not answer"),
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

/// Has verbs carried out as the configuration says.
pub struct Platform {
    config: config::Config,
    requests: Channel,
    /// Bench mode's own time: what the wall clock was set to, and when on the clock of [`clock::boottime`].
    pretended: Mutex<Option<(Duration, Duration)>>,
}

impl Platform {
    /// The worker's side of a configuration; the executor is at the other end of `requests`.
    pub fn new(config: &config::Config, requests: Channel) -> Platform {
        Platform { config: config.clone(), requests, pretended: Mutex::default() }
    }

    /// With an executor that is no process but a thread of this one, for tests.
    #[cfg(test)]
    pub fn in_one_process(config: &config::Config) -> Platform {
        let (worker, executor) = Channel::pair().expect("a pair of sockets");
        let its = config.clone();
        std::thread::spawn(move || executor::serve(&executor, &its));
        Platform::new(config, worker)
    }

    /// Ends the executor.
    pub fn end(&self) {
        self.requests.shut();
    }

    /// Whether verbs are only logged.
    pub fn is_bench(&self) -> bool {
        self.config.bench
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
        let is_there = self.is_bench() || self.config.platform.install.command(target).is_some();
        (!is_there).then_some(installer_key(target))
    }

    /// Starts the installer of `target` on an image, which only this meter's own folder holds and which was verified.
    /// It holds `lock` for as long as it or a child of it runs. In bench mode there is nothing to look at.
    pub fn install(&self, target: Target, image: Image, lock: File) -> Result<Option<Installing>, PlatformError> {
        let key = installer_key(target);
        let command = self.config.platform.install.command(target);
        if self.is_bench() {
            let name = command.map_or_else(|| "an installer".into(), |it| it.join(" "));
            log::info!("bench mode: would run {name} {}", image.path.display());
            return Ok(None);
        }
        let Some(command) = command else { return Err(PlatformError::Missing(key)) };
        let name = image.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let request = Request::Install { target, image: name, version: image.version.into() };
        let asked = self.ask(&request, Some(lock.as_fd()))?;
        match asked.reply(MARGIN, &|| false)?.0 {
            Reply::Done(_) => Ok(Some(Installing::new(command[0].clone(), asked.own))),
            reply => Err(refusal(reply, key, command, MARGIN)),
        }
    }

    /// Has the program of the configuration decrypt a provider's challenge; as soon as `stop` says so it is killed.
    pub fn decrypt(&self, challenge: &str, within: Duration, stop: &dyn Fn() -> bool) -> Result<String, PlatformError> {
        const KEY: &str = "providers.decrypt";
        let Some(command) = &self.config.providers.decrypt else { return Err(PlatformError::Missing(KEY)) };
        let asked = self.ask(&Request::Decrypt(challenge.into(), within), None)?;
        match asked.reply(within + MARGIN, stop) {
            Ok((Reply::Done(text), _)) => Ok(text),
            Ok((reply, _)) => Err(refusal(reply, KEY, command, within)),
            Err(_) if stop() => Err(PlatformError::Program(KEY, ProgramError::Stopped(command[0].clone()))),
            Err(err) => Err(err),
        }
    }

    /// Empties the web server's cache; false if there was none.
    pub fn clear_web_cache(&self) -> Result<bool, PlatformError> {
        match self.ask(&Request::ClearCache, None)?.reply(MARGIN, &|| false)?.0 {
            Reply::Done(_) => Ok(true),
            Reply::Absent => Ok(false),
            reply => Err(refusal(reply, "platform.web_cache_dir", &[], MARGIN)),
        }
    }

    /// A raw socket for HomePlug frames on the interface that leads to the meter's bridge.
    pub fn open_wire(&self) -> Result<OwnedFd, PlatformError> {
        self.open(&Request::OpenWire, "homeplug.interface")
    }

    /// The supplicant's configuration, which holds keys and may be root's alone, for reading; what is in it is on disk.
    pub fn open_networks(&self) -> Result<File, PlatformError> {
        self.open(&Request::OpenNetworks, "wlan.config").map(File::from)
    }

    fn open(&self, request: &Request, key: &'static str) -> Result<OwnedFd, PlatformError> {
        match self.ask(request, None)?.reply(MARGIN, &|| false)? {
            (Reply::Done(_), Some(fd)) => Ok(fd),
            (reply, _) => Err(refusal(reply, key, &[], MARGIN)),
        }
    }

    /// Sends a request, with the socket for its reply.
    fn ask(&self, request: &Request, beside: Option<BorrowedFd<'_>>) -> Result<Asked, PlatformError> {
        let (own, other) = Channel::pair().map_err(PlatformError::System)?;
        let descriptors = [Some(other.as_fd()), beside].into_iter().flatten().collect::<Vec<_>>();
        self.requests.send(&request.encode(), &descriptors).map_err(|_| PlatformError::Gone)?;
        Ok(Asked { own })
    }
}

/// A request that is being carried out. Dropping it tells the executor that nobody listens any more.
struct Asked {
    own: Channel,
}

impl Asked {
    /// The next reply, with the descriptor that may come beside it.
    fn reply(&self, within: Duration, stop: &dyn Fn() -> bool) -> Result<(Reply, Option<OwnedFd>), PlatformError> {
        let until = clock::boottime() + within;
        while !self.own.is_ready(SLICE).map_err(PlatformError::System)? {
            if stop() || until < clock::boottime() {
                return Err(PlatformError::Gone);
            }
        }
        let mut buffer = vec![0; MAX_REPLY];
        let received = self.own.receive(&mut buffer).ok().flatten().ok_or(PlatformError::Gone)?;
        let reply = Reply::decode(&buffer[..received.length]).ok_or(PlatformError::Gone)?;
        Ok((reply, received.descriptors.into_iter().next()))
    }
}

/// What a reply means that is no success.
fn refusal(reply: Reply, key: &'static str, command: &[String], within: Duration) -> PlatformError {
    let name = command.first().cloned().unwrap_or_default();
    let program = |err| PlatformError::Program(key, err);
    match reply {
        Reply::Refused => PlatformError::Missing(key),
        Reply::System(errno) => PlatformError::System(io::Error::from_raw_os_error(errno)),
        Reply::NotStarted(errno) => program(ProgramError::Start(name, io::Error::from_raw_os_error(errno))),
        Reply::Failed(status, said) => program(ProgramError::Failed(name, ExitStatus::from_raw(status), said)),
        Reply::Late => program(ProgramError::Late(name, within)),
        Reply::Stopped => program(ProgramError::Stopped(name)),
        Reply::Done(_) | Reply::Absent | Reply::Lines(_) | Reply::Ended(_) => PlatformError::Gone,
    }
}

/// The program of a verb.
fn command(config: &config::Platform, verb: Verb) -> Option<&Command> {
    let (ntp, ptp) = (config.ntp.as_ref(), config.ptp.as_ref());
    match verb {
        Verb::SetClock { .. } | Verb::Sync => None,
        Verb::WriteRtc => config.hwclock.as_ref(),
        Verb::StopNtp => ntp.map(|it| &it.stop),
        Verb::StartNtp => ntp.map(|it| &it.start),
        Verb::NtpSources => ntp.and_then(|it| it.sources.as_ref()),
        Verb::StopPtp => ptp.map(|it| &it.stop),
        Verb::StartPtp => ptp.map(|it| &it.start),
        Verb::Reboot => config.reboot.as_ref(),
    }
}

/// What an installer is told of its image.
#[derive(Clone, Copy)]
pub struct Image<'a> {
    /// The file.
    pub path: &'a Path,
    /// Its version.
    pub version: &'a str,
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
        let has_program = command(&self.config.platform, verb).is_some();
        verb.key().is_none() || has_program || (self.is_bench() && verb == Verb::Reboot)
    }

    fn run(&self, verb: Verb, within: Duration) -> Result<String, PlatformError> {
        let command = command(&self.config.platform, verb);
        if let Some(key) = verb.key()
            && !self.offers(verb)
        {
            return Err(PlatformError::Missing(key));
        }
        if self.is_bench() {
            let how = command.map_or_else(|| format!("{verb:?}"), |it| it.join(" "));
            log::info!("bench mode: would run {how}");
            if let Verb::SetClock { stamp, at } = verb {
                *self.pretended.lock().expect("nobody panics with it") = Some((stamp, at));
            }
            return Ok(String::new());
        }
        let asked = self.ask(&Request::Run(verb, within), None)?;
        match asked.reply(within + MARGIN, &|| false)?.0 {
            Reply::Done(text) => Ok(text),
            Reply::System(errno) => Err(PlatformError::Clock(io::Error::from_raw_os_error(errno))),
            reply => Err(refusal(reply, verb.key().unwrap_or_default(), command.map_or(&[], Vec::as_slice), within)),
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
        Platform::in_one_process(&config::Config { bench, platform, ..config::Config::default() })
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
