//! What the course asks of the meter's own bridge, as Qualcomm's chips and their heirs do it (INT6000 to QCA7500). A chip
//! with other messages gets a file like this one. It does not know in which order things are asked.

use std::time::Duration;

use super::frame::{self, Network, Request, Version};
use super::keys::Key;
use super::link::{Cancel, Link, LinkError};
use super::target::{Mac, Target};

/// How long a local bridge may take to answer.
pub const LOCAL_TIME: Duration = Duration::from_secs(1);
/// How long it may take when it has to ask a remote one first.
pub const REMOTE_TIME: Duration = Duration::from_secs(3);
/// Times that local bridges are called if none answers; asking for a version changes nothing.
pub const CALLS: usize = 3;
/// Local bridges that are told apart; more are not needed to say that they are too many.
const MAX_FOUND: usize = 16;

/// How a bridge took a new key.
#[derive(Debug, PartialEq)]
pub enum Answer {
    /// It did.
    Accepted,
    /// It did not, and says why.
    Refused(u8),
    /// It said nothing in time: the key may be set or not.
    Silent,
    /// Nothing was asked, because the frame could not be sent.
    NotSent(String),
    /// The interface failed while the answer was awaited: the key may be set or not.
    Lost(String),
}

/// The bridge that is asked, for itself and for remote ones.
pub struct Bridge<'a, 'b> {
    link: &'a mut Link<'b>,
    mac: Mac,
    version: Version,
}

/// Calls the bridges on this side of the powerline, and returns those that answered. With `chosen` it ends as soon as that
/// one has answered; without, everybody has [`LOCAL_TIME`].
pub fn discover(link: &mut Link<'_>, chosen: Option<Mac>) -> Result<Vec<Mac>, LinkError> {
    let request = Request::version(link.mac(), Mac::LOCAL_BRIDGES);
    let mut found = Vec::new();
    for _ in 0..CALLS {
        link.ask(&request, LOCAL_TIME, Cancel::Heeded, &mut |it| {
            let Some(mac) = frame::source(it).filter(|_| request.confirmed_by(it).is_some()) else { return false };
            if !found.contains(&mac) && found.len() < MAX_FOUND {
                found.push(mac);
            }
            chosen == Some(mac)
        })?;
        if chosen.map_or(!found.is_empty(), |it| found.contains(&it)) {
            break;
        }
    }
    Ok(found)
}

impl<'a, 'b> Bridge<'a, 'b> {
    /// The bridge `mac`, which from now on is spoken to alone.
    pub fn new(link: &'a mut Link<'b>, mac: Mac) -> Bridge<'a, 'b> {
        Bridge { link, mac, version: Version::V1 }
    }

    /// The link, for waiting on it.
    pub fn link(&mut self) -> &mut Link<'b> {
        self.link
    }

    /// Has a remote bridge set the key. Never repeated here: after a silence the remote may have moved already, and then
    /// a second answer says nothing about the first.
    pub fn set_remote_key(&mut self, network_key: &Key, target: &Target) -> Answer {
        let access_key = target.access_key();
        let request = Request::set_remote_key(self.link.mac(), self.mac, network_key, target.mac, &access_key);
        self.set_key(&request, REMOTE_TIME)
    }

    /// Sets the bridge's own key.
    pub fn set_local_key(&mut self, network_key: &Key) -> Answer {
        let request = Request::set_local_key(self.link.mac(), self.mac, network_key);
        self.set_key(&request, LOCAL_TIME)
    }

    /// The answer within `time`. One that comes late, up to as long again, still counts: nothing else was asked in between,
    /// so it can belong to this request only, and it may not be taken for the answer to the next.
    fn set_key(&mut self, request: &Request, time: Duration) -> Answer {
        let mut status = None;
        let bridge = self.mac;
        let mut see = |it: &[u8]| {
            let payload = request.confirmed_by(it).filter(|_| frame::source(it) == Some(bridge));
            status = payload.and_then(|it| it.first().copied());
            status.is_some()
        };
        let heard = match self.link.ask(request, time, Cancel::Deferred, &mut see) {
            Ok(false) => self.link.listen(time, Cancel::Deferred, &mut see),
            heard => heard,
        };
        match (heard, status) {
            (_, Some(0)) => Answer::Accepted,
            (_, Some(status)) => Answer::Refused(status),
            (Err(LinkError::NotSent(err)), None) => Answer::NotSent(err.to_string()),
            (Err(LinkError::Broken(err)), None) => Answer::Lost(err.to_string()),
            (Ok(_) | Err(LinkError::Cancelled), None) => Answer::Silent,
        }
    }

    /// The networks that the bridge is in, with their stations; `None` if it did not answer. The next attempt is then made
    /// with the other layout, because old chips know one only and new ones the other.
    pub fn networks(&mut self) -> Result<Option<Vec<Network>>, LinkError> {
        let request = Request::network_info(self.link.mac(), self.mac, self.version);
        let mut res = None;
        let bridge = self.mac;
        let heard = self.link.ask(&request, LOCAL_TIME, Cancel::Heeded, &mut |it| {
            let payload = request.confirmed_by(it).filter(|_| frame::source(it) == Some(bridge));
            res = payload.and_then(|it| request.networks(it));
            res.is_some()
        })?;
        if !heard {
            self.version = match self.version {
                Version::V0 => Version::V1,
                Version::V1 => Version::V0,
            };
        }
        Ok(res)
    }
}

/// What a status other than 0 means, after the wording of the toolkit's tools, which do not agree on all of them.
pub fn refusal(status: u8) -> &'static str {
    match status {
        0x10 => "it does not take this choice of encryption",
        0x11 => "its parameters do not allow it",
        0x12 => "the encrypted part could not be used",
        0x13 => "the remote bridge could not be reached or failed",
        0x14 => "the remote bridge's answer could not be used",
        0x15 => "the remote bridge could not decrypt it, so the DEK is probably wrong",
        _ => "no reason is known for this number",
    }
}

/// Whether a refused request may have been carried out all the same: the remote bridge answered, but not intelligibly.
pub fn is_doubtful(status: u8) -> bool {
    status == 0x14
}
