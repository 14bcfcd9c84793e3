//! Why the meter is not associated: what the supplicant saw meanwhile, in words that say what to do.
//! It guesses where the protocol does not tell, and says so.

use std::time::Duration;

use super::control::{Control, Trouble};
use super::text::{AccessPoint, Network};
use super::{Failure, Key, Ssid, networks};

/// Failed authentications in a row that show a wrong key; a single one may be a bad moment.
const ENOUGH: u32 = 2;

/// The network that was tried.
pub(super) enum Wanted<'a> {
    /// One that a request describes.
    New(&'a Ssid, &'a Key),
    /// One that was known.
    Known(&'a Network),
}

impl Wanted<'_> {
    fn ssid(&self) -> &[u8] {
        match self {
            Wanted::New(ssid, _) => ssid.bytes(),
            Wanted::Known(network) => &network.ssid,
        }
    }

    /// The member of the request that names it.
    pub fn member(&self) -> &'static str {
        match self {
            Wanted::New(..) => "ssid",
            Wanted::Known(_) => "id",
        }
    }

    /// The member of the request that stands for its key, with what to do if that is wrong.
    fn wrong_key(&self) -> (&'static str, &'static str) {
        match self {
            Wanted::New(..) => ("key", "the key is probably wrong."),
            Wanted::Known(_) => ("id", "its key is probably wrong; add it again with the right one."),
        }
    }
}

/// Counts how often authentication failed: the supplicant suspends a network for some seconds each time.
#[derive(Default)]
pub(super) struct Strikes {
    count: u32,
    suspended: bool,
}

impl Strikes {
    /// Notes whether the network is suspended now.
    pub fn note(&mut self, suspended: bool) {
        if suspended && !self.suspended {
            self.count += 1;
        }
        self.suspended = suspended;
    }

    /// Whether going on is of no use.
    pub fn are_enough(&self) -> bool {
        ENOUGH <= self.count
    }
}

/// What can never work, however long one waits: the network and the access points of its name do not go together.
pub(super) fn mismatch(
    control: &Control<'_>,
    wanted: &Wanted<'_>,
    waited: Duration,
) -> Result<Option<Failure>, Trouble> {
    let heard = heard(control, wanted, waited)?;
    Ok(mismatch_of(wanted, &heard).map(|reason| failure("key", reason)))
}

/// The reason to give after `waited`; `state` is the supplicant's `wpa_state`.
pub(super) fn not_associated(
    control: &Control<'_>,
    wanted: &Wanted<'_>,
    strikes: &Strikes,
    state: &str,
    waited: Duration,
) -> Result<Failure, Trouble> {
    let heard = heard(control, wanted, waited)?;
    let (member, reason) = reason(wanted, &heard, strikes.count, state);
    Ok(failure(member, &reason))
}

fn failure(member: &'static str, reason: &str) -> Failure {
    Failure::Member(member, format!("{reason} The WLAN is as before."))
}

/// The access points of that name that were heard since it was tried.
fn heard(control: &Control<'_>, wanted: &Wanted<'_>, waited: Duration) -> Result<Vec<AccessPoint>, Trouble> {
    let mut list = networks::access_points(control)?;
    list.retain(|it| it.ssid == wanted.ssid() && it.age <= waited.as_secs());
    Ok(list)
}

fn mismatch_of(wanted: &Wanted<'_>, heard: &[AccessPoint]) -> Option<&'static str> {
    let Wanted::New(_, key) = wanted else { return None };
    let all = |test: fn(&AccessPoint) -> bool| !heard.is_empty() && heard.iter().all(test);
    match key {
        Key::Open if all(is_encrypted) => Some("missing; the access point wants one."),
        Key::Open => None,
        _ if all(|it| !is_encrypted(it)) => Some("the access point takes none; leave it out."),
        Key::Hex(_) if all(is_wpa3_only) => Some("the access point speaks WPA3 only, which needs the passphrase."),
        _ => None,
    }
}

fn reason(wanted: &Wanted<'_>, heard: &[AccessPoint], strikes: u32, state: &str) -> (&'static str, String) {
    let is_open = matches!(wanted, Wanted::New(_, Key::Open));
    if strikes > 0 && !is_open {
        let (member, text) = wanted.wrong_key();
        return (member, format!("the access point did not accept it; {text}"));
    }
    if state == "INTERFACE_DISABLED" {
        return (wanted.member(), "the meter's radio is switched off.".into());
    }
    if heard.is_empty() {
        return (wanted.member(), "no access point with that name was heard.".into());
    }
    if let Some(reason) = mismatch_of(wanted, heard) {
        return ("key", reason.into());
    }
    let begin = "the access point was heard but did not let the meter in";
    if is_open {
        return ("ssid", format!("{begin}; it may be too far away."));
    }
    let (member, text) = wanted.wrong_key();
    (member, format!("{begin}; it is too far away, or {text}"))
}

fn is_encrypted(it: &AccessPoint) -> bool {
    ["WPA", "RSN", "WEP", "SAE", "OWE"].iter().any(|word| it.flags.contains(word))
}

fn is_wpa3_only(it: &AccessPoint) -> bool {
    it.flags.contains("SAE") && !it.flags.contains("PSK")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_heard_makes_the_reason() {
        #[track_caller]
        fn check(wanted: &Wanted<'_>, flags: &[&str], strikes: u32, state: &str, expect: &str) {
            let ap = |flags: &&str| AccessPoint {
                id: 1,
                bssid: String::new(),
                frequency: 2412,
                level: -50,
                age: 0,
                flags: flags.to_string(),
                ssid: b"x".to_vec(),
            };
            let heard: Vec<_> = flags.iter().map(ap).collect();
            let (member, reason) = reason(wanted, &heard, strikes, state);
            assert!(format!("{member}: {reason}").starts_with(expect), "{member}: {reason}\nexpected {expect}");
        }
        let ssid = Ssid::parse("x").unwrap();
        let (open, pass, hex) =
            (Key::Open, Key::passphrase(b"12345678").unwrap(), Key::hex(&b"0123".repeat(16)).unwrap());
        let known = Network { id: 1, ssid: b"x".to_vec(), bssid: "any".into(), flags: String::new() };
        let known = Wanted::Known(&known);
        let new = |key| Wanted::New(&ssid, key);
        let (wpa2, wpa3, plain) = ("[WPA2-PSK-CCMP][ESS]", "[WPA2-SAE-CCMP][ESS]", "[ESS]");

        check(
            &new(&pass),
            &[wpa2],
            1,
            "SCANNING",
            "key: the access point did not accept it; the key is probably wrong",
        );
        check(&known, &[wpa2], 2, "SCANNING", "id: the access point did not accept it; its key is probably wrong");
        check(&new(&pass), &[], 0, "SCANNING", "ssid: no access point with that name was heard");
        check(&known, &[], 0, "SCANNING", "id: no access point with that name was heard");
        check(&new(&pass), &[], 0, "INTERFACE_DISABLED", "ssid: the meter's radio is switched off");
        check(&new(&open), &[wpa2], 0, "SCANNING", "key: missing; the access point wants one");
        check(&new(&open), &[wpa2, plain], 0, "SCANNING", "ssid: the access point was heard");
        check(&new(&pass), &[plain], 0, "SCANNING", "key: the access point takes none");
        check(&new(&hex), &[wpa3], 0, "SCANNING", "key: the access point speaks WPA3 only");
        check(&new(&pass), &[wpa3], 0, "SCANNING", "key: the access point was heard but did not let the meter in");
        check(&known, &[wpa2], 0, "SCANNING", "id: the access point was heard but did not let the meter in");
    }

    #[test]
    fn a_suspension_counts_once_however_long_it_lasts() {
        let mut strikes = Strikes::default();
        for suspended in [false, true, true, true, false] {
            strikes.note(suspended);
        }
        assert!(!strikes.are_enough());
        strikes.note(true);
        assert!(strikes.are_enough());
    }
}
