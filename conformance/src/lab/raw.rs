//! Ways of sending that a well-behaved client does not use: a request in pieces, several at once. Guarded and recorded
//! like all others.

use std::thread;
use std::time::{Duration, Instant};

use super::{Lab, Stop, wall};
use crate::http::{Connection, Request};
use crate::transcript::Exchange;

/// So often a long wait looks whether the tester still wants it.
const SLICE: Duration = Duration::from_millis(200);

impl Lab<'_> {
    /// Sends pieces of one request on a connection of its own, with a pause after each but the last. A pause ends when the
    /// meter speaks; the fact `label/spoke` says behind which piece it first did, 0 if only behind the last.
    pub fn send_in_pieces(&mut self, label: &str, pieces: &[&[u8]], pause: Duration) -> Result<Exchange, Stop> {
        let sent = pieces.concat();
        self.guard(&sent)?;
        self.pace();
        let (at, wall, start) = (self.begun.elapsed().as_secs_f64(), wall(), Instant::now());
        let timeout = self.timeout;
        let mut spoke = 0;
        let answer = Connection::open(&self.options.target, timeout).and_then(|mut connection| {
            for (number, piece) in pieces.iter().enumerate() {
                connection.send(piece, timeout);
                if spoke == 0 && number + 1 < pieces.len() && connection.speaks(pause) {
                    spoke = number + 1;
                }
            }
            let mut reply = connection.reply(false, timeout)?;
            connection.aftermath(&mut reply);
            Ok(reply)
        });
        self.fact(&format!("{label}/spoke"), spoke);
        let took = start.elapsed().as_secs_f64();
        self.record(Exchange { area: self.area.into(), label: label.into(), at, wall, took, sent, answer })
    }

    /// Sends all requests on one connection before the first reply is read; records each under its label.
    pub fn send_at_once(&mut self, requests: &[(&str, Request)]) -> Result<Vec<Exchange>, Stop> {
        let target = &self.options.target;
        let mut all = Vec::new();
        for (_, request) in requests {
            let token = if request.login { Some(self.login()?) } else { None };
            all.push(request.bytes(&target.host_field(), &target.base, token.as_deref()));
        }
        self.guard(&all.concat())?;
        self.pace();
        let timeout = self.timeout;
        let mut connection = Connection::open(target, timeout);
        if let Ok(open) = &mut connection {
            open.send(&all.concat(), timeout);
        }
        let mut res = Vec::new();
        for ((label, request), sent) in requests.iter().zip(all) {
            let (at, wall, start) = (self.begun.elapsed().as_secs_f64(), wall(), Instant::now());
            let answer = match &mut connection {
                Ok(open) => open.reply(request.method == "HEAD", timeout),
                Err(fault) => Err(fault.clone()),
            };
            let took = start.elapsed().as_secs_f64();
            let (area, label) = (self.area.into(), label.to_string());
            res.push(self.record(Exchange { area, label, at, wall, took, sent, answer })?);
        }
        Ok(res)
    }

    /// The beginning of a request for the path below the base, up to its Host field, with the login's token if wanted.
    /// More fields may follow; the empty line and the body are missing.
    pub fn head(&mut self, method: &str, path: &str, login: bool) -> Result<String, Stop> {
        let token = if login { format!("Authorization: Bearer {}\r\n", self.login()?) } else { String::new() };
        let target = &self.options.target;
        Ok(format!("{method} {}{path} HTTP/1.1\r\nHost: {}\r\n{token}", target.base, target.host_field()))
    }

    /// Sleeps for this long, if the tester lets anything wait so long; otherwise the area ends.
    pub fn sit_out(&self, time: Duration) -> Result<(), Stop> {
        if self.options.max_wait < time {
            let why = format!("needs --max-wait of at least {}", time.as_secs_f64().ceil());
            return Err(Stop::Skip(why));
        }
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.go_on()?;
            thread::sleep(SLICE.min(until.saturating_duration_since(Instant::now())));
        }
        Ok(())
    }
}
