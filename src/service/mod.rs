//! The service from start to orderly stop: opens everything in order, watches itself, and says what to try next.

mod bench;
mod health;
mod power;

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded, select};
use sha2::{Digest, Sha256};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::api::{self, App};
use crate::auth::Auth;
use crate::config::{Config, Listen};
use crate::drivers::register_db::schema;
use crate::drivers::{self, cache, factory, update, wlan};
use crate::ops::token::hex;
use crate::ops::{Store, Table, staging};
use crate::platform::Platform;
use crate::sys::{fs, host, random};
use crate::{gate, http};

pub use health::health;
use power::Down;

/// Name of the database in the state folder.
const DATABASE: &str = "meter.db";
/// How often the service asks itself for a sign of life.
const PROBE_EVERY: Duration = Duration::from_secs(30);
/// How long it may take to answer itself.
const PROBE_WITHIN: Duration = Duration::from_secs(8);
/// Missing answers in a row after which it gives up, so that init starts a new one.
const PROBES: u32 = 3;

/// Stack of the thread that looks after an interrupted change of the WLAN.
const WLAN_STACK: usize = 128 * 1024;

/// What can wake the main thread.
enum Event {
    Stop,
    Reload,
    /// With the lock of installers, so that none begins on the way.
    GoDown(Option<File>),
    Fatal(String),
}

/// Any reason not to serve, in words for whoever started it.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The database of a state folder.
pub fn database_path(config: &Config) -> PathBuf {
    config.state_dir.join(DATABASE)
}

/// Serves until a signal asks to stop; an error means that it could not serve (any longer).
pub fn run(mut config: Config, reload: &dyn Fn() -> Result<Config, Failure>) -> Result<(), Failure> {
    loop {
        match serve(&config, reload)? {
            End::Stopped => return Ok(()),
            // Clients of a bench meter find it again where it was, also if the system had chosen the port.
            End::Restarted(addrs) => config.listen = at_the_same_place(&config.listen, addrs),
        }
    }
}

/// How serving ended.
enum End {
    Stopped,
    /// Bench mode plays a reboot by starting all over; these were its TCP addresses.
    Restarted(Vec<SocketAddr>),
}

fn at_the_same_place(listen: &[Listen], addrs: Vec<SocketAddr>) -> Vec<Listen> {
    let mut addrs = addrs.into_iter();
    let same = |it: &Listen| match it {
        Listen::Tcp(addr) => Listen::Tcp(addrs.next().unwrap_or(*addr)),
        unix => unix.clone(),
    };
    listen.iter().map(same).collect()
}

fn serve(config: &Config, reload: &dyn Fn() -> Result<Config, Failure>) -> Result<End, Failure> {
    fs::private_dir(&config.state_dir).map_err(|err| format!("{}: {err}", config.state_dir.display()))?;
    let _lock = lock(&config.state_dir)?;
    let (events, inbox) = bounded::<Event>(16);
    // First of all, so that no signal at any time after this kills the service halfway through its start.
    let signals = forward_signals(events.clone())?;
    let fatal = {
        let events = events.clone();
        move |text: String| drop(events.try_send(Event::Fatal(text)))
    };
    let fatal: Arc<dyn Fn(String) + Send + Sync> = Arc::new(fatal);

    // In bench mode the service's own start stands for the machine's.
    let boot_id = if config.bench { random::name() } else { host::boot_id()? };
    tidy(config, &boot_id)?;
    // Before anything else in the folder is read: one that a newer version has written is not for this one.
    schema::open(&database_path(config)).map_err(|err| format!("{}: {err}", config.state_dir.display()))?;
    let password = if config.bench { bench::prepare(config)? } else { None };
    let app = Arc::new(open(config, boot_id, &events, Arc::clone(&fatal))?);
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
    let addrs = gate.local_addrs().to_vec();
    bench::announce(&app, &addrs, password.as_deref());
    drop(events);

    let gate_ended = gate.ended();
    let mut missed = 0;
    recover_wlan(config)?;
    if factory::pending(&config.state_dir).is_some() {
        // The service has ended between the order and the reboot.
        app.going_down.store(true, Ordering::Release);
        (app.go_down)(update::keep_installers_away(&config.state_dir).ok().flatten());
    }
    let res = loop {
        select! {
            recv(inbox) -> event => match event {
                Ok(Event::Stop) | Err(_) => break Ok(End::Stopped),
                Ok(Event::Fatal(text)) => break Err(text.into()),
                Ok(Event::GoDown(_lock)) => break power::go_down(&app, &inbox).map(|down| match down {
                    Down::Stopped => End::Stopped,
                    Down::Played => End::Restarted(addrs),
                }),
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
    signals.close();
    // Whatever is left in it is for the next start to remove.
    let _ = std::fs::remove_dir(&run_dir);
    res
}

/// What an earlier run, or the command that ended it, has left to be done before anything is opened.
fn tidy(config: &Config, boot_id: &str) -> Result<(), Failure> {
    if let Some(order) = factory::pending(&config.state_dir).filter(|it| it.boot != boot_id) {
        factory::wipe(config, &order)?;
        log::warn!("factory restore: all data and settings were removed");
    }
    if let Some(folder) = &config.platform.web_cache_dir
        && !config.bench
        && let Err(err) = cache::finish(folder)
    {
        log::warn!("{}: {err}", folder.display());
    }
    Ok(())
}

/// Undoes a change of the WLAN that an earlier run did not bring to an end. On a thread of its own: the supplicant may be
/// slow, or come up later than this service.
fn recover_wlan(config: &Config) -> io::Result<()> {
    let Some(settings) = config.wlan.clone() else { return Ok(()) };
    let marker = wlan::marker(&config.state_dir);
    if !marker.exists() {
        return Ok(());
    }
    let body = move || {
        if let Err(err) = wlan::recover(&settings, &marker) {
            log::warn!("the WLAN: {err}");
        }
    };
    thread::Builder::new().name("wlan-recover".into()).stack_size(WLAN_STACK).spawn(body).map(drop)
}

/// Everything that requests may touch.
fn open(
    config: &Config,
    boot_id: String,
    events: &Sender<Event>,
    fatal: Arc<dyn Fn(String) + Send + Sync>,
) -> Result<App, Failure> {
    let auth = Auth::open(config)?;
    let table = Arc::new(Table::default());
    let staged = staging::folder(&config.state_dir)?;
    let db_path = database_path(config);
    let store = Store::start(&db_path, staged.clone(), &config.limits, Arc::clone(&table), fatal)?;
    let events = events.clone();
    Ok(App {
        config: config.clone(),
        auth,
        table,
        store: Arc::new(store),
        db_path,
        staged,
        platform: Platform::new(config),
        boot: drivers::power::boot(&config.state_dir, &boot_id)?,
        boot_id,
        setting_time: AtomicBool::new(false),
        going_down: AtomicBool::new(false),
        // Waited for, because an order that got lost would leave a meter that only says that it goes down.
        go_down: Box::new(move |lock| drop(events.send(Event::GoDown(lock)))),
    })
}

/// Carries out a factory restore that was ordered before this boot, for a step of the boot before anything uses what is to go.
pub fn factory_wipe(config: &Config) -> Result<bool, Failure> {
    let Some(order) = factory::pending(&config.state_dir) else { return Ok(false) };
    if order.boot == host::boot_id()? {
        log::info!("a factory restore was ordered; it waits for the next boot");
        return Ok(false);
    }
    let _lock = lock(&config.state_dir)?;
    factory::wipe(config, &order)?;
    Ok(true)
}

/// One service per state folder: a second one would tear the first one's work apart.
fn lock(state_dir: &Path) -> Result<File, Failure> {
    let path = state_dir.join(factory::LOCK);
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

fn forward_signals(events: Sender<Event>) -> io::Result<Handle> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let handle = signals.handle();
    let body = move || {
        for signal in signals.forever() {
            let event = if signal == SIGHUP { Event::Reload } else { Event::Stop };
            let _ = events.try_send(event);
        }
    };
    thread::Builder::new().name("signals".into()).stack_size(64 * 1024).spawn(body)?;
    Ok(handle)
}

/// Users are reloaded at once; a changed configuration is checked, and the log says that it takes a restart.
fn report_reload(running: &Config, reload: &dyn Fn() -> Result<Config, Failure>) {
    match reload() {
        Ok(config) if config == *running => log::info!("users reloaded; the configuration is unchanged"),
        Ok(_) => log::warn!("users reloaded; the changed configuration takes effect at the next start"),
        Err(err) => log::error!("users reloaded; the configuration on disk is unusable: {err}"),
    }
}
