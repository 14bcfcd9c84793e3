//! Whole courses against a supplicant of the test's own: what works, and that whatever fails leaves everything as it
//! was.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::join::{change_within, recover_patiently};
use super::networks::view_within;
use super::testing::{HASTY, Mishap, Supplicant};
use super::{Change, Failure, Key, Ssid, change};
use crate::drivers::Watch;

const BEFORE: &str = "home \"home secret\" current, spare \"spare secret\" on, old \"old secret\" off \
                      | home true, spare true, old false";

#[derive(Default)]
struct Flag(AtomicBool);

impl Watch for Flag {
    fn cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn progress(&self, share: f64) {
        assert!((0.0..=1.0).contains(&share), "{share}");
    }

    fn result(&self, _: Value) {}
}

fn add(name: &str, key: Key) -> Change {
    Change::Add { ssid: Ssid::parse(name).unwrap(), key, hidden: false }
}

fn pass(text: &str) -> Key {
    Key::passphrase(text.as_bytes()).unwrap()
}

fn run(supplicant: &Supplicant, change: &Change) -> Result<Option<u32>, Failure> {
    change_within(&supplicant.settings, &supplicant.marker, &supplicant.saved(), change, &Flag::default(), &HASTY)
}

fn recover(supplicant: &Supplicant) -> Result<(), Failure> {
    recover_patiently(&supplicant.settings, &supplicant.marker, &HASTY)
}

/// Runs a change; `expect` is `OK` and the id, or how the error begins.
#[track_caller]
fn check(supplicant: &Supplicant, change: &Change, expect: &str, after: &str) {
    let got = match run(supplicant, change) {
        Ok(id) => format!("OK {id:?}"),
        Err(err) => err.to_string(),
    };
    assert!(got.starts_with(expect), "{got}\nexpected {expect}");
    assert_eq!(supplicant.dump(), after);
    assert!(!supplicant.marker.exists());
}

#[test]
fn an_added_network_is_selected_and_saved() {
    let supplicant = Supplicant::start();
    supplicant.state().chatty = true;
    check(
        &supplicant,
        &add("new", pass("new secret")),
        "OK Some(3)",
        "home \"home secret\" off, spare \"spare secret\" off, old \"old secret\" off, new \"new secret\" current \
         | home false, spare false, old false, new true",
    );
}

#[test]
fn a_network_needs_no_key_if_the_access_point_takes_none() {
    let supplicant = Supplicant::start();
    check(
        &supplicant,
        &add("free", Key::Open),
        "OK Some(3)",
        "home \"home secret\" off, spare \"spare secret\" off, old \"old secret\" off, free - current \
         | home false, spare false, old false, free true",
    );
}

#[test]
fn what_is_sent_follows_the_key_and_the_radio() {
    #[track_caller]
    fn check(change: Change, capabilities: &[(&str, &str)], expect: &[&str]) {
        let supplicant = Supplicant::start();
        let capabilities = capabilities.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        supplicant.state().capabilities.extend(capabilities);
        // Whether the access point likes it is another matter.
        let _ = run(&supplicant, &change);
        let state = supplicant.state();
        let sent: Vec<_> = state.log.iter().filter_map(|it| it.strip_prefix("SET_NETWORK 3 ")).collect();
        assert_eq!(sent, expect);
    }
    let wpa3 = [("key_mgmt", "NONE WPA-PSK SAE\n"), ("group_mgmt", "AES-128-CMAC BIP-GMAC-128\n")];
    let hex = "0aF1".repeat(16);
    let psk = format!("psk {hex}");
    check(add("new", pass("new \"secret\"")), &[], &["ssid 6e6577", "key_mgmt WPA-PSK", "psk \"new \"secret\"\""]);
    let both = ["ssid 6e6577", "key_mgmt WPA-PSK SAE", "ieee80211w 1", "psk \"new secret\""];
    check(add("new", pass("new secret")), &wpa3, &both);
    check(add("new", pass("new secret")), &wpa3[..1], &["ssid 6e6577", "key_mgmt WPA-PSK", "psk \"new secret\""]);
    check(add("new", Key::hex(hex.as_bytes()).unwrap()), &wpa3, &["ssid 6e6577", "key_mgmt WPA-PSK", &psk]);
    let hidden = Change::Add { ssid: Ssid::parse("é\"").unwrap(), key: Key::Open, hidden: true };
    check(hidden, &wpa3, &["ssid c3a922", "scan_ssid 1", "key_mgmt NONE"]);
}

#[test]
fn adding_a_known_name_replaces_it() {
    let supplicant = Supplicant::start();
    supplicant.state().aps[0].1 = Some("\"changed secret\"".into());
    check(
        &supplicant,
        &add("home", pass("changed secret")),
        "OK Some(3)",
        "spare \"spare secret\" off, old \"old secret\" off, home \"changed secret\" current \
         | spare false, old false, home true",
    );
}

#[test]
fn what_does_not_associate_is_undone_and_explained() {
    let supplicant = Supplicant::start();
    check(&supplicant, &add("new", pass("wrong secret")), "key: the access point did not accept it", BEFORE);
    check(&supplicant, &add("home", pass("wrong secret")), "key: the access point did not accept it", BEFORE);
    check(&supplicant, &add("nowhere", pass("some secret")), "ssid: no access point with that name", BEFORE);
    check(&supplicant, &add("nowhere", Key::Open), "ssid: no access point with that name", BEFORE);
    check(&supplicant, &add("free", pass("some secret")), "key: the access point takes none", BEFORE);
    check(&supplicant, &add("home", Key::Open), "key: missing", BEFORE);
    check(&supplicant, &Change::Select(2), "id: no access point with that name", BEFORE);
    supplicant.state().aps[1].1 = Some("\"changed secret\"".into());
    check(&supplicant, &Change::Select(1), "id: the access point did not accept it; its key", BEFORE);
}

#[test]
fn a_key_that_can_never_fit_is_found_out_early() {
    let supplicant = Supplicant::start();
    let patient = super::Timings { associate: Duration::from_secs(60), ..HASTY };
    for change in [add("free", pass("some secret")), add("new", Key::Open)] {
        let begun = Instant::now();
        let res = change_within(
            &supplicant.settings,
            &supplicant.marker,
            &supplicant.saved(),
            &change,
            &Flag::default(),
            &patient,
        );
        assert!(res.is_err() && begun.elapsed() < Duration::from_secs(20));
        assert_eq!(supplicant.dump(), BEFORE);
    }
}

#[test]
fn a_meter_without_a_current_network_goes_on_looking() {
    let supplicant = Supplicant::start();
    supplicant.state().aps.clear();
    supplicant.state().current = None;
    let before = BEFORE.replace("current", "on");
    check(&supplicant, &add("new", pass("new secret")), "ssid: no access point with that name", &before);
    check(&supplicant, &Change::Select(2), "id: no access point with that name", &before);
    assert_eq!(supplicant.state().log.iter().filter(|it| *it == "REASSOCIATE").count(), 2);
}

#[test]
fn selecting_disables_the_others_and_is_saved() {
    let supplicant = Supplicant::start();
    check(
        &supplicant,
        &Change::Select(1),
        "OK Some(1)",
        "home \"home secret\" off, spare \"spare secret\" current, old \"old secret\" off \
         | home false, spare true, old false",
    );
    check(&supplicant, &Change::Select(7), "id: there is no network 7", &supplicant.dump());
}

#[test]
fn forgetting_the_current_network_brings_the_meter_to_another() {
    let supplicant = Supplicant::start();
    run(&supplicant, &Change::Select(0)).unwrap();
    check(
        &supplicant,
        &Change::Forget(0),
        "OK None",
        "spare \"spare secret\" current, old \"old secret\" on | spare true, old true",
    );
    check(&supplicant, &Change::Forget(2), "OK None", "spare \"spare secret\" current | spare true");
    check(&supplicant, &Change::Forget(1), "OK None", " | ");
    check(&supplicant, &Change::Forget(1), "id: there is no network 1", " | ");
}

#[test]
fn forgetting_another_network_disturbs_nothing() {
    let supplicant = Supplicant::start();
    let after = "home \"home secret\" current, old \"old secret\" off | home true, old false";
    check(&supplicant, &Change::Forget(1), "OK None", after);
}

#[test]
fn a_save_that_leaves_the_network_out_is_noticed() {
    let supplicant = Supplicant::start();
    supplicant.state().leaves_out = Some("new".into());
    let text = "The network works, but it could not be saved to ";
    check(&supplicant, &add("new", pass("new secret")), text, BEFORE);
    supplicant.state().leaves_out = Some("spare".into());
    check(&supplicant, &Change::Select(1), text, &BEFORE.replace("home true, spare true", "home true"));
}

#[test]
fn a_refusal_at_any_step_leaves_nothing_behind() {
    let kinds: [fn() -> Change; 5] = [
        || add("new", pass("new secret")),
        || add("nowhere", pass("some secret")),
        || add("free", Key::Open),
        || Change::Select(1),
        || Change::Forget(0),
    ];
    for (kind, make) in kinds.iter().enumerate() {
        let mut refused = 0;
        for at in 0.. {
            let supplicant = Supplicant::start();
            supplicant.state().mishap = Some(Mishap::Refuse(at));
            let few_polls = super::Timings { poll: HASTY.associate / 3, ..HASTY };
            let (settings, marker) = (&supplicant.settings, &supplicant.marker);
            let res = change_within(settings, marker, &supplicant.saved(), &make(), &Flag::default(), &few_polls);
            let reached = at < supplicant.state().log.len();
            if reached && let Err(err) = &res {
                refused += 1;
                assert_eq!(supplicant.dump(), BEFORE, "{kind} at {at}: {err}");
                assert!(!matches!(err, Failure::Stuck(..)), "{err}");
            }
            assert!(!supplicant.marker.exists(), "{kind} at {at}");
            if !reached {
                break;
            }
        }
        assert!(refused >= 4, "{kind}: {refused}");
    }
}

#[test]
fn a_supplicant_that_dies_at_any_step_comes_back_with_a_wlan() {
    let kinds: [fn() -> Change; 3] = [|| add("new", pass("new secret")), || Change::Select(1), || Change::Forget(0)];
    for (kind, make) in kinds.iter().enumerate() {
        for at in 0.. {
            let mut supplicant = Supplicant::start();
            supplicant.state().mishap = Some(Mishap::Die(at));
            let begun = Instant::now();
            let res = run(&supplicant, &make());
            assert!(begun.elapsed() < Duration::from_secs(5), "{kind} at {at}");
            let reached = at < supplicant.state().log.len();
            let saved = supplicant.state().log.iter().take(at).any(|it| it == "SAVE_CONFIG");
            supplicant.restart();
            recover(&supplicant).unwrap();
            assert!(!supplicant.marker.exists(), "{kind} at {at}");
            if reached && !saved {
                let err = res.unwrap_err().to_string();
                assert!(err.contains("wpa_supplicant"), "{kind} at {at}: {err}");
                assert_eq!(supplicant.dump(), BEFORE, "{kind} at {at}: {err}");
            }
            assert!(supplicant.dump().contains("current"), "{kind} at {at}: {}", supplicant.dump());
            if !reached {
                break;
            }
        }
    }
}

#[test]
fn a_supplicant_that_falls_silent_is_made_to_read_its_file() {
    for at in [1, 2, 3, 5, 8, 9] {
        let supplicant = Supplicant::start();
        supplicant.state().mishap = Some(Mishap::Mute(at));
        let brisk = super::Timings { reply: Duration::from_millis(700), ..HASTY };
        let (settings, marker) = (&supplicant.settings, &supplicant.marker);
        let change = add("new", pass("new secret"));
        let err = change_within(settings, marker, &supplicant.saved(), &change, &Flag::default(), &brisk).unwrap_err();
        assert!(err.to_string().contains("does not answer"), "{at}: {err}");
        assert_eq!(supplicant.dump(), BEFORE, "{at}");
        assert!(!supplicant.marker.exists(), "{at}");
    }
}

#[test]
fn a_cancelled_change_is_undone_at_once() {
    let supplicant = Supplicant::start();
    supplicant.state().aps.clear();
    let patient = super::Timings { associate: Duration::from_secs(60), ..HASTY };
    let flag = Flag::default();
    let slow = add("nowhere", pass("some secret"));
    thread::scope(|scope| {
        let it = scope.spawn(|| {
            change_within(&supplicant.settings, &supplicant.marker, &supplicant.saved(), &slow, &flag, &patient)
        });
        while !supplicant.state().log.iter().any(|it| it == "STATUS") {
            thread::sleep(Duration::from_millis(5));
        }
        // A second one has to wait.
        assert!(supplicant.marker.exists());
        assert!(matches!(run(&supplicant, &Change::Forget(0)), Err(Failure::Busy)));
        flag.0.store(true, Ordering::Relaxed);
        let begun = Instant::now();
        let err = it.join().unwrap().unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(2));
        assert!(err.is_cancelled(), "{err}");
    });
    assert_eq!(supplicant.dump(), BEFORE);
    assert!(!supplicant.marker.exists());
}

#[test]
fn what_a_former_process_left_unfinished_is_undone() {
    let supplicant = Supplicant::start();
    recover(&supplicant).unwrap();
    assert!(supplicant.state().log.is_empty(), "without a marker there is nothing to do");
    // As if the process had been killed while it waited.
    let leave = |supplicant: &Supplicant| {
        let mut state = supplicant.state();
        let mut net = state.nets[2].clone();
        net.id = 3;
        state.nets.push(net);
        state.nets.iter_mut().for_each(|it| it.disabled = it.id != 3);
        state.current = Some(3);
        std::fs::write(&supplicant.marker, "").unwrap();
    };
    leave(&supplicant);
    // A supplicant that has just started may say no at first.
    supplicant.state().mishap = Some(Mishap::Refuse(0));
    recover(&supplicant).unwrap();
    assert_eq!(supplicant.dump(), BEFORE);
    assert!(!supplicant.marker.exists());
    // The next change does the same first.
    leave(&supplicant);
    let after = "home \"home secret\" current, old \"old secret\" off | home true, old false";
    check(&supplicant, &Change::Forget(1), "OK None", after);
}

#[test]
fn a_file_in_which_nothing_is_enabled_does_not_cut_the_meter_off() {
    let supplicant = Supplicant::start();
    supplicant.state().saved.iter_mut().for_each(|it| it.disabled = true);
    std::fs::write(&supplicant.marker, "").unwrap();
    recover(&supplicant).unwrap();
    let after = "home \"home secret\" current, spare \"spare secret\" on, old \"old secret\" on \
                 | home true, spare true, old true";
    assert_eq!(supplicant.dump(), after);
}

#[test]
fn without_a_supplicant_the_socket_is_named() {
    let mut supplicant = Supplicant::start();
    supplicant.kill();
    let refused = |supplicant: &Supplicant| {
        let begun = Instant::now();
        let err =
            change(&supplicant.settings, &supplicant.marker, &supplicant.saved(), &Change::Select(1), &Flag::default())
                .unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(10));
        let (err, path) = (err.to_string(), supplicant.settings.control.display().to_string());
        assert!(err.starts_with("wpa_supplicant is not running") && err.contains(&path), "{err}");
        assert!(!supplicant.marker.exists());
    };
    refused(&supplicant); // The socket of a dead process.
    std::fs::remove_file(&supplicant.settings.control).unwrap();
    refused(&supplicant);
    std::fs::write(&supplicant.marker, "").unwrap();
    assert!(recover(&supplicant).is_err());
    assert!(supplicant.marker.exists(), "what could not be recovered is still to be");
    supplicant.restart();
    check(
        &supplicant,
        &Change::Forget(1),
        "OK None",
        "home \"home secret\" current, old \"old secret\" off | home true, old false",
    );
}

#[test]
fn the_view_lists_what_is_heard_and_known() {
    let supplicant = Supplicant::start();
    supplicant.state().aps = vec![("C\u{e9} \"\\".into(), Some("\"x\"".into())); 5];
    let view = view_within(&supplicant.settings, &HASTY).unwrap();
    let ap = json!({
        "bssid": "02:00:00:00:00:04", "flags": "[WPA2-PSK-CCMP][ESS]", "frequency": 2437, "signal_level": -30,
        "ssid": "Cé \"\\",
    });
    assert_eq!(view["ap"].as_array().unwrap().len(), 5);
    assert_eq!(view["ap"][4], ap);
    let net = json!({ "network_id": 2, "bssid": "any", "flags": "[DISABLED]", "ssid": "old" });
    assert_eq!(view["net"].as_array().unwrap().len(), 3);
    assert_eq!(view["net"][2], net);
}

#[test]
fn an_old_list_is_renewed() {
    #[track_caller]
    fn check(age: u64, mishap: Option<Mishap>, scans: usize, expect: usize) {
        let supplicant = Supplicant::start();
        supplicant.state().age = age;
        supplicant.state().mishap = mishap;
        let view = view_within(&supplicant.settings, &HASTY).unwrap();
        assert_eq!(view["ap"].as_array().unwrap().len(), expect);
        assert_eq!(supplicant.state().log.iter().filter(|it| *it == "SCAN").count(), scans);
    }
    check(15, None, 0, 4);
    check(16, None, 1, 4);
    // The radio is off: what there is must do. Two pages and an empty one come before the scan.
    check(16, Some(Mishap::Refuse(3)), 1, 4);
}
