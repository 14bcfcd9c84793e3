//! Servers for the meter to talk to while it is tried: each listens on the address that the tester names, in threads of
//! its own, and ends when it is dropped. What the meter is told may be another address that leads there. They record what
//! the meter does; they judge nothing.

pub mod modbus;
pub mod provider;
pub mod smtp;
pub mod update;

use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::catalogue::Param;
use crate::lab::{Lab, Stop};

/// Where the meter reaches companions; areas that need one have it among their parameters, with [`BIND`].
pub const ADDRESS: Param = Param {
    name: "companion.address",
    meaning: "an address at which the meter reaches this machine; servers for it to talk to listen there.",
};
/// Where companions listen.
pub const BIND: Param = Param {
    name: "companion.bind",
    meaning: "the address on which they listen, where a router or a forwarder leads there (companion.address).",
};

/// Between two looks for a new connection.
const LOOK: Duration = Duration::from_millis(20);
/// Connections at once, beyond which new ones are closed: a meter that needs more is out of its mind.
const CROWD: usize = 32;
/// A meter that says nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server on one port.
pub struct Server {
    told: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    ended: AtomicBool,
    connections: AtomicUsize,
    /// Handles of the connections that are open, with which they can be ended.
    open: Mutex<Vec<(usize, TcpStream)>>,
}

impl Server {
    /// Listens on the tester's address, at the port of the parameter `port` or, without it, at any. Every connection is
    /// given to `talk` on a thread of its own.
    pub fn open<T>(lab: &Lab<'_>, port: &str, talk: T) -> Result<Server, Stop>
    where
        T: Fn(TcpStream) + Send + Sync + 'static,
    {
        let number = match lab.param(port) {
            None => 0,
            Some(text) => text.parse().map_err(|_| Stop::Skip(format!("--with {port}={text}: this is no port")))?,
        };
        let (told, bind) = (address(lab)?, SocketAddr::new(bind(lab)?, number));
        Server::listen(told, bind, talk).map_err(|err| cannot_listen(bind, &err))
    }

    /// Listens on `bind`, which the meter reaches as `told`.
    fn listen<T>(told: IpAddr, bind: SocketAddr, talk: T) -> io::Result<Server>
    where
        T: Fn(TcpStream) + Send + Sync + 'static,
    {
        let listener = TcpListener::bind(bind)?;
        listener.set_nonblocking(true)?;
        let told = SocketAddr::new(told, listener.local_addr()?.port());
        let shared = Arc::new(Shared::default());
        let (inner, talk) = (Arc::clone(&shared), Arc::new(talk));
        let thread = thread::Builder::new().name("companion".into()).spawn(move || accept(&listener, &inner, &talk))?;
        Ok(Server { told, shared, thread: Some(thread) })
    }

    /// Where the meter reaches it.
    pub fn address(&self) -> SocketAddr {
        self.told
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Whether all connections came to their end within `time`.
    pub fn quiet_within(&self, time: Duration) -> bool {
        wait_until(time, || locked(&self.shared.open).is_empty())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        for (_, stream) in locked(&self.shared.open).iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn accept<T>(listener: &TcpListener, shared: &Arc<Shared>, talk: &Arc<T>)
where
    T: Fn(TcpStream) + Send + Sync + 'static,
{
    while !shared.ended.load(Ordering::SeqCst) {
        let Ok((stream, _)) = listener.accept() else {
            thread::sleep(LOOK);
            continue;
        };
        let number = shared.connections.fetch_add(1, Ordering::SeqCst);
        let mut open = locked(&shared.open);
        let ready = stream.set_nonblocking(false).and_then(|()| stream.set_read_timeout(Some(PATIENCE)));
        let (Ok(()), Ok(handle), true) = (ready, stream.try_clone(), open.len() < CROWD) else { continue };
        open.push((number, handle));
        drop(open);
        let (inner, talk) = (Arc::clone(shared), Arc::clone(talk));
        let talking = thread::Builder::new().name("companion".into()).spawn(move || {
            talk(stream);
            locked(&inner.open).retain(|it| it.0 != number);
        });
        if talking.is_err() {
            locked(&shared.open).retain(|it| it.0 != number);
        }
    }
}

/// The tester's address for companions, without which the area ends.
pub fn address(lab: &Lab<'_>) -> Result<IpAddr, Stop> {
    parsed(ADDRESS.name, lab.need(ADDRESS.name)?)
}

fn bind(lab: &Lab<'_>) -> Result<IpAddr, Stop> {
    lab.param(BIND.name).map_or_else(|| address(lab), |text| parsed(BIND.name, text))
}

fn parsed(name: &str, text: &str) -> Result<IpAddr, Stop> {
    text.parse().map_err(|_| Stop::Skip(format!("--with {name}={text}: this is no IP address")))
}

fn cannot_listen(bind: SocketAddr, err: &io::Error) -> Stop {
    Stop::Skip(format!("companions cannot listen on {bind}: {err}"))
}

/// A port of the tester's address at which nobody listens.
pub fn deserted(lab: &Lab<'_>) -> Result<SocketAddr, Stop> {
    let (told, bind) = (address(lab)?, SocketAddr::new(bind(lab)?, 0));
    let free = TcpListener::bind(bind).and_then(|it| it.local_addr());
    free.map(|it| SocketAddr::new(told, it.port())).map_err(|err| cannot_listen(bind, &err))
}

/// Whether `met` was within `time`.
pub fn wait_until(time: Duration, met: impl Fn() -> bool) -> bool {
    let until = Instant::now() + time;
    while !met() {
        if until < Instant::now() {
            return false;
        }
        thread::sleep(LOOK);
    }
    true
}

/// A lock whose holder panicked still holds what was recorded.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn a_server_behind_a_forwarder_tells_where_the_forwarder_is() {
        let args = ["--replay", "none", "--with", "companion.address=10.0.2.2", "--with", "companion.bind=127.0.0.1"];
        let options = crate::options::Options::parse(args.iter().map(|it| it.to_string())).unwrap();
        let lab = Lab::new(&options);
        let server = Server::open(&lab, "companion.mail-port", |_| {}).unwrap();
        assert_eq!(server.address().ip(), IpAddr::from([10, 0, 2, 2]));
        assert!(TcpStream::connect(("127.0.0.1", server.address().port())).is_ok());
        let nobody = deserted(&lab).unwrap();
        assert_eq!(nobody.ip(), IpAddr::from([10, 0, 2, 2]));
        assert!(TcpStream::connect(("127.0.0.1", nobody.port())).is_err());
    }

    #[test]
    fn a_server_counts_its_guests_and_ends_with_its_owner() {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::listen(address.ip(), address, |mut stream| {
            let _ = stream.write_all(b"hello");
            let _ = stream.read(&mut [0; 8]);
        });
        let server = server.unwrap();
        let mut guest = TcpStream::connect(server.address()).unwrap();
        let mut text = [0; 5];
        guest.read_exact(&mut text).unwrap();
        assert_eq!((&text, server.connections()), (b"hello", 1));
        assert!(!server.quiet_within(Duration::ZERO));
        let address = server.address();
        drop(server);
        // The connection ends with the server, and nobody listens any more.
        guest.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        assert_eq!(guest.read(&mut text).unwrap_or(0), 0);
        assert!(TcpStream::connect(address).is_err());
    }
}
