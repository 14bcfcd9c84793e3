//! What needs no signature: plans, and the installer at work. The whole course runs against real counterparts in
//! `tests/counterparts/update.py`.

use std::os::unix::fs::PermissionsExt;
use std::thread;

use super::testing::{Person, TempDir};
use super::*;
use crate::config::{Identity, Install};
use crate::sys::clock;

const KEY: &str = "RWRWvmCsZqvVi7qzqEje2AMQwuxFqCpWEseUqDJuasn9GoXvIC5PvMzH";

fn config() -> Config {
    let settings = config::Update {
        url: "http://127.0.0.1/meter/".into(),
        public_key: KEY.into(),
        default_branch: "stable".into(),
        patience_seconds: 1,
    };
    let versions = [("fw".to_string(), "4.5 #1".to_string())].into();
    let identity = Identity { hardware: Some("1".into()), versions, ..Identity::default() };
    Config { update: Some(settings), identity, ..Config::default() }
}

fn order(target: Target, branch: Option<&str>) -> Order {
    Order { target, branch: branch.map(str::to_owned), force: false, version: None }
}

#[test]
fn a_plan_needs_to_know_the_meter() {
    let check = |change: fn(&mut Config), expect: &str| {
        let mut config = config();
        change(&mut config);
        let got = plan(order(Target::Fw, None), &config).map_or_else(|err| err.to_string(), |_| "fine".into());
        assert!(got.contains(expect), "{got}\nexpected {expect}");
    };
    check(|_| {}, "fine");
    check(|it| it.update = None, "update is missing");
    check(|it| it.identity.hardware = None, "identity.hardware is missing");
    check(|it| it.identity.versions.clear(), "identity.versions.fw is missing");
    check(|it| drop(it.identity.versions.insert("fw".into(), "unknown".into())), "identity.versions.fw is \"unknown\"");
    // The running kernel says itself what it is.
    assert!(plan(order(Target::Kernel, None), &config()).is_ok());
}

#[test]
fn a_missing_branch_is_the_systems_own_and_an_empty_one_the_default() {
    let url = |branch: Option<&str>, own: Option<&str>| {
        let mut config = config();
        config.identity.branch = own.map(str::to_owned);
        plan(order(Target::Fw, branch), &config).unwrap().url("x")
    };
    let base = "http://127.0.0.1/meter/fw";
    assert_eq!(url(None, None), format!("{base}/stable/x"));
    assert_eq!(url(None, Some("beta")), format!("{base}/beta/x"));
    assert_eq!(url(Some(""), Some("beta")), format!("{base}/stable/x"));
    assert_eq!(url(Some("edge"), Some("beta")), format!("{base}/edge/x"));
}

/// Runs a script as the installer: how it ended, what was told meanwhile, and how long it took.
fn run(script: &str, cancel_after: Option<Duration>) -> (Result<(), Failure>, Vec<String>, Duration) {
    let dir = TempDir::new();
    let program = dir.0.join("installer");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let command = vec!["/bin/sh".to_string(), program.display().to_string()];
    let platform = config::Platform { install: Install { fw: Some(command), kernel: None }, ..Default::default() };
    let platform = Platform::in_one_process(&Config { platform, state_dir: dir.0.clone(), ..Config::default() });
    let folder = Folder::open(&dir.0).unwrap();
    let path = dir.0.join(platform::IMAGES).join("fw.bin");
    std::fs::write(&path, "").unwrap();
    let lock = folder.lock().unwrap().unwrap();
    let person = Person::default();
    let image = platform::Image { path: &path, version: "4.6" };
    let program = platform.install(Target::Fw, image, lock).unwrap().unwrap();
    // The other scripts are over before anybody can look.
    assert!(cancel_after.is_none() || folder.lock().unwrap().is_none(), "the installer holds the lock");
    let canceller = cancel_after.map(|after| {
        let cancel = person.cancel.clone();
        thread::spawn(move || {
            thread::sleep(after);
            cancel.store(true, std::sync::atomic::Ordering::Relaxed);
        })
    });
    let before = clock::boottime();
    let res = installer::attend(program, "4.6", &person, &|share| person.info("share", vec![share.to_string()]));
    canceller.into_iter().for_each(|it| it.join().unwrap());
    let told = person.told.lock().unwrap().clone();
    (res, told, clock::boottime() - before)
}

#[test]
fn what_an_installer_says_is_told() {
    let script = "echo EXTRACT root 50%; echo noise; echo FLASH; echo '80% more'; echo FINALIZE";
    let (res, told, _) = run(script, None);
    assert!(res.is_ok(), "{res:?}");
    assert_eq!(told, ["EXTRACT root", "share 0.5", "FLASH 4.6", "share 0.8", "FINALIZE"]);
}

#[test]
fn a_failed_installer_is_told_with_its_last_words() {
    for (script, tag, expect) in [
        ("echo one; echo two >&2; exit 3", "INSTALL_FAILED", "/bin/sh failed (exit status: 3): one / two"),
        ("echo EXTRACT root; echo broken; exit 1", "EXTRACT_FAILED", "EXTRACT root / broken (at EXTRACT root)"),
        ("echo FLASH /dev/x; kill -9 $$", "FLASH_FAILED", "(signal: 9 (SIGKILL)): FLASH /dev/x (at FLASH /dev/x)"),
        ("for i in 1 2 3 4 5 6 7; do echo $i; done; exit 1", "INSTALL_FAILED", ": 3 / 4 / 5 / 6 / 7"),
    ] {
        let err = run(script, None).0.unwrap_err();
        assert_eq!(err.fault().0, tag, "{script}");
        assert!(err.to_string().contains(expect), "{err}\nexpected {expect}");
    }
}

#[test]
fn an_installer_is_stopped_only_before_it_writes() {
    let soon = Some(Duration::from_millis(300));
    for script in ["echo EXTRACT root; sleep 20", "echo VALIDATE; sleep 20"] {
        let (res, _, took) = run(script, soon);
        assert!(matches!(res, Err(Failure::Cancelled)) && took < Duration::from_secs(15), "{res:?} after {took:?}");
    }
    for script in ["sleep 2", "echo EXTRACT root; echo FLASH slot; sleep 2"] {
        let (res, _, took) = run(script, soon);
        assert!(res.is_ok() && Duration::from_millis(900) < took, "{res:?} after {took:?}");
    }
}

#[test]
fn a_bench_meter_only_logs_its_installer() {
    let dir = TempDir::new();
    let folder = Folder::open(&dir.0).unwrap();
    let platform = Platform::in_one_process(&Config::bench());
    let image = platform::Image { path: &dir.0.join("fw.bin"), version: "4.6" };
    let program = platform.install(Target::Fw, image, folder.lock().unwrap().unwrap()).unwrap();
    assert!(program.is_none() && platform.lacks_installer(Target::Fw).is_none());
    let platform = Platform::in_one_process(&Config::default());
    assert_eq!(platform.lacks_installer(Target::Kernel), Some("platform.install.kernel"));
}
