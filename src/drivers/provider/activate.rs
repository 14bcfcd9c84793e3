//! The course of an activation: introduce the meter, answer a challenge if there is one, keep what is granted.
//! Everything is as before until the very last step.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::handshake::{self, Challenge, Grant, Reply};
use super::{Failure, Service, stored};
use crate::config::Provider;
use crate::drivers::Watch;
use crate::drivers::reach::{HttpAgent, HttpRequest, Lookout, Reach, ReachError};
use crate::drivers::wlan::Hidden;
use crate::platform::{Platform, PlatformError};
use crate::sys::program::ProgramError;
use crate::sys::random;

/// How long the whole of it may take.
pub(super) const WITHIN: Duration = Duration::from_secs(60);
/// Bytes of one answer of a provider.
const MAX_REPLY: usize = 64 * 1024;
/// How long the program that decrypts may take; RSA on the slowest meters takes a second.
const DECRYPT_WITHIN: Duration = Duration::from_secs(20);

/// What is to be activated, and who the meter is.
pub struct Errand {
    /// The service.
    pub service: Service,
    /// With whom.
    pub provider: Provider,
    /// The meter's host name.
    pub name: String,
    /// Its serial number.
    pub serial: String,
    /// Options that the program understands which will report.
    pub options: Vec<String>,
}

/// Activates a service; the result is that of the operation.
pub fn activate(
    errand: &Errand,
    reach: &Reach,
    platform: &Platform,
    state_dir: &Path,
    watch: &dyn Watch,
) -> Result<Value, Failure> {
    let look = Lookout::new(watch, WITHIN);
    let agent = reach.agent(&look);
    watch.progress(0.1);
    let introduction = handshake::introduction(&errand.name, &errand.serial, &errand.options);
    let grant = match ask(errand, &agent, &introduction)? {
        Reply::Granted(grant) => grant,
        Reply::Refusal(words) => return Err(refused(errand, &words)),
        Reply::Challenge(challenge) => {
            watch.progress(0.4);
            let proof = prove(errand, &challenge, platform, &look)?;
            watch.progress(0.6);
            match ask(errand, &agent, &proof)? {
                Reply::Granted(grant) => grant,
                Reply::Refusal(words) => return Err(refused(errand, &words)),
                Reply::Challenge(_) => return Err(senseless(errand, "a second challenge")),
            }
        }
    };
    look.check().map_err(Failure::Stopped)?;
    watch.progress(0.9);
    let failed = |err| Failure::Meter(errand.service, format!("the service cannot be stored: {err}"));
    stored::keep(state_dir, errand.service, &errand.provider.name, &grant).map_err(failed)?;
    Ok(result(&grant))
}

fn result(grant: &Grant) -> Value {
    match &grant.signup {
        None => json!({ "activated": true }),
        Some(url) => json!({ "activated": true, "signup": url }),
    }
}

/// One request with its answer.
fn ask(errand: &Errand, agent: &HttpAgent, body: &[u8]) -> Result<Reply, Failure> {
    let failed = |err| match err {
        ReachError::Stopped(stop) => Failure::Stopped(stop),
        err => Failure::Server(format!("{}: {err}", errand.provider.name)),
    };
    let request = HttpRequest::post_json(&errand.provider.control, body).following();
    let mut reply = agent.send(request).map_err(failed)?;
    if reply.status != 200 {
        return Err(senseless(errand, &format!("HTTP status {}", reply.status)));
    }
    let body = Hidden::from(reply.bytes(MAX_REPLY).map_err(failed)?);
    handshake::read(body.expose()).map_err(|why| senseless(errand, &format!("an answer that makes no sense: {why}")))
}

/// Decrypts the challenge with the program of the configuration.
fn prove(errand: &Errand, challenge: &Challenge, platform: &Platform, look: &Lookout) -> Result<Vec<u8>, Failure> {
    let failed = |text: String| Failure::Meter(errand.service, text);
    let stop = || look.check().is_err();
    let out = platform.decrypt(&challenge.nonce, DECRYPT_WITHIN, &stop).map_err(|err| match err {
        PlatformError::Missing(key) => {
            failed(format!("the provider wants a proof of identity, for which {key} is missing in the meter's config"))
        }
        // The program was killed because the work is to end, and the lookout knows why.
        PlatformError::Program(_, ProgramError::Stopped(_)) => {
            look.check().map_or_else(Failure::Stopped, |()| failed(err.to_string()))
        }
        PlatformError::Program(_, err) => failed(format!("the challenge cannot be decrypted: {err}")),
        err => failed(format!("the challenge cannot be decrypted: {err}")),
    })?;
    let out = Hidden::from(out.into_bytes());
    let clear = out.expose().trim_ascii();
    if clear.is_empty() || !clear.iter().all(u8::is_ascii_hexdigit) {
        return Err(failed(
            "the challenge cannot be decrypted: providers.decrypt printed no hexadecimal digits".into(),
        ));
    }
    let clear = Hidden::from(clear.to_ascii_lowercase());
    let nonce: String = random::bytes::<16>().iter().map(|it| format!("{it:02x}")).collect();
    Ok(handshake::proof(clear.expose(), &nonce, challenge.request))
}

fn refused(errand: &Errand, words: &str) -> Failure {
    Failure::Server(format!("{} refuses: {words}", errand.provider.name))
}

fn senseless(errand: &Errand, what: &str) -> Failure {
    Failure::Server(format!("{} answered with {what}", errand.provider.name))
}
