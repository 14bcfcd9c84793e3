//! What the service is compared with: web servers with a shell script behind CGI, the way such commands are often done on
//! small devices, and tiny_http alone. All answer a constant of about the length of the service's answer.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::meter::free_port;

/// As long as the answer of a cancellation.
const ANSWER: &str = r#"{"error":"token: unknown; nothing was cancelled."}"#;

/// A child process that ends with this value.
pub struct Peer {
    child: Child,
    pub name: &'static str,
    pub addr: SocketAddr,
    /// Where the script is.
    pub path: &'static str,
    /// Whether it keeps a connection for the next request.
    pub keeps: bool,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn peer(name: &'static str, mut command: Command, port: u16, path: &'static str, keeps: bool) -> Peer {
    let child = command.stdout(Stdio::null()).spawn().unwrap_or_else(|err| panic!("{name} is needed: {err}"));
    let res = Peer { child, name, addr: ([127, 0, 0, 1], port).into(), path, keeps };
    let until = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(res.addr).is_err() {
        assert!(Instant::now() < until, "{name} does not start");
        std::thread::sleep(Duration::from_millis(10));
    }
    res
}

/// Reads a body if there is one, and answers.
fn script(path: &Path) {
    let text = format!(
        "#!/bin/sh\n[ \"$REQUEST_METHOD\" = GET ] || read -r body\n\
         printf 'Content-Type: application/json\\r\\n\\r\\n%s' '{ANSWER}'\n"
    );
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// lighttpd, which keeps connections and forks for each request.
pub fn lighttpd(dir: &Path) -> Peer {
    let port = free_port();
    script(&dir.join("command.sh"));
    let config = format!(
        "server.document-root = \"{0}\"\nserver.port = {port}\nserver.bind = \"127.0.0.1\"\n\
         server.modules = ( \"mod_cgi\" )\ncgi.assign = ( \".sh\" => \"/bin/sh\" )\n\
         server.max-keep-alive-requests = 1000000\nserver.errorlog = \"{0}/error.log\"\n",
        dir.display()
    );
    let file = dir.join("lighttpd.conf");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new("lighttpd");
    command.args(["-D", "-f"]).arg(&file);
    peer("lighttpd + CGI", command, port, "/command.sh", true)
}

/// BusyBox's httpd, which forks for each connection and closes it after the answer.
pub fn busybox(dir: &Path) -> Peer {
    let port = free_port();
    std::fs::create_dir_all(dir.join("cgi-bin")).unwrap();
    script(&dir.join("cgi-bin/command.sh"));
    let mut command = Command::new("busybox");
    command.args(["httpd", "-f", "-p", &format!("127.0.0.1:{port}"), "-h"]).arg(dir);
    peer("busybox httpd + CGI", command, port, "/cgi-bin/command.sh", false)
}

/// This program again, as [`serve_bare`].
pub fn bare_tiny_http() -> Peer {
    let port = free_port();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--bare-tiny-http", &port.to_string()]);
    peer("bare tiny_http", command, port, "/", true)
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
