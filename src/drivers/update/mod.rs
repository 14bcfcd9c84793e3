//! Updates: a signed manifest says which images there are, one of them is fetched and verified, and the configured
//! installer takes it from there. In reading order: `version`, `signature` and `manifest` decide what may be installed;
//! `state` is what the state folder remembers; `download` fetches; `installer` looks after the program that writes.
//!
//! Nothing is written where the system runs from: an image goes to the state folder, and writing it is the installer's
//! business, to another slot or however the machine survives a power cut. So at any point either the old system or the
//! new one is there.

mod download;
mod failure;
mod installer;
pub mod manifest;
pub mod signature;
mod state;
#[cfg(test)]
mod testing;
mod version;

pub use failure::Failure;
pub use version::Version;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::Watch;
use super::reach::{HttpRequest, Lookout, Reach};
use crate::config::{self, Config, Target};
use crate::platform::{self, Platform};
use crate::sys::{fs, host};
use download::Fetch;
use manifest::{Image, Manifest, Withheld};
use state::Folder;

/// The manifest's name in the folder of its branch; its signature has `.minisig` behind it.
const MANIFEST: &str = "manifest.json";
/// Bytes of a signature's file.
const MAX_SIGNATURE: usize = 4096;
/// How long the manifest and its signature may take.
const MANIFEST_WITHIN: Duration = Duration::from_secs(30);
/// How long everything up to the installer may take.
const FETCH_WITHIN: Duration = Duration::from_secs(3 * 60 * 60);
/// How long a download's connection may bring nothing.
const STALL: Duration = Duration::from_secs(60);
/// Shares of the whole at which the download begins and ends; the rest is the installer's.
const DOWNLOAD: (f64, f64) = (0.02, 0.6);
const INSTALL: (f64, f64) = (0.62, 0.99);

/// What somebody wants.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// What is to be updated.
    pub target: Target,
    /// From which branch; none is the one that the running system came from, an empty one the default.
    pub branch: Option<String>,
    /// Also if it is not newer.
    pub force: bool,
    /// This version, not the newest.
    pub version: Option<Version>,
}

/// What runs on this meter.
#[derive(Clone, Debug)]
pub struct Installed {
    /// Version of what is to be updated.
    pub version: Version,
    /// The meter's hardware, as manifests call it.
    pub hardware: String,
}

/// What of this meter an order needs.
pub struct Plan {
    order: Order,
    branch: String,
    settings: config::Update,
    installed: Installed,
    state_dir: PathBuf,
    reserve: u64,
}

/// What there is to install.
#[derive(Debug)]
pub struct Offer {
    /// Its version.
    pub version: String,
    /// The version that must run before; nothing if any will do.
    pub minimum: Option<String>,
    /// Why it would not be installed, if it would not.
    pub withheld: Option<String>,
}

/// The plan of an order; an error if the configuration says too little for it.
pub fn plan(order: Order, config: &Config) -> Result<Plan, Failure> {
    let settings = config.update.clone().ok_or(Failure::Missing("update"))?;
    let identity = &config.identity;
    let hardware = identity.hardware.clone().ok_or(Failure::Missing("identity.hardware"))?;
    let (key, text) = match order.target {
        Target::Fw => ("identity.versions.fw", identity.versions.get("fw").cloned()),
        Target::Kernel => {
            let named = identity.versions.get("kernel").cloned();
            ("identity.versions.kernel", named.or_else(|| Some(host::kernel())))
        }
    };
    let text = text.ok_or(Failure::Missing(key))?;
    let version = Version::of_system(&text).map_err(|reason| Failure::Unknown(key, text, reason))?;
    let branch = order.branch.clone().or_else(|| identity.branch.clone()).filter(|it| !it.is_empty());
    Ok(Plan {
        branch: branch.unwrap_or_else(|| settings.default_branch.clone()),
        order,
        settings,
        installed: Installed { version, hardware },
        state_dir: config.state_dir.clone(),
        reserve: config.limits.reserve_bytes,
    })
}

/// What the branch offers.
pub fn list(plan: &Plan, reach: &Reach, look: &Lookout) -> Result<Offer, Failure> {
    let folder = Folder::open(&plan.state_dir)?;
    let manifest = plan.manifest(&folder, reach, look)?;
    let (image, withheld) = manifest.choose(plan.order.version.as_ref(), &plan.installed)?;
    Ok(Offer {
        version: image.version.to_string(),
        minimum: image.minimum.as_ref().map(Version::to_string),
        withheld: withheld.map(|it| plan.refusal(image, it).to_string()),
    })
}

/// Keeps installers from being started for as long as the file lives; nothing if one is at work, which must not lose its
/// power.
pub fn keep_installers_away(state_dir: &Path) -> io::Result<Option<File>> {
    Folder::open(state_dir)?.lock()
}

/// Fetches an image and installs it. The value is what there is to tell: what was to be installed, how far that got,
/// and of a failure its words, because tags have none.
pub fn install(plan: &Plan, reach: &Reach, platform: &Platform, watch: &dyn Watch) -> (Value, Result<(), Failure>) {
    let mut known = json!({ "target": plan.order.target.name(), "branch": plan.branch });
    let res = course(plan, reach, platform, watch, &mut known);
    match &res {
        Ok(()) => {}
        Err(Failure::Cancelled) => known["message"] = json!(format!("{}; nothing was installed.", watch.reason())),
        Err(err) => known["message"] = json!(err.to_string()),
    }
    (known, res)
}

fn course(
    plan: &Plan,
    reach: &Reach,
    platform: &Platform,
    watch: &dyn Watch,
    known: &mut Value,
) -> Result<(), Failure> {
    let target = plan.order.target;
    if let Some(key) = platform.lacks_installer(target) {
        return Err(Failure::Missing(key));
    }
    let folder = Folder::open(&plan.state_dir)?;
    folder.lock()?.ok_or(Failure::InstallerBusy)?;
    let look = Lookout::new(watch, FETCH_WITHIN);
    watch.info("CHKSIG", vec![MANIFEST.into()]);
    watch.progress(0.0);
    let manifest = plan.manifest(&folder, reach, &look)?;
    let (image, withheld) = manifest.choose(plan.order.version.as_ref(), &plan.installed)?;
    let version = image.version.to_string();
    known["version"] = json!(version);
    known["released"] = json!(image.released);
    match withheld {
        Some(Withheld::NotNewer) if plan.order.force => {}
        Some(withheld) => return Err(plan.refusal(image, withheld)),
        None => {}
    }
    known["stage"] = json!("download");
    watch.growing(known.clone());
    let path = plan.download(image, &folder, reach, &look)?;
    // Meanwhile nobody can have taken the lock but a meter that goes down.
    let Some(lock) = folder.lock()?.filter(|_| !watch.cancelled()) else { return Err(Failure::Cancelled) };
    // From here on a power cut or a restart leaves what the installer has made of it: the result says that it was at
    // work.
    known["stage"] = json!("install");
    watch.intent(known.clone());
    if watch.cancelled() {
        known["stage"] = json!("download");
        return Err(Failure::Cancelled);
    }
    watch.info("INSTALL", vec![version.clone()]);
    watch.progress(INSTALL.0);
    let told = platform::Image { path: &path, version: &version };
    if let Some(program) = platform.install(target, told, lock).map_err(Failure::Platform)? {
        installer::attend(program, &version, watch, &|share| watch.progress(between(INSTALL, share)))?;
    }
    watch.info("FINALIZE", vec![]);
    watch.progress(INSTALL.1);
    if let Err(err) = folder.clear() {
        log::warn!("update: the installed image could not be removed: {err}");
    }
    known["stage"] = json!("installed");
    if watch.cancelled() {
        known["message"] = json!("The cancellation came when the installer was writing already, so it was let finish.");
    }
    Ok(())
}

impl Plan {
    /// The branch's manifest, signed, and no older than any before.
    fn manifest(&self, folder: &Folder, reach: &Reach, look: &Lookout) -> Result<Manifest, Failure> {
        let look = look.until(MANIFEST_WITHIN);
        let signature_name = format!("{MANIFEST}.minisig");
        let text = self.small(MANIFEST, manifest::MAX_BYTES, reach, &look)?;
        let signature = self.small(&signature_name, MAX_SIGNATURE, reach, &look)?;
        if !signature::is_good(&self.settings.public_key, &text, &signature) {
            return Err(Failure::BadSignature);
        }
        let target = self.order.target;
        let manifest = Manifest::parse(&text, target, &self.branch).map_err(Failure::BadManifest)?;
        let newest = folder.note_seen(target, &self.branch, &manifest.issued)?;
        if manifest.issued < newest {
            return Err(Failure::Rollback(manifest.issued, newest));
        }
        Ok(manifest)
    }

    /// A small file of the branch.
    fn small(&self, name: &str, limit: usize, reach: &Reach, look: &Lookout) -> Result<Vec<u8>, Failure> {
        let agent = reach.agent(look).with_plain_http();
        let request = HttpRequest::get(&self.url(name)).following();
        let mut reply = agent.send(request).map_err(|err| Failure::fetch(name, err))?;
        match reply.status {
            200 => reply.bytes(limit).map_err(|err| Failure::fetch(name, err)),
            404 if name == MANIFEST => {
                Err(Failure::Download(name.into(), format!("the server has no branch \"{}\" of it", self.branch)))
            }
            404 => Err(Failure::Download(name.into(), "the server has the manifest but not its signature".into())),
            status => Err(Failure::Download(name.into(), format!("the server answers {status}"))),
        }
    }

    /// Fetches an image if there is room for it; where it is then.
    fn download(&self, image: &Image, folder: &Folder, reach: &Reach, look: &Lookout) -> Result<PathBuf, Failure> {
        let tag = match self.order.target {
            Target::Fw => "FW_DOWNLOAD",
            Target::Kernel => "KERNEL_DOWNLOAD",
        };
        look.watch.info(tag, vec![image.version.to_string()]);
        look.watch.progress(DOWNLOAD.0);
        // Removes what another image has left, before the room is counted.
        let path = folder.draft(image)?.path;
        let needs = image.size.saturating_sub(folder.bytes_of(image)).saturating_add(self.reserve);
        let free = fs::free_space(folder.path())?;
        if free < needs {
            return Err(Failure::NoRoom(image.name.clone(), needs, free));
        }
        let fetch = Fetch {
            reach,
            url: self.url(&image.name),
            stall: STALL,
            patience: Duration::from_secs(self.settings.patience_seconds),
            on_progress: &|share| look.watch.progress(between(DOWNLOAD, share)),
        };
        download::fetch(&fetch, image, folder, look)?;
        look.watch.info("VALIDATE", vec![]);
        // An installer may well change its folder.
        Ok(std::path::absolute(path)?)
    }

    /// What was asked for beside the target, for the ledger: the branch if it was named, a version, whether it was forced.
    pub fn wishes(&self) -> String {
        let branch = self.order.branch.as_ref().map(|_| format!(" branch {}", self.branch));
        let version = self.order.version.as_ref().map(|it| format!(" version {it}"));
        let force = self.order.force.then(|| " force".to_owned());
        [branch, version, force].into_iter().flatten().collect()
    }

    fn url(&self, name: &str) -> String {
        let base = self.settings.url.trim_end_matches('/');
        format!("{base}/{}/{}/{name}", self.order.target.name(), self.branch)
    }

    fn refusal(&self, image: &Image, withheld: Withheld) -> Failure {
        let (version, installed) = (image.version.to_string(), self.installed.version.to_string());
        let minimum = image.minimum.as_ref().map(Version::to_string).unwrap_or_default();
        match withheld {
            Withheld::NotNewer => Failure::NotNewer(version, installed),
            Withheld::TooOld => Failure::TooOld(version, minimum, installed),
        }
    }
}

/// The share of the whole that a share of one of its steps is.
fn between((from, to): (f64, f64), share: f64) -> f64 {
    from + (to - from) * share
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|it| format!("{it:02x}")).collect()
}

#[cfg(test)]
mod tests;
