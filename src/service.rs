//! The service from start to orderly stop: opens everything in order, watches itself, and says what to try next.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded, select};
use sha2::{Digest, Sha256};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::api::{self, App};
use crate::auth::{self, Auth, Privileges, Secret};
use crate::config::{Config, Listen};
use crate::drivers::register_db::{Stamp, demo, schema};
use crate::ops::token::hex;
use crate::ops::{Store, Table, staging};
use crate::sys::{clock, fs, random};
use crate::{gate, http};

/// The user that bench mode makes.
const BENCH_USER: &str = "owner";
/// Name of the database in the state folder.
const DATABASE: &str = "meter.db";
/// How often the service asks itself for a sign of life.
const PROBE_EVERY: Duration = Duration::from_secs(30);
/// How long it may take to answer itself.
const PROBE_WITHIN: Duration = Duration::from_secs(8);
/// Missing answers in a row after which it gives up, so that init starts a new one.
const PROBES: u32 = 3;

/// What can wake the main thread.
enum Event {
    Stop,
    Reload,
    Fatal(String),
}

/// Any reason not to serve, in words for whoever started it.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The database of a state folder.
pub fn database_path(config: &Config) -> PathBuf {
    config.state_dir.join(DATABASE)
}

/// Serves until a signal asks to stop; an error means that it could not serve (any longer).
pub fn run(config: Config, reload: &dyn Fn() -> Result<Config, Failure>) -> Result<(), Failure> {
    fs::private_dir(&config.state_dir).map_err(|err| format!("{}: {err}", config.state_dir.display()))?;
    let _lock = lock(&config.state_dir)?;
    let (events, inbox) = bounded::<Event>(16);
    // First of all, so that no signal at any time after this kills the service halfway through its start.
    forward_signals(events.clone())?;
    let fatal = {
        let events = events.clone();
        move |text: String| drop(events.try_send(Event::Fatal(text)))
    };
    let fatal: Arc<dyn Fn(String) + Send + Sync> = Arc::new(fatal);

    let password = if config.bench { prepare_bench(&config)? } else { None };
    let auth = Auth::open(&config)?;
    let table = Arc::new(Table::default());
    let staged = staging::folder(&config.state_dir)?;
    let db_path = database_path(&config);
    let store = Store::start(&db_path, staged.clone(), &config.limits, Arc::clone(&table), Arc::clone(&fatal))?;
    let app = Arc::new(App { config: config.clone(), auth, table, store, db_path, staged });

    let handler = {
        let app = Arc::clone(&app);
        Arc::new(move |request: &mut http::Request| api::handle(&app, request))
    };
    let on_fatal = Arc::clone(&fatal);
    let run_dir = run_dir(&config.state_dir)?;
    let http = http::serve(&run_dir, &config.limits, handler, Box::new(move |text| on_fatal(text)))?;
    let verify = {
        let app = Arc::clone(&app);
        Arc::new(move |token: &str| app.auth.is_live(token))
    };
    let probe = http.probe_path();
    let (quick, slow) = (http.quick_path(), http.slow_path());
    let gate = gate::start(&config.listen, config.secure_only, &config.limits, &quick, &slow, &probe, verify)?;
    let gate_ended = gate.ended();
    announce(&app, gate.local_addrs(), password.as_deref());
    drop(events);

    let mut missed = 0;
    let res = loop {
        select! {
            recv(inbox) -> event => match event {
                Ok(Event::Stop) | Err(_) => break Ok(()),
                Ok(Event::Fatal(text)) => break Err(text.into()),
                Ok(Event::Reload) => {
                    app.auth.reload();
                    report_reload(&app.config, reload);
                }
            },
            recv(gate_ended) -> _ => break Err("the gate's thread has ended".into()),
            default(PROBE_EVERY) => match http::self_probe(&probe, PROBE_WITHIN) {
                Ok(()) => missed = 0,
                Err(err) => {
                    missed += 1;
                    log::warn!("no sign of life from the service itself: {err}");
                    if missed == PROBES {
                        break Err("the service does not answer itself any more".into());
                    }
                }
            },
        }
    };
    log::info!("stopping");
    gate.stop();
    http.stop();
    app.store.stop();
    // Whatever is left in it is for the next start to remove.
    let _ = std::fs::remove_dir(&run_dir);
    res
}

/// One service per state folder: a second one would tear the first one's work apart.
fn lock(state_dir: &Path) -> Result<File, Failure> {
    let path = state_dir.join("lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(format!("{}: another meterd serves this folder already", state_dir.display()).into())
        }
        Err(TryLockError::Error(err)) => Err(format!("{}: {err}", path.display()).into()),
    }
}

/// Where the private sockets live: in memory rather than on flash, where the system has such a place. The name follows
/// from the state folder, so that a service that was killed leaves nothing behind that the next one does not use again.
fn run_dir(state_dir: &Path) -> io::Result<PathBuf> {
    let path = state_dir.canonicalize()?;
    let name = format!("meterd-{}", hex(&Sha256::digest(path.as_os_str().as_bytes())[..8]));
    let below = |parent: &Path| {
        let dir = parent.join(&name);
        fs::private_dir(&dir)?;
        fs::check_private(&dir)?;
        for left in std::fs::read_dir(&dir)? {
            std::fs::remove_dir_all(left?.path())?;
        }
        Ok(dir)
    };
    below(Path::new("/run")).or_else(|_| below(&std::env::temp_dir()))
}

/// Demo registers and a user for the first start; the password that it made.
fn prepare_bench(config: &Config) -> Result<Option<String>, Failure> {
    let mut conn = schema::open(&database_path(config))?;
    if schema::registers(&conn)?.is_empty() {
        let tx = conn.transaction()?;
        demo::demo(&tx, Stamp::from_nanos(clock::wall().as_nanos()))?;
        tx.commit()?;
    }
    drop(conn);
    if config.factory_users.is_some() || auth::users::path(&config.state_dir).exists() {
        return Ok(None);
    }
    let password = hex(&random::bytes::<8>());
    let secret = Secret::from(password.clone());
    auth::users::set(&config.state_dir, &config.realm, BENCH_USER, &secret, Privileges::OWNER)?;
    Ok(Some(password))
}

/// Prints where the service is and, in bench mode, what to try next.
fn announce(app: &App, addrs: &[std::net::SocketAddr], password: Option<&str>) {
    let mut text = String::new();
    for addr in addrs {
        text += &format!("meterd {}: listening on http://{addr}\n", env!("CARGO_PKG_VERSION"));
    }
    if app.config.bench {
        text += &format!("Bench mode: state in {}", app.config.state_dir.display());
        text += "; nothing of this machine is touched, there is nothing to simulate yet.\n";
        if let Some(password) = password {
            text += &format!("Login: user {BENCH_USER}, password {password} (shown this once)\n");
        }
        if let (Some(addr), Some(token)) = (addrs.first(), app.auth.mint(BENCH_USER)) {
            text += "Try, within ten minutes (this token ends then):\n";
            text += &format!("  TOKEN={token}\n");
            let head = "  curl -s -H \"Authorization: Bearer $TOKEN\"";
            text += &format!("{head} http://{addr}/api/register\n");
            text += &format!("{head} 'http://{addr}/api/register?format=backup' | head -4\n");
            text += &format!("{head} http://{addr}/api/cmd/db -d '{{\"action\":\"split\"}}'\n");
        }
    }
    // Tests and scripts wait for these lines, so they leave at once and in one piece.
    use io::Write;
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn forward_signals(events: Sender<Event>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let body = move || {
        for signal in signals.forever() {
            let event = if signal == SIGHUP { Event::Reload } else { Event::Stop };
            let _ = events.try_send(event);
        }
    };
    thread::Builder::new().name("signals".into()).stack_size(64 * 1024).spawn(body).map(drop)
}

/// Users are reloaded at once; a changed configuration is checked, and the log says that it takes a restart.
fn report_reload(running: &Config, reload: &dyn Fn() -> Result<Config, Failure>) {
    match reload() {
        Ok(config) if config == *running => log::info!("users reloaded; the configuration is unchanged"),
        Ok(_) => log::warn!("users reloaded; the changed configuration takes effect at the next start"),
        Err(err) => log::error!("users reloaded; the configuration on disk is unusable: {err}"),
    }
}

/// Asks the running service for a sign of life over its first listener, as a supervisor would.
pub fn health(config: &Config) -> Result<(), Failure> {
    let listen = config.listen.first().ok_or("no listener is configured")?;
    let within = PROBE_WITHIN;
    let status = match listen {
        Listen::Tcp(addr) => {
            let mut addr = *addr;
            // A wildcard address is asked on loopback.
            if addr.ip().is_unspecified() {
                addr.set_ip(if addr.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
            }
            let stream = TcpStream::connect_timeout(&addr, within)?;
            stream.set_read_timeout(Some(within))?;
            ask(stream)?
        }
        Listen::Unix(unix) => {
            let stream = UnixStream::connect(&unix.unix)?;
            stream.set_read_timeout(Some(within))?;
            ask(stream)?
        }
    };
    // 401 is what this resource is for; 403 is a service that only takes encrypted connections.
    if status.starts_with("HTTP/1.1 401") || status.starts_with("HTTP/1.1 403") {
        Ok(())
    } else {
        Err(format!("unexpected answer: {}", status.lines().next().unwrap_or("nothing")).into())
    }
}

fn ask(mut stream: impl io::Read + io::Write) -> io::Result<String> {
    stream.write_all(b"GET /api/auth/unauthorized HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut head = [0; 64];
    let n = stream.read(&mut head)?;
    Ok(String::from_utf8_lossy(&head[..n]).into_owned())
}
