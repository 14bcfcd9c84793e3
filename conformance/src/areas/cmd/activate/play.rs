//! The traffic of /cmd/activate: bodies that must be refused, then the handshake with a provider in each of its moods.

use std::time::Duration;

use serde_json::{Value, json};

use super::{AREA, CLEAR, NONCE, PORT, PROVIDER, REFUSAL, RID, SERVICE, SIGNUP, providers};
use crate::companions::provider::{Mood, Provider};
use crate::http::Request;
use crate::lab::operation::token_of;
use crate::lab::{Lab, Stop};
use crate::refusals::{self, Bodies, MALFORMED};

const PATH: &str = "/cmd/activate";

/// A meter that obeys at once has connected by then.
const SOON: Duration = Duration::from_secs(1);

pub(super) const MISSING: Bodies = &[
    ("no-service", "{\"provider\":\"No such provider of conformance\"}"),
    ("no-provider", "{\"service\":\"push\"}"),
    ("null-provider", "{\"service\":\"push\",\"provider\":null}"),
];
pub(super) const WRONG: Bodies = &[
    ("service-other", "{\"service\":\"tariff\",\"provider\":\"No such provider of conformance\"}"),
    ("service-capital", "{\"service\":\"PUSH\",\"provider\":\"No such provider of conformance\"}"),
    ("service-number", "{\"service\":1,\"provider\":\"No such provider of conformance\"}"),
    ("provider-list", "{\"service\":\"push\",\"provider\":[\"No such provider of conformance\"]}"),
];
pub(super) const UNKNOWN: Bodies = &[
    ("push-unknown", "{\"service\":\"push\",\"provider\":\"No such provider of conformance\"}"),
    ("alert-unknown", "{\"service\":\"alert\",\"provider\":\"No such provider of conformance\"}"),
];

pub(super) fn play(lab: &mut Lab<'_>) -> Result<(), Stop> {
    lab.get("list/push", "/providers/push")?;
    lab.get("list/alert", "/providers/alert")?;
    let service = lab.param(SERVICE).unwrap_or("push");
    let provider = ready(lab, service, lab.param(PROVIDER).unwrap_or_default());
    // Where a service is active already, a meter that obeys too readily must not lose it.
    let name = provider.as_ref().ok().and_then(|_| lab.param(PROVIDER)).unwrap_or("No such provider of conformance");
    let order = json!({"service": service, "provider": name});
    refusals::door(lab, PATH, &order)?;
    if let Ok(provider) = &provider {
        lab.wait(SOON);
        lab.fact("uninvited", provider.connections());
    }
    for bodies in [MALFORMED, MISSING, WRONG, UNKNOWN] {
        refusals::bodies(lab, PATH, bodies, lab.options.max_wait)?;
    }
    lab.go_beyond(&["01", "02", "03", "04", "05", "06", "07", "08", "09", "26"])?;
    let provider = provider?;
    let stored = stored(service);
    let res = handshakes(lab, &provider, &order, stored);
    // Whatever happened, nothing of it stays.
    let ended = lab.put_back(|lab| {
        lab.send("end", &Request::new("DELETE", stored))?;
        lab.get("ended", stored)
    });
    refusals::look_for_secrets(lab, AREA.name, &["pw-of-conformance"]);
    res.and(ended).map(drop)
}

/// The resource that says which service is active.
fn stored(service: &str) -> &'static str {
    match service {
        "alert" => "/config/alert/reporter/web/service",
        _ => "/config/push/service",
    }
}

/// The provider, if the meter's list leads to it and no service would be lost.
fn ready(lab: &mut Lab<'_>, service: &str, name: &str) -> Result<Provider, Stop> {
    lab.need(PROVIDER)?;
    lab.need(PORT)?;
    if !["push", "alert"].contains(&service) {
        return Err(Stop::Skip(format!("--with {SERVICE}={service}: there are push and alert")));
    }
    let before = lab.get("before", stored(service))?;
    match before.result() {
        Ok(Value::String(text)) if text.is_empty() => {}
        Ok(_) => return Err(Stop::Skip(format!("a {service} service is active; end it first"))),
        Err(_) => return Err(Stop::Skip(format!("the meter does not say which {service} service is active"))),
    }
    let provider = Provider::open(lab, PORT)?;
    let list = lab.get("list/own", &format!("/providers/{service}"))?.object().unwrap_or_default();
    let control = providers(&list).into_iter().flatten().find(|it| it["name"] == name).map(|it| it["control"].clone());
    let start = format!("http://{}", provider.address());
    match control.as_ref().and_then(Value::as_str) {
        Some(url) if url == start || url.starts_with(&format!("{start}/")) => Ok(provider),
        Some(url) if url.starts_with("https:") => {
            Err(Stop::Skip(format!("the meter reaches {name} at {url}, and TLS is not spoken here")))
        }
        Some(url) => Err(Stop::Skip(format!("the meter reaches {name} at {url}, not at {start}"))),
        None => Err(Stop::Skip(format!("the meter knows no provider {name} for {service}"))),
    }
}

/// The provider's moods, the one that grants last.
fn handshakes(lab: &mut Lab<'_>, provider: &Provider, order: &Value, stored: &'static str) -> Result<(), Stop> {
    let time = lab.options.max_wait;
    let grant = json!({
        "url": format!("http://{}/data", provider.address()), "options": "json,max=9", "user": "meter",
        "pw": "pw-of-conformance", "signup": SIGNUP, "unknown": [1],
    });
    let mut moods = vec![
        ("refused", Mood::Says(200, json!({ "error": REFUSAL }))),
        ("broken", Mood::Says(500, json!({"error": "out of order"}))),
        ("nonsense", Mood::Says(200, json!(["no", "object"]))),
    ];
    if let (Some(nonce), Some(_)) = (lab.param(NONCE), lab.param(CLEAR)) {
        let challenge = json!({"nnc": nonce, "rid": RID, "unknown": true});
        moods.push(("challenged", Mood::Challenges(challenge, json!({ "error": REFUSAL }))));
        lab.fact("clear", lab.param(CLEAR).unwrap_or_default());
    }
    for (label, mood) in moods {
        provider.set(mood);
        lab.operation(label, &Request::post(PATH, order), time)?;
        lab.fact(label, provider.record());
    }
    provider.set(Mood::Silent);
    let reply = lab.post("cancelled", PATH, order)?;
    if let Some(token) = token_of(&reply) {
        lab.fact("visited", provider.asked_within(time));
        lab.post("cancel", "/cmd/cancel", &json!({ "token": token }))?;
        lab.follow("cancelled", &token, time)?;
    }
    lab.get("still-none", stored)?;
    provider.set(Mood::Says(200, grant));
    lab.operation("granted", &Request::post(PATH, order), time)?;
    lab.fact("granted", provider.record());
    lab.get("active", stored)?;
    Ok(())
}
