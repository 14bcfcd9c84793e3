//! The executor: carries out requests from the list in `message` as the configuration says that it was started
//! with. It speaks to the worker alone, over a socket that only these two have, and gets nothing from any network.
//! Every request brings the socket for its own reply, and has a thread of its own, so that none waits for another.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::message::{MAX_REQUEST, Reply, Request};
use super::{HOMEPLUG_ETHERTYPE, Verb, cache, command};
use crate::config::{Config, Target};
use crate::sys::channel::Channel;
use crate::sys::packet::{PacketSocket, bridge_of};
use crate::sys::program::{self, ProgramError, Running, Start};
use crate::sys::{clock, errno, fs};

/// Requests in work at the same time.
const MAX_REQUESTS: usize = 16;
/// Stack of the thread of one.
const STACK: usize = 128 * 1024;
/// How often a running installer is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Lines of an installer that are told in one message; each is a few kilobytes at most.
const LINES: usize = 16;

/// Serves until the worker is gone. Programs that run then go on: a reboot may well end the worker on its way, and an
/// installer must not be stopped halfway.
pub fn serve(requests: &Channel, config: &Config) {
    let config = Arc::new(config.clone());
    let mut buffer = vec![0; MAX_REQUEST];
    loop {
        let received = match requests.receive(&mut buffer) {
            Ok(Some(received)) => received,
            Err(err) if matches!(err.kind(), io::ErrorKind::Interrupted | io::ErrorKind::InvalidData) => continue,
            Ok(None) | Err(_) => return,
        };
        let mut descriptors = received.descriptors.into_iter();
        let Some(asker) = descriptors.next().map(Channel::from) else { continue };
        let request = Request::decode(&buffer[..received.length]);
        let (config, beside) = (Arc::clone(&config), descriptors.next());
        // One is the loop's own. Whoever is not served sees his socket close.
        if MAX_REQUESTS + 1 < Arc::strong_count(&config) {
            continue;
        }
        let body = move || answer(&config, request, beside, &asker);
        if let Err(err) = thread::Builder::new().name("request".into()).stack_size(STACK).spawn(body) {
            log::error!("a request cannot be carried out: {err}");
        }
    }
}

fn answer(config: &Config, request: Option<Request>, beside: Option<OwnedFd>, asker: &Channel) {
    let reply =
        match request {
            None => Reply::Refused,
            Some(Request::Run(verb, within)) => run(config, verb, within),
            Some(Request::Decrypt(challenge, within)) => {
                // Nobody says anything more on this socket, so what can be heard is that it closes.
                let stop = || asker.is_ready(Duration::ZERO).unwrap_or(true);
                config.providers.decrypt.as_ref().map_or(Reply::Refused, |command| {
                    said(program::filter(command, challenge.as_bytes(), within, &stop))
                })
            }
            Some(Request::Install { target, image, version }) => match beside {
                Some(lock) => return install(config, target, &image, &version, lock.into(), asker),
                None => Reply::Refused,
            },
            Some(Request::ClearCache) => return clear_cache(config, asker),
            Some(Request::OpenWire) => {
                let Some(homeplug) = &config.homeplug else { return tell(asker, Reply::Refused) };
                let interface = bridge_of(&homeplug.interface).unwrap_or_else(|| homeplug.interface.clone());
                return hand_over(asker, PacketSocket::bound(&interface, HOMEPLUG_ETHERTYPE));
            }
            Some(Request::OpenNetworks) => {
                let Some(wlan) = &config.wlan else { return tell(asker, Reply::Refused) };
                return hand_over(asker, open_networks(&wlan.config).map(OwnedFd::from));
            }
        };
    tell(asker, reply);
}

/// An asker who is gone misses nothing.
fn tell(asker: &Channel, reply: Reply) {
    let _ = asker.send(&reply.encode(), &[]);
}

fn hand_over(asker: &Channel, opened: io::Result<OwnedFd>) {
    match opened {
        Ok(fd) => drop(asker.send(&Reply::Done(String::new()).encode(), &[fd.as_fd()])),
        Err(err) => tell(asker, Reply::System(errno(&err))),
    }
}

fn run(config: &Config, verb: Verb, within: Duration) -> Reply {
    match (verb, command(&config.platform, verb)) {
        (Verb::SetClock { stamp, at }, _) => {
            let since = clock::boottime().saturating_sub(at);
            match clock::set_wall(stamp.saturating_add(since)) {
                Ok(()) => Reply::Done(String::new()),
                Err(err) => Reply::System(errno(&err)),
            }
        }
        (Verb::Sync, _) => {
            fs::sync_everything();
            Reply::Done(String::new())
        }
        (_, Some(command)) => said(program::run(command, within)),
        (_, None) => Reply::Refused,
    }
}

fn said(res: Result<String, ProgramError>) -> Reply {
    match res {
        Ok(text) => Reply::Done(text),
        Err(ProgramError::Start(_, err)) => Reply::NotStarted(errno(&err)),
        Err(ProgramError::Failed(_, status, said)) => Reply::Failed(status.into_raw(), said),
        Err(ProgramError::Late(..)) => Reply::Late,
        Err(ProgramError::Stopped(_)) => Reply::Stopped,
    }
}

/// Answers as soon as the cache is empty for those who use it; deleting what it held takes longer.
fn clear_cache(config: &Config, asker: &Channel) {
    let Some(folder) = &config.platform.web_cache_dir else { return tell(asker, Reply::Refused) };
    match cache::set_aside(folder) {
        Ok(Some(aside)) => {
            tell(asker, Reply::Done(String::new()));
            if let Err(err) = aside.delete() {
                // It is out of sight, and goes the next time.
                log::warn!("{}: {err}", folder.display());
            }
        }
        Ok(None) => tell(asker, Reply::Absent),
        Err(err) => tell(asker, Reply::System(errno(&err))),
    }
}

/// The supplicant's file as it is on disk: it renames a new one into its place, and leaves it to the kernel when that
/// gets there.
fn open_networks(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    file.sync_all()?;
    if let Some(dir) = path.parent() {
        match fs::sync_dir(dir) {
            // A folder that may be searched but not read still serves.
            Err(err) if err.kind() == io::ErrorKind::PermissionDenied => log::debug!("{}: {err}", dir.display()),
            res => res?,
        }
    }
    Ok(file)
}

fn install(config: &Config, target: Target, image: &str, version: &str, lock: File, asker: &Channel) {
    let Some(command) = config.platform.install.command(target) else { return tell(asker, Reply::Refused) };
    let path = match image_path(config, image) {
        Ok(path) => path,
        Err(err) => return tell(asker, Reply::System(errno(&err))),
    };
    let hardware = config.identity.hardware.as_deref().unwrap_or_default();
    let variables = [("METERD_TARGET", target.name()), ("METERD_VERSION", version), ("METERD_HARDWARE", hardware)];
    match program::start(command, Start { argument: path.as_os_str(), variables: &variables, input: lock }) {
        Err(err) => tell(asker, said(Err(err))),
        Ok(program) => {
            tell(asker, Reply::Done(String::new()));
            attend(program, asker);
        }
    }
}

/// Where an image is, if that is a file of its own in the worker's folder, and no link to somebody else's.
fn image_path(config: &Config, image: &str) -> io::Result<PathBuf> {
    // An installer may well change its folder.
    let folder = config.state_dir.canonicalize()?.join(super::IMAGES);
    let path = folder.join(image);
    if path.canonicalize()? != path || !path.symlink_metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(path)
}

/// Tells what an installer says until it ends or is to be stopped. Nobody listening is no reason to stop it.
fn attend(mut program: Running, asker: &Channel) {
    let mut heard = true;
    loop {
        let seen = match program.look() {
            Ok(seen) => seen,
            Err(err) => return tell(asker, said(Err(err))),
        };
        for lines in seen.lines.chunks(LINES) {
            tell(asker, Reply::Lines(lines.to_vec()));
        }
        if let Some(status) = seen.ended {
            return tell(asker, Reply::Ended(status.into_raw()));
        }
        if !heard {
            thread::sleep(LOOK_EVERY);
        } else if asker.is_ready(LOOK_EVERY).unwrap_or(true) {
            match asker.receive(&mut [0; 1]) {
                Ok(Some(_)) => {
                    program.stop();
                    return tell(asker, Reply::Stopped);
                }
                Ok(None) | Err(_) => heard = false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::random;

    /// Sends bytes as a request: the reply, or nothing if the executor closes the socket.
    fn ask(requests: &Channel, bytes: &[u8]) -> Option<Reply> {
        let (own, other) = Channel::pair().unwrap();
        requests.send(bytes, &[other.as_fd()]).unwrap();
        drop(other);
        let mut buffer = [0; 256];
        let received = own.receive(&mut buffer).unwrap()?;
        assert!(received.descriptors.is_empty());
        Reply::decode(&buffer[..received.length])
    }

    #[test]
    fn garbage_is_refused_and_the_next_request_is_served() {
        let (worker, executor) = Channel::pair().unwrap();
        let serving = thread::spawn(move || serve(&executor, &Config::default()));
        for _ in 0..500 {
            let mut bytes = random::bytes::<24>();
            // Whatever follows, no request has such a number, so nothing can happen to this machine.
            bytes[0] |= 0x80;
            assert!(ask(&worker, &bytes) == Some(Reply::Refused));
        }
        worker.send(b"nobody to answer", &[]).unwrap();
        worker.send(&[0; MAX_REQUEST + 1], &[]).unwrap();
        for request in [Request::ClearCache, Request::OpenWire, Request::OpenNetworks] {
            assert!(ask(&worker, &request.encode()) == Some(Reply::Refused), "{request:?} without a configuration");
        }
        assert!(ask(&worker, &Request::Run(Verb::Sync, Duration::ZERO).encode()) == Some(Reply::Done(String::new())));
        drop(worker);
        serving.join().unwrap();
    }

    #[test]
    fn only_a_plain_file_of_the_folder_is_an_image() {
        let dir = std::env::temp_dir().join(format!("meterd-executor-{}", random::name()));
        let images = dir.join(super::super::IMAGES);
        std::fs::create_dir_all(images.join("folder")).unwrap();
        std::fs::write(images.join("image"), "x").unwrap();
        std::fs::write(dir.join("secret"), "x").unwrap();
        std::os::unix::fs::symlink(dir.join("secret"), images.join("link")).unwrap();
        let config = Config { state_dir: dir.clone(), ..Config::default() };
        assert_eq!(image_path(&config, "image").unwrap(), dir.canonicalize().unwrap().join("update/image/image"));
        for name in ["link", "folder", "none"] {
            assert!(image_path(&config, name).is_err(), "{name}");
        }
        std::fs::rename(&images, dir.join("moved")).unwrap();
        std::os::unix::fs::symlink(dir.join("moved"), &images).unwrap();
        assert!(image_path(&config, "image").is_err(), "a folder that is a link");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
