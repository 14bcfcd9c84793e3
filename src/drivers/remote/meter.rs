//! Another meter as a remote device: the list of its registers over its WebAPI. The link has no credentials, so it must
//! let everybody view them.

use std::time::Duration;

use serde_json::Value;

use super::super::reach::{HttpRequest, Lookout, Reach, ReachError, Stop};
use super::address::Host;
use super::fault::Fault;
use super::report::{Reg, Report};

/// How long the other meter may take for an answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// Bytes of its answer.
const MAX_ANSWER: usize = 256 * 1024;
/// Characters that are shown of a text of the other meter.
const MAX_SHOWN: usize = 200;

/// Asks for the registers; first with their current values, which not every meter offers.
pub fn read(reach: &Reach, host: &Host, look: &Lookout, report: &Report) -> Result<(), Fault> {
    let mut said = String::new();
    for query in ["?rate", ""] {
        let url = format!("http://{host}/api/register{query}");
        report.note(format!("Asking {url}."));
        report.show();
        let step = look.until(PATIENCE);
        let agent = reach.agent(&step).with_plain_http();
        let mut reply = agent.send(HttpRequest::get(&url).following()).map_err(|err| failure(err, look))?;
        accept(reply.status)?;
        let body = reply.bytes(MAX_ANSWER).map_err(|err| failure(err, look))?;
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        if !answer.is_object() {
            return Err(not_a_meter("its answer is no JSON object"));
        }
        match answer["error"].as_str() {
            Some(text) => said = shown(text),
            None => {
                let regs = registers(&answer).ok_or_else(|| not_a_meter("what it answers has no list of registers"))?;
                report.note(format!("The meter has {} registers.", regs.len()));
                report.found(regs);
                return Ok(());
            }
        }
        report.note(format!("The meter answers: {said}"));
        report.step(0.5);
    }
    Err(Fault::NotMeter(format!("The other meter refuses: {said}")))
}

fn failure(err: ReachError, look: &Lookout) -> Fault {
    match err {
        ReachError::Stopped(Stop::Late) if look.check().is_ok() => {
            Fault::NotMeter(format!("Timeout: no answer over HTTP within {} s.", PATIENCE.as_secs()))
        }
        ReachError::Closed => {
            Fault::NotMeter("The other side closed the connection instead of answering over HTTP.".into())
        }
        ReachError::Http(text) => not_a_meter(&text),
        err => err.into(),
    }
}

/// Whether an answer can be one of a meter that lets itself be read.
fn accept(status: u16) -> Result<(), Fault> {
    match status {
        200 => Ok(()),
        401 | 403 => Err(Fault::NotMeter(
            "The other meter wants a login, which this link has not; let it be viewed without one, or use another link."
                .into(),
        )),
        status => Err(not_a_meter(&format!("it answers with status {status}"))),
    }
}

fn not_a_meter(why: &str) -> Fault {
    Fault::NotMeter(format!("What answers there is no meter with this WebAPI: {why}."))
}

/// The registers of an answer; `None` if there is no list of them.
fn registers(answer: &Value) -> Option<Vec<Reg>> {
    let list = answer["registers"].as_array()?;
    let regs = list.iter().filter_map(|it| {
        let (id, kind) = (shown(it["name"].as_str()?), shown(it["type"].as_str()?));
        let value = it.get("rate").filter(|it| it.is_number()).cloned();
        let unit = if value.is_some() { unit(&kind).to_string() } else { String::new() };
        Some(Reg { id, place: String::new(), kind, value, unit })
    });
    Some(regs.collect())
}

/// A text of the other side, cut and without what could upset a terminal.
fn shown(text: &str) -> String {
    text.chars().filter(|it| !it.is_control()).take(MAX_SHOWN).collect()
}

/// The unit of a register's rate of change.
fn unit(kind: &str) -> &'static str {
    match kind {
        "P" => "W",
        "S" => "VA",
        "var" | "PQ" => "var",
        "V" | "Vdc" => "V",
        "I" | "Idc" => "A",
        "F" => "Hz",
        "T" | "dT" => "C",
        "%" | "h" | "THD" => "%",
        "Ee" => "W/m2",
        "Pa" => "Pa",
        "R" => "ohms",
        "Qe" => "Ah",
        "v" => "m/s",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn registers_have_names_types_and_perhaps_values() {
        let answer = json!({"ts": "1", "registers": [
            {"name": "Grid", "type": "P", "idx": 0, "did": 0, "rate": -12.5},
            {"name": "Temp\n", "type": "T", "idx": 1},
            {"name": "odd", "type": "xyz", "rate": 3},
            {"idx": 2}, 7
        ]});
        let got: Vec<_> =
            registers(&answer).unwrap().into_iter().map(|it| (it.id, it.kind, it.value, it.unit)).collect();
        let row = |id: &str, kind: &str, value, unit: &str| (id.into(), kind.into(), value, unit.into());
        let rows = [
            row("Grid", "P", Some(json!(-12.5)), "W"),
            row("Temp", "T", None, ""),
            row("odd", "xyz", Some(json!(3)), ""),
        ];
        assert_eq!(got, rows);
        assert_eq!(registers(&json!({"registers": {}})), None);
        assert_eq!(registers(&json!({})), None);
    }

    #[test]
    fn foreign_texts_are_cut() {
        assert_eq!(shown("a\u{1b}[2Jb"), "a[2Jb");
        assert_eq!(shown(&"x".repeat(1000)).len(), MAX_SHOWN);
    }
}
