//! Adding, selecting and forgetting networks. A network is tried before anything is saved; one that does not work
//! leaves no trace. It knows neither addresses nor who asked.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::control::{Control, Trouble};
use super::text::{Network, Strange, value};
use super::undo::{self, Trail, Turn};
use super::{Failure, Key, Ssid, TIMINGS, Timings, file, networks, why};
use crate::config;
use crate::drivers::Watch;
use crate::sys::clock;

/// How far a change is once the meter is associated; the rest is saving.
const ASSOCIATED: f64 = 0.9;

/// What is to be changed.
pub enum Change {
    /// Make a network known and join it. One of the same name is replaced.
    Add {
        /// Its name.
        ssid: Ssid,
        /// What opens it.
        key: Key,
        /// Whether it does not tell its name, so that it must be asked for.
        hidden: bool,
    },
    /// Join a known network: its `network_id`.
    Select(u32),
    /// Make a network unknown: its `network_id`.
    Forget(u32),
}

/// Opens the supplicant's configuration as it is on disk, for whoever may not do so himself.
pub type Saved<'a> = &'a dyn Fn() -> io::Result<File>;

/// Makes a change, and returns the id of the network that is current because of it. `marker` is a file of the caller's
/// state folder; it exists while a change is under way, for [`recover`] to find.
pub fn change(
    settings: &config::Wlan,
    marker: &Path,
    saved: Saved<'_>,
    change: &Change,
    watch: &dyn Watch,
) -> Result<Option<u32>, Failure> {
    change_within(settings, marker, saved, change, watch, &TIMINGS)
}

/// Undoes a change that a former process left unfinished, which only the marker tells; without one it does nothing.
/// A supplicant that starts after this service, has not opened its socket to everybody yet, or is too busy to answer, is
/// waited for; if it does not come the marker stays, and the next change recovers first.
pub fn recover(settings: &config::Wlan, marker: &Path) -> Result<(), Failure> {
    recover_patiently(settings, marker, &TIMINGS)
}

pub(super) fn recover_patiently(settings: &config::Wlan, marker: &Path, timings: &Timings) -> Result<(), Failure> {
    let until = clock::boottime() + timings.start;
    let never = || false;
    loop {
        let attempt = Turn::take(&settings.control).and_then(|_turn| recover_within(settings, marker, timings, &never));
        match attempt {
            // A change is under way, and it has recovered first.
            Err(Failure::Busy) => return Ok(()),
            Err(Failure::Supplicant(_)) if clock::boottime() < until => thread::sleep(timings.poll),
            res => return res,
        }
    }
}

fn recover_within(
    settings: &config::Wlan,
    marker: &Path,
    timings: &Timings,
    cancelled: &dyn Fn() -> bool,
) -> Result<(), Failure> {
    if marker.exists() {
        undo::reload(&settings.control, timings, cancelled)?;
        undo::unmark(marker);
        log::info!("a change of the WLAN was interrupted and is undone: wpa_supplicant has read its file again");
    }
    Ok(())
}

/// What every step needs.
pub(super) struct Course<'a> {
    pub control: &'a Control<'a>,
    settings: &'a config::Wlan,
    saved: Saved<'a>,
    watch: &'a dyn Watch,
    timings: &'a Timings,
    /// The network works and is being saved: too late to be cancelled.
    saving: &'a Cell<bool>,
    /// The networks before anything was changed.
    before: Vec<Network>,
}

/// Why a course ended early.
pub(super) struct Broken {
    failure: Failure,
    /// Whether the last question may or may not have taken effect.
    unclear: bool,
}

impl From<Trouble> for Broken {
    fn from(trouble: Trouble) -> Self {
        Broken { unclear: trouble.is_unclear(), failure: trouble.into() }
    }
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Broken { failure, unclear: false }
    }
}

pub(super) fn change_within(
    settings: &config::Wlan,
    marker: &Path,
    saved: Saved<'_>,
    change: &Change,
    watch: &dyn Watch,
    timings: &Timings,
) -> Result<Option<u32>, Failure> {
    let _turn = Turn::take(&settings.control)?;
    recover_within(settings, marker, timings, &|| watch.cancelled())?;
    let saving = Cell::new(false);
    let cancelled = || !saving.get() && watch.cancelled();
    let control = Control::open(&settings.control, timings.reply, &cancelled)?;
    let before = networks::list(&control)?;
    let course = Course { control: &control, settings, saved, watch, timings, saving: &saving, before };
    let known = |id: u32| match course.before.iter().find(|it| it.id == id && !it.is_group()) {
        Some(it) => Ok(it),
        None => Err(Failure::Member("id", format!("there is no network {id}; see net of /sys/net/wlan."))),
    };
    let mut trail = Trail::default();
    let res = match change {
        Change::Add { ssid, key, hidden } => {
            undo::mark(marker)?;
            add(&course, ssid, key, *hidden, &mut trail).map(Some)
        }
        Change::Select(id) => {
            let network = known(*id)?;
            undo::mark(marker)?;
            select(&course, network, &mut trail).map(Some)
        }
        Change::Forget(id) => {
            let network = known(*id)?;
            undo::mark(marker)?;
            // Nothing gives a network back but the file in which it still is.
            forget(&course, network).map(|()| None).map_err(|it| Broken { unclear: true, ..it })
        }
    };
    let Err(Broken { failure, unclear }) = res else {
        undo::unmark(marker);
        return res.map_err(|it| it.failure);
    };
    let undone = match unclear {
        false => put_back(settings, timings, &course.before, &trail),
        true => undo::reload(&settings.control, timings, &|| false),
    };
    match undone {
        Ok(()) => {}
        // It starts again with what its file says, which is as before.
        Err(Trouble::NotRunning(_)) if !trail.saved => {}
        Err(trouble) => return Err(Failure::Stuck(Box::new(failure), trouble)),
    }
    undo::unmark(marker);
    Err(failure)
}

/// Puts everything back step by step, or with a reload if a step fails.
fn put_back(settings: &config::Wlan, timings: &Timings, before: &[Network], trail: &Trail) -> Result<(), Trouble> {
    // A connection of its own: the other one heeds the cancel flag.
    let never = || false;
    let control = Control::open(&settings.control, timings.reply, &never)?;
    undo::put_back(&control, before, trail).or_else(|trouble| {
        log::warn!("{trouble} It reads its file again.");
        undo::reload(&settings.control, timings, &|| false)
    })
}

fn add(course: &Course<'_>, ssid: &Ssid, key: &Key, hidden: bool, trail: &mut Trail) -> Result<u32, Broken> {
    let control = course.control;
    let sae = matches!(key, Key::Passphrase(_)) && knows_sae(control)?;
    let id = control.read("ADD_NETWORK", |it| it.trim().parse::<u32>().map_err(|_| Strange))?;
    trail.added = Some(id);
    // Bare digits: a name in them needs no quotes and no escapes.
    control.order(&format!("SET_NETWORK {id} ssid {}", ssid.hex()))?;
    if hidden {
        control.order(&format!("SET_NETWORK {id} scan_ssid 1"))?;
    }
    match key {
        Key::Open => control.order(&format!("SET_NETWORK {id} key_mgmt NONE"))?,
        Key::Passphrase(key) => {
            // A method that the radio does not have would leave a network that never associates.
            if sae {
                control.order(&format!("SET_NETWORK {id} key_mgmt WPA-PSK SAE"))?;
                // WPA3 insists on protected management frames, WPA2 must be able to do without.
                control.order(&format!("SET_NETWORK {id} ieee80211w 1"))?;
            } else {
                control.order(&format!("SET_NETWORK {id} key_mgmt WPA-PSK"))?;
            }
            // Up to the last quote everything belongs to the passphrase, so that quotes inside are no trouble.
            let quoted = super::Hidden::from([b"\"", key.expose(), b"\""].concat());
            control.order_secret(&format!("SET_NETWORK {id} psk "), quoted.expose())?;
        }
        Key::Hex(key) => {
            // SAE needs the passphrase itself.
            control.order(&format!("SET_NETWORK {id} key_mgmt WPA-PSK"))?;
            control.order_secret(&format!("SET_NETWORK {id} psk "), key.expose())?;
        }
    }
    associate(course, id, &why::Wanted::New(ssid, key))?;
    save(course, trail, "key", |it| it.ssid == ssid.bytes() && !it.disabled && it.has(key))?;
    let older: Vec<u32> =
        course.before.iter().filter(|it| !it.is_group() && it.ssid == ssid.bytes()).map(|it| it.id).collect();
    // The new one works and is saved; an older one that stays, disabled as it is, does no harm.
    if !older.is_empty()
        && let Err(trouble) = remove(control, &older)
    {
        log::warn!("an older network of the same name stays: {trouble}");
    }
    Ok(id)
}

fn remove(control: &Control<'_>, ids: &[u32]) -> Result<(), Trouble> {
    for id in ids {
        control.order(&format!("REMOVE_NETWORK {id}"))?;
    }
    control.order("SAVE_CONFIG")
}

/// Whether WPA3's handshake is possible: the radio knows it, and a cipher for the management frames that it insists on.
fn knows_sae(control: &Control<'_>) -> Result<bool, Trouble> {
    let lists = |what: &str, word: &str| match control.ask(&format!("GET_CAPABILITY {what}")) {
        Ok(reply) => Ok(reply.split_whitespace().any(|it| it == word)),
        // An older supplicant does not know the question, and so not the answer either.
        Err(Trouble::Refused(..)) => Ok(false),
        Err(trouble) => Err(trouble),
    };
    Ok(lists("key_mgmt", "SAE")? && lists("group_mgmt", "AES-128-CMAC")?)
}

fn select(course: &Course<'_>, network: &Network, trail: &mut Trail) -> Result<u32, Broken> {
    associate(course, network.id, &why::Wanted::Known(network))?;
    save(course, trail, "id", |it| it.ssid == network.ssid && !it.disabled)?;
    Ok(network.id)
}

fn forget(course: &Course<'_>, network: &Network) -> Result<(), Broken> {
    let control = course.control;
    course.saving.set(true);
    control.order(&format!("REMOVE_NETWORK {}", network.id))?;
    let rest = networks::list(control)?;
    // Selecting a network had disabled the others; now one of them is to bring the meter back.
    if !rest.is_empty() && (network.is_current() || !rest.iter().any(Network::is_enabled)) {
        control.order("ENABLE_NETWORK all")?;
        control.order("REASSOCIATE")?;
    }
    let path = &course.settings.config;
    let not_saved = |reason: String| Failure::Member("id", format!("{}: {reason}", path.display()));
    order_save(control)?.map_err(not_saved)?;
    let same = |it: &[u8]| it == network.ssid;
    let left = rest.iter().filter(|it| same(&it.ssid)).count();
    match (course.saved)().and_then(file::networks) {
        Ok(list) if list.iter().filter(|it| same(&it.ssid)).count() <= left => Ok(()),
        Ok(_) => Err(not_saved("wpa_supplicant did not take the network out.".into()).into()),
        Err(err) => Err(not_saved(format!("{err}.")).into()),
    }
}

/// Selects a network and waits until the meter is associated with it.
fn associate(course: &Course<'_>, id: u32, wanted: &why::Wanted<'_>) -> Result<(), Broken> {
    let Course { control, watch, timings, .. } = course;
    let begun = clock::boottime();
    control.order(&format!("SELECT_NETWORK {id}"))?;
    let mut strikes = why::Strikes::default();
    let mut look_at = timings.look;
    loop {
        if watch.cancelled() {
            return Err(Failure::Cancelled.into());
        }
        let status = control.ask("STATUS")?;
        let state = value(&status, "wpa_state").unwrap_or_default();
        if state == "COMPLETED" && value(&status, "id").is_some_and(|it| it.parse() == Ok(id)) {
            watch.progress(ASSOCIATED);
            return Ok(());
        }
        let list = networks::list(control)?;
        let Some(network) = list.iter().find(|it| it.id == id) else {
            return Err(Failure::Member(wanted.member(), "somebody else removed the network meanwhile.".into()).into());
        };
        strikes.note(network.is_suspended());
        let waited = clock::boottime() - begun;
        if strikes.are_enough() || timings.associate <= waited {
            return Err(why::not_associated(control, wanted, &strikes, state, waited)?.into());
        }
        if look_at <= waited {
            look_at += timings.look;
            if let Some(failure) = why::mismatch(control, wanted, waited)? {
                return Err(failure.into());
            }
        }
        watch.progress(ASSOCIATED * share(waited, timings.associate));
        thread::sleep(timings.poll);
    }
}

fn share(part: Duration, whole: Duration) -> f64 {
    (part.as_secs_f64() / whole.as_secs_f64()).min(1.0)
}

/// Has the supplicant write its file, and looks into it: a network that it cannot use it leaves out and says OK.
fn save(
    course: &Course<'_>,
    trail: &mut Trail,
    member: &'static str,
    is_it: impl Fn(&file::Block) -> bool,
) -> Result<(), Broken> {
    let path = &course.settings.config;
    let not_saved = |reason: String| Broken::from(Failure::NotSaved(path.clone(), reason));
    course.saving.set(true);
    trail.saved = true;
    order_save(course.control)?.map_err(|reason| {
        trail.saved = false;
        not_saved(reason)
    })?;
    match (course.saved)().and_then(file::networks) {
        Ok(list) if list.iter().any(is_it) => Ok(()),
        Ok(_) => Err(not_saved(format!("wpa_supplicant left the network or its {member} out."))),
        Err(err) => Err(not_saved(format!("{err}."))),
    }
}

/// The inner result is the supplicant's refusal, in words.
fn order_save(control: &Control<'_>) -> Result<Result<(), String>, Trouble> {
    match control.order("SAVE_CONFIG") {
        Ok(()) => Ok(Ok(())),
        Err(Trouble::Refused(..)) => {
            Ok(Err("wpa_supplicant may not write it; set update_config=1 there and check the folder's rights.".into()))
        }
        Err(trouble) => Err(trouble),
    }
}
