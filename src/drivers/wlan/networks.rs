//! What there is: the access points that were heard, and the networks that the supplicant knows.
//! It changes nothing; a scan that it starts is all that anybody notices.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::control::{Control, Trouble};
use super::text::{self, AccessPoint, Network};
use super::{Failure, TIMINGS, Timings};
use crate::config;
use crate::sys::clock;

/// Seconds after which a list of access points is too old to be shown. One scan may miss some, so whoever asks again gets
/// another soon.
const MAX_AGE: u64 = 15;
/// Access points and networks that are listed at most.
const MAX_LISTED: usize = 1024;
/// How long a reply may take for somebody who only looks, and who gets an answer within ten seconds in any case.
const PATIENCE: Duration = Duration::from_secs(2);
/// What to say of an access point: id, BSSID, frequency, level, age, flags and SSID (`WPA_BSS_MASK_*` in the
/// supplicant's wpa_ctrl.h).
const MASK: &str = "0x1a87";

/// `/sys/net/wlan`: `{"ap": [...], "net": [...]}`. A list of access points that is older than 15 seconds is
/// renewed first, which takes up to five seconds.
pub fn view(settings: &config::Wlan) -> Result<Value, Failure> {
    view_within(settings, &TIMINGS)
}

pub(super) fn view_within(settings: &config::Wlan, timings: &Timings) -> Result<Value, Failure> {
    let never = || false;
    let control = Control::open(&settings.control, timings.reply.min(PATIENCE), &never)?;
    let access_points = fresh_access_points(&control, timings)?;
    let networks = list(&control)?;
    let ap = |it: &AccessPoint| {
        json!({
            "bssid": it.bssid,
            "flags": it.flags,
            "frequency": it.frequency,
            "signal_level": it.level,
            "ssid": String::from_utf8_lossy(&it.ssid),
        })
    };
    let net = |it: &Network| {
        json!({
            "network_id": it.id,
            "bssid": it.bssid,
            "flags": it.flags,
            "ssid": String::from_utf8_lossy(&it.ssid),
        })
    };
    Ok(json!({
        "ap": access_points.iter().map(ap).collect::<Vec<_>>(),
        "net": networks.iter().map(net).collect::<Vec<_>>(),
    }))
}

/// Access points as of the last seconds, if a scan can be had.
fn fresh_access_points(control: &Control<'_>, timings: &Timings) -> Result<Vec<AccessPoint>, Trouble> {
    let is_fresh = |list: &[AccessPoint]| list.iter().any(|it| it.age <= MAX_AGE);
    let mut list = access_points(control)?;
    if is_fresh(&list) {
        return Ok(list);
    }
    match control.order("SCAN") {
        Ok(()) => {}
        // One is under way; its results will do.
        Err(Trouble::Refused(_, answer)) if answer == "FAIL-BUSY" => {}
        // The radio is off, say; what was heard before it was is all there is.
        Err(Trouble::Refused(..)) => return Ok(list),
        Err(trouble) => return Err(trouble),
    }
    let until = clock::boottime() + timings.scan;
    while !is_fresh(&list) && clock::boottime() < until {
        thread::sleep(timings.poll);
        list = access_points(control)?;
    }
    Ok(list)
}

/// The access points that the supplicant remembers. A reply holds as many as have room in it.
pub(super) fn access_points(control: &Control<'_>) -> Result<Vec<AccessPoint>, Trouble> {
    let mut res: Vec<AccessPoint> = Vec::new();
    while res.len() < MAX_LISTED {
        let from = res.last().map_or(0, |it| it.id.saturating_add(1));
        let page = control.read(&format!("BSS RANGE={from}- MASK={MASK}"), text::access_points)?;
        // Ids grow, so this ends whatever the other side does.
        let page = page.into_iter().filter(|it| from <= it.id);
        let before = res.len();
        res.extend(page);
        if res.len() == before {
            break;
        }
    }
    Ok(res)
}

/// The networks that the supplicant knows, a reply's worth at a time.
pub(super) fn list(control: &Control<'_>) -> Result<Vec<Network>, Trouble> {
    let mut res = control.read("LIST_NETWORKS", text::networks)?;
    while let Some(last) = res.last().map(|it| it.id)
        && res.len() < MAX_LISTED
    {
        let page = control.read(&format!("LIST_NETWORKS LAST_ID={last}"), text::networks)?;
        // A supplicant from before 2.4 does not know LAST_ID and begins anew.
        let before = res.len();
        res.extend(page.into_iter().filter(|it| last < it.id));
        if res.len() == before {
            break;
        }
    }
    Ok(res)
}
