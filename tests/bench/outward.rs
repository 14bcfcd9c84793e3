//! An update and a mail over TLS, to servers that the tests' own Python modules run; for what they take of memory.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::meter::Meter;

/// The other sides, while this lives.
pub struct Outward {
    child: Child,
    place: Value,
}

impl Outward {
    pub fn start() -> Outward {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join("target/venv/bin/python");
        let child = Command::new(python)
            .arg(root.join("tests/bench/outward.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.expect("Python's packages are needed: tests/run setup");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Outward { child, place: serde_json::from_str(&line).expect("the other sides do not start") }
    }

    /// What the configuration of a meter needs, for [`Meter::start_with`].
    pub fn keys(&self) -> String {
        let keys = json!({
            "allow_targets": ["127.0.0.0/8", "::1"],
            "tls": { "ca_file": self.place["ca_file"] },
            "identity": { "hardware": "1", "versions": { "fw": "1.0" } },
            "update": { "url": self.place["update"], "public_key": self.place["public_key"] },
            "platform": { "install": { "fw": ["/bin/true"] } }
        });
        let members = keys.to_string();
        format!(", {}", &members[1..members.len() - 1])
    }

    /// Downloads, checks and hands over an image of 16 MiB.
    pub fn update(&self, meter: &Meter) {
        run(meter, "/cmd/update", &json!({ "action": "install", "target": "fw" }));
    }

    /// Sends a mail after STARTTLS.
    pub fn mail(&self, meter: &Meter) {
        let mail = json!({ "address": "user@example.com", "smarthost": self.place["smarthost"] });
        run(meter, "/cmd/test-email", &mail);
    }
}

fn run(meter: &Meter, path: &str, body: &Value) {
    let token = meter.call("POST", path, body.to_string().as_bytes())["token"].clone();
    meter.finish(token.as_str().unwrap());
}

impl Drop for Outward {
    fn drop(&mut self) {
        // It ends with its standard input.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
