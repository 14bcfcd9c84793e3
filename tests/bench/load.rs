//! Requests per second over kept connections, of the service and of what it is compared with.

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::meter::answer;

/// Connections that ask at the same time.
const CONNECTIONS: usize = 4;
/// How long each run takes.
const SECONDS: Duration = Duration::from_secs(2);
/// What the CGI script and bare tiny_http answer; as long as the service's answer.
const ANSWER: &str = r#"{"error":"token: unknown; nothing was cancelled."}"#;

/// Requests per second that `addr` answers.
pub fn rate(addr: SocketAddr, request: &[u8]) -> f64 {
    let threads: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let request = request.to_vec();
            std::thread::spawn(move || ask(addr, &request))
        })
        .collect();
    threads.into_iter().map(|it| it.join().unwrap()).sum()
}

fn ask(addr: SocketAddr, request: &[u8]) -> f64 {
    let connect = || {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_nodelay(true).unwrap();
        BufReader::new(stream)
    };
    let mut stream = connect();
    let started = Instant::now();
    let mut count = 0u32;
    while started.elapsed() < SECONDS {
        stream.get_mut().write_all(request).unwrap();
        let (status, _) = answer(&mut stream);
        assert_eq!(status, 200);
        count += 1;
    }
    f64::from(count) / started.elapsed().as_secs_f64()
}

/// A child process that ends with this value.
pub struct Peer {
    child: Child,
    pub addr: SocketAddr,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn await_port(child: Child, port: u16) -> Peer {
    let addr: SocketAddr = ([127, 0, 0, 1], port).into();
    let until = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(addr).is_err() {
        assert!(Instant::now() < until, "a peer does not start");
        std::thread::sleep(Duration::from_millis(10));
    }
    Peer { child, addr }
}

/// lighttpd with a shell script behind CGI, the way such commands are often done on small devices.
pub fn lighttpd(dir: &Path) -> Peer {
    let port = free_port();
    let script = dir.join("cancel.sh");
    let text = format!("#!/bin/sh\nread -r body\nprintf 'Content-Type: application/json\\r\\n\\r\\n%s' '{ANSWER}'\n");
    std::fs::write(&script, text).unwrap();
    let config = format!(
        "server.document-root = \"{0}\"\nserver.port = {port}\nserver.bind = \"127.0.0.1\"\n\
         server.modules = ( \"mod_cgi\" )\ncgi.assign = ( \".sh\" => \"/bin/sh\" )\n\
         server.max-keep-alive-requests = 1000000\nserver.errorlog = \"{0}/error.log\"\n",
        dir.display()
    );
    let file = dir.join("lighttpd.conf");
    std::fs::write(&file, config).unwrap();
    let child = Command::new("lighttpd").args(["-D", "-f"]).arg(&file).stdout(Stdio::null()).spawn();
    await_port(child.expect("lighttpd is needed: apt-get install lighttpd"), port)
}

/// This program again, as [`serve_bare`].
pub fn bare_tiny_http() -> Peer {
    let port = free_port();
    let child = Command::new(std::env::current_exe().unwrap()).args(["--bare-tiny-http", &port.to_string()]).spawn();
    await_port(child.unwrap(), port)
}

/// tiny_http on a TCP socket, four threads answering a constant.
pub fn serve_bare(port: u16) {
    let server = std::sync::Arc::new(tiny_http::Server::http(("127.0.0.1", port)).unwrap());
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let server = std::sync::Arc::clone(&server);
            std::thread::spawn(move || {
                while let Ok(mut request) = server.recv() {
                    let mut body = String::new();
                    let _ = request.as_reader().read_to_string(&mut body);
                    let _ = request.respond(tiny_http::Response::from_string(ANSWER));
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}
