//! Runs the suite's program against a proxy and reads its report. It knows the command line and the report's form.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::bench::{Bench, GUEST, LABEL, OWNER};
use crate::publisher::VERSIONS;

/// What the suite said of a rule.
pub struct Said {
    /// `PASS`, `FAIL`, `WARN` or `NOT_TESTED`.
    pub result: String,
    /// Whether it passed with a note.
    pub noted: bool,
    /// What it saw, or why it saw nothing.
    pub why: String,
}

impl Said {
    /// Whether it caught something.
    pub fn caught(&self) -> bool {
        self.result == "FAIL" || self.result == "WARN"
    }
}

/// What the tester tells of a bench, as far as the suite asks for it.
fn knowledge(bench: &Bench) -> Vec<(&'static str, String)> {
    vec![
        ("companion.address", "127.0.0.1".into()),
        ("companion.provider-port", bench.provider_port.to_string()),
        ("activate.provider", "Example".into()),
        ("update.folder", bench.updates.display().to_string()),
        ("update.port", bench.update_port.to_string()),
        ("update.wait", "20".into()),
        ("update.installed-version", VERSIONS[0].into()),
        ("update.allow-version", VERSIONS[1].into()),
        ("update.latest-version", VERSIONS[1].into()),
        ("factory.user", LABEL.0.into()),
        ("factory.password-file", bench.folder.join(LABEL.0).display().to_string()),
        ("clear.excess", "yes".into()),
        ("db.from", bench.window.0.to_string()),
        ("db.to", bench.window.1.to_string()),
        ("db.regs", "0,1,2".into()),
        ("db.net-register", "0".into()),
        ("update.bench", "yes".into()),
        ("db.folder", bench.folder.display().to_string()),
        ("auth.limited-user", GUEST.0.to_string()),
        ("auth.limited-password-file", bench.folder.join(GUEST.0).display().to_string()),
    ]
}

/// Names of the parameters that the suite knows.
pub fn known_params() -> Result<String, String> {
    let listed = Command::new(env!("CARGO_BIN_EXE_meter-conformance")).arg("--list").output();
    listed.map(|it| String::from_utf8_lossy(&it.stdout).into_owned()).map_err(|err| err.to_string())
}

/// How the suite is called, whatever it is to judge.
pub struct Suite {
    /// What [`known_params`] said.
    pub params: String,
}

impl Suite {
    /// Judges the meter at `address` by the rules whose ids begin with one of `only` (by all if there is none). The
    /// error says why there is no report. If `patient`, it waits for what expires.
    pub fn run(
        &self,
        bench: &Bench,
        address: SocketAddr,
        only: &[&str],
        patient: bool,
    ) -> Result<BTreeMap<String, Said>, String> {
        // What expires does so in a minute, or is not waited for.
        let wait = if patient { "100" } else { "4" };
        let report = bench.folder.join("report.json");
        let mut command = Command::new(env!("CARGO_BIN_EXE_meter-conformance"));
        command.args(["--url", &format!("http://{address}/api"), "--user", OWNER.0, "--password-file"]);
        command.arg(bench.folder.join(OWNER.0)).args(["--allow", "all", "--rate", "500", "--timeout", "5"]);
        command.args(["--max-wait", wait, "--quiet", "--report", "json", "--out"]).arg(&report);
        if !only.is_empty() {
            command.args(["--only", &only.join(",")]);
        }
        for (name, value) in knowledge(bench) {
            if self.params.contains(&format!("--with {name}=")) {
                command.args(["--with", &format!("{name}={value}")]);
            }
        }
        let Output { status, stderr, .. } = command.stdin(Stdio::null()).output().map_err(|err| err.to_string())?;
        let failed =
            |why: &dyn std::fmt::Display| format!("{status}, {why}: {}", String::from_utf8_lossy(&stderr).trim());
        let text = fs::read_to_string(&report).map_err(|err| failed(&err))?;
        let report: Value = serde_json::from_str(&text).map_err(|err| failed(&err))?;
        let verdicts = report["verdicts"].as_array().ok_or_else(|| failed(&"no verdicts"))?;
        let text = |it: &Value, name: &str| it[name].as_str().unwrap_or_default().to_string();
        let said = |it: &Value| Said {
            result: text(it, "result"),
            noted: it.get("note").is_some(),
            why: ["sent", "came", "note", "reason"].map(|name| text(it, name)).join(" ").trim().to_string(),
        };
        Ok(verdicts.iter().map(|it| (text(it, "id"), said(it))).collect())
    }
}
