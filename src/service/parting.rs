//! Parting the service in two, before it has threads: the worker, which goes on and faces the network, and the executor,
//! which keeps the rights to touch the machine ([`crate::platform`]); and what becomes of the worker.
//!
//! ```text
//! meterd serve ── configuration read ── fork ──┬─ executor: root with the capabilities of its verbs
//!                                              │
//!      state folder, lock, factory restore, listeners (all as root)
//!                                              │
//!      then for good: its user, no capability, no_new_privs, Landlock, seccomp
//!                                              │
//!                                    worker: threads, database, network
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use super::Failure;
use crate::config::Config;
use crate::platform::{Platform, executor};
use crate::sys::caps::{self, Cap};
use crate::sys::channel::Channel;
use crate::sys::fork::{self, Child};
use crate::sys::landlock::{self, Access};
use crate::sys::user::{self, User};
use crate::sys::{privilege, process, seccomp};

/// What root keeps where the configuration names no user to become: to be master of its files.
const OF_ROOT: [Cap; 3] = [Cap::Chown, Cap::DacOverride, Cap::Fowner];

/// Files that are read anew whenever they are needed, because others replace them.
const RESOLV_CONF: &str = "/etc/resolv.conf";
const ETC: &str = "/etc";

/// Starts the executor of a configuration. To be called first of all: it has only what the service was started with.
pub fn part(config: &Config) -> Result<(Platform, Child), Failure> {
    let (worker, executor) = Channel::pair()?;
    let mut worker = Some(worker);
    let child = fork::fork(|| {
        // The worker's end must be the worker's alone, or nobody would see it close.
        drop(worker.take());
        execute(&executor, config);
    })?;
    let worker = worker.ok_or("the child's memory is not its own")?;
    Ok((Platform::new(config, worker), child))
}

fn execute(requests: &Channel, config: &Config) {
    // A stop may be what a verb brings about, and then the worker may still have to say how that ended. So a signal does
    // nothing here, and the end comes with the worker's. Ignoring it would be passed on to programs; this is not.
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        if let Err(err) = flag::register(signal, Arc::new(AtomicBool::new(false))) {
            log::warn!("signal {signal} will end the executor: {err}");
        }
    }
    if let Err(err) = lighten(config) {
        log::warn!("the executor keeps all its rights: {err}");
    }
    executor::serve(requests, config);
}

/// Leaves the executor the capabilities of the verbs that are configured. What it runs as root has root's again, since a
/// script that starts a service or writes flash may need any of them.
fn lighten(config: &Config) -> io::Result<()> {
    let platform = &config.platform;
    let programs = platform.has_programs() || config.providers.decrypt.is_some();
    let files = platform.web_cache_dir.is_some() || config.wlan.is_some() || programs;
    let wanted = [
        (true, Cap::SysTime),
        (config.homeplug.is_some(), Cap::NetRaw),
        (programs, Cap::Kill),
        (files, Cap::DacOverride),
        (files, Cap::Fowner),
    ];
    if !programs {
        caps::bound();
        caps::no_new_privileges()?;
    }
    // Somebody else than root has what he was given on purpose, and passes it on to what he runs.
    if process::own_uid() != 0 {
        return Ok(());
    }
    caps::keep(&wanted.into_iter().filter(|it| it.0).map(|it| it.1).collect::<Vec<_>>())
}

/// The user that the worker is to become; nothing if it stays who it is.
pub fn user(config: &Config) -> Result<Option<User>, Failure> {
    let Some(name) = &config.user else { return Ok(None) };
    let user = user::find(name).map_err(|err| format!("user: {err}"))?;
    if user.uid == 0 {
        return Err(format!("user: \"{name}\" is root").into());
    }
    if process::own_uid() != 0 {
        log::info!("not started as root, so the service stays user {} instead of becoming {name}", process::own_uid());
        return Ok(None);
    }
    Ok(Some(user))
}

/// Becomes what the worker is to be, for good. `settings` is the configuration's file, `run_dir` where the private sockets
/// are. To be called when everything is open that takes more rights, and before there is a second thread.
pub fn confine(config: &Config, settings: Option<&Path>, run_dir: &Path, user: Option<&User>) -> Result<(), Failure> {
    caps::bound();
    match user {
        Some(user) => privilege::become_user(user).map_err(|err| format!("user: {err}"))?,
        None if process::own_uid() == 0 => caps::keep(&OF_ROOT)?,
        None => {}
    }
    if process::own_uid() != 0 {
        caps::keep(&[])?;
    }
    caps::no_new_privileges()?;
    if let Some(path) = &config.factory_users
        && let Err(err) = std::fs::File::open(path)
        && err.kind() == io::ErrorKind::PermissionDenied
    {
        log::warn!("{}: {err}; it must be readable to the service's user", path.display());
    }
    fence(&rules(config, settings, run_dir));
    Ok(())
}

/// What older kernels lack is done without, and said: a meter that does not serve would help nobody.
fn fence(rules: &[(PathBuf, Access)]) {
    match landlock::restrict(rules.iter().map(|it| (it.0.as_path(), it.1))) {
        Ok(Some(version)) => log::debug!("files are fenced by Landlock, version {version}"),
        Ok(None) => log::warn!("this kernel has no Landlock: files are guarded by their rights alone"),
        Err(err) => log::warn!("Landlock fails ({err}): files are guarded by their rights alone"),
    }
    match seccomp::restrict() {
        Ok(true) => log::debug!("system calls are filtered"),
        Ok(false) => log::warn!("this kernel has no seccomp filters: system calls are guarded by capabilities alone"),
        Err(err) => log::warn!("seccomp fails ({err}): system calls are guarded by capabilities alone"),
    }
}

/// Everything that the worker opens once it is confined. Folders rather than files, where files are replaced: a rule holds
/// for what a path leads to now.
fn rules(config: &Config, settings: Option<&Path>, run_dir: &Path) -> Vec<(PathBuf, Access)> {
    let mut res = vec![
        (config.state_dir.clone(), Access::Write),
        (run_dir.into(), Access::Write),
        // Names, certificates, and as a rule the configuration. What is secret in there belongs to root.
        (ETC.into(), Access::Read),
        ("/proc/sys/kernel".into(), Access::Read),
        // How many processors there are, for the memory of threads.
        ("/sys/devices/system/cpu".into(), Access::Read),
        ("/dev/urandom".into(), Access::Read),
        ("/dev/null".into(), Access::Device),
    ];
    // An orderly end removes the folder of its sockets, where the folder above lets it.
    res.extend(run_dir.parent().map(|it| (it.into(), Access::RemoveFolders)));
    let resolv = Some(Path::new(RESOLV_CONF));
    for path in [settings, config.factory_users.as_deref(), config.tls.ca_file.as_deref(), resolv] {
        res.extend(path.into_iter().flat_map(folders_of).map(|it| (it, Access::Read)));
    }
    // Adapters come and go, and each time their files are new ones, perhaps of other names behind the same link.
    if !config.serial_ports.is_empty() {
        res.push(("/dev".into(), Access::Device));
    }
    for path in config.serial_ports.values() {
        res.extend(folders_of(path).into_iter().map(|it| (it, Access::Device)));
    }
    res
}

/// The folder that a path is in, and the one that it leads to if it is a link. For one that is not there yet it is the
/// nearest above it that is, but not the root.
fn folders_of(path: &Path) -> Vec<PathBuf> {
    let above = |path: &Path| {
        let named = path.ancestors().skip(1).filter(|it| *it != Path::new("/"));
        let mut named = named.map(|it| if it.as_os_str().is_empty() { Path::new(".") } else { it });
        named.find(|it| it.is_dir()).map(Path::to_path_buf)
    };
    let target = path.canonicalize().ok().or_else(|| {
        let link = std::fs::read_link(path).ok()?;
        Some(path.parent()?.join(link))
    });
    let mut res: Vec<PathBuf> = [Some(path), target.as_deref()].into_iter().flatten().filter_map(above).collect();
    res.dedup();
    res
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::random;

    #[test]
    fn a_link_stands_for_both_its_folders() {
        let dir = std::env::temp_dir().join(format!("meterd-parting-{}", random::name())).join("a");
        std::fs::create_dir_all(dir.join("etc")).unwrap();
        std::fs::create_dir(dir.join("run")).unwrap();
        let dir = dir.canonicalize().unwrap();
        std::os::unix::fs::symlink("../run/resolv.conf", dir.join("etc/resolv.conf")).unwrap();
        let real = |it: Vec<PathBuf>| it.iter().map(|it| it.canonicalize().unwrap()).collect::<Vec<_>>();
        let expect = [dir.join("etc"), dir.join("run")];
        assert_eq!(real(folders_of(&dir.join("etc/resolv.conf"))), expect, "before its target is there");
        std::fs::write(dir.join("run/resolv.conf"), "").unwrap();
        assert_eq!(real(folders_of(&dir.join("etc/resolv.conf"))), expect);
        assert_eq!(folders_of(&dir.join("run/resolv.conf")), [dir.join("run")]);
        assert_eq!(folders_of(&dir.join("run/later/deep/file")), [dir.join("run")], "not there yet");
        assert_eq!(folders_of(Path::new("meterd.json"))[0], Path::new("."));
        assert_eq!(folders_of(Path::new("/no-such-folder/file")), [] as [PathBuf; 0]);
        std::fs::remove_dir_all(dir.parent().unwrap()).unwrap();
    }
}
