//! A device that speaks Modbus/TCP and describes itself in SunSpec's way: an inverter whose currents, voltages, powers
//! and frequency can be read, and others of whose points are marked as not implemented. It records what it is asked.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Server, locked, wait_until};
use crate::lab::{Lab, Stop};

/// The register where SunSpec's mark is.
const BASE: usize = 40000;
/// What a point of 16 bits holds that the device does not have: unsigned and signed.
const NONE: u16 = 0xffff;
const NO_INT: u16 = 0x8000;

/// How the device behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// It answers.
    #[default]
    Answers,
    /// It knows no register at all, and says so.
    Blank,
    /// It takes connections and requests and never answers.
    Silent,
}

/// The device.
pub struct Device {
    server: Server,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    mood: Mood,
    pause: Duration,
    /// Unit and function of each request.
    requests: Vec<(u8, u8)>,
}

impl Device {
    /// Opens it at the port of the parameter `port`.
    pub fn open(lab: &Lab<'_>, port: &str) -> Result<Device, Stop> {
        let state = Arc::new(Mutex::new(State::default()));
        let inner = Arc::clone(&state);
        let registers = registers();
        let server = Server::open(lab, port, move |stream| {
            let _ = serve(stream, &inner, &registers);
        })?;
        Ok(Device { server, state })
    }

    /// Where the meter reaches it.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// How it is from now on, with a pause before each answer. What was recorded before is forgotten.
    pub fn set(&self, mood: Mood, pause: Duration) {
        *locked(&self.state) = State { mood, pause, requests: Vec::new() };
    }

    /// How many connections there ever were.
    pub fn connections(&self) -> usize {
        self.server.connections()
    }

    /// Whether somebody asked something within `time` since the mood was set.
    pub fn asked_within(&self, time: Duration) -> bool {
        wait_until(time, || !locked(&self.state).requests.is_empty())
    }

    /// Whether everybody had gone within `time`.
    pub fn left_within(&self, time: Duration) -> bool {
        self.server.quiet_within(time)
    }

    /// What was recorded since the mood was set: an array of `[unit, function]`.
    pub fn record(&self) -> Value {
        locked(&self.state).requests.iter().map(|it| json!([it.0, it.1])).collect()
    }
}

/// To the end of the connection.
fn serve(mut stream: TcpStream, state: &Mutex<State>, registers: &[u16]) -> std::io::Result<()> {
    loop {
        let mut head = [0; 7];
        stream.read_exact(&mut head)?;
        let length = usize::from(u16::from_be_bytes([head[4], head[5]]));
        if head[2..4] != [0, 0] || !(3..=254).contains(&length) {
            return Ok(());
        }
        let mut request = vec![0; length - 1];
        stream.read_exact(&mut request)?;
        let (mood, pause) = {
            let mut state = locked(state);
            state.requests.push((head[6], request[0]));
            (state.mood, state.pause)
        };
        thread::sleep(pause);
        let answer = match mood {
            Mood::Silent => continue,
            Mood::Blank => vec![request[0] | 0x80, 2],
            Mood::Answers => answer(&request, registers),
        };
        let mut reply = head[..4].to_vec();
        reply.extend((answer.len() as u16 + 1).to_be_bytes());
        reply.push(head[6]);
        reply.extend(answer);
        stream.write_all(&reply)?;
    }
}

/// The answer to one request: holding registers are read, all else is refused.
fn answer(request: &[u8], registers: &[u16]) -> Vec<u8> {
    let [3, first_high, first_low, count_high, count_low] = *request else { return vec![request[0] | 0x80, 1] };
    let first = usize::from(u16::from_be_bytes([first_high, first_low]));
    let count = usize::from(u16::from_be_bytes([count_high, count_low]));
    if !(1..=125).contains(&count) {
        return vec![0x83, 3];
    }
    let words = first.checked_sub(BASE).and_then(|it| registers.get(it..it + count));
    let Some(words) = words else { return vec![0x83, 2] };
    let mut res = vec![3, 2 * count as u8];
    res.extend(words.iter().flat_map(|it| it.to_be_bytes()));
    res
}

/// The mark, the common model (1), a three-phase inverter (103), the end.
fn registers() -> Vec<u16> {
    let mut res = vec![0x5375, 0x6e53, 1, 66];
    for (words, string) in [(16, "Meter Conformance"), (16, "Companion"), (8, ""), (8, "1.0"), (16, "0001")] {
        let mut bytes = string.as_bytes().to_vec();
        bytes.resize(2 * words, 0);
        res.extend(bytes.chunks(2).map(|it| u16::from_be_bytes([it[0], it[1]])));
    }
    res.extend([1, NO_INT, 103, 50]);
    // Amperes, all and by phase, with their power of ten.
    res.extend([1234, 411, 412, 411, -2i16 as u16]);
    // Volts between phases, of which two are not measured, and to neutral.
    res.extend([4001, NONE, NONE, 2305, 2310, 2300, -1i16 as u16]);
    // Watts, hertz, volt-amperes; vars and the power factor are not there.
    res.extend([2840, 0, 5001, -2i16 as u16, 2860, 0, NO_INT, NO_INT, NO_INT, NO_INT]);
    // Watt-hours so far.
    res.extend([1, 0xe240, 0]);
    // Nothing on the side of direct current.
    res.extend([NONE, NO_INT, NONE, NO_INT, NO_INT, NO_INT]);
    // One temperature of four.
    res.extend([415, NO_INT, NO_INT, NO_INT, -1i16 as u16]);
    // Its state; none of its maker's, and events.
    res.extend([4, NONE, 0, 0, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE]);
    res.extend([NONE, 0]);
    res
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_models_are_as_long_as_they_say_and_lead_to_the_end() {
        let all = registers();
        assert_eq!(all[..2], [0x5375, 0x6e53]);
        let (mut at, mut models) = (2, Vec::new());
        while all[at] != NONE {
            models.push(all[at]);
            at += 2 + usize::from(all[at + 1]);
        }
        assert_eq!((models, at + 2), (vec![1, 103], all.len()));
    }

    #[test]
    fn registers_are_read_and_nothing_else_is_done() {
        let all = registers();
        assert_eq!(answer(&[3, 0x9c, 0x40, 0, 2], &all), [3, 4, 0x53, 0x75, 0x6e, 0x53]);
        assert_eq!(answer(&[3, 0, 0, 0, 2], &all), [0x83, 2]);
        assert_eq!(answer(&[3, 0x9c, 0x40, 0, 126], &all), [0x83, 3]);
        assert_eq!(answer(&[6, 0x9c, 0x40, 0, 2], &all), [0x86, 1]);
    }
}
