//! The service from start to orderly stop: opens everything in order, watches itself, and says what to try next.

mod bench;
mod health;
pub mod parting;
mod power;

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, select};
use sha2::{Digest, Sha256};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::api::{self, App};
use crate::auth::Auth;
use crate::config::Config;
use crate::drivers::register_db::schema;
use crate::drivers::{self, factory, update, wlan};
use crate::ops::token::hex;
use crate::ops::{Store, Table, staging};
use crate::platform::{Platform, cache};
use crate::sys::fork::Child;
use crate::sys::user::User;
use crate::sys::{clock, fs, host, privilege, random};
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

/// How long the executor is waited for at the end.
const EXECUTOR_ENDS: Duration = Duration::from_secs(1);
/// Stack of the thread that looks after an interrupted change of the WLAN.
const WLAN_STACK: usize = 128 * 1024;

/// What can wake the main thread.
enum Event {
    Stop,
    Reload,
    /// A child of this process has ended, or was stopped, or goes on.
    Child,
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

/// What lasts from the start to the end, also when bench mode plays a reboot in between.
pub struct Ground {
    /// The worker's way to the executor.
    pub platform: Arc<Platform>,
    executor: Child,
    /// Open while the service serves or is about to do so again.
    listeners: Option<gate::Listeners>,
    run_dir: PathBuf,
    boot_id: String,
    _lock: File,
}

impl Ground {
    /// Everything that takes rights, and then no more rights: the order matters, see [`parting`]. `settings` is the file
    /// that the configuration is from. From then on signals are caught. To be called before there is a second thread.
    pub fn lay(config: &Config, settings: Option<&Path>) -> Result<(Ground, Signals), Failure> {
        let (platform, executor) = parting::part(config)?;
        // Before anything lasting is done, so that no signal at any time after this kills the service halfway through it.
        let signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGCHLD])?;
        let user = parting::user(config)?;
        if config.factory_users.is_some() && !config.state_dir.exists() {
            // The label's password counts until users are set, so it must not come back with a folder that is not mounted.
            log::warn!("{} is made anew: if there was one, is its file system mounted?", config.state_dir.display());
        }
        fs::private_dir(&config.state_dir).map_err(|err| format!("{}: {err}", config.state_dir.display()))?;
        let lock = lock(&config.state_dir)?;
        let boot_id = boot_id(config)?;
        tidy(config, &boot_id)?;
        finish_cache(config);
        let listeners = gate::open(&config.listen, config.secure_only, &config.limits)?;
        let run_dir = run_dir(&config.state_dir, user.as_ref())?;
        if let Some(user) = &user {
            privilege::give(&config.state_dir, user).map_err(|err| format!("{}: {err}", config.state_dir.display()))?;
        }
        parting::confine(config, settings, &run_dir, user.as_ref())?;
        let (platform, listeners) = (Arc::new(platform), Some(listeners));
        Ok((Ground { platform, executor, listeners, run_dir, boot_id, _lock: lock }, signals))
    }
}

impl Drop for Ground {
    /// Whoever sees this process end must not meet the other one any more.
    fn drop(&mut self) {
        self.platform.end();
        let until = clock::boottime() + EXECUTOR_ENDS;
        while !self.executor.has_ended() && clock::boottime() < until {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Serves until a signal asks to stop; an error means that it could not serve (any longer).
pub fn run(
    config: &Config,
    settings: Option<&Path>,
    reload: &dyn Fn() -> Result<Config, Failure>,
) -> Result<(), Failure> {
    let (mut ground, signals) = Ground::lay(config, settings)?;
    // For as long as the process lives, so that no signal is lost while a bench meter plays a reboot.
    let (events, inbox) = bounded::<Event>(16);
    let signals = forward_signals(signals, events.clone())?;
    loop {
        match serve(config, &mut ground, &events, &inbox, reload)? {
            End::Stopped => break,
            // Clients of a bench meter find it again where it was.
            End::Restarted => {
                ground.boot_id = boot_id(config)?;
                tidy(config, &ground.boot_id)?;
            }
        }
    }
    signals.close();
    // Where it may not be removed, the next start uses it again.
    let _ = std::fs::remove_dir(&ground.run_dir);
    Ok(())
}

/// How serving ended.
enum End {
    Stopped,
    /// Bench mode plays a reboot by starting all over.
    Restarted,
}

/// In bench mode the service's own start stands for the machine's.
fn boot_id(config: &Config) -> io::Result<String> {
    if config.bench { Ok(random::name()) } else { host::boot_id() }
}

fn serve(
    config: &Config,
    ground: &mut Ground,
    events: &Sender<Event>,
    inbox: &Receiver<Event>,
    reload: &dyn Fn() -> Result<Config, Failure>,
) -> Result<End, Failure> {
    let fatal = {
        let events = events.clone();
        move |text: String| drop(events.try_send(Event::Fatal(text)))
    };
    let fatal: Arc<dyn Fn(String) + Send + Sync> = Arc::new(fatal);

    // Before anything else in the folder is read: one that a newer version has written is not for this one.
    schema::open(&database_path(config)).map_err(|err| format!("{}: {err}", config.state_dir.display()))?;
    let password = if config.bench { bench::prepare(config)? } else { None };
    let app = Arc::new(open(config, ground, events, Arc::clone(&fatal))?);
    let handler = {
        let app = Arc::clone(&app);
        Arc::new(move |request: &mut http::Request| api::handle(&app, request))
    };
    let on_fatal = Arc::clone(&fatal);
    let http = http::serve(&ground.run_dir, &config.limits, handler, Box::new(move |text| on_fatal(text)))?;
    let verify = {
        let app = Arc::clone(&app);
        Arc::new(move |token: &str| app.auth.is_live(token))
    };
    let probe = http.probe_path();
    let (quick, slow) = (http.quick_path(), http.slow_path());
    let listeners = ground.listeners.as_ref().ok_or("the listeners are closed")?;
    let gate = gate::start(listeners, &config.limits, &quick, &slow, &probe, verify)?;
    bench::announce(&app, gate.local_addrs(), password.as_deref());

    let gate_ended = gate.ended();
    let mut missed = 0;
    recover_wlan(config)?;
    if factory::pending(&config.state_dir)?.is_some() {
        // The service has ended between the order and the reboot.
        app.going_down.store(true, Ordering::Release);
        (app.go_down)(update::keep_installers_away(&config.state_dir).ok().flatten());
    }
    let res = loop {
        if ground.executor.has_ended() {
            break Err("the process that touches the machine for the service has ended".into());
        }
        select! {
            recv(inbox) -> event => match event {
                Ok(Event::Child) => {}
                Ok(Event::Stop) | Err(_) => break Ok(End::Stopped),
                Ok(Event::Fatal(text)) => break Err(text.into()),
                Ok(Event::GoDown(_lock)) => break power::go_down(&app, inbox).map(|down| match down {
                    Down::Stopped => End::Stopped,
                    Down::Played => End::Restarted,
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
    if !matches!(res, Ok(End::Restarted)) {
        // Whoever comes now is refused at once.
        ground.listeners = None;
    }
    gate.stop();
    http.stop();
    app.store.stop();
    res
}

/// What an earlier run, or the command that ended it, has left to be done before anything is opened.
fn tidy(config: &Config, boot_id: &str) -> Result<(), Failure> {
    if let Some(order) = factory::pending(&config.state_dir)?.filter(|it| it.boot != boot_id) {
        factory::wipe(config, &order)?;
        log::warn!("factory restore: all data and settings were removed");
    }
    Ok(())
}

/// Deletes what a cut has left of the web server's cache.
fn finish_cache(config: &Config) {
    if let Some(folder) = &config.platform.web_cache_dir
        && !config.bench
        && let Err(err) = cache::finish(folder)
    {
        log::warn!("{}: {err}", folder.display());
    }
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
    ground: &Ground,
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
        platform: Arc::clone(&ground.platform),
        boot: drivers::power::boot(&config.state_dir, &ground.boot_id)?,
        boot_id: ground.boot_id.clone(),
        setting_time: AtomicBool::new(false),
        going_down: AtomicBool::new(false),
        // Waited for, because an order that got lost would leave a meter that only says that it goes down.
        go_down: Box::new(move |lock| drop(events.send(Event::GoDown(lock)))),
    })
}

/// Carries out a factory restore that was ordered before this boot, for a step of the boot before anything uses what is to go.
pub fn factory_wipe(config: &Config) -> Result<bool, Failure> {
    let Some(order) = factory::pending(&config.state_dir)? else { return Ok(false) };
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
    let file = fs::open_own(&path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(format!("{}: another meterd serves this folder already", state_dir.display()).into())
        }
        Err(TryLockError::Error(err)) => Err(format!("{}: {err}", path.display()).into()),
    }
}

/// Where the private sockets live, made for `user` if it is somebody else: in memory rather than on flash, where the
/// system has such a place. The name follows from the state folder, so that a service that was killed leaves nothing
/// behind that the next one does not use again.
fn run_dir(state_dir: &Path, user: Option<&User>) -> io::Result<PathBuf> {
    let path = state_dir.canonicalize()?;
    let name = format!("meterd-{}", hex(&Sha256::digest(path.as_os_str().as_bytes())[..8]));
    let below = |parent: &Path| {
        let dir = parent.join(&name);
        fs::private_dir(&dir)?;
        fs::check_private(&dir, user.map(|it| it.uid))?;
        for left in std::fs::read_dir(&dir)? {
            std::fs::remove_dir_all(left?.path())?;
        }
        user.map_or(Ok(()), |user| privilege::give(&dir, user))?;
        Ok(dir)
    };
    below(Path::new("/run")).or_else(|_| below(&std::env::temp_dir()))
}

fn forward_signals(mut signals: Signals, events: Sender<Event>) -> io::Result<Handle> {
    let handle = signals.handle();
    let body = move || {
        for signal in signals.forever() {
            let event = match signal {
                SIGHUP => Event::Reload,
                SIGCHLD => Event::Child,
                _ => Event::Stop,
            };
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
