//! A supplicant for tests: a thread behind a real socket that keeps networks, hears some access points, and fails when
//! it is told to. It does what was seen of the real one, and nothing else. It is compiled for tests only.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::File;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::text::unhex;
use super::{Timings, text};
use crate::config;
use crate::sys::random;

/// Short enough for a test, long enough for a busy machine.
pub(super) const HASTY: Timings = Timings {
    reply: Duration::from_millis(1500),
    poll: Duration::from_millis(2),
    associate: Duration::from_millis(120),
    look: Duration::from_millis(40),
    scan: Duration::from_millis(300),
    start: Duration::from_millis(50),
};

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Net {
    pub id: u32,
    pub vars: BTreeMap<String, String>,
    pub disabled: bool,
}

/// What goes wrong, at the question of that number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Mishap {
    /// It says no.
    Refuse(usize),
    /// It does as it is told and says nothing.
    Mute(usize),
    /// It ends without a word.
    Die(usize),
}

#[derive(Default)]
pub(super) struct State {
    pub nets: Vec<Net>,
    pub current: Option<u32>,
    /// What the file holds.
    pub saved: Vec<Net>,
    /// Names of access points with their keys as `psk` has them; none for an open one.
    pub aps: Vec<(String, Option<String>)>,
    /// Of the list of access points, in seconds.
    pub age: u64,
    pub capabilities: BTreeMap<String, String>,
    pub mishap: Option<Mishap>,
    /// A network of this name is left out when the file is written.
    pub leaves_out: Option<String>,
    /// Events that come before each reply.
    pub chatty: bool,
    /// Questions so far.
    pub log: Vec<String>,
    lists: usize,
    ended: bool,
}

pub(super) struct Supplicant {
    dir: PathBuf,
    pub settings: config::Wlan,
    pub marker: PathBuf,
    state: Arc<Mutex<State>>,
    thread: Option<JoinHandle<()>>,
}

impl Supplicant {
    /// One that knows `home` (current), `spare` (enabled) and `old` (disabled), all saved, and hears all but `old`.
    pub fn start() -> Supplicant {
        let dir = std::env::temp_dir().join(format!("meterd-wlan-{:x}", u64::from_ne_bytes(random::bytes())));
        std::fs::create_dir(&dir).unwrap();
        let settings = config::Wlan { control: dir.join("control"), config: dir.join("wpa.conf") };
        let net = |id, name: &str, disabled| {
            let vars = [("ssid", hex(name)), ("psk", format!("\"{name} secret\"")), ("key_mgmt", "WPA-PSK".into())];
            Net { id, vars: vars.map(|(name, value)| (name.into(), value)).into(), disabled }
        };
        let nets = vec![net(0, "home", false), net(1, "spare", false), net(2, "old", true)];
        let ap = |name: &str| (name.to_string(), Some(format!("\"{name} secret\"")));
        let aps = vec![ap("home"), ap("spare"), ap("new"), ("free".to_string(), None)];
        let state = State { saved: nets.clone(), nets, current: Some(0), aps, ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let marker = dir.join("wlan-pending");
        let mut res = Supplicant { dir, settings, marker, state, thread: None };
        write(&res.settings.config, &res.state().saved);
        res.serve();
        res
    }

    fn serve(&mut self) {
        let _ = std::fs::remove_file(&self.settings.control);
        let socket = UnixDatagram::bind(&self.settings.control).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let (state, config) = (Arc::clone(&self.state), self.settings.config.clone());
        self.thread = Some(thread::spawn(move || serve(&socket, &state, &config)));
    }

    /// Opens its file, as the executor does for a service.
    pub fn saved(&self) -> impl Fn() -> io::Result<File> {
        let path = self.settings.config.clone();
        move || File::open(&path)
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn kill(&mut self) {
        self.state().ended = true;
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    /// A new process that knows what the file says.
    pub fn restart(&mut self) {
        self.kill();
        let mut state = self.state();
        (state.ended, state.mishap) = (false, None);
        state.reload();
        drop(state);
        self.serve();
    }

    /// Everything that counts, without ids, as text.
    pub fn dump(&self) -> String {
        let state = self.state();
        let show = |it: &Net| {
            let psk = it.vars.get("psk").map_or("-", String::as_str);
            let mark = if it.disabled {
                "off"
            } else if state.current == Some(it.id) {
                "current"
            } else {
                "on"
            };
            format!("{} {psk} {mark}", name(it))
        };
        let nets = |list: &[Net]| list.iter().map(show).collect::<Vec<_>>().join(", ");
        let saved: Vec<_> = state.saved.iter().map(|it| format!("{} {}", name(it), !it.disabled)).collect();
        format!("{} | {}", nets(&state.nets), saved.join(", "))
    }
}

impl Drop for Supplicant {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all::<&Path>(&self.dir);
    }
}

fn serve(socket: &UnixDatagram, state: &Mutex<State>, config: &Path) {
    let mut buf = [0; 8192];
    loop {
        let got = socket.recv_from(&mut buf);
        let mut state = state.lock().unwrap();
        if state.ended {
            return;
        }
        let Ok((len, from)) = got else { continue };
        let question = String::from_utf8(buf[..len].to_vec()).unwrap();
        let at = state.log.len();
        state.log.push(question.clone());
        if state.mishap == Some(Mishap::Die(at)) {
            state.ended = true;
            return;
        }
        let reply = match state.mishap {
            Some(Mishap::Refuse(it)) if it == at => "FAIL\n".into(),
            _ => state.answer(&question, config).unwrap_or("FAIL\n".into()),
        };
        if state.chatty {
            socket.send_to_addr(b"<3>CTRL-EVENT-SCAN-STARTED ", &from).unwrap();
        }
        if state.mishap != Some(Mishap::Mute(at)) {
            // Whoever asked may have gone.
            let _ = socket.send_to_addr(reply.as_bytes(), &from);
        }
    }
}

impl State {
    fn answer(&mut self, question: &str, config: &Path) -> Option<String> {
        let mut words = question.splitn(4, ' ');
        let verb = words.next()?;
        let subject = words.next().unwrap_or_default();
        let id = subject.parse::<u32>().ok();
        match verb {
            "ADD_NETWORK" => {
                let id = self.nets.iter().map(|it| it.id + 1).max().unwrap_or(0);
                self.nets.push(Net { id, vars: BTreeMap::new(), disabled: true });
                return Some(format!("{id}\n"));
            }
            "SET_NETWORK" => {
                let (name, value) = (words.next()?, words.next()?);
                self.net(id)?.vars.insert(name.into(), value.into());
            }
            "SELECT_NETWORK" => {
                self.net(id)?;
                self.nets.iter_mut().for_each(|it| it.disabled = Some(it.id) != id);
                (self.current, self.lists) = (id, 0);
            }
            "ENABLE_NETWORK" if subject == "all" => self.nets.iter_mut().for_each(|it| it.disabled = false),
            "ENABLE_NETWORK" => self.net(id)?.disabled = false,
            "DISABLE_NETWORK" => {
                self.net(id)?.disabled = true;
                self.current = self.current.filter(|it| Some(*it) != id);
            }
            "REMOVE_NETWORK" => {
                self.net(id)?;
                self.nets.retain(|it| Some(it.id) != id);
                self.current = self.current.filter(|it| Some(*it) != id);
            }
            "REASSOCIATE" => {}
            "RECONFIGURE" => self.reload(),
            "SAVE_CONFIG" => {
                let left_out = self.leaves_out.clone();
                self.saved = self.nets.iter().filter(|it| Some(name(it)) != left_out).cloned().collect();
                write(config, &self.saved);
            }
            "SCAN" => self.age = 0,
            "STATUS" => {
                let Some(id) = self.current else { return Some("wpa_state=SCANNING\n".into()) };
                let state = if self.opens(id) { "COMPLETED" } else { "SCANNING" };
                return Some(format!("id={id}\nwpa_state={state}\n"));
            }
            "LIST_NETWORKS" => return Some(self.list(subject)),
            "BSS" => return Some(self.bss(subject)),
            "GET_CAPABILITY" => return self.capabilities.get(subject).cloned(),
            _ => return Some("UNKNOWN COMMAND\n".into()),
        }
        if self.current.is_none() {
            self.current = self.nets.iter().map(|it| it.id).find(|id| self.opens(*id));
        }
        Some("OK\n".into())
    }

    fn net(&mut self, id: Option<u32>) -> Option<&mut Net> {
        self.nets.iter_mut().find(|it| Some(it.id) == id)
    }

    fn reload(&mut self) {
        self.nets = self.saved.clone();
        for (id, net) in self.nets.iter_mut().enumerate() {
            net.id = id as u32;
        }
        self.current = self.nets.iter().map(|it| it.id).find(|id| self.opens(*id));
    }

    /// Whether an access point lets this network in.
    fn opens(&self, id: u32) -> bool {
        let Some(net) = self.nets.iter().find(|it| it.id == id && !it.disabled) else { return false };
        self.aps.iter().any(|(ap, key)| *ap == name(net) && key.as_ref() == net.vars.get("psk"))
    }

    fn list(&mut self, subject: &str) -> String {
        let after = subject.strip_prefix("LAST_ID=").map(|it| it.parse::<u32>().unwrap());
        self.lists += usize::from(after.is_none());
        let mut res = "network id / ssid / bssid / flags\n".to_string();
        // Two a page, so that every list has pages.
        for net in self.nets.iter().filter(|it| after.is_none_or(|after| after < it.id)).take(2) {
            let mut flags = String::new();
            if self.current == Some(net.id) {
                flags += "[CURRENT]";
            }
            if net.disabled {
                flags += "[DISABLED]";
            }
            // Only a key can be wrong; an access point without one is no match at all.
            let guarded =
                net.vars.contains_key("psk") && self.aps.iter().any(|(ap, it)| *ap == name(net) && it.is_some());
            if self.current == Some(net.id) && guarded && !self.opens(net.id) && self.lists / 2 % 2 == 1 {
                flags += "[TEMP-DISABLED]";
            }
            writeln!(res, "{}\t{}\tany\t{flags}", net.id, name(net)).unwrap();
        }
        res
    }

    fn bss(&self, subject: &str) -> String {
        let from: usize = subject.strip_prefix("RANGE=").unwrap().strip_suffix("-").unwrap().parse().unwrap();
        let mut res = String::new();
        for (id, (name, key)) in self.aps.iter().enumerate().skip(from).take(3) {
            let flags = if key.is_some() { "[WPA2-PSK-CCMP][ESS]" } else { "[ESS]" };
            let ssid = text::Ssid::parse(name).unwrap().hex();
            let ssid: String =
                ssid.as_bytes().chunks(2).map(|it| format!("\\x{}{}", it[0] as char, it[1] as char)).collect();
            writeln!(res, "id={id}\nbssid=02:00:00:00:00:0{id}\nfreq=2437\nlevel=-30").unwrap();
            writeln!(res, "age={}\nflags={flags}\nssid={ssid}", self.age).unwrap();
        }
        res
    }
}

fn hex(name: &str) -> String {
    text::Ssid::parse(name).unwrap().hex()
}

fn name(net: &Net) -> String {
    let bytes = net.vars.get("ssid").and_then(|it| unhex(it)).unwrap_or_default();
    String::from_utf8(bytes).unwrap()
}

fn write(path: &Path, nets: &[Net]) {
    let mut text = "update_config=1\n".to_string();
    for net in nets {
        text += "\nnetwork={\n";
        for (name, value) in &net.vars {
            writeln!(text, "\t{name}={value}").unwrap();
        }
        text += if net.disabled { "\tdisabled=1\n}\n" } else { "}\n" };
    }
    std::fs::write(path, text).unwrap();
}
