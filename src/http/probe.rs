//! The service asks itself whether it still answers: through the gate, tiny_http and a worker.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes of the answer that are looked at; the status line is at their front.
const LOOKED_AT: usize = 512;

/// Asks `GET /auth/unauthorized` at the gate's private listener. An answer of a handler, whatever its status below 500,
/// is life; a refusal by the gate, or none within `deadline`, is an error that says which.
pub fn self_probe(probe_path: &Path, deadline: Duration) -> io::Result<()> {
    let end = Instant::now() + deadline;
    let mut socket = UnixStream::connect(probe_path)?;
    socket.set_write_timeout(Some(deadline))?;
    socket.write_all(b"GET /auth/unauthorized HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::with_capacity(LOOKED_AT);
    while !answer.contains(&b'\n') && answer.len() < LOOKED_AT {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let mut piece = [0; LOOKED_AT];
        match socket.read(&mut piece) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => answer.extend_from_slice(&piece[..n]),
            Err(err) if err.kind() == ErrorKind::WouldBlock => return Err(ErrorKind::TimedOut.into()),
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
    let line = String::from_utf8_lossy(&answer);
    let status = line.strip_prefix("HTTP/1.1 ").and_then(|it| it.get(..3)).and_then(|it| it.parse::<u16>().ok());
    match status {
        Some(200..500) => Ok(()),
        _ => Err(io::Error::other(format!("answered {:?}", line.lines().next().unwrap_or_default()))),
    }
}
