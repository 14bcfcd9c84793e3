//! A transcript as a file: one JSON object a line, the run first. Bytes that are no UTF-8 are kept as base64.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use base64::prelude::*;
use serde_json::{Map, Value, json};

use super::{Exchange, Transcript};
use crate::danger::Class;
use crate::http::{Fault, Framing, Reply};

/// Writes it as it is: without secrets if it was sealed.
pub fn save(transcript: &Transcript, path: &Path) -> io::Result<()> {
    let allowed: Vec<_> = transcript.allowed.iter().map(|it| it.name()).collect();
    let mut lines = vec![json!({"meter": transcript.meter, "begun": transcript.begun, "allowed": allowed})];
    lines.extend(transcript.exchanges.iter().map(exchange_out));
    lines.extend(transcript.facts.iter().map(|(name, value)| json!({"fact": name, "value": value})));
    lines.extend(transcript.stopped.iter().map(|(area, why)| json!({"stopped": area, "why": why})));
    lines.extend(transcript.gone.iter().map(|why| json!({"gone": why})));
    // Without it nobody could tell that the end is missing.
    lines.push(json!({"end": lines.len()}));
    let text: String = lines.iter().map(|it| format!("{it}\n")).collect();
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    // Who was judged, and what it said, is the tester's business alone, also where a file was there before.
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(text.as_bytes())
}

/// Reads what [`save`] wrote. The error names the line.
pub fn load(path: &Path) -> Result<Transcript, String> {
    let text = fs::read_to_string(path).map_err(|err| format!("{}: {err}", path.display()))?;
    let (mut res, mut whole) = (Transcript::default(), false);
    for (number, line) in text.lines().enumerate() {
        let wrong = |what: &str| format!("{}:{}: {what}", path.display(), number + 1);
        let line: Value = serde_json::from_str(line).map_err(|err| wrong(&err.to_string()))?;
        if let Some(meter) = line["meter"].as_str() {
            res.meter = meter.into();
            res.begun = line["begun"].as_u64().unwrap_or_default();
            let allowed = line["allowed"].as_array().into_iter().flatten();
            res.allowed = allowed.filter_map(|it| Class::parse(it.as_str()?)).collect();
        } else if let Some(name) = line["fact"].as_str() {
            res.facts.insert(name.into(), line["value"].clone());
        } else if let Some(area) = line["stopped"].as_str() {
            res.stopped.insert(area.into(), line["why"].as_str().unwrap_or_default().into());
        } else if let Some(why) = line["gone"].as_str() {
            res.gone = Some(why.into());
        } else if let Some(count) = line["end"].as_u64() {
            whole = count == number as u64;
        } else {
            res.exchanges.push(exchange_in(&line).ok_or_else(|| wrong("this is no exchange"))?);
        }
    }
    if whole { Ok(res) } else { Err(format!("{}: the record is not whole", path.display())) }
}

fn exchange_out(it: &Exchange) -> Value {
    let mut res = json!({"area": it.area, "label": it.label, "at": it.at, "wall": it.wall, "took": it.took});
    res["sent"] = bytes_out(&it.sent);
    match &it.answer {
        Ok(reply) => {
            let headers: Vec<_> = reply.headers.iter().map(|(name, value)| json!([name, value])).collect();
            res["reply"] = json!({
                "version": reply.version, "status": reply.status, "headers": headers, "body": bytes_out(&reply.body),
                "framing": framing_name(reply.framing), "interim": reply.interim, "extra": bytes_out(&reply.extra),
                "closed": reply.closed,
            });
        }
        Err(fault) => {
            res["fault"] = match fault {
                Fault::Refused => json!(["refused"]),
                Fault::Unreachable(why) => json!(["unreachable", why]),
                Fault::Closed(bytes) => json!(["closed", bytes]),
                Fault::Silent(bytes) => json!(["silent", bytes]),
                Fault::Malformed(why) => json!(["malformed", why]),
                Fault::Long => json!(["long"]),
            }
        }
    }
    res
}

fn exchange_in(line: &Value) -> Option<Exchange> {
    let text = |name: &str| line[name].as_str().map(str::to_string);
    let answer = match (&line["reply"], &line["fault"]) {
        (Value::Object(reply), _) => Ok(reply_in(reply)?),
        (_, Value::Array(fault)) => {
            let count = fault.get(1).and_then(Value::as_u64).unwrap_or_default() as usize;
            let why = fault.get(1).and_then(Value::as_str).unwrap_or_default().to_string();
            Err(match fault.first()?.as_str()? {
                "refused" => Fault::Refused,
                "unreachable" => Fault::Unreachable(why),
                "closed" => Fault::Closed(count),
                "silent" => Fault::Silent(count),
                "malformed" => Fault::Malformed(why),
                "long" => Fault::Long,
                _ => return None,
            })
        }
        _ => return None,
    };
    Some(Exchange {
        area: text("area")?,
        label: text("label")?,
        at: line["at"].as_f64()?,
        wall: line["wall"].as_f64()?,
        took: line["took"].as_f64()?,
        sent: bytes_in(&line["sent"])?,
        answer,
    })
}

fn reply_in(reply: &Map<String, Value>) -> Option<Reply> {
    let field = |it: &Value| Some((it[0].as_str()?.to_string(), it[1].as_str()?.to_string()));
    Some(Reply {
        version: reply.get("version")?.as_str()?.into(),
        status: reply.get("status")?.as_u64()?.try_into().ok()?,
        headers: reply.get("headers")?.as_array()?.iter().map(field).collect::<Option<_>>()?,
        body: bytes_in(reply.get("body")?)?,
        framing: framing_of(reply.get("framing")?.as_str()?)?,
        interim: reply.get("interim")?.as_u64()? as usize,
        extra: bytes_in(reply.get("extra")?)?,
        closed: reply.get("closed")?.as_bool()?,
    })
}

const FRAMINGS: [(Framing, &str); 4] =
    [(Framing::None, "none"), (Framing::Length, "length"), (Framing::Chunked, "chunked"), (Framing::Close, "close")];

fn framing_name(framing: Framing) -> &'static str {
    FRAMINGS.iter().find(|it| it.0 == framing).map_or("none", |it| it.1)
}

fn framing_of(name: &str) -> Option<Framing> {
    FRAMINGS.iter().find(|it| it.1 == name).map(|it| it.0)
}

fn bytes_out(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::from(text),
        Err(_) => json!({"base64": BASE64_STANDARD.encode(bytes)}),
    }
}

fn bytes_in(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.clone().into_bytes()),
        Value::Object(_) => BASE64_STANDARD.decode(value["base64"].as_str()?).ok(),
        _ => None,
    }
}
