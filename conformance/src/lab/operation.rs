//! Long-running operations: the command, then the polling of its token, all of it recorded. It knows /sys/status and
//! nothing of what the operations do.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::{Lab, Stop};
use crate::http::Request;
use crate::transcript::Exchange;

/// Between two polls.
const POLL: Duration = Duration::from_millis(200);

impl Lab<'_> {
    /// Sends a command under `label` and polls its token to the end within `time`: `label/poll/1` and so on, and the last
    /// one once more as `label/end`. Returns the members of the last status; `None` if the command gave no token, or if the
    /// operation did not end.
    pub fn operation(
        &mut self,
        label: &str,
        request: &Request,
        time: Duration,
    ) -> Result<Option<Map<String, Value>>, Stop> {
        let reply = self.send(label, request)?;
        match token_of(&reply) {
            Some(token) => self.follow(label, &token, time),
            None => Ok(None),
        }
    }

    /// Polls a token to the end within `time`, recorded as [`Lab::operation`] does.
    pub fn follow(&mut self, label: &str, token: &str, time: Duration) -> Result<Option<Map<String, Value>>, Stop> {
        let (until, mut was_away) = (Instant::now() + time, false);
        for number in 1.. {
            let poll = match self.poll(&format!("{label}/poll/{number}"), token) {
                // There is no login while it is away.
                Err(Stop::Skip(_)) if self.going_down && Instant::now() < until => {
                    was_away = true;
                    thread::sleep(POLL);
                    continue;
                }
                poll => poll?,
            };
            let away = poll.answer.as_ref().map_or(true, |it| [401, 503].contains(&it.status));
            if self.going_down && away && Instant::now() < until {
                // A meter that starts anew is not there for a while, and wants another login then.
                self.rename_last(&format!("{label}/away/{number}"));
                self.forget_login();
                was_away = true;
                thread::sleep(POLL);
                continue;
            }
            let Some(status) = status_of(&poll) else {
                if was_away {
                    // It may have forgotten what it did before.
                    self.rename_last(&format!("{label}/away/{number}"));
                }
                return Ok(None);
            };
            if is_over(&status) {
                self.transcript.exchanges.push(Exchange { label: format!("{label}/end"), ..poll });
                return Ok(Some(status));
            }
            if until < Instant::now() {
                break;
            }
            thread::sleep(POLL);
        }
        Ok(None)
    }

    /// The last exchange of that label in this area.
    pub fn last(&self, label: &str) -> Option<&Exchange> {
        self.transcript.exchanges.iter().rev().find(|it| it.area == self.area && it.label == label)
    }

    /// The token that the command of that label in this area was given.
    pub fn last_token(&self, label: &str) -> Option<String> {
        self.last(label).and_then(token_of)
    }

    /// One look at a token's status.
    pub fn poll(&mut self, label: &str, token: &str) -> Result<Exchange, Stop> {
        super::harmless(token)?;
        self.get(label, &format!("/sys/status/{token}"))
    }
}

/// Whether there is nothing more to wait for. Only `true` says so by the documents, but a meter that says it otherwise is
/// not worth waiting for either; what it owes, rules say.
fn is_over(status: &Map<String, Value>) -> bool {
    match status.get("done") {
        Some(Value::Bool(done)) => *done,
        Some(Value::Number(number)) => number.as_f64() != Some(0.0),
        Some(Value::String(text)) => !["", "0", "false"].contains(&text.as_str()),
        _ => false,
    }
}

/// The token in a command's reply.
pub fn token_of(reply: &Exchange) -> Option<String> {
    reply.object().ok()?.get("token")?.as_str().map(str::to_string)
}

/// The members of a status that was polled.
pub fn status_of(poll: &Exchange) -> Option<Map<String, Value>> {
    match poll.object().ok()?.remove("result")? {
        Value::Object(res) => Some(res),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_end_is_seen_in_whatever_form_it_is_told() {
        let over = |done: Value| is_over(json!({ "done": done }).as_object().unwrap());
        assert!(over(json!(true)) && over(json!(1)) && over(json!("true")) && over(json!("yes")));
        assert!(!over(json!(false)) && !over(json!(0)) && !over(json!("false")) && !over(Value::Null));
        assert!(!is_over(&Map::new()));
    }
}
