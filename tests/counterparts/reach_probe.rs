//! Reaches out as the drivers do and prints what came of it, for the test of names in a network namespace.
//! Usage: `reach_probe CONFIG WHAT...`, where WHAT is `resolve HOST`, `mail DOMAIN` or `connect HOST PORT`.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use meterd::config::Config;
use meterd::drivers::Watch;
use meterd::drivers::reach::{Lookout, Reach, ReachError};
use serde_json::Value;

/// How long one question may take.
const WITHIN: Duration = Duration::from_secs(30);

/// Nobody cancels here.
struct Nobody;

impl Watch for Nobody {
    fn cancelled(&self) -> bool {
        false
    }
    fn progress(&self, _: f64) {}
    fn result(&self, _: Value) {}
}

fn ask(reach: &Reach, words: &[&str]) -> Result<String, ReachError> {
    let look = Lookout::new(&Nobody, WITHIN);
    match words {
        ["resolve", host] => {
            let all = reach.resolve(host, &look)?;
            Ok(all.iter().map(|it| it.to_string()).collect::<Vec<_>>().join(" "))
        }
        ["mail", domain] => {
            let all = reach.mail_hosts(domain, &look)?;
            Ok(all.iter().map(|it| format!("{}:{}", it.preference, it.host)).collect::<Vec<_>>().join(" "))
        }
        ["connect", host, port] => {
            let port = port.parse().map_err(|_| ReachError::NoSuchHost((*port).into()))?;
            Ok(format!("to {}", reach.connect(host, port, &look)?.peer()))
        }
        _ => Ok("usage: reach_probe CONFIG resolve HOST | mail DOMAIN | connect HOST PORT".into()),
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = args.iter().skip(2).map(String::as_str).collect();
    let config = match Config::load(Path::new(args.get(1).map_or("", String::as_str))) {
        Ok(config) => config,
        Err(err) => {
            eprintln!("{err}");
            return ExitCode::FAILURE;
        }
    };
    match ask(&Reach::new(&config), &words) {
        Ok(text) => println!("{text}"),
        Err(err) => println!("error: {err}"),
    }
    ExitCode::SUCCESS
}
