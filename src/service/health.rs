//! Asking a running service for a sign of life, as a supervisor does.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, TcpStream};
use std::os::unix::net::UnixStream;

use super::{Failure, PROBE_WITHIN};
use crate::config::{Config, Listen};

/// Asks the running service for a sign of life over its first listener, as a supervisor would.
pub fn health(config: &Config) -> Result<(), Failure> {
    let listen = config.listen.first().ok_or("no listener is configured")?;
    let within = PROBE_WITHIN;
    let status = match listen {
        Listen::Tcp(addr) => {
            let mut addr = *addr;
            // A wildcard address is asked on loopback.
            if addr.ip().is_unspecified() {
                addr.set_ip(if addr.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
            }
            let stream = TcpStream::connect_timeout(&addr, within)?;
            stream.set_read_timeout(Some(within))?;
            ask(stream)?
        }
        Listen::Unix(unix) => {
            let stream = UnixStream::connect(&unix.unix)?;
            stream.set_read_timeout(Some(within))?;
            ask(stream)?
        }
    };
    // 401 is what this resource is for; 403 is a service that only takes encrypted connections.
    if status.starts_with("HTTP/1.1 401") || status.starts_with("HTTP/1.1 403") {
        Ok(())
    } else {
        Err(format!("unexpected answer: {}", status.lines().next().unwrap_or("nothing")).into())
    }
}

fn ask(mut stream: impl io::Read + io::Write) -> io::Result<String> {
    stream.write_all(b"GET /api/auth/unauthorized HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut head = [0; 64];
    let n = stream.read(&mut head)?;
    Ok(String::from_utf8_lossy(&head[..n]).into_owned())
}
