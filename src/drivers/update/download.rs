//! Fetching an image: in constant memory, hashed as it comes, and taken up again where it broke off, whether the link
//! was lost, the service was restarted or the power failed. What the server says is never believed: only the digest
//! counts.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::manifest::Image;
use super::state::{Draft, Folder};
use super::{Failure, hex};
use crate::drivers::reach::{HttpReply, HttpRequest, Lookout, Reach, ReachError, Stop};
use crate::drivers::{CancelFlag, Watch};
use crate::sys::clock;

/// Bytes that are read and written at once.
const PIECE: usize = 32 * 1024;
/// Bytes after which they are made durable: this much is fetched again after a power cut at worst, and
/// a slow flash is done with it before somebody who cancels would notice.
const SYNC_EVERY: u64 = 512 * 1024;
/// The wait before the first new attempt; it doubles...
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// ...up to this. A server that asks for more with Retry-After gets no more.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How often a wait looks at the cancel flag.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Characters of a validator that are kept.
const MAX_VALIDATOR: usize = 200;

/// How to fetch.
pub struct Fetch<'a> {
    /// The way out.
    pub reach: &'a Reach,
    /// Where the image is.
    pub url: String,
    /// For how long to go on trying without a byte of progress.
    pub patience: Duration,
    /// How long a connection may bring nothing before it is given up; the next one goes on from there.
    pub stall: Duration,
    /// Shows how much of the image is here, between 0 and 1.
    pub on_progress: &'a dyn Fn(f64),
}

/// Why an attempt ended before the image was whole.
enum Broken {
    /// It is of no use to go on.
    Failed(Failure),
    /// Another attempt may do better, not before this time has passed if the server has said one.
    Again(String, Option<Duration>),
}

impl From<io::Error> for Broken {
    fn from(err: io::Error) -> Self {
        Broken::Failed(err.into())
    }
}

/// The image, as far as it is here.
struct Part {
    file: File,
    validator: Option<String>,
    digest: Sha256,
    have: u64,
    /// Not all of it came in one answer of this run.
    is_pieced: bool,
}

/// Fetches what is missing of `image` and checks the whole; a success means that the file is what the manifest names
/// and that it is on disk.
pub fn fetch(fetch: &Fetch, image: &Image, folder: &Folder, look: &Lookout) -> Result<(), Failure> {
    let mut part = take_up(folder.draft(image)?, image, look)?;
    loop {
        while part.have < image.size {
            go_on(fetch, image, folder, look, &mut part)?;
        }
        part.file.sync_all()?;
        if hex(part.digest.finalize_reset().as_slice()) == image.sha256 {
            return Ok(());
        }
        // What an earlier run left may have suffered from a power cut, or come from another version of the file.
        if !part.is_pieced {
            folder.clear()?;
            return Err(Failure::WrongImage);
        }
        log::warn!("update: {} was put together of pieces that do not fit; it is fetched anew", image.name);
        part.restart()?;
    }
}

/// Hashes what is here already.
fn take_up(draft: Draft, image: &Image, look: &Lookout) -> Result<Part, Failure> {
    let Draft { mut file, validator, .. } = draft;
    let (mut digest, mut have) = (Sha256::new(), 0);
    let mut piece = vec![0; PIECE];
    while have < image.size {
        look.check().map_err(|stop| Failure::fetch(&image.name, stop.into()))?;
        let length = file.read(&mut piece)?;
        if length == 0 {
            break;
        }
        digest.update(&piece[..length]);
        have += length as u64;
    }
    Ok(Part { file, validator, digest, have, is_pieced: 0 < have })
}

/// Goes on until a connection breaks off after it has brought something, and tries again while it brings nothing.
fn go_on(fetch: &Fetch, image: &Image, folder: &Folder, look: &Lookout, part: &mut Part) -> Result<(), Failure> {
    let give_up = clock::boottime() + fetch.patience;
    let mut wait = FIRST_WAIT;
    let before = part.have;
    loop {
        let (why, asked) = match attempt(fetch, image, folder, look, part) {
            Ok(()) => return Ok(()),
            Err(Broken::Failed(failure)) => return Err(failure),
            Err(Broken::Again(why, asked)) => (why, asked),
        };
        look.check().map_err(|stop| Failure::fetch(&image.name, stop.into()))?;
        log::warn!("update: {}: {why}; {} of {} bytes are here", image.name, part.have, image.size);
        if before < part.have {
            return pause(FIRST_WAIT, image, look);
        }
        let next = asked.unwrap_or(wait).min(LONGEST_WAIT);
        if give_up <= clock::boottime() + next {
            return Err(Failure::Download(image.name.clone(), why));
        }
        pause(next, image, look)?;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

fn pause(time: Duration, image: &Image, look: &Lookout) -> Result<(), Failure> {
    let until = clock::boottime() + time;
    while clock::boottime() < until {
        look.check().map_err(|stop| Failure::fetch(&image.name, stop.into()))?;
        thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// One request, and as much of its answer as comes.
fn attempt(fetch: &Fetch, image: &Image, folder: &Folder, look: &Lookout, part: &mut Part) -> Result<(), Broken> {
    let alive = Alive::new(look.watch, fetch.stall);
    let look = Lookout { watch: &alive, deadline: look.deadline };
    let mut request = HttpRequest::get(&fetch.url).header("accept-encoding", "identity").following();
    if 0 < part.have {
        request = request.header("range", format!("bytes={}-", part.have));
        if let Some(validator) = &part.validator {
            request = request.header("if-range", validator.as_str());
        }
    }
    // Plain HTTP is good enough for what is verified afterwards.
    let agent = fetch.reach.agent(&look).with_plain_http();
    let mut reply = agent.send(request).map_err(|err| broken(err, image, &alive, part.have))?;
    let expected = match reply.status {
        200 => {
            let length = reply.length();
            if 0 < part.have {
                if length.is_some_and(|it| it != image.size) {
                    // What is here came from a server that has the right one: this may be the page of a portal.
                    return Err(Broken::Again("the server sends a file of another length".into(), None));
                }
                // No ranges here, or not of that file: the whole of it comes.
                part.restart()?;
            }
            length
        }
        206 if 0 < part.have => match content_range(&reply) {
            Some((first, whole)) if first == part.have && whole.is_none_or(|it| it == image.size) => {
                part.is_pieced = true;
                reply.length().map(|it| it.saturating_add(part.have))
            }
            _ => {
                part.restart()?;
                return Err(Broken::Again("the server sent another range than the one asked for".into(), None));
            }
        },
        416 if 0 < part.have => {
            part.restart()?;
            return Err(Broken::Again("the server does not have the range asked for".into(), None));
        }
        408 | 425 | 429 | 500..=599 => {
            let after = reply.header("retry-after").and_then(|it| it.parse().ok()).map(Duration::from_secs);
            return Err(Broken::Again(format!("the server answers {}", reply.status), after));
        }
        status => {
            let why = format!("the server answers {status}");
            return Err(Broken::Failed(Failure::Download(image.name.clone(), why)));
        }
    };
    if expected.is_some_and(|it| it != image.size) {
        folder.clear()?;
        return Err(Broken::Failed(Failure::WrongImage));
    }
    let validator = validator(&reply);
    if part.validator != validator {
        // On disk before the first byte: a rest must never be asked for under another file's name.
        folder.note_validator(image, validator.as_deref())?;
        part.validator = validator;
    }
    part.receive(&mut reply, fetch, image, folder, &alive)
}

impl Part {
    fn receive(
        &mut self,
        reply: &mut HttpReply,
        fetch: &Fetch,
        image: &Image,
        folder: &Folder,
        alive: &Alive,
    ) -> Result<(), Broken> {
        let mut piece = vec![0; PIECE];
        let mut unsynced = 0;
        let res = loop {
            if self.have == image.size {
                break Ok(());
            }
            match reply.read(&mut piece) {
                Ok(0) => break Err(Broken::Again("the answer ended too early".into(), None)),
                Ok(length) if image.size - self.have < length as u64 => {
                    folder.clear()?;
                    return Err(Broken::Failed(Failure::WrongImage));
                }
                Ok(length) => {
                    self.file.write_all(&piece[..length])?;
                    self.digest.update(&piece[..length]);
                    self.have += length as u64;
                    unsynced += length as u64;
                    alive.note();
                }
                Err(err) => break Err(broken(err, image, alive, self.have)),
            }
            if SYNC_EVERY <= unsynced {
                self.file.sync_data()?;
                unsynced = 0;
            }
            (fetch.on_progress)(self.have as f64 / image.size as f64);
        };
        self.file.sync_data()?;
        res
    }

    /// Forgets what is here.
    fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.digest = Sha256::new();
        self.have = 0;
        self.is_pieced = false;
        Ok(())
    }
}

/// Whether another attempt may do better.
fn broken(err: ReachError, image: &Image, alive: &Alive, have: u64) -> Broken {
    match err {
        ReachError::Stopped(Stop::Cancelled) if alive.is_stalled() && !alive.watch.cancelled() => {
            Broken::Again(format!("nothing came for {} s", alive.stall.as_secs()), None)
        }
        // The name was known when the first bytes came, so it is the way out that is missing now.
        ReachError::NoSuchHost(_) if 0 < have => Broken::Again(err.to_string(), None),
        ReachError::Refused(_)
        | ReachError::Unreachable(..)
        | ReachError::Timeout(_)
        | ReachError::Dns(..)
        | ReachError::Closed
        | ReachError::Io(_) => Broken::Again(err.to_string(), None),
        err => Broken::Failed(Failure::fetch(&image.name, err)),
    }
}

/// First byte and whole length of a `Content-Range`.
fn content_range(reply: &HttpReply) -> Option<(u64, Option<u64>)> {
    parse_range(reply.header("content-range")?)
}

fn parse_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, whole) = text.strip_prefix("bytes ")?.split_once('/')?;
    let first = range.split_once('-')?.0.parse().ok()?;
    let whole = if whole == "*" { None } else { Some(whole.parse().ok()?) };
    Some((first, whole))
}

/// What names this very content: a strong ETag, else the date of its last change.
fn validator(reply: &HttpReply) -> Option<String> {
    let strong = reply.header("etag").filter(|it| it.starts_with('"'));
    strong.or(reply.header("last-modified")).filter(|it| it.len() <= MAX_VALIDATOR).map(str::to_owned)
}

/// A watch that also ends a connection which brings nothing any more.
struct Alive<'a> {
    watch: &'a dyn Watch,
    stall: Duration,
    /// Milliseconds of the boot clock when something last came.
    last: Arc<AtomicU64>,
}

impl<'a> Alive<'a> {
    fn new(watch: &'a dyn Watch, stall: Duration) -> Alive<'a> {
        Alive { watch, stall, last: Arc::new(AtomicU64::new(millis())) }
    }

    fn note(&self) {
        self.last.store(millis(), Ordering::Relaxed);
    }

    fn is_stalled(&self) -> bool {
        has_stalled(&self.last, self.stall)
    }
}

impl Watch for Alive<'_> {
    fn cancelled(&self) -> bool {
        self.watch.cancelled() || self.is_stalled()
    }
    fn progress(&self, _: f64) {}
    fn result(&self, _: Value) {}
    fn flag(&self) -> CancelFlag {
        let (flag, last, stall) = (self.watch.flag(), Arc::clone(&self.last), self.stall);
        Arc::new(move || flag() || has_stalled(&last, stall))
    }
}

fn has_stalled(last: &AtomicU64, stall: Duration) -> bool {
    stall.as_millis() as u64 <= millis().saturating_sub(last.load(Ordering::Relaxed))
}

fn millis() -> u64 {
    clock::boottime().as_millis() as u64
}

#[cfg(test)]
mod tests;
