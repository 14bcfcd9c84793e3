//! Tries, from where the service's worker is once it is confined, what must not be possible there, and what must be. It
//! goes the service's own way to that place. Each line is an attempt and how it ended: `ok`, or the kernel's error.
//!
//! Usage: confined_probe [--unconfined] CONFIG

use std::fs::{self, File};
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use meterd::config::{Config, Listen};
use meterd::platform::{Hands, Verb};
use meterd::service::Ground;
use meterd::sys::packet::PacketSocket;
use meterd::sys::user::User;
use meterd::sys::{clock, fork, net, privilege};

/// A time that no kernel's clock takes: where setting is allowed this is an invalid argument, so nothing is ever set.
const NEVER: Duration = Duration::from_secs(1 << 62);

fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let unconfined = arguments.first().is_some_and(|it| it == "--unconfined");
    if unconfined {
        arguments.remove(0);
    }
    let path = Path::new(&arguments[0]);
    let config = Config::load(path).expect("a configuration");
    // Open before, by somebody else as it were.
    let other = UnixListener::bind_addr(&abstract_name()).expect("an abstract socket");
    let ground = (!unconfined).then(|| Ground::lay(&config, Some(path)).expect("the service's start"));

    report("read /etc/shadow", File::open("/etc/shadow"));
    report("read a program", File::open("/bin/sh"));
    report("list the root", fs::read_dir("/"));
    report("write beside the state", fs::write(config.state_dir.with_extension("beside"), "x"));
    report("write the configuration", File::options().write(true).open(path));
    report("set the clock", clock::set_wall(NEVER));
    report("start a shell", Command::new("/bin/sh").args(["-c", "true"]).status());
    report("fork", fork::fork(|| {}));
    report("open a raw socket", PacketSocket::bound("lo", 0x88e1));
    report("become root", privilege::become_user(&User { uid: 0, gid: 0, groups: vec![] }));
    report("listen on a port", TcpListener::bind("127.0.0.1:0"));
    report("speak to an abstract socket", UnixStream::connect_addr(&abstract_name()));
    drop(other);

    let Some((ground, _signals)) = ground else { return };
    report("become a shell", Err::<(), _>(Command::new("/bin/sh").args(["-c", "true"]).exec()));
    let own = config.state_dir.join("probe");
    let both = fs::create_dir(&own).and_then(|()| fs::write(own.join("a"), "x"));
    report("write the state", both.and_then(|()| fs::rename(own.join("a"), own.join("b"))));
    report("remove it", fs::remove_dir_all(&own));
    report("read the configuration", File::open(path));
    report("read resolv.conf", File::open("/etc/resolv.conf"));
    report("see the interfaces", net::interfaces());
    report("start a thread", std::thread::Builder::new().spawn(|| {}).map(|it| it.join()));
    report("send a datagram", UdpSocket::bind("127.0.0.1:0").and_then(|it| it.send_to(b"x", "127.0.0.1:9")));
    let Listen::Tcp(addr) = config.listen[0] else { panic!("the first listener is a TCP port") };
    report("connect", TcpStream::connect(addr));
    match ground.platform.run(Verb::WriteRtc, Duration::from_secs(20)) {
        Ok(said) => println!("have a program run: {}", said.trim()),
        Err(err) => println!("have a program run: {err}"),
    }
    let set = ground.platform.run(Verb::SetClock { stamp: NEVER, at: Duration::ZERO }, Duration::ZERO);
    println!("have the clock set: {}", set.map_or_else(|err| err.to_string(), |_| "ok".into()));
}

fn abstract_name() -> SocketAddr {
    SocketAddr::from_abstract_name(format!("meterd-probe-{}", std::process::id())).expect("a short name")
}

fn report<T>(what: &str, res: io::Result<T>) {
    match res {
        Ok(_) => println!("{what}: ok"),
        Err(err) => println!("{what}: {err}"),
    }
}
