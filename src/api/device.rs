//! The course of a command that works a device by which the meter may itself be reached: begin an operation, and answer
//! when it is done, or after `reply_seconds`, or before it begins if its own reply would be lost on the way.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use super::long::answer;
use super::{App, failed, note};
use crate::drivers::Watch;
use crate::http::{Answer, Request};
use crate::ops::{Fault, Launch, Outcome, Work};
use crate::sys::{clock, net};

/// How long the device is left alone after a reply that went over it.
const HEAD_START: Duration = Duration::from_secs(1);
/// How often a cancellation is looked for meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What a device command needs to know of its request.
pub(super) struct Errand {
    launch: Launch,
    interface: String,
    peer: Option<IpAddr>,
    respond_async: bool,
}

impl Errand {
    /// The operation that `request` asks for, which changes the network interface `interface`.
    pub(super) fn new(launch: Launch, interface: String, request: &Request) -> Errand {
        Errand { launch, interface, peer: request.peer.ip, respond_async: request.respond_async }
    }
}

/// Begins the operation; `body` runs on its thread.
pub(super) fn run(app: &Arc<App>, errand: Errand, body: impl FnOnce(&Work) -> Outcome + Send + 'static) -> Answer {
    let app = Arc::clone(app);
    Answer::Detach(Box::new(move |exchange| {
        let Errand { launch, interface, peer, respond_async } = errand;
        let reply_first = comes_over(peer, &interface);
        let patience = if reply_first || respond_async { Duration::ZERO } else { app.config.limits.reply_within() };
        let deadline = exchange.received() + patience;
        let (who, command) = (launch.who.clone(), launch.command.clone());
        // Dropped when the reply is out.
        let (replied, wait) = bounded::<()>(0);
        let begun = app.store.launch(launch, move |work| {
            if reply_first && !head_start(work, &wait) {
                return Outcome { fault: Some(Fault::cancelled()), result: None };
            }
            body(work)
        });
        exchange.reply(match begun {
            Ok((op, token)) => answer(&op, &token, deadline),
            Err(err) => {
                let text = err.to_string();
                note(&app, &who, &command, &text);
                failed(&text)
            }
        });
        drop(replied);
    }))
}

/// The end of an operation that its driver did not bring to the wanted end.
pub(super) fn failure(tag: &'static str, cancelled: bool, text: String) -> Outcome {
    let fault = match cancelled {
        true => Fault { text, ..Fault::cancelled() },
        false => Fault { tag: tag.into(), args: vec![text.clone()], text },
    };
    Outcome { fault: Some(fault), result: None }
}

/// Whether the reply goes over `interface`. Of a peer behind a front that says nothing of it, that must be assumed.
fn comes_over(peer: Option<IpAddr>, interface: &str) -> bool {
    let Some(peer) = peer else { return true };
    match net::interface_towards(peer) {
        // Where routing does not lead to the peer, which a link-local address without its interface is an example of, the
        // way by which it came is not known.
        Ok(found) => found.is_none_or(|it| it == interface),
        Err(err) => {
            log::warn!("the way to {peer}: {err}");
            true
        }
    }
}

/// Waits until the reply is out and a second longer; false if the operation was cancelled meanwhile.
fn head_start(work: &Work, replied: &Receiver<()>) -> bool {
    // Nothing is ever sent: the wait ends with the sender.
    while replied.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
        if work.cancelled() {
            return false;
        }
    }
    let until = clock::boottime() + HEAD_START;
    while !work.cancelled() && clock::boottime() < until {
        std::thread::sleep(LOOK_EVERY);
    }
    !work.cancelled()
}
