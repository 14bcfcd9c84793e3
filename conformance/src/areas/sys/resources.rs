//! The read-only neighbours of the commands that clients ask for: their shape, where a meter serves them. One that it does
//! not serve is missed, one that it has no part for says so.

use serde_json::Value;

use crate::catalogue::Area;
use crate::danger::Class;
use crate::evidence::Evidence;
use crate::evidence::status::is_decimal;
use crate::http::Request;
use crate::lab::{Lab, Stop};
use crate::transcript::Exchange;
use crate::verdict::{Finding, Rule};

/// See the module.
pub const AREA: Area =
    Area { name: "sys/resources", class: Class::Safe, touches: "reads /sys", params: &[], play, rules: RULES };

const RESOURCES: [&str; 9] = ["time", "uptime", "boot", "reboot", "version", "sn", "model", "net/wlan", "db"];
/// Seconds by which two clocks may differ over a few requests.
const DRIFT: f64 = 2.0;

fn play(lab: &mut Lab<'_>) -> Result<(), Stop> {
    for name in RESOURCES {
        lab.get(name, &format!("/sys/{name}"))?;
        lab.send(&format!("anonymous/{name}"), &Request::get(&format!("/sys/{name}")).anonymous())?;
    }
    for name in ["boot/reason", "boot/time", "db/max-registers", "db/level", "db/level/0", "db/level/0/interval"] {
        lab.get(&format!("below/{name}"), &format!("/sys/{name}"))?;
    }
    lab.get("below-nothing", "/sys/boot/no-such-member")?;
    lab.get("later/uptime", "/sys/uptime")?;
    lab.get("later/time", "/sys/time")?;
    Ok(())
}

const RULES: &[Rule] = &[
    Rule::should("sys/resources/01", "WebAPI /sys/time", "/sys/time is Unix time as a decimal string.", |ev| {
        let (it, value) = served(ev, "time")?;
        it.want(value.as_str().is_some_and(is_decimal), "`result` must be a decimal string")?;
        Ok(Finding::Kept)
    }),
    Rule::should("sys/resources/02", "WebAPI /sys/time", "/sys/time goes on like the tester's own clock.", |ev| {
        let (before, one) = served(ev, "time")?;
        let (after, two) = served(ev, "later/time")?;
        let read = |it: &Value| it.as_str()?.parse::<f64>().ok();
        let Some((one, two)) = read(&one).zip(read(&two)) else {
            return Err(Finding::NoEvidence("/sys/time is no decimal string".into()));
        };
        // Between the two answers lies what the tester waited for both.
        let (least, most) = (after.at - before.at - before.took, after.at + after.took - before.at);
        let went = two - one;
        after
            .want(least - DRIFT <= went && went <= most + DRIFT, format!("it went on by {went:.3} s in {most:.3} s"))?;
        Ok(Finding::Kept)
    }),
    Rule::should("sys/resources/03", "WebAPI /sys/uptime", "/sys/uptime is a number of seconds that grows.", |ev| {
        let (it, before) = served(ev, "uptime")?;
        it.want(before.as_f64().is_some_and(|it| 0.0 <= it), "`result` must be a number from 0")?;
        let (it, after) = served(ev, "later/uptime")?;
        it.want(before.as_f64() <= after.as_f64(), format!("it was {before} before"))?;
        Ok(Finding::Kept)
    }),
    Rule::should(
        "sys/resources/04",
        "WebAPI /sys/boot",
        "/sys/boot holds a string `reason`, `time` as a decimal string or null, and `backup_power_ok` as a boolean.",
        |ev| {
            let (it, value) = served(ev, "boot")?;
            it.want(value["reason"].is_string(), "`reason` must be a string")?;
            let time = value.get("time").is_none_or(|it| it.is_null() || it.as_str().is_some_and(is_decimal));
            it.want(time, "`time` must be a decimal string or null")?;
            it.want(value.get("backup_power_ok").is_none_or(Value::is_boolean), "`backup_power_ok` must be a boolean")?;
            Ok(Finding::Kept)
        },
    ),
    Rule::should("sys/resources/05", "WebAPI /sys/reboot", "/sys/reboot is a boolean.", |ev| {
        let (it, value) = served(ev, "reboot")?;
        it.want(value.is_boolean(), "`result` must be true or false")?;
        Ok(Finding::Kept)
    }),
    Rule::should("sys/resources/06", "WebAPI /sys/version", "/sys/version is an object of strings.", |ev| {
        let (it, value) = served(ev, "version")?;
        let strings = value.as_object().is_some_and(|it| it.values().all(Value::is_string));
        it.want(strings, "`result` must be an object of strings")?;
        Ok(Finding::Kept)
    }),
    Rule::should("sys/resources/07", "WebAPI /sys/sn, /sys/model", "/sys/sn and /sys/model are strings.", |ev| {
        for name in ["sn", "model"] {
            let (it, value) = served(ev, name)?;
            it.want(value.is_string(), "`result` must be a string")?;
        }
        Ok(Finding::Kept)
    }),
    Rule::should(
        "sys/resources/08",
        "WebAPI /sys/net/wlan, ap",
        "/sys/net/wlan lists access points in `ap`: `bssid`, `flags`, `frequency`, `signal_level`, `ssid`.",
        |ev| {
            wlan(ev, "ap", |it| {
                let strings = ["bssid", "flags", "ssid"].iter().all(|name| it[*name].is_string());
                strings && ["frequency", "signal_level"].iter().all(|name| it[*name].is_i64())
            })
        },
    ),
    Rule::should(
        "sys/resources/09",
        "WebAPI /sys/net/wlan, net",
        "/sys/net/wlan lists known networks in `net`: an integer `network_id` and strings `bssid`, `flags`, `ssid`.",
        |ev| {
            wlan(ev, "net", |it| {
                it["network_id"].is_u64() && ["bssid", "flags", "ssid"].iter().all(|name| it[*name].is_string())
            })
        },
    ),
    Rule::should(
        "sys/resources/10",
        "WebAPI /sys/db",
        "/sys/db holds `max-registers` and `level`: `head` (decimal string or null), `interval`, `row-count`, `volatile`.",
        |ev| {
            let (it, value) = served(ev, "db")?;
            it.want(value["max-registers"].as_u64().is_some_and(|it| 1 <= it), "`max-registers` must be at least 1")?;
            let levels = value["level"].as_array().ok_or_else(|| it.broken("`level` must be an array"))?;
            for level in levels {
                let head = level["head"].is_null() || level["head"].as_str().is_some_and(is_decimal);
                let numbers = level["interval"].is_u64() && level["row-count"].is_u64();
                it.want(head && numbers && level["volatile"].is_boolean(), format!("{level} is no level"))?;
            }
            Ok(Finding::Kept)
        },
    ),
    Rule::should(
        "sys/resources/11",
        "WebAPI /sys, sub-resources",
        "A path that goes on names a member or an element, and answers with just that.",
        |ev| {
            for it in ev.all("below/")? {
                let path = it.label.trim_start_matches("below/");
                let (root, rest) = path.split_once('/').unwrap_or((path, ""));
                let Ok((_, whole)) = served(ev, root) else { continue };
                let Some(part) = whole.pointer(&format!("/{rest}")) else { continue };
                let value = it.result()?;
                // The newest row moves on by itself.
                let same = &value == part || root == "db" && kind(&value) == kind(part);
                it.want(same, format!("in /sys/{root} it was {part}"))?;
            }
            Ok(Finding::Kept)
        },
    ),
    Rule::choice("sys/resources/12", "documents silent", "A member that is not there is an error, or a 404.", |ev| {
        served(ev, "boot")?;
        ev.get("below-nothing")?.declined()
    }),
    Rule::must(
        "sys/resources/13",
        "WebAPI /sys, 401",
        "Without a login what a meter tells of itself is a 401.",
        |ev| {
            for it in ev.all("anonymous/")? {
                // What is not served at all need not tell whether there is a login.
                if it.reply()?.status != 404 {
                    it.unauthorized()?;
                }
            }
            Ok(Finding::Kept)
        },
    ),
];

/// The value of a resource, if the meter has what it tells of.
fn served<'a>(ev: &Evidence<'a>, label: &str) -> Result<(&'a Exchange, Value), Finding> {
    let it = ev.get(label)?;
    let reply = it.reply()?;
    it.want(reply.status != 404, "clients ask for this resource, and it is not served")?;
    if reply.status == 200
        && let Some(Value::String(why)) = it.object()?.get("error")
    {
        return Err(Finding::NoEvidence(format!("the meter does not have it: {why}")));
    }
    Ok((it, it.result()?))
}

fn wlan(ev: &Evidence<'_>, list: &str, fits: fn(&Value) -> bool) -> Result<Finding, Finding> {
    if ev.get("net/wlan")?.reply()?.status == 404 {
        return Err(Finding::NoEvidence("not served: this meter may have no WLAN".into()));
    }
    let (it, value) = served(ev, "net/wlan")?;
    let items = value[list].as_array().ok_or_else(|| it.broken(format!("`{list}` must be an array")))?;
    for item in items {
        it.want(fits(item), format!("{item} is no element of `{list}`"))?;
    }
    Ok(Finding::Kept)
}

/// The shape of a value, as far as a second look can be compared with a first one.
fn kind(value: &Value) -> String {
    match value {
        Value::Object(it) => it.keys().cloned().collect::<Vec<_>>().join(","),
        Value::Array(it) => it.len().to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use crate::evidence::testing::{broken, judge, kept, untested};

    #[track_caller]
    fn check(id: &str, label: &str, result: &str, good: bool) {
        let found = judge(id, &[(label, 200, &format!("{{\"result\":{result}}}"))]);
        if good { kept(found) } else { broken(found) }
    }

    #[test]
    fn every_resource_has_its_shape() {
        check("sys/resources/01", "time", r#""1679104389.095469""#, true);
        check("sys/resources/01", "time", "1679104389.095469", false);
        check("sys/resources/01", "time", r#""1.6e9""#, false);
        check("sys/resources/04", "boot", r#"{"reason":"x","time":null}"#, true);
        check("sys/resources/04", "boot", r#"{"reason":"x","time":1677287880.35}"#, false);
        check("sys/resources/05", "reboot", "false", true);
        check("sys/resources/05", "reboot", "0", false);
        check("sys/resources/06", "version", r#"{"fw":"4.5","kernel":"5.15"}"#, true);
        check("sys/resources/06", "version", r#"{"fw":4.5}"#, false);
        check(
            "sys/resources/09",
            "net/wlan",
            r#"{"net":[{"network_id":0,"bssid":"any","flags":"","ssid":"x"}]}"#,
            true,
        );
        check(
            "sys/resources/09",
            "net/wlan",
            r#"{"net":[{"network_id":"0","bssid":"any","flags":"","ssid":"x"}]}"#,
            false,
        );
        let level = |head: &str| {
            format!(
                "{{\"max-registers\":64,\"level\":[{{\"head\":{head},\"interval\":1,\"row-count\":1,\"volatile\":true}}]}}"
            )
        };
        check("sys/resources/10", "db", &level("null"), true);
        check("sys/resources/10", "db", &level("\"1726686333\""), true);
        check("sys/resources/10", "db", &level("1726686333"), false);
    }

    #[test]
    fn what_a_meter_does_not_have_is_not_judged_and_what_it_does_not_serve_is_missed() {
        untested(judge("sys/resources/08", &[("net/wlan", 200, r#"{"error":"no WLAN"}"#)]));
        untested(judge("sys/resources/08", &[("net/wlan", 404, "")]));
        broken(judge("sys/resources/05", &[("reboot", 404, "")]));
    }

    #[test]
    fn clocks_and_uptimes_go_on() {
        let pair = |one: &str, two: &str| {
            let body = |it: &str| format!("{{\"result\":{it}}}");
            (
                judge("sys/resources/02", &[("time", 200, &body(one)), ("later/time", 200, &body(two))]),
                judge("sys/resources/03", &[("uptime", 200, &body(one)), ("later/uptime", 200, &body(two))]),
            )
        };
        kept(pair(r#""100.5""#, r#""101.5""#).0);
        broken(pair(r#""100.5""#, r#""90.5""#).0);
        kept(pair("100.5", "100.5").1);
        broken(pair("100.5", "99").1);
        broken(pair("-1", "0").1);
    }
}
