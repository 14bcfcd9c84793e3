//! Helpers of the tests: folders that go away, images, somebody who may cancel, and a server that plays a part.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::hex;
use super::manifest::Image;
use super::version::Version;
use crate::drivers::reach::Lookout;
use crate::drivers::{CancelFlag, Watch};
use crate::sys::random;

/// A folder of a test's own.
pub struct TempDir(pub PathBuf);

impl TempDir {
    pub fn new() -> TempDir {
        let path = std::env::temp_dir().join(format!("meterd-update-{}", random::name()));
        std::fs::create_dir(&path).unwrap();
        TempDir(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a manifest would say of a file.
pub fn image(name: &str, content: &[u8]) -> Image {
    Image {
        version: Version::parse("2.0").unwrap(),
        minimum: None,
        hardware: vec!["1".into()],
        name: name.into(),
        size: content.len() as u64,
        sha256: hex(&Sha256::digest(content)),
        released: "2026-11-20".into(),
    }
}

/// Somebody who may cancel, and who keeps what is told.
#[derive(Clone, Default)]
pub struct Person {
    pub cancel: Arc<AtomicBool>,
    pub told: Arc<Mutex<Vec<String>>>,
}

impl Person {
    /// Long enough for anything that works.
    pub fn look(&self) -> Lookout<'_> {
        Lookout::new(self, Duration::from_secs(30))
    }
}

impl Watch for Person {
    fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }
    fn progress(&self, _: f64) {}
    fn info(&self, tag: &'static str, args: Vec<String>) {
        self.told.lock().unwrap().push(format!("{tag} {}", args.join(",")).trim().to_owned());
    }
    fn result(&self, _: Value) {}
    fn flag(&self) -> CancelFlag {
        let person = self.clone();
        Arc::new(move || person.cancelled())
    }
}

/// A server on loopback: `reply` writes the answer to the request of this head, and how often there has been one
/// before. The connection is closed after it.
pub fn server(reply: impl Fn(&mut TcpStream, &str, usize) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for (nth, mut stream) in listener.incoming().flatten().enumerate() {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|it| it == 1) {
                head.push(byte[0]);
            }
            reply(&mut stream, &String::from_utf8_lossy(&head).to_lowercase(), nth);
        }
    });
    format!("http://{addr}/image")
}
