//! Whatever is sent for a login or as a token: only the right password and a token that was given out open the door, and
//! nothing that is a bit off.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use meterd::auth::{Auth, Login, Peer, Privileges, Secret, users};
use meterd::config::Config;

struct Door {
    auth: Auth,
    /// A good token, and when it was given out.
    token: Mutex<(String, Instant)>,
}

/// A token dies after ten minutes, and fuzzing may go on for longer.
const RENEWAL: Duration = Duration::from_secs(300);

static DOOR: LazyLock<Door> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("meterd-fuzz-login-{}", std::process::id()));
    let mut config = Config { state_dir: folder.clone(), ..Config::default() };
    std::fs::create_dir_all(&folder).unwrap();
    let password = Secret::from("correct horse".to_string());
    let privileges = Privileges::parse("unlimited_save,view_settings").unwrap();
    users::set(&folder, &config.realm, "owner", &password, privileges).unwrap();
    // A file that has no name any more, so that nothing is left behind: the users are looked at again every second.
    let file = std::fs::File::open(users::path(&folder)).unwrap();
    config.factory_users = Some(format!("/proc/self/fd/{}", file.as_raw_fd()).into());
    std::mem::forget(file);
    std::fs::remove_dir_all(&folder).unwrap();
    let auth = Auth::open(&config).unwrap();
    let token = auth.mint("owner").expect("a user");
    Door { auth, token: Mutex::new((token, Instant::now())) }
});

/// See the module.
pub fn check(data: &[u8]) {
    let Some((&kind, rest)) = data.split_first() else { return };
    match kind % 3 {
        0 => login(rest),
        1 => token(&String::from_utf8_lossy(rest)),
        _ => nearly(rest),
    }
}

/// A peer of its own each time, since whoever fails often is not listened to any more.
fn stranger() -> Peer {
    static NEXT: AtomicU32 = AtomicU32::new(0x0a00_0000);
    let ip = Ipv4Addr::from(NEXT.fetch_add(1, Ordering::Relaxed));
    Peer { ip: Some(IpAddr::V4(ip)), secure: true }
}

fn login(body: &[u8]) {
    let res = DOOR.auth.login(body, &stranger());
    let text = String::from_utf8_lossy(body);
    match res {
        Login::Token(token) => {
            // Nobody guesses a hash; the password has to stand there.
            assert!(text.contains("correct") || text.contains("\\u"), "{text}");
            assert!(DOOR.auth.is_live(&token));
        }
        Login::Refused(reason) => {
            assert!(!reason.is_empty() && text.trim_ascii().starts_with('{'), "{text}");
        }
        Login::Malformed => {}
        Login::Throttled { retry_after } => assert!(0 < retry_after),
    }
}

fn token(text: &str) {
    assert!(DOOR.auth.verify(text, &stranger()).is_none() && !DOOR.auth.is_live(text), "{text}");
}

/// The good token with one byte changed, one taken out, or something behind it.
fn nearly(data: &[u8]) {
    let mut kept = DOOR.token.lock().unwrap_or_else(PoisonError::into_inner);
    if RENEWAL < kept.1.elapsed() {
        *kept = (DOOR.auth.mint("owner").expect("a user"), Instant::now());
    }
    let good = &kept.0;
    assert!(DOOR.auth.is_live(good) && DOOR.auth.verify(good, &stranger()).is_some_and(|it| it.user == "owner"));
    let Some((&[high, low, byte], rest)) = data.split_first_chunk() else { return };
    let at = usize::from(u16::from_be_bytes([high, low])) % good.len();
    let mut changed = good.clone().into_bytes();
    changed[at] = byte;
    let mut shorter = good.clone().into_bytes();
    shorter.remove(at);
    let longer = [good.as_bytes(), rest].concat();
    for other in [changed, shorter, longer] {
        if other != good.as_bytes() {
            token(&String::from_utf8_lossy(&other));
        }
    }
}
