//! An update server: a folder that the tester made, as the meter's maker would publish it, with the faults of a mirror.
//! It knows files, nothing of what is in them.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::{ADDRESS, BIND, locked};
use crate::catalogue::Param;
use crate::lab::{Lab, Stop};

/// The folder.
pub const FOLDER: Param =
    Param { name: "update.folder", meaning: "The folder of updates that the meter is told to ask the suite for." };
/// Its port.
pub const PORT: Param =
    Param { name: "update.port", meaning: "The port on companion.address at which the meter asks for updates." };
/// All of them.
pub const PARAMS: &[Param] = &[FOLDER, ADDRESS, BIND, PORT];

/// Files of this size and more are images: they come slowly or damaged, the others never do.
const IMAGE: usize = 16 * 1024;
/// Pieces of a slow image, a tenth of a second apart.
const PIECE: usize = 4 * 1024;
/// For a client's next byte.
const PATIENCE: Duration = Duration::from_secs(10);

/// How it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As it should.
    Fine,
    /// Images come in small pieces.
    Slow,
    /// One bit of an image is not as it was.
    Damaged,
    /// Nothing is there.
    Gone,
}

/// A server that ends with this value.
pub struct Server {
    state: Arc<State>,
    /// Kept for its end.
    _server: super::Server,
}

struct State {
    folder: PathBuf,
    mode: Mutex<Mode>,
    asked: Mutex<Vec<String>>,
}

/// Starts it if the tester named its folder, address and port.
pub fn start(lab: &Lab<'_>) -> Result<Option<Server>, Stop> {
    let (Some(folder), Some(_), Some(_)) = (lab.param(FOLDER.name), lab.param(ADDRESS.name), lab.param(PORT.name))
    else {
        return Ok(None);
    };
    let state = State::of(Path::new(folder));
    let serving = Arc::clone(&state);
    let server = super::Server::open(lab, PORT.name, move |stream| {
        let _ = serving.answer(stream);
    })?;
    Ok(Some(Server { state, _server: server }))
}

impl Server {
    /// From now on it answers so.
    pub fn set(&self, mode: Mode) {
        *locked(&self.state.mode) = mode;
    }

    /// The paths that were asked for.
    pub fn asked(&self) -> Vec<String> {
        locked(&self.state.asked).clone()
    }
}

impl State {
    fn of(folder: &Path) -> Arc<State> {
        Arc::new(State { folder: folder.into(), mode: Mutex::new(Mode::Fine), asked: Mutex::default() })
    }

    /// One request and its answer. A client that leaves ends it.
    fn answer(&self, stream: TcpStream) -> Option<()> {
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        let mut reader = BufReader::new(stream.try_clone().ok()?).take(16 * 1024);
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let mut words = line.split_whitespace();
        let (method, target) = (words.next()?.to_string(), words.next()?.to_string());
        let mut from = 0;
        loop {
            let mut field = String::new();
            if reader.read_line(&mut field).ok()? <= 2 {
                break;
            }
            let field = field.to_ascii_lowercase();
            if let Some(range) = field.strip_prefix("range:") {
                from = range.trim().strip_prefix("bytes=")?.split('-').next()?.parse().ok()?;
            }
        }
        locked(&self.asked).push(target.clone());
        let mode = *locked(&self.mode);
        let content = self.path(&target).filter(|_| mode != Mode::Gone).and_then(|it| fs::read(it).ok());
        let Some(mut content) = content else {
            return respond(&stream, "404 Not Found", "", b"nothing is here\n", false);
        };
        let image = IMAGE <= content.len();
        if image && mode == Mode::Damaged {
            *content.last_mut()? ^= 1;
        }
        let slow = image && mode == Mode::Slow;
        let body = if method == "HEAD" { &[][..] } else { content.get(from..).unwrap_or_default() };
        if from == 0 {
            return respond(&stream, "200 OK", "Accept-Ranges: bytes\r\n", body, slow);
        }
        let range = format!("Content-Range: bytes {from}-{}/{}\r\n", content.len() - 1, content.len());
        respond(&stream, "206 Partial Content", &range, body, slow)
    }

    /// The file of a target, which never leads out of the folder.
    fn path(&self, target: &str) -> Option<PathBuf> {
        let path = Path::new(target.split('?').next()?.trim_start_matches('/'));
        let inside = path.components().all(|it| matches!(it, Component::Normal(_)));
        inside.then(|| self.folder.join(path))
    }
}

fn respond(mut stream: &TcpStream, status: &str, fields: &str, body: &[u8], slow: bool) -> Option<()> {
    let head = format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).ok()?;
    if !slow {
        return stream.write_all(body).ok();
    }
    for piece in body.chunks(PIECE) {
        stream.write_all(piece).ok()?;
        thread::sleep(Duration::from_millis(100));
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Connection, Request, Target};

    fn ask(server: &super::super::Server, path: &str) -> (u16, Vec<u8>) {
        let target = Target { host: "127.0.0.1".into(), port: server.address().port(), base: String::new() };
        let mut connection = Connection::open(&target, PATIENCE).unwrap();
        connection.send(&Request::get(path).anonymous().bytes("h", "", None), PATIENCE);
        let reply = connection.reply(false, PATIENCE).unwrap();
        (reply.status, reply.body)
    }

    #[test]
    fn it_serves_the_folder_and_nothing_else_with_the_faults_it_is_told() {
        let folder = std::env::temp_dir().join(format!("update-companion-{}", std::process::id()));
        fs::create_dir_all(folder.join("fw")).unwrap();
        fs::write(folder.join("fw/image"), vec![7; IMAGE]).unwrap();
        fs::write(folder.join("fw/list"), b"{}").unwrap();
        let state = State::of(&folder);
        let (local, serving) = (std::net::SocketAddr::from(([127, 0, 0, 1], 0)), Arc::clone(&state));
        let server = super::super::Server::listen(local.ip(), local, move |it| {
            let _ = serving.answer(it);
        })
        .unwrap();
        assert_eq!(ask(&server, "/fw/list"), (200, b"{}".to_vec()));
        assert_eq!(ask(&server, "/fw/../../etc/passwd").0, 404);
        assert_eq!(ask(&server, "/fw/image").1, vec![7; IMAGE]);
        *locked(&state.mode) = Mode::Damaged;
        assert_eq!(ask(&server, "/fw/image").1.last(), Some(&6));
        assert_eq!(ask(&server, "/fw/list").1, b"{}");
        *locked(&state.mode) = Mode::Gone;
        assert_eq!(ask(&server, "/fw/list").0, 404);
        assert_eq!(locked(&state.asked).len(), 6);
        fs::remove_dir_all(folder).unwrap();
    }
}
