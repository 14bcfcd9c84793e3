//! Stands between the suite and a meter and breaks one behaviour. What it does not understand, such as half a request,
//! passes through it as it is, in both directions and at once, unless the mutant is about that.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read as _, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use meter_conformance::session::Credentials;
use serde_json::Value;

use crate::message::{Message, Read, read, whole};
use crate::mutants::Mutant;

/// A pause inside a head after which its bytes are passed on as they are.
const HEAD_PAUSE: Duration = Duration::from_millis(300);
/// The same inside a body, which is longer and may be late on a busy machine.
const BODY_PAUSE: Duration = Duration::from_millis(1500);
/// The longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(100);

/// The healthy meter behind the proxy, and what a mutant keeps in mind.
pub struct Meter {
    address: SocketAddr,
    owner: Credentials,
    memory: Mutex<BTreeMap<String, Value>>,
}

impl Meter {
    /// The meter's own answer; none if it closes or is not there.
    pub fn ask(&self, call: &Message) -> Message {
        self.try_ask(call).unwrap_or_else(|_| Message::nothing())
    }

    fn try_ask(&self, call: &Message) -> io::Result<Message> {
        let mut stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&call.bytes())?;
        let mut bytes = Vec::new();
        loop {
            match read(&bytes, false, call.method() == "HEAD") {
                Read::Whole(message) => return Ok(message),
                Read::More { .. } => {}
                Read::Strange => return Err(ErrorKind::InvalidData.into()),
            }
            let mut chunk = [0; 65536];
            match stream.read(&mut chunk)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                length => bytes.extend_from_slice(&chunk[..length]),
            }
        }
    }

    /// The request with the owner's login, whatever it came with.
    pub fn as_owner(&self, call: &Message) -> Message {
        call.clone().with_field("Authorization", Some(&format!("Bearer {}", self.owners_token())))
    }

    /// The token of a new login of the owner's.
    pub fn owners_token(&self) -> String {
        let challenge = self.ask(&request("GET", "/auth/unauthorized", "")).json().unwrap_or_default();
        let text = |name: &str| challenge[name].as_str().unwrap_or_default();
        let login = self.owner.answer(text("rlm"), text("nnc"), "0123456789abcdef").to_string();
        let login = self.ask(&request("POST", "/auth/login", &login)).json().unwrap_or_default();
        login["jwt"].as_str().unwrap_or_default().to_string()
    }

    /// What was kept under that name, `null` at first; `keep` replaces it.
    pub fn recall(&self, name: &str) -> Value {
        self.memory.lock().unwrap().get(name).cloned().unwrap_or_default()
    }

    /// Keeps a value under that name.
    pub fn keep(&self, name: &str, value: impl Into<Value>) {
        self.memory.lock().unwrap().insert(name.into(), value.into());
    }

    /// How often this was called under that name before.
    pub fn count(&self, name: &str) -> u64 {
        let mut memory = self.memory.lock().unwrap();
        let before = memory.get(name).and_then(Value::as_u64).unwrap_or_default();
        memory.insert(name.into(), (before + 1).into());
        before
    }
}

/// A request of the proxy's own.
pub fn request(method: &str, path: &str, body: &str) -> Message {
    let text = format!(
        "{method} /api{path} HTTP/1.1\r\nHost: meter\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    whole(text.as_bytes()).expect("it is a whole request")
}

/// A proxy that listens until it is dropped.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    over: Arc<AtomicBool>,
}

impl Proxy {
    /// Starts one in front of the meter at `address`.
    pub fn start(address: SocketAddr, owner: Credentials, mutant: &'static Mutant) -> io::Result<Proxy> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let res = Proxy { address: listener.local_addr()?, over: Arc::default() };
        let over = res.over.clone();
        let meter = Arc::new(Meter { address, owner, memory: Mutex::default() });
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if over.load(Ordering::SeqCst) {
                    break;
                }
                let meter = meter.clone();
                thread::spawn(move || {
                    let _ = serve(stream, &meter, mutant);
                });
            }
        });
        Ok(res)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // The listener looks at the flag when somebody comes.
        let _ = TcpStream::connect(self.address);
    }
}

/// One connection of the suite, to its end.
fn serve(mut client: TcpStream, meter: &Meter, mutant: &Mutant) -> io::Result<()> {
    client.set_nodelay(true)?;
    loop {
        let call = match next_call(&mut client)? {
            Incoming::Call(call) => call,
            Incoming::Strange(bytes) if bytes.is_empty() => return Ok(()),
            Incoming::Strange(bytes) => {
                return match mutant.strange.and_then(|it| it(&bytes, meter)) {
                    Some(answer) => client.write_all(&answer.bytes()),
                    None => pass(client, meter, &bytes),
                };
            }
        };
        let closes = call.closes();
        let answer = (mutant.breaks)(call, meter);
        client.write_all(&answer.bytes())?;
        if closes || answer.closes() {
            return Ok(());
        }
    }
}

enum Incoming {
    Call(Message),
    /// Bytes that are no whole request; none at the connection's end.
    Strange(Vec<u8>),
}

fn next_call(client: &mut TcpStream) -> io::Result<Incoming> {
    let mut bytes = Vec::new();
    loop {
        let pause = match read(&bytes, true, false) {
            Read::Whole(call) => return Ok(Incoming::Call(call)),
            Read::Strange => return Ok(Incoming::Strange(bytes)),
            Read::More { .. } if bytes.is_empty() => PATIENCE,
            Read::More { in_body: false } => HEAD_PAUSE,
            Read::More { in_body: true } => BODY_PAUSE,
        };
        client.set_read_timeout(Some(pause))?;
        let mut chunk = [0; 65536];
        match client.read(&mut chunk) {
            Ok(0) => return Ok(Incoming::Strange(bytes)),
            Ok(length) => bytes.extend_from_slice(&chunk[..length]),
            Err(err) if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Ok(Incoming::Strange(bytes));
            }
            Err(err) => return Err(err),
        }
    }
}

/// Passes bytes both ways until one side ends.
fn pass(client: TcpStream, meter: &Meter, first: &[u8]) -> io::Result<()> {
    let mut upstream = TcpStream::connect_timeout(&meter.address, PATIENCE)?;
    let _ = upstream.write_all(first);
    let (from, to) = (client.try_clone()?, upstream.try_clone()?);
    thread::spawn(move || copy(from, to));
    copy(upstream, client);
    Ok(())
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    let _ = from.set_read_timeout(Some(PATIENCE));
    let mut chunk = [0; 65536];
    while let Ok(length) = from.read(&mut chunk) {
        if length == 0 || to.write_all(&chunk[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
