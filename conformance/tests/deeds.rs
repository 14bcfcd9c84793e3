//! What a run does to a meter: no more than the chosen rules need, and nothing of it stays, whatever the meter does.

#[path = "support/scripted.rs"]
mod scripted;

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use scripted::{Call, challenge, fine, meter, said, suite};
use serde_json::{Value, json};

type Shared<T> = Arc<Mutex<T>>;

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

fn file(name: &str, text: &str) -> PathBuf {
    let path = env::temp_dir().join(format!("meter-conformance-deeds-{}-{name}", std::process::id()));
    fs::write(&path, text).unwrap();
    path
}

#[track_caller]
fn run(url: &str, args: &[&str]) -> (Output, String) {
    let output = suite(url, args).output().unwrap();
    let text = said(&output);
    (output, text)
}

/// Runs these rules on a meter and returns the bodies that its owner posted to the command. `lax` obeys everybody.
fn posted(path: &'static str, lax: bool, args: &[&str]) -> Vec<String> {
    let seen = Shared::<Vec<String>>::default();
    let theirs = seen.clone();
    let url = meter(move |call| {
        if call.posts(path) && call.user.as_deref() == Some("owner") {
            theirs.lock().unwrap().push(call.text.clone());
        }
        match call.path.as_str() {
            "/sys/time" => Some((200, json!({"result": format!("{:.6}", now())}))),
            "/sys/net/wlan" => Some((200, json!({"result": {"ap": [], "net": []}}))),
            "/sys/uptime" => Some((200, json!({"result": now() - 1e9}))),
            it if it == path && call.method == "POST" && lax => Some(fine()),
            _ => None,
        }
    });
    let (output, text) = run(&url, args);
    assert!(output.status.code().is_some_and(|it| it < 2), "{text}");
    seen.lock().unwrap().clone()
}

#[test]
fn a_harmless_rule_that_is_chosen_makes_nothing_happen() {
    let password = file("password", "its own\n");
    let password = format!("homeplug.password-file={}", password.display());
    for (path, class, rules, with, deed) in [
        ("/cmd/factory-restore", "factory-restore", "cmd/factory-restore/01", "factory.wait=1", ""),
        (
            "/cmd/factory-restore",
            "factory-restore",
            "cmd/factory-restore/02,cmd/factory-restore/03",
            "factory.wait=1",
            "",
        ),
        ("/cmd/reboot", "reboot", "cmd/reboot/01,cmd/reboot/02", "reboot.wait=1", ""),
        ("/cmd/set-time", "time", "cmd/set-time/01,cmd/set-time/08", "time.offset=1", "null"),
        (
            "/cmd/update",
            "update-install",
            "cmd/update/install/01",
            "update.allow-version=1.1",
            "={\"action\":\"install\",\"target\":\"fw\",\"version\":\"1.1\"}",
        ),
        ("/cmd/clear", "db", "cmd/clear/01", "clear.excess=yes", "=\"excess\"="),
        ("/cmd/homeplug", "homeplug", "cmd/homeplug/01", &password, "its own"),
        ("/cmd/wlan", "wlan", "cmd/wlan/01,cmd/wlan/11", "wlan.ssid=Roof", "Roof"),
        ("/cmd/test-email", "mail", "cmd/test-email/01", "companion.address=127.0.0.1", "127.0.0.1"),
        ("/cmd/test-remote", "remote", "cmd/test-remote/01", "companion.address=127.0.0.1", "127.0.0.1"),
    ] {
        let targets =
            format!("homeplug.targets={}", file("targets", "00:b0:52:ba:be:57/ABCD-EFGH-IJKL-MNOP\n").display());
        let bodies = posted(path, false, &["--allow", class, "--only", rules, "--with", with, "--with", &targets]);
        let done = |it: &String| format!("={it}=").contains(deed);
        assert!(!bodies.iter().any(done), "{rules}: {bodies:?}");
    }
}

#[test]
fn a_meter_that_obeys_whoever_asks_is_not_commanded_any_more() {
    for (path, class, with) in
        [("/cmd/factory-restore", "factory-restore", "factory.wait=1"), ("/cmd/reboot", "reboot", "reboot.wait=1")]
    {
        let bodies = posted(path, true, &["--allow", class, "--only", &path[1..], "--with", with]);
        assert_eq!(bodies, [""; 0], "{path}");
    }
}

#[test]
fn a_meter_that_installs_for_anybody_installs_nothing_else() {
    let installs = Shared::<Vec<String>>::default();
    let theirs = installs.clone();
    let url = meter(move |call| match call.path.as_str() {
        "/cmd/update" if call.body["version"] == "1.1" && call.body["target"] == "fw" => {
            theirs.lock().unwrap().push(call.user.clone().unwrap_or_default());
            Some((200, json!({"token": "473c31462e62848b5352314dfc608669"})))
        }
        it if it.starts_with("/sys/status/") => Some((200, json!({"result": {"done": true, "ts": "1"}}))),
        _ => None,
    });
    let args = ["--allow", "update-install", "--only", "cmd/update/install", "--with", "update.allow-version=1.1"];
    let (_, text) = run(&url, &args);
    assert!(text.contains("so nothing else was installed"), "{text}");
    // By PUT and with what is no version and no flag its owner tried as well, but never rightly.
    let installs = installs.lock().unwrap();
    assert!(installs.len() < 7, "{installs:?}: {text}");
}

/// A meter with a clock that takes numbers as well, and whose logins end when it is set ahead.
fn clock() -> (String, Shared<f64>) {
    let ahead = Shared::<f64>::default();
    let theirs = ahead.clone();
    let mut begun = (0, 0.0);
    let url = meter(move |call| {
        let mut ahead = theirs.lock().unwrap();
        if begun.0 < call.login {
            begun = (call.login, now() + *ahead);
        }
        call.user.as_ref()?;
        if 600.0 < now() + *ahead - begun.1 {
            return Some(challenge());
        }
        let number = call.body.as_f64().or_else(|| call.body.as_str()?.parse().ok());
        match call.path.as_str() {
            "/cmd/set-time" if call.method == "POST" => Some(match number.filter(|it| it.is_finite() && 0.0 < *it) {
                Some(time) => {
                    *ahead = time - now();
                    fine()
                }
                None => (200, json!({"error": "a decimal string is expected"})),
            }),
            "/sys/time" => Some((200, json!({"result": format!("{:.6}", now() + *ahead)}))),
            _ => None,
        }
    });
    (url, ahead)
}

#[test]
fn a_clock_that_jumped_and_ended_the_login_is_put_back() {
    let (url, ahead) = clock();
    let (output, text) = run(&url, &["--allow", "time", "--only", "cmd/set-time"]);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let ahead = *ahead.lock().unwrap();
    assert!(ahead.abs() < 5.0, "the clock was left {ahead} s ahead: {text}");
}

/// What came of a run that was ended by a signal once this was so.
fn ended(mut suite: Command, so: impl Fn() -> bool) -> Output {
    let mut child = suite.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while !so() && begun.elapsed() < Duration::from_secs(60) {
        thread::sleep(Duration::from_millis(20));
    }
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    child.wait().unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_signal_ends_a_run_after_everything_was_put_back() {
    let (url, ahead) = clock();
    let args = ["--allow", "time", "--only", "cmd/set-time", "--rate", "4"];
    let output = ended(suite(&url, &args), || 1000.0 < ahead.lock().unwrap().abs());
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("ended by a signal"), "{}", said(&output));
    let ahead = *ahead.lock().unwrap();
    assert!(ahead.abs() < 5.0, "the clock was left {ahead} s ahead");
}

/// A meter that adds whatever network it is told of, and selects it.
fn wlan() -> (String, Shared<Vec<Value>>) {
    let home = json!({"network_id": 0, "bssid": "any", "flags": "[CURRENT]", "ssid": "Home"});
    let nets = Arc::new(Mutex::new(vec![home]));
    let theirs = nets.clone();
    let mut last = 0;
    let url = meter(move |call| {
        let mut nets = theirs.lock().unwrap();
        call.user.as_ref()?;
        let select = |nets: &mut Vec<Value>, id: &Value| {
            for net in nets.iter_mut() {
                net["flags"] = json!(if net["network_id"] == *id { "[CURRENT]" } else { "" });
            }
        };
        match call.path.as_str() {
            "/sys/net/wlan" => Some((200, json!({"result": {"ap": [], "net": *nets}}))),
            "/cmd/wlan" if call.method == "POST" => Some(match call.body["action"].as_str() {
                Some("add") => {
                    last += 1;
                    let ssid = call.body["ssid"].as_str().unwrap_or("?");
                    nets.push(json!({"network_id": last, "bssid": "any", "flags": "", "ssid": ssid}));
                    select(&mut nets, &json!(last));
                    fine()
                }
                Some("forget") => {
                    nets.retain(|it| it["network_id"] != call.body["id"]);
                    fine()
                }
                Some("select") if nets.iter().any(|it| it["network_id"] == call.body["id"]) => {
                    select(&mut nets, &call.body["id"]);
                    fine()
                }
                _ => (200, json!({"error": "action: unknown"})),
            }),
            _ => None,
        }
    });
    (url, nets)
}

#[test]
fn networks_that_a_lax_meter_took_are_forgotten_again() {
    for with in [&[][..], &["--with", "wlan.ssid=Roof"]] {
        let (url, nets) = wlan();
        let (_, text) = run(&url, &[&["--allow", "wlan", "--only", "cmd/wlan"], with].concat());
        let left = nets.lock().unwrap().clone();
        assert_eq!(left.len(), 1, "{left:?}: {text}");
        assert_eq!((&left[0]["ssid"], &left[0]["flags"]), (&json!("Home"), &json!("[CURRENT]")), "{text}");
    }
}

/// Bridges whose password is what was set last; for a while after each change the meter is not to be reached by them.
fn homeplug(away: Duration) -> (String, Shared<Vec<String>>) {
    let set = Shared::<Vec<String>>::default();
    let theirs = set.clone();
    let mut back = Instant::now();
    let url = meter(move |call: &Call| {
        if Instant::now() < back {
            return Some((0, Value::Null));
        }
        let good = call.posts("/cmd/homeplug") && call.user.is_some() && call.body["targets"][0] != "x";
        let real =
            call.body["targets"].as_array().is_some_and(|it| it.iter().any(|it| it.to_string().contains("ba:be")));
        if !(good && real) {
            return None;
        }
        theirs.lock().unwrap().push(call.body["password"].as_str().unwrap_or_default().into());
        back = Instant::now() + away;
        Some(fine())
    });
    (url, set)
}

#[test]
fn bridges_are_left_with_the_testers_password_and_have_no_other_unasked() {
    let (password, targets) =
        (file("bridge", "the tester's\n"), file("bridges", "00:b0:52:ba:be:57/ABCD-EFGH-IJKL-MNOP\n"));
    let (password, targets) =
        (format!("homeplug.password-file={}", password.display()), format!("homeplug.targets={}", targets.display()));
    let args =
        ["--allow", "homeplug", "--only", "cmd/homeplug", "--max-wait", "10", "--with", &password, "--with", &targets];
    let (url, set) = homeplug(Duration::from_secs(3));
    let (_, text) = run(&url, &args);
    assert!(set.lock().unwrap().iter().all(|it| it == "the tester's"), "{text}");
    let (url, set) = homeplug(Duration::from_secs(3));
    let (_, text) = run(&url, &[&args[..], &["--with", "homeplug.lengths=yes"]].concat());
    let set = set.lock().unwrap();
    assert_eq!(set.last().map(String::as_str), Some("the tester's"), "{set:?}: {text}");
    assert!(set.iter().any(|it| it == "Q7.s"), "{set:?}");
}

/// A meter with one register, whose data are flat once they were zeroed and no more once they were restored, if it `restores`
/// at all.
fn database(restores: bool, mut zeroed: impl FnMut() + Send + 'static) -> (String, Shared<bool>) {
    let flat = Shared::<bool>::default();
    let theirs = flat.clone();
    let url = meter(move |call| {
        call.user.as_ref()?;
        let mut flat = theirs.lock().unwrap();
        let backup = || {
            let rows = (0..40).rev().map(|it| format!("{},{}\n", 1000 + 60 * it, if *flat { 7 } else { it }));
            format!("backup\nts,Grid:P\n{}", rows.collect::<String>())
        };
        match call.path.as_str() {
            "/register" if call.query.is_empty() => {
                Some((200, json!({"registers": [{"did": 0, "name": "Grid", "type": "P"}]})))
            }
            "/register" => Some((200, json!(backup()))),
            "/cmd/db" if call.body["action"] == "zero" => {
                zeroed();
                *flat = true;
                Some(fine())
            }
            "/cmd/db" if call.body["action"] == "restore" && restores => {
                *flat = false;
                Some(fine())
            }
            _ => None,
        }
    });
    (url, flat)
}

/// A folder for backups, and how the suite is told of it and of that meter's data.
fn window(name: &str) -> (PathBuf, Vec<String>) {
    let folder = env::temp_dir().join(format!("meter-conformance-deeds-{}-{name}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let kept = format!("db.folder={}", folder.display());
    let with = ["db.from=2000", "db.to=3200", "db.regs=0", &kept].map(|it| ["--with".to_string(), it.to_string()]);
    let args = ["--allow", "db", "--only", "cmd/db/zero"].map(str::to_string);
    (folder, args.into_iter().chain(with.into_iter().flatten()).collect())
}

#[test]
fn a_backup_is_kept_in_a_file_until_all_is_put_back() {
    for restores in [true, false] {
        let (folder, args) = window("kept");
        let kept = |folder: &PathBuf| fs::read_dir(folder).unwrap().flatten().map(|it| it.path()).collect::<Vec<_>>();
        let (at_zero, there) = (Shared::<usize>::default(), folder.clone());
        let count = at_zero.clone();
        let (url, _) = database(restores, move || *count.lock().unwrap() = kept(&there).len());
        let (_, text) = run(&url, &args.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(*at_zero.lock().unwrap(), 1, "{text}");
        let left = kept(&folder);
        assert_eq!(left.is_empty(), restores, "{left:?}: {text}");
        for path in left {
            assert!(text.contains(&path.display().to_string()), "{text}");
            assert!(fs::read_to_string(&path).unwrap().contains("1060,1\n"));
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}

#[test]
fn data_are_put_back_when_a_signal_ends_the_run() {
    let (folder, args) = window("ended");
    let (url, flat) = database(true, || {});
    let args: Vec<_> = args.iter().map(String::as_str).chain(["--rate", "4"]).collect();
    let output = ended(suite(&url, &args), || *flat.lock().unwrap());
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("ended by a signal"), "{}", said(&output));
    assert!(!*flat.lock().unwrap() && fs::read_dir(&folder).unwrap().count() == 0, "{}", said(&output));
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_meter_that_starts_anew_after_an_installation_is_waited_for() {
    let (mut installs, mut looks, mut away, mut first) = (0, 0, None, 0);
    let url = meter(move |call| {
        if away.is_some_and(|it| Instant::now() < it) {
            return Some((0, Value::Null));
        }
        if away.is_some() && call.login != 0 && call.login <= first {
            return Some(challenge());
        }
        call.user.as_ref()?;
        let order = json!({"action": "install", "target": "fw", "version": "1.1"});
        match call.path.as_str() {
            "/cmd/update" if call.method == "POST" && call.body == order => {
                installs += 1;
                Some((200, json!({ "token": format!("{installs:032x}") })))
            }
            it if it.starts_with("/sys/status/") && installs == 1 => {
                Some((200, json!({"result": {"done": true, "ts": "1", "error": "CANCELED"}})))
            }
            it if it.starts_with("/sys/status/") && away.is_none() => {
                looks += 1;
                if looks == 3 {
                    (away, first) = (Some(Instant::now() + Duration::from_secs(4)), call.login);
                }
                Some((200, json!({"result": {"done": false, "ts": "1", "progress": 0.5}})))
            }
            "/sys/version" => {
                let version = if away.is_some() { "1.1" } else { "1.0" };
                Some((200, json!({"result": {"firmware": version}})))
            }
            "/cmd/cancel" => Some(fine()),
            _ => None,
        }
    });
    let args =
        ["--allow", "update-install", "--only", "cmd/update/install/11,cmd/update/install/12,cmd/update/install/13"];
    let (output, text) =
        run(&url, &[&args[..], &["--with", "update.allow-version=1.1", "--with", "update.wait=30"]].concat());
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("2 pass, 0 fail") && text.contains("the meter started anew by itself"), "{text}");
}
