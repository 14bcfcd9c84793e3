//! /cmd/wlan and /sys/net/wlan: what they refuse and show, and, with a network that the tester gives up for it, joining,
//! failing to join, selecting and forgetting. Networks that were there before are left as they were, and the current one
//! is selected again.

mod play;

use serde_json::Value;

use play::{KEYS, LONG, MISSING, SSIDS, UNKNOWN, WRONG};

use crate::catalogue::{Area, Param};
use crate::danger::Class;
use crate::evidence::{Evidence, status};
use crate::lab::operation::token_of;
use crate::refusals::{self, MALFORMED};
use crate::transcript::Exchange;
use crate::verdict::{Finding, Rule};

/// See the module.
pub const AREA: Area = Area {
    name: "cmd/wlan",
    class: Class::Wlan,
    touches: "sends bodies that must be refused; joins and forgets a network if one is named, and fails to join others",
    params: &[
        Param {
            name: SSID,
            meaning: "a network in reach that the meter does not know yet, and that it may join and forget.",
        },
        Param { name: KEY, meaning: "a file whose first line is that network's passphrase; an open network has none." },
        Param { name: UNREACHABLE, meaning: "the name of a network that is not there (a random one)." },
        Param { name: HIDDEN, meaning: "a hidden network in reach, with the same passphrase." },
        Param { name: OPEN, meaning: "a network in reach that needs no key." },
        Param { name: HEX, meaning: "a file whose first line is the 64-digit key of the network, to join by that." },
    ],
    play: play::play,
    rules: RULES,
};

const SSID: &str = "wlan.ssid";
const KEY: &str = "wlan.key-file";
const UNREACHABLE: &str = "wlan.unreachable";
const HIDDEN: &str = "wlan.hidden";
const HEX: &str = "wlan.hex-key-file";
const OPEN: &str = "wlan.open";

/// The known networks of a list.
fn networks(list: &Exchange) -> Vec<Value> {
    list.result().ok().and_then(|it| it["net"].as_array().cloned()).unwrap_or_default()
}

fn is_current(net: &Value) -> bool {
    net["flags"].as_str().is_some_and(|it| it.contains("[CURRENT]"))
}

/// The id of the current network.
fn current(list: &Exchange) -> Option<u64> {
    networks(list).iter().find(|it| is_current(it))?["network_id"].as_u64()
}

/// The id of the network of that name.
fn id_of(list: &Exchange, ssid: &str) -> Option<u64> {
    networks(list).iter().find(|it| it["ssid"] == ssid)?["network_id"].as_u64()
}

/// The change failed, at once or as an operation.
fn failed(ev: &Evidence<'_>, label: &str) -> Result<Finding, Finding> {
    let reply = ev.get(label)?;
    match token_of(reply) {
        Some(_) if reply.object()?.get("error").is_none() => {
            let (exchange, end) = status::end(ev, label)?;
            exchange.want(end.contains_key("error"), "this cannot have succeeded")?;
            Ok(Finding::Kept)
        }
        _ => reply.refused(),
    }
}

/// What a change was about.
fn member(ev: &Evidence<'_>, label: &str, name: &str) -> Result<Value, Finding> {
    let text = String::from_utf8_lossy(&ev.get(label)?.sent).into_owned();
    let body = text.split_once("\r\n\r\n").and_then(|it| serde_json::from_str::<Value>(it.1).ok());
    body.map(|it| it[name].clone()).ok_or_else(|| Finding::NoEvidence(format!("{label} was recorded without its body")))
}

/// After the change the network of that member is the current one, and no other.
fn selected(ev: &Evidence<'_>, label: &str, name: &str, column: &str) -> Result<Finding, Finding> {
    status::carried_out(ev, label)?;
    let wanted = member(ev, label, name)?;
    let seen = ev.get(&format!("seen/{label}"))?;
    seen.result()?;
    let current: Vec<_> = networks(seen).into_iter().filter(is_current).map(|it| it[column].clone()).collect();
    seen.want(current == [wanted.clone()], format!("{wanted} must be [CURRENT], and nothing else"))?;
    Ok(Finding::Kept)
}

/// After a change that failed the known networks are those of before, and the same one is current.
fn undone(ev: &Evidence<'_>, label: &str) -> Result<Finding, Finding> {
    failed(ev, label)?;
    let (before, after) = (ev.get("seen/untouched")?, ev.get(&format!("seen/{label}"))?);
    after.result()?;
    let names = |it: &Exchange| {
        networks(it).iter().map(|it| (it["network_id"].clone(), it["ssid"].clone())).collect::<Vec<_>>()
    };
    after.want(names(before) == names(after), "the networks must be those that were known before")?;
    after.want(current(before) == current(after), "the network that was current must be so again")?;
    Ok(Finding::Kept)
}

const CLAUSE: &str = "cmd-api: Manage WLAN";
const NET: &str = "WebAPI §3 /sys/net/wlan";

const RULES: &[Rule] = &[
    Rule::must("cmd/wlan/01", "WebAPI §1", "Without a valid login it is answered with 401 and a challenge.", |ev| {
        refusals::unauthorized(ev)
    }),
    Rule::must("cmd/wlan/02", "WebAPI §5", "Only POST changes networks; GET and PUT are refused.", |ev| {
        refusals::other_methods(ev)
    }),
    Rule::must("cmd/wlan/03", CLAUSE, "A body that is no JSON object is refused with `error`.", |ev| {
        refusals::all_refused(ev, MALFORMED)
    }),
    Rule::must("cmd/wlan/04", CLAUSE, "Without `action`, `ssid` or `id`, where it needs them, it is refused.", |ev| {
        refusals::all_refused(ev, MISSING)
    }),
    Rule::must("cmd/wlan/05", CLAUSE, "Another action, or a member of another type, is refused with `error`.", |ev| {
        refusals::all_refused(ev, WRONG)
    }),
    Rule::must("cmd/wlan/06", CLAUSE, "A name with a newline or NUL is refused.", |ev| {
        refusals::all_refused(ev, SSIDS)
    }),
    Rule::choice(
        "cmd/wlan/07",
        "IEEE 802.11: SSID element",
        "A name without bytes or of more than 32 is refused.",
        |ev| refusals::all_refused(ev, LONG),
    ),
    Rule::choice(
        "cmd/wlan/08",
        "IEEE 802.11: passphrases",
        "A passphrase that has not 8 to 63 printable characters, and a hex key that has not 64 digits, is refused.",
        |ev| refusals::all_refused(ev, KEYS),
    ),
    Rule::must("cmd/wlan/09", CLAUSE, "Selecting or forgetting an id that there is not is refused.", |ev| {
        refusals::all_refused(ev, UNKNOWN)
    }),
    Rule::choice("cmd/wlan/10", CLAUSE, "The error of a bad body names the member at fault.", |ev| {
        let named = [("no-action", "action"), ("add-no-ssid", "ssid"), ("select-no-id", "id"), ("key-7", "key")];
        refusals::names_the_member(ev, &named)
    }),
    Rule::must("cmd/wlan/11", CLAUSE, "A refused body changes no network.", |ev| {
        let (before, after) = (ev.get("seen/first")?, ev.get("seen/untouched")?);
        before.result()?;
        after.result()?;
        let ids = |it: &Exchange| {
            networks(it).iter().map(|it| (it["network_id"].clone(), it["ssid"].clone())).collect::<Vec<_>>()
        };
        after.want(ids(before) == ids(after), "the known networks are others than before")?;
        Ok(Finding::Kept)
    }),
    Rule::should("cmd/wlan/12", CLAUSE, "No answer has a key in it.", refusals::keeps_secrets),
    Rule::must("cmd/wlan/13", NET, "A meter with WLAN shows lists `ap` and `net`.", |ev| {
        for it in ev.all("seen/")? {
            let result = it.result()?;
            it.want(result["ap"].is_array() && result["net"].is_array(), "`ap` and `net` must be lists")?;
        }
        Ok(Finding::Kept)
    }),
    Rule::must(
        "cmd/wlan/14",
        NET,
        "Each access point has texts `bssid`, `flags` and `ssid`, and whole numbers `frequency` and `signal_level`.",
        |ev| {
            let mut seen = false;
            for it in ev.all("seen/")? {
                for ap in it.result()?["ap"].as_array().into_iter().flatten() {
                    seen = true;
                    let texts = ["bssid", "flags", "ssid"].iter().all(|name| ap[*name].is_string());
                    let numbers = ap["frequency"].is_u64() && ap["signal_level"].is_i64();
                    it.want(texts && numbers, format!("{ap} has not the right members"))?;
                    let bssid = ap["bssid"].as_str().unwrap_or_default();
                    let parts: Vec<_> = bssid.split(':').collect();
                    let hex = |it: &&str| it.len() == 2 && it.bytes().all(|it| it.is_ascii_hexdigit());
                    it.want(parts.len() == 6 && parts.iter().all(hex), format!("{bssid} is no MAC address"))?;
                }
            }
            if seen { Ok(Finding::Kept) } else { Err(Finding::NoEvidence("no access point was in reach".into())) }
        },
    ),
    Rule::must(
        "cmd/wlan/15",
        NET,
        "Each known network has a `network_id` of its own, and texts `bssid`, `flags` and `ssid`.",
        |ev| {
            let mut seen = false;
            for it in ev.all("seen/")? {
                let mut ids = Vec::new();
                for net in networks(it) {
                    seen = true;
                    let texts = ["bssid", "flags", "ssid"].iter().all(|name| net[*name].is_string());
                    it.want(texts && net["network_id"].is_u64(), format!("{net} has not the right members"))?;
                    it.want(!ids.contains(&net["network_id"]), "two networks have the same id")?;
                    ids.push(net["network_id"].clone());
                }
            }
            if seen { Ok(Finding::Kept) } else { Err(Finding::NoEvidence("no network was known".into())) }
        },
    ),
    Rule::must("cmd/wlan/16", CLAUSE, "A network that was added is the current one.", |ev| {
        selected(ev, "add", "ssid", "ssid")
    }),
    Rule::choice("cmd/wlan/17", CLAUSE, "With the wrong key a network is not added: the command fails.", |ev| {
        failed(ev, "wrong-key")
    }),
    Rule::choice("cmd/wlan/18", CLAUSE, "A network that is not there is not added: the command fails.", |ev| {
        failed(ev, "nowhere")
    }),
    Rule::choice(
        "cmd/wlan/19",
        CLAUSE,
        "After a network could not be joined all is as before, and the old one is current again.",
        |ev| {
            undone(ev, "wrong-key")?;
            undone(ev, "nowhere")
        },
    ),
    Rule::must("cmd/wlan/20", CLAUSE, "A network that is selected by its id is the current one.", |ev| {
        if ev.get("add").is_ok() && ev.get("select-old").is_err() {
            return Err(Finding::NoEvidence("the meter was in no network that could be selected again".into()));
        }
        selected(ev, "select-old", "id", "network_id")?;
        selected(ev, "select-new", "id", "network_id")?;
        selected(ev, "select-back", "id", "network_id")
    }),
    Rule::must(
        "cmd/wlan/21",
        CLAUSE,
        "A network that was forgotten is not in the list any more; the others are.",
        |ev| {
            status::carried_out(ev, "forget")?;
            let (before, after) = (ev.get("seen/add")?, ev.get("seen/forget")?);
            let id = member(ev, "forget", "id")?;
            let ids = |it: &Exchange| networks(it).iter().map(|it| it["network_id"].clone()).collect::<Vec<_>>();
            let rest: Vec<_> = ids(before).into_iter().filter(|it| *it != id).collect();
            after.result()?;
            after.want(ids(after) == rest, format!("the list must be the one before without {id}"))?;
            Ok(Finding::Kept)
        },
    ),
    Rule::must("cmd/wlan/22", CLAUSE, "A network is joined by its hexadecimal key as well.", |ev| {
        if ev.get("add").is_ok() && ev.get("hex").is_err() {
            return Err(Finding::NoEvidence(format!("needs --with {HEX}=...")));
        }
        selected(ev, "hex", "ssid", "ssid")
    }),
    Rule::must("cmd/wlan/23", CLAUSE, "A hidden network is joined.", |ev| {
        if ev.get("add").is_ok() && ev.get("hidden").is_err() {
            return Err(Finding::NoEvidence(format!("needs --with {HIDDEN}=...")));
        }
        selected(ev, "hidden", "ssid", "ssid")
    }),
    Rule::must(
        "cmd/wlan/24",
        "WebAPI §2",
        "Where it gives a token, that and its statuses have the form clients need.",
        status::form,
    ),
    Rule::must("cmd/wlan/25", CLAUSE, "Without `key` a network is joined that has none.", |ev| {
        if ev.get("add").is_ok() && ev.get("open").is_err() {
            return Err(Finding::NoEvidence(format!("needs --with {OPEN}=...")));
        }
        selected(ev, "open", "ssid", "ssid")
    }),
    refusals::limited("cmd/wlan/26"),
    Rule::must("cmd/wlan/27", "WebAPI §11 row 9", "What is answered with 401 forgets no network.", |ev| {
        let (before, after) = (ev.get("uninvited")?, ev.get("seen/uninvited")?);
        before.unauthorized()?;
        let id = member(ev, "uninvited", "id")?;
        after.result()?;
        after.want(networks(after).iter().any(|it| it["network_id"] == id), format!("{id} was not to be forgotten"))?;
        Ok(Finding::Kept)
    }),
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::evidence::testing::{broken, exchange, kept, transcript, untested};

    fn list(nets: &[(u64, &str, &str)]) -> String {
        let nets: Vec<_> =
            nets.iter().map(|it| json!({"network_id": it.0, "ssid": it.1, "flags": it.2, "bssid": "any"})).collect();
        json!({"result": {"ap": [], "net": nets}}).to_string()
    }

    #[track_caller]
    fn check(rule: &str, order: (&str, &str, &str), lists: &[(&str, String)], expect: fn(Result<Finding, Finding>)) {
        let mut run = transcript(AREA.name, lists.iter().map(|it| (it.0, 200, it.1.as_str())));
        let sent = format!("POST /api/cmd/wlan HTTP/1.1\r\n\r\n{}", order.1);
        run.exchanges.push(exchange(AREA.name, order.0, 0.0, sent.as_bytes(), 200, order.2));
        let rule = RULES.iter().find(|it| it.id.ends_with(rule)).unwrap();
        expect((rule.judge)(&Evidence::new(&run, AREA.name)));
    }

    #[test]
    fn an_added_network_is_current_and_alone_so() {
        let order = ("add", r#"{"action":"add","ssid":"Roof"}"#, r#"{"status":"OK"}"#);
        check("/16", order, &[("seen/add", list(&[(0, "Old", ""), (1, "Roof", "[CURRENT]")]))], kept);
        check("/16", order, &[("seen/add", list(&[(0, "Old", "[CURRENT]"), (1, "Roof", "")]))], broken);
        check("/16", order, &[("seen/add", list(&[(0, "Old", "[CURRENT]"), (1, "Roof", "[CURRENT]")]))], broken);
        check("/16", (order.0, order.1, r#"{"error":"no"}"#), &[("seen/add", list(&[]))], broken);
        check("/20", order, &[("seen/add", list(&[]))], untested);
    }

    #[test]
    fn a_failed_change_leaves_all_as_it_was() {
        let before = ("seen/untouched", list(&[(0, "Old", "[CURRENT]")]));
        let order = ("wrong-key", r#"{"action":"add","ssid":"Roof"}"#, r#"{"error":"key: wrong"}"#);
        let judge = |after: &[(u64, &str, &str)]| {
            let mut run = transcript(AREA.name, [(before.0, 200, before.1.as_str())]);
            run.exchanges.push(exchange(AREA.name, order.0, 0.0, order.1.as_bytes(), 200, order.2));
            run.exchanges.push(exchange(AREA.name, "seen/wrong-key", 0.0, b"", 200, &list(after)));
            undone(&Evidence::new(&run, AREA.name), "wrong-key")
        };
        kept(judge(&[(0, "Old", "[CURRENT]")]));
        broken(judge(&[(0, "Old", "")]));
        broken(judge(&[(0, "Old", "[CURRENT]"), (1, "Roof", "[DISABLED]")]));
        check("/17", (order.0, order.1, r#"{"status":"OK"}"#), &[], broken);
    }

    #[test]
    fn a_forgotten_network_is_gone_and_no_other() {
        let before = ("seen/add", list(&[(0, "Old", ""), (1, "Roof", "[CURRENT]")]));
        let order = ("forget", r#"{"action":"forget","id":1}"#, r#"{"status":"OK"}"#);
        check("/21", order, &[before.clone(), ("seen/forget", list(&[(0, "Old", "[CURRENT]")]))], kept);
        check("/21", order, &[before.clone(), ("seen/forget", before.1.clone())], broken);
        check("/21", order, &[before, ("seen/forget", list(&[]))], broken);
    }

    #[test]
    fn names_that_are_too_long_are_so_in_bytes() {
        let length = |name: &str| {
            let text = LONG.iter().find(|it| it.0 == name).unwrap().1;
            serde_json::from_str::<Value>(text).unwrap()["ssid"].as_str().unwrap().len()
        };
        assert_eq!((length("ssid-33"), length("ssid-33-utf8")), (33, 33));
    }
}
