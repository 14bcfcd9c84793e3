//! What the meter does towards others: `test-email`, `test-remote`, `activate`. What is said on the way is shown as it comes.

use serde_json::{Map, Value, json};

use crate::args::{self, Service};
use crate::failure::Failure;
use crate::prompt::Source;
use crate::session::Session;
use crate::watch;

/// `test-email`
pub fn test_email(session: &mut Session, args: &args::TestEmail) -> Result<(), Failure> {
    let mut body = Map::from_iter([("address".to_string(), json!(args.address))]);
    for (name, value) in [("smarthost", &args.smarthost), ("mailuser", &args.mailuser), ("fromaddr", &args.fromaddr)] {
        if let Some(value) = value {
            body.insert(name.into(), json!(value));
        }
    }
    if let Some(user) = &args.mailuser {
        let what = format!("Mail password of {user}");
        let source = Source {
            what: &what,
            file: args.mail_password_file.as_ref(),
            option: "--mail-password-file",
            variable: Some("METERCTL_MAIL_PASSWORD"),
            is_new: false,
        };
        body.insert("mailpass".into(), json!(source.read(session.terminal)?.expose()));
    }
    let reply = session.command("test-email", &Value::Object(body))?;
    let mut shown = 0;
    let status = watch::conclude(session, "test-email", &reply, args.detach.detach, |session, status| {
        let log = status.json.pointer("/result/log").and_then(Value::as_str).unwrap_or("");
        // Only whole lines, or all at the end.
        let end = if status.done { log.len() } else { log.rfind('\n').map_or(0, |it| it + 1) };
        if let Some(new) = log.get(shown..end).filter(|it| !it.is_empty()) {
            session.terminal.note(new.trim_end());
            shown = end;
        }
    })?;
    match status {
        Some(status) => session.terminal.result("The mail was handed over.", &status.json),
        None => Ok(()),
    }
}

/// `test-remote`
pub fn test_remote(session: &mut Session, linktype: &str, address: &str, detach: bool) -> Result<(), Failure> {
    let reply = session.command("test-remote", &json!({ "linktype": linktype, "address": address }))?;
    let mut shown = 0;
    let status = watch::conclude(session, "test-remote", &reply, detach, |session, status| {
        let trace = status.json.pointer("/result/trace").and_then(Value::as_array);
        for line in trace.into_iter().flatten().skip(shown) {
            let dt = line.get("dt").and_then(Value::as_f64).unwrap_or(0.0);
            session.terminal.note(&format!("{dt:8.3} s  {}", line.get("msg").and_then(Value::as_str).unwrap_or("?")));
            shown += 1;
        }
    })?;
    let Some(status) = status else { return Ok(()) };
    let regs = status.json.pointer("/result/regs").and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |it: &Value, name: &str| match it.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let line = |it: &Value| {
        let line =
            format!("{:<24} {:<4} {} {}", text(it, "name"), text(it, "type"), text(it, "value"), text(it, "unit"));
        format!("{}\n", line.trim_end())
    };
    let words = match regs.is_empty() {
        true => "It answers, but no registers were found.".into(),
        false => regs.iter().map(line).collect::<String>(),
    };
    session.terminal.result(&words, &status.json)
}

/// `activate`
pub fn activate(session: &mut Session, service: Service, provider: Option<&str>, detach: bool) -> Result<(), Failure> {
    let Some(provider) = provider else { return providers(session, service) };
    let reply = session.command("activate", &json!({ "service": service.word(), "provider": provider }))?;
    let Some(status) = watch::conclude(session, "activate", &reply, detach, |_, _| {})? else { return Ok(()) };
    let words = match status.json.pointer("/result/signup").and_then(Value::as_str) {
        Some(url) => format!("Activated. To finish, open {url}"),
        None => "Activated.".into(),
    };
    session.terminal.result(&words, &status.json)
}

fn providers(session: &mut Session, service: Service) -> Result<(), Failure> {
    let reply = session.get(&format!("/providers/{}", service.word()))?;
    let list = reply.pointer("/reply/providers").and_then(Value::as_array).cloned().unwrap_or_default();
    let names: Vec<&str> = list.iter().filter_map(|it| it.get("name")?.as_str()).collect();
    let words = if names.is_empty() { "There is no provider.".into() } else { names.join("\n") };
    session.terminal.result(&words, &json!({ "providers": list }))
}
