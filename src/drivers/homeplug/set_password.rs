//! The course of `setpwd`: find the meter's own bridge, have it move the remote bridges into the new network, let it follow
//! as the last, and look who is there.
//!
//! A bridge that has moved cannot be called back over the powerline. So as long as none is known to have moved, the first
//! failure or silence ends the course with the meter's own bridge where it was, for a silent target is more often absent
//! than moved. As soon as one has, the meter's own bridge has to follow whatever happens to the others, or those that moved
//! are lost to it. Cancelling is heeded between the requests, never while a key is on its way: before the first move it
//! ends the course with nothing changed, afterwards it spares the targets that were not asked yet.

use std::fmt;
use std::io;
use std::time::Duration;

use serde_json::Value;

use super::super::Watch;
use super::frame::Network;
use super::keys::{NID, Password};
use super::link::{Cancel, Link, LinkError, Wire};
use super::qualcomm::{Answer, Bridge, discover};
use super::report::{Entry, Report, State};
use super::target::{Mac, SetPassword, Target};
use crate::config::Homeplug;
use crate::platform::{Platform, PlatformError};
use crate::sys::packet::{OpenError, PacketSocket, bridge_of};

/// How long the new network may take to come together before it is no longer waited for.
const SETTLE: Duration = Duration::from_secs(30);
/// The pause between two looks at it.
const POLL: Duration = Duration::from_secs(1);
/// Times that the meter's own bridge is given the key while it is silent. That is safe, because it is reached by cable in
/// either network, and needed, because the others wait for it.
const LOCAL_ATTEMPTS: usize = 3;

/// Why the password is not set everywhere.
#[derive(Debug)]
pub struct Failure {
    cancelled: bool,
    text: String,
}

impl Failure {
    fn new(text: String) -> Failure {
        Failure { cancelled: false, text }
    }

    /// It was cancelled; the text says what had been done by then.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

/// Gives the network of the meter's bridge and of the targets a new password; takes up to six seconds for each target that
/// is silent, and up to half a minute for the look at the new network. The result, also while it grows, has the members
/// `targets` and `local` with `mac`, `state` (`changed`, `unchanged`, `unknown`) and `detail`, and `verified`.
pub fn set_password(
    settings: &Homeplug,
    platform: &Platform,
    command: &SetPassword,
    watch: &dyn Watch,
) -> Result<Value, Failure> {
    let chosen = settings.bridge.as_deref().map(Mac::parse).transpose();
    let chosen = chosen.map_err(|reason| Failure::new(format!("homeplug.bridge in the configuration: {reason}.")))?;
    let interface = bridge_of(&settings.interface).unwrap_or_else(|| settings.interface.clone());
    let opened = platform.open_wire().map_err(|err| match err {
        PlatformError::System(err) => err.into(),
        err => OpenError::System(io::Error::other(err)),
    });
    let mut socket = opened.and_then(PacketSocket::new).map_err(|err| {
        Failure::new(match err {
            OpenError::NotAllowed => {
                "The service may not open a raw socket; start it with the capability CAP_NET_RAW.".to_string()
            }
            err => format!("homeplug.interface in the configuration: {interface}: {err}."),
        })
    })?;
    run(&mut socket, &interface, chosen, command, watch)
}

pub(super) fn run(
    wire: &mut dyn Wire,
    interface: &str,
    chosen: Option<Mac>,
    command: &SetPassword,
    watch: &dyn Watch,
) -> Result<Value, Failure> {
    let mut link = Link::new(wire, watch);
    let found = discover(&mut link, chosen).map_err(|err| match err {
        LinkError::Cancelled => untouched(),
        LinkError::NotSent(err) | LinkError::Broken(err) if err.kind() == io::ErrorKind::NetworkDown => {
            Failure::new(format!("The network interface {interface} is down; nothing was changed."))
        }
        LinkError::NotSent(err) | LinkError::Broken(err) => {
            Failure::new(format!("The network interface {interface} fails: {err}; nothing was changed."))
        }
    })?;
    let own = own_bridge(&found, chosen, interface)?;
    let mut course = Course {
        bridge: Bridge::new(&mut link, own),
        report: Report::new(own, &command.targets),
        watch,
        // Finding the bridge, its own key, and the look at the network count like a target each.
        steps: command.targets.len() + 3,
        done: 0,
    };
    course.step();
    course.run(&command.password, &command.targets)
}

/// Which of the bridges that answered is the meter's.
fn own_bridge(found: &[Mac], chosen: Option<Mac>, interface: &str) -> Result<Mac, Failure> {
    let names = || found.iter().map(Mac::to_string).collect::<Vec<_>>().join(", ");
    match (found, chosen) {
        (_, Some(chosen)) if found.contains(&chosen) => Ok(chosen),
        ([], _) => Err(Failure::new(format!(
            "No HomePlug bridge answers on {interface}; check its cable and power. Nothing was changed."
        ))),
        (_, Some(chosen)) => Err(Failure::new(format!(
            "The HomePlug bridge {chosen}, which is homeplug.bridge in the configuration, does not answer on {interface}; \
             {} does. Nothing was changed.",
            names()
        ))),
        ([only], None) => Ok(*only),
        (_, None) => Err(Failure::new(format!(
            "Several HomePlug bridges answer on {interface}: {}. Name the meter's own as homeplug.bridge in the \
             configuration. Nothing was changed.",
            names()
        ))),
    }
}

fn untouched() -> Failure {
    Failure { cancelled: true, text: "Cancelled before any bridge was changed.".into() }
}

/// Where the course stands.
struct Course<'a, 'b> {
    bridge: Bridge<'a, 'b>,
    report: Report,
    watch: &'a dyn Watch,
    steps: usize,
    done: usize,
}

impl Course<'_, '_> {
    fn run(mut self, password: &Password, targets: &[Target]) -> Result<Value, Failure> {
        let network_key = password.network_key();
        let mut cancelled = false;
        for (at, target) in targets.iter().enumerate() {
            if target.mac == self.report.local.mac {
                continue;
            }
            if self.watch.cancelled() {
                if !self.report.has_moved() {
                    return Err(untouched());
                }
                self.skip_from(at, "not asked, because it was cancelled");
                cancelled = true;
                break;
            }
            self.report.targets[at].begin();
            self.publish();
            let answer = self.bridge.set_remote_key(&network_key, target);
            self.report.targets[at].answered(&answer);
            self.step();
            if !self.report.has_moved() {
                self.skip_from(at + 1, "not asked, because an earlier target failed");
                self.report.local(|it| it.skip("not asked, because no target changed"));
                return self.fail("The password was not set", cancelled);
            }
        }
        if self.watch.cancelled() && !self.report.has_moved() {
            return Err(untouched());
        }
        self.report.local(Entry::begin);
        self.publish();
        for attempt in 0..LOCAL_ATTEMPTS {
            let answer = self.bridge.set_local_key(&network_key);
            // After a silence only a yes says anything new: the key may be set since the first attempt.
            if attempt == 0 || answer == Answer::Accepted {
                self.report.local(|it| it.answered(&answer));
            }
            match answer {
                Answer::Accepted | Answer::Refused(_) => break,
                Answer::Silent => {}
                // The cable may be out for a moment; what has moved depends on this.
                Answer::NotSent(_) | Answer::Lost(_) => {
                    let _ = self.bridge.link().listen(POLL, Cancel::Deferred, &mut |_| false);
                }
            }
        }
        self.step();
        if self.report.local.state != State::Unchanged {
            self.verify(&network_key.network_id());
        }
        self.step();
        if self.report.all_changed() {
            Ok(self.report.value())
        } else {
            self.fail("The password was not set everywhere", cancelled)
        }
    }

    /// Looks at the new network until everybody who should be in it is, for at most [`SETTLE`]. That is the only proof that
    /// a bridge moved; but its answer said so, hence what is missing is a note and no failure.
    fn verify(&mut self, nid: &[u8; NID]) {
        let until = self.bridge.link().now() + SETTLE;
        while self.bridge.link().now() < until {
            let looked = self.bridge.networks().map(|it| it.is_some_and(|it| self.is_complete(&it, nid)));
            let paused = match looked {
                Ok(true) => {
                    self.report.verified = true;
                    return;
                }
                // An interface that fails now may be back in a moment: some bridges restart to take a key.
                Ok(false) | Err(LinkError::NotSent(_) | LinkError::Broken(_)) => {
                    self.bridge.link().listen(POLL, Cancel::Heeded, &mut |_| false)
                }
                Err(LinkError::Cancelled) => Err(LinkError::Cancelled),
            };
            if let Err(LinkError::Cancelled) = paused {
                self.report.note = Some("Cancelled while the new network was waited for.".into());
                return;
            }
        }
        let seconds = SETTLE.as_secs();
        self.report.note = Some(format!("Not all bridges were seen in the new network within {seconds} s."));
    }

    /// Whether the new network is there with all that should be in it; notes who is.
    fn is_complete(&mut self, networks: &[Network], nid: &[u8; NID]) -> bool {
        let Some(network) = networks.iter().find(|it| is_same(&it.nid, nid)) else { return false };
        self.report.local(Entry::seen);
        let own = self.report.local.mac;
        let mut res = true;
        for target in self.report.targets.iter_mut().filter(|it| it.mac != own && it.state != State::Unchanged) {
            if network.stations.contains(&target.mac) {
                target.seen();
            } else {
                res = false;
            }
        }
        res
    }

    fn skip_from(&mut self, at: usize, why: &str) {
        let own = self.report.local.mac;
        self.report.targets[at..].iter_mut().filter(|it| it.mac != own).for_each(|it| it.skip(why));
    }

    fn publish(&self) {
        self.watch.result(self.report.value());
    }

    fn step(&mut self) {
        self.done += 1;
        self.watch.progress(self.done as f64 / self.steps as f64);
        self.publish();
    }

    fn fail(self, what: &str, cancelled: bool) -> Result<Value, Failure> {
        self.publish();
        let why = if cancelled { ", because it was cancelled" } else { "" };
        Err(Failure { cancelled, text: format!("{what}{why}. {}", self.report.text()) })
    }
}

/// Whether two identifiers are the same network's. The upper half of the last byte is the security level, which follows the
/// bridge's own settings and not the password.
fn is_same(left: &[u8; NID], right: &[u8; NID]) -> bool {
    left[..NID - 1] == right[..NID - 1] && left[NID - 1] & 0x0f == right[NID - 1] & 0x0f
}
