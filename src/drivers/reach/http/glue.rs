//! What ureq needs to stand on our own ground: a resolver, a connector and a transport, each with its waits in slices.
//! ureq keeps what it is given, so these own the question whether to stop instead of borrowing it.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{self, ResolvedSocketAddrs};
use ureq::unversioned::transport::{
    self, Buffers, ConnectionDetails, LazyBuffers, NextTimeout, Transport as TransportTrait,
};

use super::super::{Lookout, Reach, ReachError, Wire, connect};
use super::{BUFFER, url};
use crate::drivers::{CancelFlag, Watch};

/// Addresses of one host that are tried; ureq's own number.
const MAX_ADDRESSES: usize = 16;

/// What all of them share: how to get out, and until when.
pub(super) struct Ground {
    reach: Reach,
    flag: Flag,
    deadline: Duration,
    plain: AtomicBool,
}

/// The cancel flag alone, as a watch of its own.
struct Flag(CancelFlag);

impl Watch for Flag {
    fn cancelled(&self) -> bool {
        (self.0)()
    }
    fn progress(&self, _: f64) {}
    fn result(&self, _: Value) {}
}

impl Ground {
    pub(super) fn new(reach: Reach, look: &Lookout) -> Ground {
        Ground { reach, flag: Flag(look.watch.flag()), deadline: look.deadline, plain: AtomicBool::new(false) }
    }

    /// Whether plain HTTP may go to an address that the configuration does not name.
    pub(super) fn allow_plain(&self, plain: bool) {
        self.plain.store(plain, Ordering::Relaxed);
    }

    fn look(&self) -> Lookout<'_> {
        Lookout { watch: &self.flag, deadline: self.deadline }
    }

    fn connect(&self, at: &Uri, addrs: &[SocketAddr]) -> Result<Wire, ReachError> {
        let host = at.host().unwrap_or_default();
        let secure = url::is_secure(at);
        for addr in addrs {
            // Checked once more where it matters, whoever resolved the name.
            self.reach.allow(*addr)?;
            if !secure && !self.plain.load(Ordering::Relaxed) && !self.reach.policy.permits(addr.ip()) {
                return Err(ReachError::NotSecure(host.into()));
            }
        }
        let wire = connect::first(addrs, &self.look())?;
        if secure { self.reach.encrypt(wire, host, &self.look()) } else { Ok(wire) }
    }
}

/// Names become addresses that are allowed.
pub(super) struct Resolver(pub(super) Arc<Ground>);

impl resolver::Resolver for Resolver {
    fn resolve(&self, uri: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.0.reach.resolve(uri.host().unwrap_or_default(), &self.0.look()).map_err(inside)?;
        let mut res = self.empty();
        for addr in found.into_iter().take(MAX_ADDRESSES) {
            res.push(SocketAddr::new(addr, url::port(uri)));
        }
        Ok(res)
    }
}

/// Addresses become connections, encrypted for `https`.
pub(super) struct Connector(pub(super) Arc<Ground>);

impl transport::Connector for Connector {
    type Out = Transport;

    fn connect(&self, details: &ConnectionDetails, _: Option<()>) -> Result<Option<Transport>, ureq::Error> {
        let wire = self.0.connect(details.uri, &details.addrs).map_err(inside)?;
        let buffers = LazyBuffers::new(BUFFER, BUFFER);
        Ok(Some(Transport { wire, buffers, ground: Arc::clone(&self.0) }))
    }
}

/// A connection with ureq's buffers.
pub(super) struct Transport {
    wire: Wire,
    buffers: LazyBuffers,
    ground: Arc<Ground>,
}

impl TransportTrait for Transport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        let look = self.ground.look();
        let mut wire = self.wire.with(&look);
        wire.write_all(&self.buffers.output()[..amount])?;
        Ok(wire.flush()?)
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, ureq::Error> {
        let look = self.ground.look();
        let length = self.wire.with(&look).read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(length);
        Ok(length > 0)
    }

    fn is_open(&mut self) -> bool {
        self.wire.is_idle()
    }

    fn is_tls(&self) -> bool {
        self.wire.is_encrypted()
    }
}

/// ureq wants them all to be printable; there is nothing in them that should be.
macro_rules! opaque {
    ($($name:ident),*) => {
        $(impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        })*
    };
}
opaque!(Resolver, Connector, Transport);

/// Our errors on their way through ureq; [`failure`] and [`body_failure`] get them back.
fn inside(err: ReachError) -> ureq::Error {
    ureq::Error::Io(err.into())
}

/// What went wrong with a request to `at`.
pub(super) fn failure(err: ureq::Error, at: &Uri) -> ReachError {
    match err {
        ureq::Error::Io(err) => err.into(),
        ureq::Error::LargeResponseHeader(_, limit) => ReachError::TooLarge(limit as u64),
        ureq::Error::Protocol(err) => ReachError::Http(format!("{}: this is no proper HTTP: {err}", url::shown(at))),
        other => ReachError::Http(format!("{}: {other}", url::shown(at))),
    }
}

/// What went wrong while a body was read.
pub(super) fn body_failure(err: io::Error) -> ReachError {
    match err.downcast::<ureq::Error>() {
        Ok(ureq::Error::Io(err)) | Err(err) => err.into(),
        Ok(other) => ReachError::Http(format!("the answer's body is no proper HTTP: {other}")),
    }
}
