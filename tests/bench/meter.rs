//! The service under measurement: a process of its own, spoken to over plain sockets.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use md5::Digest;

const PASSWORD: &str = "bench";

/// A running service on an empty or a given state folder.
pub struct Meter {
    child: Child,
    pub addr: SocketAddr,
    pub token: String,
    /// From the start of the process to the first answer.
    pub first_answer: Duration,
}

impl Meter {
    /// Starts `binary` on `state`.
    pub fn start(binary: &Path, state: &Path) -> Meter {
        Meter::start_with(binary, state, "")
    }

    /// The same with further keys in the configuration, each with a comma in front.
    pub fn start_with(binary: &Path, state: &Path, keys: &str) -> Meter {
        let port = free_port();
        let addr: SocketAddr = ([127, 0, 0, 1], port).into();
        let config = state.with_extension("json");
        let text = format!(r#"{{"listen": ["{addr}"], "state_dir": "{}"{keys}}}"#, state.display());
        std::fs::write(&config, text).unwrap();
        set_password(binary, &config);
        let started = Instant::now();
        let child = Command::new(binary)
            .args(["--config", config.to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(state.with_extension("log")).unwrap())
            .spawn()
            .unwrap();
        let first_answer = loop {
            if let Ok(mut stream) = TcpStream::connect(addr) {
                stream.write_all(b"GET /auth/unauthorized HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n").unwrap();
                let mut byte = [0];
                if stream.read(&mut byte).is_ok_and(|n| n == 1) {
                    break started.elapsed();
                }
            }
            assert!(started.elapsed() < Duration::from_secs(20), "no answer");
            std::thread::sleep(Duration::from_micros(200));
        };
        let mut res = Meter { child, addr, token: String::new(), first_answer };
        res.token = res.login();
        res
    }

    /// The process that was started; the service has more than one.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Logs in with the right password.
    pub fn login(&self) -> String {
        self.try_login().unwrap()
    }

    /// The same, if the service has a place for it.
    pub fn try_login(&self) -> io::Result<String> {
        let ask = |head: &str, body: &str| -> io::Result<serde_json::Value> {
            let mut stream = TcpStream::connect(self.addr)?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            let head = format!("{head} HTTP/1.1\r\nHost: m\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
            let (_, answer) = try_answer(&mut BufReader::new(stream))?;
            serde_json::from_slice(&answer).map_err(io::Error::other)
        };
        let text = |json: &serde_json::Value, name: &str| {
            json[name].as_str().map(String::from).ok_or_else(|| io::Error::other(json.to_string()))
        };
        let challenge = ask("GET /auth/unauthorized", "")?;
        let (rlm, nnc) = (text(&challenge, "rlm")?, text(&challenge, "nnc")?);
        let hash = md5(&format!("{}:{nnc}:c", md5(&format!("owner:{rlm}:{PASSWORD}"))));
        let body = serde_json::json!({ "rlm": rlm, "usr": "owner", "nnc": nnc, "cnnc": "c", "hash": hash });
        text(&ask("POST /auth/login", &body.to_string())?, "jwt")
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// The head of an authorised request with a body of `len` bytes.
    pub fn head(&self, method: &str, path: &str, len: usize) -> String {
        format!(
            "{method} {path} HTTP/1.1\r\nHost: m\r\nAuthorization: Bearer {}\r\nContent-Length: {len}\r\n\r\n",
            self.token
        )
    }

    /// One request and its JSON.
    pub fn call(&self, method: &str, path: &str, body: &[u8]) -> serde_json::Value {
        let (status, body) = self.exchange(method, path, body);
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert!(json.get("error").is_none(), "{json}");
        json
    }

    fn exchange(&self, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let mut stream = self.connect();
        stream.write_all(self.head(method, path, body.len()).as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        answer(&mut BufReader::new(stream))
    }

    /// Begins a database command without waiting for its end: its token.
    pub fn begin(&self, body: &[u8]) -> String {
        let mut stream = self.connect();
        let head = self.head("POST", "/cmd/db", body.len()).replace("Host: m", "Host: m\r\nPrefer: respond-async");
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let (_, body) = answer(&mut BufReader::new(stream));
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        json["token"].as_str().unwrap_or_else(|| panic!("{json}")).to_string()
    }

    /// Waits for the good end of an operation.
    pub fn finish(&self, token: &str) {
        loop {
            let status = self.call("GET", &format!("/sys/status/{token}"), b"");
            if status["result"]["done"] == true {
                assert!(status["result"].get("error").is_none(), "{status}");
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A database command to its very end.
    pub fn database(&self, body: &[u8]) {
        let token = self.call("POST", "/cmd/db", body)["token"].as_str().unwrap().to_string();
        self.finish(&token);
    }

    /// Downloads a backup of everything: its bytes, as they come over the wire.
    pub fn backup(&self) -> usize {
        let mut stream = self.connect();
        let head = self.head("GET", "/register?format=backup", 0).replace("Host: m", "Host: m\r\nConnection: close");
        stream.write_all(head.as_bytes()).unwrap();
        let (mut buffer, mut total, mut end) = (vec![0; 64 * 1024], 0, Vec::new());
        loop {
            let n = stream.read(&mut buffer).unwrap();
            if n == 0 {
                assert!(end.ends_with(b"\r\n0\r\n\r\n"), "a backup was cut");
                return total;
            }
            total += n;
            end.extend_from_slice(&buffer[n.saturating_sub(7)..n]);
            end.drain(..end.len().saturating_sub(7));
        }
    }

    /// Stops in good order, so that the folder can be copied.
    pub fn stop(mut self) {
        let pid = self.child.id().to_string();
        Command::new("kill").arg(&pid).status().unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn set_password(binary: &Path, config: &Path) {
    let mut child = Command::new(binary)
        .args(["user", "set", "owner", "--config", config.to_str().unwrap()])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(PASSWORD.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

fn md5(text: &str) -> String {
    md5::Md5::digest(text.as_bytes()).iter().map(|it| format!("{it:02x}")).collect()
}

/// Reads one answer with a Content-Length.
pub fn answer(stream: &mut BufReader<TcpStream>) -> (u16, Vec<u8>) {
    try_answer(stream).unwrap()
}

/// The same, if it comes.
pub fn try_answer(stream: &mut BufReader<TcpStream>) -> io::Result<(u16, Vec<u8>)> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|it| it.parse().ok()).ok_or(io::ErrorKind::UnexpectedEof)?;
    let mut length = 0;
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((status, body))
}

/// Where this run keeps everything; removed at its end.
pub fn root() -> PathBuf {
    std::env::temp_dir().join(format!("meterd-bench-{}", std::process::id()))
}

/// An empty folder below [`root`].
pub fn folder(name: &str) -> PathBuf {
    assert!(!name.is_empty());
    let dir = root().join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}
