//! The whole of a login against a real users file, with a clock that the test moves.

use std::cell::Cell;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use super::*;
use crate::sys::net::Subnet;
use crate::sys::random;

/// A folder that goes with the test.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("meterd-auth-{}", digest::hex(&random::bytes::<8>())));
        std::fs::create_dir(&path).unwrap();
        Folder(path)
    }
}

impl Deref for Folder {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

// Each test runs in a thread of its own, and so has a time of its own.
thread_local! { static NOW: Cell<Duration> = const { Cell::new(Duration::from_secs(10_000)) }; }

fn pass(seconds: u64) {
    NOW.set(NOW.get() + Duration::from_secs(seconds));
}

const SENSES: Senses = Senses {
    boottime: || NOW.get(),
    wall: || Duration::from_secs(1_700_000_000),
    interfaces: || Ok(vec![Subnet { addr: "192.168.1.7".parse().unwrap(), prefix: 24 }]),
};

const REALM: &str = "Test Realm";
const FAR: Peer = Peer { ip: Some(std::net::IpAddr::V4(std::net::Ipv4Addr::new(8, 8, 8, 8))), secure: false };
const NEAR: Peer = Peer { ip: Some(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 1, 9))), secure: false };

struct Meter {
    dir: Folder,
    config: Config,
    auth: Auth,
}

impl Meter {
    fn new() -> Self {
        let dir = Folder::new();
        let factory = Some(dir.join("factory.json"));
        let config =
            Config { state_dir: dir.to_path_buf(), factory_users: factory, realm: REALM.into(), ..Config::bench() };
        let auth = Auth::with(&config, SENSES).unwrap();
        let res = Meter { dir, config, auth };
        res.set("owner", "unlimited_save,view_settings,ctrl");
        res.set("neighbour", "local_save");
        res
    }

    /// Every user's password is `pw-` and the name.
    fn set(&self, user: &str, privileges: &str) {
        let privileges = Privileges::parse(privileges).unwrap();
        users::set(&self.dir, REALM, user, &password(user), privileges).unwrap();
        self.auth.reload();
    }

    fn body(&self, user: &str, password: &str) -> String {
        let nnc = self.auth.challenge().nnc;
        let hash = Ha1::of(user, REALM, &Secret::from(password.to_string())).response(&nnc, "client");
        let hash = digest::hex(&hash);
        serde_json::json!({"rlm": REALM, "usr": user, "nnc": nnc, "cnnc": "client", "hash": hash}).to_string()
    }

    fn login(&self, user: &str, peer: &Peer) -> Login {
        self.auth.login(self.body(user, &format!("pw-{user}")).as_bytes(), peer)
    }

    #[track_caller]
    fn token(&self, user: &str) -> String {
        match self.login(user, &FAR) {
            Login::Token(it) => it,
            other => panic!("{other:?}"),
        }
    }

    fn wrong(&self, user: &str, peer: &Peer) -> Login {
        self.auth.login(self.body(user, "wrong").as_bytes(), peer)
    }
}

fn password(user: &str) -> Secret {
    Secret::from(format!("pw-{user}"))
}

fn rights(save: bool, ctrl: bool, view: bool) -> Rights {
    Rights { save, ctrl, view }
}

#[test]
fn a_digest_login_gives_a_token_that_verifies() {
    let meter = Meter::new();
    let token = meter.token("owner");
    let identity = meter.auth.verify(&token, &FAR).unwrap();
    assert_eq!((identity.user.as_str(), identity.rights), ("owner", rights(true, true, true)));
    let other = meter.auth.verify(&meter.token("owner"), &FAR).unwrap();
    assert_ne!(identity.jti, other.jti);
    assert!(meter.auth.verify(&token, &FAR).is_some(), "a second login leaves the first token alone");
    pass(600);
    assert!(meter.auth.verify(&token, &FAR).is_none());
}

#[test]
fn rights_follow_the_request_and_the_present_record() {
    let meter = Meter::new();
    let token = meter.token("neighbour");
    let rights_of = |peer: &Peer| meter.auth.verify(&token, peer).unwrap().rights;
    assert_eq!(rights_of(&FAR), rights(false, false, false));
    assert_eq!(rights_of(&NEAR), rights(true, false, true));
    assert_eq!(rights_of(&Peer { ip: None, secure: true }), rights(false, false, false));
    let text = std::fs::read_to_string(users::path(&meter.dir)).unwrap();
    std::fs::write(users::path(&meter.dir), text.replace("local_save", "ctrl")).unwrap();
    pass(1);
    assert_eq!(rights_of(&NEAR), rights(false, true, false));
}

#[test]
fn wrong_user_realm_and_password_are_one_answer() {
    let meter = Meter::new();
    std::fs::write(users::path(&meter.dir), {
        let text = std::fs::read_to_string(users::path(&meter.dir)).unwrap();
        text.replacen("]\n}", r#", {"name": "off", "ha1": "", "privileges": []}]}"#, 1)
    })
    .unwrap();
    assert!(users::list(&meter.dir, None).unwrap().iter().any(|it| it.name == "off" && it.ha1.is_none()));
    meter.auth.reload();
    let good = meter.body("owner", "pw-owner");
    let secure = Peer { secure: true, ..FAR };
    let plain = |rlm, usr, pwd| serde_json::json!({"rlm": rlm, "usr": usr, "pwd": pwd}).to_string();
    let bodies = [
        meter.body("owner", "wrong"),
        meter.body("nobody", "pw-owner"),
        meter.body("off", "pw-off"),
        meter.body("off", ""),
        good.replace(REALM, "Other Realm"),
        good.replace("client", "other client"),
        plain(REALM, "owner", "wrong"),
        plain("Other Realm", "owner", "pw-owner"),
        plain(REALM, "nobody", "pw-owner"),
    ];
    for body in bodies {
        assert_eq!(meter.auth.login(body.as_bytes(), &secure), Login::Refused(WRONG), "{body}");
    }
    assert!(matches!(meter.auth.login(good.as_bytes(), &secure), Login::Token(_)));
}

#[test]
fn a_password_is_taken_over_a_secure_connection_only() {
    let meter = Meter::new();
    let body = format!(r#"{{"rlm": "{REALM}", "usr": "owner", "pwd": "pw-owner"}}"#);
    assert_eq!(meter.auth.login(body.as_bytes(), &FAR), Login::Refused(NEEDS_TLS));
    let secure = Peer { secure: true, ..FAR };
    for _ in 0..2 {
        let Login::Token(token) = meter.auth.login(body.as_bytes(), &secure) else { panic!("no token") };
        assert!(meter.auth.verify(&token, &FAR).is_some());
    }
}

#[test]
fn a_nonce_lives_a_minute_and_not_beyond_a_restart() {
    let meter = Meter::new();
    let body = meter.body("owner", "pw-owner");
    pass(61);
    assert_eq!(meter.auth.login(body.as_bytes(), &FAR), Login::Refused("Nonce expired."));
    let restarted = Auth::with(&meter.config, SENSES).unwrap();
    let body = meter.body("owner", "pw-owner");
    assert_eq!(restarted.login(body.as_bytes(), &FAR), Login::Refused("Nonce expired."));
    assert!(restarted.verify(&meter.token("owner"), &FAR).is_none());
    let body = body.replace("client", "x").replace("hash", "nope");
    assert_eq!(meter.auth.login(body.as_bytes(), &FAR), Login::Malformed);
}

#[test]
fn a_hash_logs_in_once() {
    let meter = Meter::new();
    let body = meter.body("owner", "pw-owner");
    assert!(matches!(meter.auth.login(body.as_bytes(), &FAR), Login::Token(_)));
    let hash = serde_json::from_str::<serde_json::Value>(&body).unwrap()["hash"].as_str().unwrap().to_string();
    for body in [body.clone(), body.replace(&hash, &hash.to_uppercase())] {
        assert_eq!(meter.auth.login(body.as_bytes(), &NEAR), Login::Refused("Nonce expired."));
    }
    pass(60);
    assert_eq!(meter.auth.login(body.as_bytes(), &NEAR), Login::Refused("Nonce expired."));
}

#[test]
fn guessing_is_slowed_down_before_the_body_is_read() {
    let meter = Meter::new();
    for it in 0..10 {
        assert_eq!(meter.wrong("owner", &FAR), Login::Refused(WRONG), "guess {it}");
    }
    let waits = Login::Throttled { retry_after: 6 };
    assert_eq!(meter.login("owner", &FAR), waits);
    assert_eq!(meter.auth.login(b"{", &FAR), waits);
    assert!(matches!(meter.login("owner", &NEAR), Login::Token(_)), "the owner elsewhere");
    pass(6);
    assert!(matches!(meter.login("owner", &FAR), Login::Token(_)));
    assert_eq!(meter.wrong("owner", &FAR), Login::Refused(WRONG));
    assert_eq!(meter.wrong("owner", &FAR), waits);
}

#[test]
fn nobody_locks_the_owner_out() {
    let meter = Meter::new();
    let stranger = |it: u32| Peer { ip: Some(std::net::IpAddr::V4((0x0a00_0000 + it).into())), secure: false };
    for it in 0..200 {
        meter.wrong("owner", &stranger(it));
    }
    assert_eq!(meter.login("owner", &stranger(199)), Login::Throttled { retry_after: 6 });
    assert!(matches!(meter.login("owner", &NEAR), Login::Token(_)));
}

#[test]
fn only_wrong_credentials_count_as_guesses() {
    let meter = Meter::new();
    let stale = meter.body("owner", "wrong");
    pass(61);
    let plain = format!(r#"{{"rlm": "{REALM}", "usr": "owner", "pwd": "x"}}"#);
    for _ in 0..30 {
        assert_eq!(meter.auth.login(b"{", &FAR), Login::Malformed);
        assert_eq!(meter.auth.login(stale.as_bytes(), &FAR), Login::Refused(EXPIRED));
        assert_eq!(meter.auth.login(plain.as_bytes(), &FAR), Login::Refused(NEEDS_TLS));
        meter.token("owner");
    }
}

#[test]
fn ten_good_logins_a_second_pass_for_minutes() {
    let meter = Meter::new();
    for _ in 0..180 {
        (0..10).for_each(|_| drop(meter.token("owner")));
        pass(1);
    }
}

#[test]
fn more_good_logins_than_can_be_remembered_have_to_wait() {
    let meter = Meter::new();
    (0..spent::PER_USER).for_each(|_| drop(meter.token("owner")));
    assert!(matches!(meter.login("owner", &NEAR), Login::Throttled { retry_after: 60 }));
    meter.token("neighbour");
    pass(61);
    meter.token("owner");
}

#[test]
fn logout_ends_that_token() {
    let meter = Meter::new();
    let (one, other) = (meter.token("owner"), meter.token("owner"));
    assert!(meter.auth.logout(&one));
    assert!(meter.auth.verify(&one, &FAR).is_none());
    assert!(!meter.auth.logout(&one));
    assert!(!meter.auth.logout("garbage"));
    assert!(meter.auth.verify(&other, &FAR).is_some());
}

#[test]
fn when_ended_tokens_are_too_many_all_of_the_user_end() {
    let meter = Meter::new();
    let neighbour = meter.token("neighbour");
    let tokens: Vec<_> = (0..revoked::LIMIT + 2).map(|_| meter.token("owner")).collect();
    let (last, rest) = tokens.split_last().unwrap();
    let (over, rest) = rest.split_last().unwrap();
    assert!(rest.iter().all(|it| meter.auth.logout(it)));
    assert!(meter.auth.verify(last, &FAR).is_some());
    assert!(meter.auth.logout(over));
    for token in &tokens {
        assert!(meter.auth.verify(token, &FAR).is_none());
    }
    assert!(meter.auth.verify(&neighbour, &FAR).is_some());
    assert!(meter.auth.verify(&meter.token("owner"), &FAR).is_some(), "a new login works");
}

#[test]
fn a_changed_password_or_a_removed_user_ends_tokens() {
    let meter = Meter::new();
    let (owner, neighbour) = (meter.token("owner"), meter.token("neighbour"));
    users::set(&meter.dir, REALM, "owner", &Secret::from("new".to_string()), Privileges::OWNER).unwrap();
    users::del(&meter.dir, "neighbour").unwrap();
    pass(1);
    assert!(meter.auth.verify(&owner, &FAR).is_none());
    assert!(meter.auth.verify(&neighbour, &FAR).is_none());
    assert_eq!(meter.login("owner", &FAR), Login::Refused(WRONG));
    assert_eq!(meter.login("neighbour", &FAR), Login::Refused(WRONG));
    assert!(matches!(meter.auth.login(meter.body("owner", "new").as_bytes(), &FAR), Login::Token(_)));
}

#[test]
fn without_any_user_the_answer_says_what_to_do() {
    let meter = Meter::new();
    std::fs::remove_file(users::path(&meter.dir)).unwrap();
    meter.auth.reload();
    let Login::Refused(text) = meter.login("owner", &FAR) else { panic!("not refused") };
    assert!(text.contains("meterd user set NAME"), "{text}");
    let ha1 = Ha1::of("owner", REALM, &password("owner"));
    let factory = format!(r#"{{"users": [{{"name": "owner", "ha1": "{}", "privileges": []}}]}}"#, ha1.text());
    std::fs::write(meter.config.factory_users.as_ref().unwrap(), factory).unwrap();
    pass(1);
    meter.token("owner");
}

#[test]
fn a_minted_token_is_like_any_other() {
    let meter = Meter::new();
    let token = meter.auth.mint("owner").unwrap();
    assert_eq!(meter.auth.verify(&token, &FAR).unwrap().user, "owner");
    assert!(meter.auth.mint("nobody").is_none());
}

#[test]
fn a_service_that_cannot_check_logins_does_not_open() {
    let meter = Meter::new();
    std::fs::write(users::path(&meter.dir), "nonsense").unwrap();
    let err = Auth::open(&meter.config).err().unwrap().to_string();
    assert!(err.contains("users.json"), "{err}");
    let config = Config { realm: "r".repeat(MAX_REALM + 1), ..Config::bench() };
    assert!(matches!(Auth::open(&config), Err(AuthError::Realm)));
}

#[test]
fn auth_is_shared_between_workers() {
    let meter = Meter::new();
    let token = meter.token("owner");
    // Worker threads have the clock's first value, which is the one of the login.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..100).for_each(|_| assert!(meter.auth.verify(&token, &FAR).is_some())));
        }
    });
}
