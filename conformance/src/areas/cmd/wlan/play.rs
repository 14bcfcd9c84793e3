//! The traffic of /cmd/wlan: bodies that must be refused, then the changes that a network of the tester's allows.

use serde_json::{Value, json};

use super::{AREA, HEX, HIDDEN, KEY, OPEN, SSID, UNREACHABLE, current, id_of, networks};
use crate::http::Request;
use crate::lab::{Lab, Stop};
use crate::refusals::{self, Bodies, MALFORMED};
use crate::transcript::Exchange;

const PATH: &str = "/cmd/wlan";
const LIST: &str = "/sys/net/wlan";

/// Numbers of rules for which no network has to change.
const DOOR: &[&str] = &["01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12", "13", "14", "15", "26"];
/// No network has this id: a meter counts from 0.
const NO_ID: u64 = 987_654;

pub(super) const MISSING: Bodies = &[
    ("no-action", r#"{"ssid":"conformance"}"#),
    ("add-no-ssid", r#"{"action":"add","key":"Q7secretQ7"}"#),
    ("select-no-id", r#"{"action":"select"}"#),
    ("forget-no-id", r#"{"action":"forget"}"#),
];
pub(super) const WRONG: Bodies = &[
    ("action-other", r#"{"action":"join","ssid":"conformance"}"#),
    ("action-number", r#"{"action":3,"ssid":"conformance"}"#),
    ("ssid-number", r#"{"action":"add","ssid":7}"#),
    ("key-list", r#"{"action":"add","ssid":"conformance","key":["Q7secretQ7"]}"#),
    ("hidden-string", r#"{"action":"add","ssid":"conformance","key":"Q7secretQ7","hidden":"yes"}"#),
    ("hex-number", r#"{"action":"add","ssid":"conformance","key":"Q7secretQ7","hex":1}"#),
    ("id-string", r#"{"action":"select","id":"0"}"#),
    ("id-negative", r#"{"action":"select","id":-1}"#),
    ("id-fraction", r#"{"action":"forget","id":0.5}"#),
];
pub(super) const SSIDS: Bodies = &[
    ("ssid-newline", r#"{"action":"add","ssid":"confor\nmance","key":"Q7secretQ7"}"#),
    ("ssid-nul", r#"{"action":"add","ssid":"confor\u0000mance","key":"Q7secretQ7"}"#),
];
pub(super) const LONG: Bodies = &[
    ("ssid-empty", r#"{"action":"add","ssid":"","key":"Q7secretQ7"}"#),
    ("ssid-33", r#"{"action":"add","ssid":"012345678901234567890123456789012","key":"Q7secretQ7"}"#),
    ("ssid-33-utf8", r#"{"action":"add","ssid":"äöüäöüäöüäöüäöüäx","key":"Q7secretQ7"}"#),
];
pub(super) const KEYS: Bodies = &[
    ("key-empty", r#"{"action":"add","ssid":"conformance","key":""}"#),
    ("key-7", r#"{"action":"add","ssid":"conformance","key":"Q7secre"}"#),
    (
        "key-64",
        r#"{"action":"add","ssid":"conformance","key":"Q7secretQ7secretQ7secretQ7secretQ7secretQ7secretQ7secretQ7secret"}"#,
    ),
    ("key-newline", r#"{"action":"add","ssid":"conformance","key":"Q7secretQ7\nssid=x"}"#),
    (
        "hex-63",
        r#"{"action":"add","ssid":"conformance","hex":true,"key":"777777777777777777777777777777777777777777777777777777777777777"}"#,
    ),
    (
        "hex-letters",
        r#"{"action":"add","ssid":"conformance","hex":true,"key":"Q7secretQ7secretQ7secretQ7secretQ7secretQ7secretQ7secretQ7secret"}"#,
    ),
];
pub(super) const UNKNOWN: Bodies = &[
    ("select-unknown", r#"{"action":"select","id":987654}"#),
    ("forget-unknown", r#"{"action":"forget","id":987654}"#),
];
/// What of these bodies must not come back.
const SECRETS: [&str; 2] = ["Q7secre", "7777777777"];

pub(super) fn play(lab: &mut Lab<'_>) -> Result<(), Stop> {
    let probe = lab.get("probe", LIST)?;
    if let Ok(why) = probe.error() {
        refusals::door(lab, PATH, &json!({"action": "select", "id": NO_ID}))?;
        return Err(Stop::Skip(format!("the meter says that it has no WLAN: {why}")));
    }
    // The first look may have begun a scan. What it shows is what everything goes back to.
    let before = lab.get("seen/first", LIST)?;
    let res = traffic(lab, &before);
    let cleaned = clean(lab, &before);
    res.and(cleaned)
}

fn traffic(lab: &mut Lab<'_>, before: &Exchange) -> Result<(), Stop> {
    refusals::door(lab, PATH, &json!({"action": "select", "id": NO_ID}))?;
    let time = lab.options.max_wait;
    for bodies in [MALFORMED, MISSING, WRONG, SSIDS, LONG, KEYS, UNKNOWN] {
        refusals::bodies(lab, PATH, bodies, time)?;
    }
    lab.get("seen/untouched", LIST)?;
    refusals::look_for_secrets(lab, AREA.name, &SECRETS);
    lab.go_beyond(DOOR)?;
    let ssid = lab.need(SSID)?;
    if networks(before).iter().any(|it| it["ssid"] == ssid) {
        return Err(Stop::Skip(format!("the meter knows {ssid} already; have it forget it, or name another")));
    }
    clean(lab, before)?;
    let key = lab.secret(KEY)?;
    // While a network changes, the meter may be away.
    lab.expect_down(true);
    let res = join(lab, ssid, key.as_deref(), current(before));
    lab.expect_down(false);
    let hex = lab.secret(HEX)?;
    let secrets: Vec<_> = [key.as_deref(), hex.as_deref()].into_iter().flatten().chain(SECRETS).collect();
    refusals::look_for_secrets(lab, AREA.name, &secrets);
    res
}

/// Everything that changes networks. `old` is the id of the one that was current.
fn join(lab: &mut Lab<'_>, ssid: &str, key: Option<&str>, old: Option<u64>) -> Result<(), Stop> {
    let wrong = format!("Q7secret{}", lab.random(12));
    change(lab, "wrong-key", &json!({"action": "add", "ssid": ssid, "key": wrong}))?;
    let nowhere = lab.param(UNREACHABLE).map_or_else(|| format!("nowhere-{}", lab.random(8)), str::to_string);
    change(lab, "nowhere", &json!({"action": "add", "ssid": nowhere, "key": wrong}))?;
    let order = |ssid: &str| match key {
        Some(key) => json!({"action": "add", "ssid": ssid, "key": key}),
        None => json!({"action": "add", "ssid": ssid}),
    };
    let seen = change(lab, "add", &order(ssid))?;
    if let (Some(old), Some(new)) = (old, id_of(&seen, ssid)) {
        change(lab, "select-old", &json!({"action": "select", "id": old}))?;
        change(lab, "select-new", &json!({"action": "select", "id": new}))?;
        change(lab, "select-back", &json!({"action": "select", "id": old}))?;
    }
    if let Some(new) = id_of(&seen, ssid) {
        let forget = Request::post(PATH, &json!({"action": "forget", "id": new}));
        lab.send("uninvited", &forget.clone().anonymous())?;
        lab.send("uninvited/bad-token", &forget.token("bm8.bm8.bm8"))?;
        lab.get("seen/uninvited", LIST)?;
        change(lab, "forget", &json!({"action": "forget", "id": new}))?;
    }
    if let Some(hex) = lab.secret(HEX)? {
        change(lab, "hex", &json!({"action": "add", "ssid": ssid, "key": hex, "hex": true}))?;
    }
    if let Some(open) = lab.param(OPEN) {
        change(lab, "open", &json!({"action": "add", "ssid": open}))?;
    }
    if let Some(hidden) = lab.param(HIDDEN) {
        let mut order = order(hidden);
        order["hidden"] = json!(true);
        change(lab, "hidden", &order)?;
    }
    Ok(())
}

/// One change, followed to its end, and the list afterwards as `seen/LABEL`.
fn change(lab: &mut Lab<'_>, label: &str, order: &Value) -> Result<Exchange, Stop> {
    lab.operation(label, &Request::post(PATH, order), lab.options.max_wait)?;
    lab.get(&format!("seen/{label}"), LIST)
}

/// Forgets what was not there before, and goes back to what was current.
fn clean(lab: &mut Lab<'_>, before: &Exchange) -> Result<(), Stop> {
    lab.put_back(|lab| {
        lab.expect_down(true);
        let wrong = differences(before, &lab.get("seen/last", LIST)?);
        for order in &wrong {
            lab.operation("clean", &Request::post(PATH, order), lab.options.max_wait)?;
        }
        if !wrong.is_empty() && !differences(before, &lab.get("seen/cleaned", LIST)?).is_empty() {
            lab.warn("the networks are not all as they were before; /sys/net/wlan shows them");
        }
        lab.expect_down(false);
        Ok(())
    })
}

/// The commands that lead from what is known now back to what was before.
fn differences(before: &Exchange, now: &Exchange) -> Vec<Value> {
    let known = networks(before);
    let strange =
        |it: &&Value| known.iter().all(|old| old["network_id"] != it["network_id"] || old["ssid"] != it["ssid"]);
    let networks = networks(now);
    let forget = networks.iter().filter(strange).map(|it| json!({"action": "forget", "id": it["network_id"]}));
    let select = current(before).filter(|old| current(now) != Some(*old));
    forget.chain(select.map(|old| json!({"action": "select", "id": old}))).collect()
}
