//! The traffic of /cmd/test-remote: bodies that must be refused, then tests of a device in each of its moods.

use std::time::Duration;

use serde_json::json;

use super::MODBUS_PORT;
use crate::companions;
use crate::companions::modbus::{Device, Mood};
use crate::http::Request;
use crate::lab::operation::token_of;
use crate::lab::{Lab, Stop};
use crate::refusals::{self, Bodies, MALFORMED};

const PATH: &str = "/cmd/test-remote";

/// A meter that obeys at once has connected by then.
const SOON: Duration = Duration::from_secs(1);

pub(super) const MISSING: Bodies = &[
    ("no-linktype", "{\"address\":\"sunspec.1@conformance.invalid\"}"),
    ("no-address", "{\"linktype\":\"modbus\"}"),
    ("null-address", "{\"linktype\":\"modbus\",\"address\":null}"),
];
pub(super) const WRONG_TYPES: Bodies = &[
    ("linktype-number", "{\"linktype\":5,\"address\":\"sunspec.1@conformance.invalid\"}"),
    ("address-number", "{\"linktype\":\"modbus\",\"address\":7}"),
    ("address-list", "{\"linktype\":\"modbus\",\"address\":[\"sunspec.1@conformance.invalid\"]}"),
];
pub(super) const UNKNOWN: Bodies = &[
    ("unknown-linktype", "{\"linktype\":\"carrier-pigeon\",\"address\":\"sunspec.1@conformance.invalid\"}"),
    ("empty-linktype", "{\"linktype\":\"\",\"address\":\"sunspec.1@conformance.invalid\"}"),
];
pub(super) const NO_ADDRESSES: Bodies = &[
    ("empty-address", "{\"linktype\":\"modbus\",\"address\":\"\"}"),
    ("no-map", "{\"linktype\":\"modbus\",\"address\":\"conformance.invalid\"}"),
    ("bad-unit", "{\"linktype\":\"modbus\",\"address\":\"sunspec.999@conformance.invalid\"}"),
    ("bad-port", "{\"linktype\":\"modbus\",\"address\":\"sunspec.1@conformance.invalid:99999\"}"),
];

pub(super) fn play(lab: &mut Lab<'_>) -> Result<(), Stop> {
    let device = Device::open(lab, MODBUS_PORT);
    let at = device.as_ref().map_or("conformance.invalid".into(), |it| it.address().to_string());
    let order = json!({"linktype": "modbus", "address": format!("sunspec.1@{at}")});
    refusals::door(lab, PATH, &order)?;
    if let Ok(device) = &device {
        lab.wait(SOON);
        lab.fact("uninvited", device.connections());
    }
    let time = lab.options.max_wait;
    for bodies in [MALFORMED, MISSING, WRONG_TYPES, UNKNOWN, NO_ADDRESSES] {
        refusals::bodies(lab, PATH, bodies, time)?;
    }
    lab.go_beyond(&["01", "02", "03", "04", "05", "06", "07", "08", "09", "33"])?;
    let device = device?;
    device.set(Mood::Answers, Duration::from_millis(300));
    lab.operation("found", &Request::post(PATH, &order), time)?;
    lab.fact("found", device.record());
    if let Some(token) = lab.transcript.exchanges.iter().rev().find(|it| it.label == "found").and_then(token_of) {
        lab.poll("found-later", &token)?;
    }
    device.set(Mood::Blank, Duration::ZERO);
    lab.operation("blank", &Request::post(PATH, &order), time)?;
    let nobody = format!("sunspec.1@{}", companions::deserted(lab)?);
    lab.operation("nobody", &Request::post(PATH, &json!({"linktype": "modbus", "address": nobody})), time)?;
    device.set(Mood::Silent, Duration::ZERO);
    let reply = lab.post("cancelled", PATH, &order)?;
    let Some(token) = token_of(&reply) else { return Ok(()) };
    lab.fact("visited", device.asked_within(time));
    refusals::cancel_uninvited(lab, "cancelled", &token, SOON)?;
    lab.post("cancel", "/cmd/cancel", &json!({ "token": token }))?;
    lab.follow("cancelled", &token, time)?;
    lab.fact("left", device.left_within(lab.options.timeout));
    Ok(())
}
