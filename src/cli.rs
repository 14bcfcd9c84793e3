//! The command line: words become an [`Invocation`], and nothing is done yet.

use std::fmt;
use std::path::PathBuf;

/// What `--help` prints.
pub const HELP: &str = "\
meterd - the command service of a Linux energy meter

Usage: meterd [OPTIONS] [COMMAND]

Commands:
  serve                            serve the WebAPI (the default)
  user set NAME [--priv LIST]      make a user or change its password, read from standard input;
                                   LIST is comma-separated, all privileges by default
  user list                        show users and their privileges
  user del NAME                    remove a user
  ingest                           append rows read from standard input to the register database
  backup [--from T] [--to T]       write a backup to standard output
  factory-wipe                     carry out a factory restore that is due, before anything else starts at boot
  check                            check config and database
  health                           ask the running service for a sign of life

Options:
  --config FILE                    the configuration; without it meterd runs in bench mode:
                                   state in ./meterd-state, http://127.0.0.1:8080, nothing real touched
  --syslog                         log to syslog instead of standard error
  --verbose                        log more
  --help, --version
";

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Serve the API.
    Serve,
    /// Make a user or change its password.
    UserSet {
        /// Its name.
        name: String,
        /// Its privileges; all if absent.
        privileges: Option<String>,
    },
    /// Show users.
    UserList,
    /// Remove a user.
    UserDel {
        /// Its name.
        name: String,
    },
    /// Append rows from standard input.
    Ingest,
    /// Write a backup to standard output.
    Backup {
        /// Oldest row.
        from: Option<String>,
        /// Youngest row.
        to: Option<String>,
    },
    /// Carry out a factory restore that is due.
    FactoryWipe,
    /// Check config and database.
    Check,
    /// Ask the running service for a sign of life.
    Health,
    /// Print [`HELP`].
    Help,
    /// Print the version.
    Version,
}

/// A parsed command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// What to do.
    pub action: Action,
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// Whether to log to syslog.
    pub syslog: bool,
    /// Whether to log debugging lines.
    pub verbose: bool,
}

/// What is wrong with a command line.
#[derive(Debug, PartialEq, Eq)]
pub struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; see meterd --help", self.0)
    }
}

impl std::error::Error for UsageError {}

/// Options by name as they were met, and the words between them.
#[derive(Default)]
struct Words {
    plain: Vec<String>,
    values: Vec<(String, String)>,
    flags: Vec<String>,
}

impl Words {
    fn value(&mut self, name: &str) -> Option<String> {
        let at = self.values.iter().position(|(it, _)| it == name)?;
        Some(self.values.remove(at).1)
    }

    fn flag(&mut self, name: &str) -> bool {
        let before = self.flags.len();
        self.flags.retain(|it| it != name);
        self.flags.len() < before
    }
}

/// Parses the words behind the program's name.
pub fn parse(args: impl Iterator<Item = String>) -> Result<Invocation, UsageError> {
    let mut words = split(args)?;
    let config = words.value("--config").map(PathBuf::from);
    let (syslog, verbose) = (words.flag("--syslog"), words.flag("--verbose"));
    let plain: Vec<String> = std::mem::take(&mut words.plain);
    let plain: Vec<&str> = plain.iter().map(String::as_str).collect();
    let action = if words.flag("--help") {
        Action::Help
    } else if words.flag("--version") {
        Action::Version
    } else {
        match plain.as_slice() {
            [] | ["serve"] => Action::Serve,
            ["user", "set", name] => Action::UserSet { name: (*name).into(), privileges: words.value("--priv") },
            ["user", "list"] => Action::UserList,
            ["user", "del", name] => Action::UserDel { name: (*name).into() },
            ["ingest"] => Action::Ingest,
            ["backup"] => Action::Backup { from: words.value("--from"), to: words.value("--to") },
            ["factory-wipe"] => Action::FactoryWipe,
            ["check"] => Action::Check,
            ["health"] => Action::Health,
            other => return Err(UsageError(format!("`{}` is no command", other.join(" ")))),
        }
    };
    match words.values.first().map(|(name, _)| name).or(words.flags.first()) {
        Some(name) => Err(UsageError(format!("{name} does not belong here"))),
        None => Ok(Invocation { action, config, syslog, verbose }),
    }
}

fn split(args: impl Iterator<Item = String>) -> Result<Words, UsageError> {
    let mut res = Words::default();
    let mut args = args;
    while let Some(word) = args.next() {
        match word.as_str() {
            "--config" | "--priv" | "--from" | "--to" => match args.next() {
                Some(value) => res.values.push((word, value)),
                None => return Err(UsageError(format!("{word} needs a value"))),
            },
            "-h" => res.flags.push("--help".into()),
            "-V" => res.flags.push("--version".into()),
            "--syslog" | "--verbose" | "--help" | "--version" => res.flags.push(word),
            _ if word.starts_with('-') && word.len() > 1 => {
                return Err(UsageError(format!("{word} is no option")));
            }
            _ => res.plain.push(word),
        }
    }
    Ok(res)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expect: &str) {
        let got = match parse(line.split_whitespace().map(str::to_string)) {
            Ok(it) => format!("{:?} {:?} {} {}", it.action, it.config, it.syslog, it.verbose),
            Err(err) => format!("error: {err}"),
        };
        assert!(got.starts_with(expect), "{line}: {got}\nexpected {expect}");
    }

    #[test]
    fn options_stand_anywhere() {
        check("", "Serve None false false");
        check("--config a.json", r#"Serve Some("a.json") false false"#);
        check("serve --syslog --verbose", "Serve None true true");
        check(
            "user set owner --priv local_save,ctrl --config x",
            r#"UserSet { name: "owner", privileges: Some("local_save,ctrl") } Some("x")"#,
        );
        check("backup --from 1 --to 2", r#"Backup { from: Some("1"), to: Some("2") }"#);
        check("-h", "Help");
    }

    #[test]
    fn mistakes_are_named() {
        check("fly", "error: `fly` is no command");
        check("user set", "error: `user set` is no command");
        check("--config", "error: --config needs a value");
        check("--bogus", "error: --bogus is no option");
        check("serve --priv x", "error: --priv does not belong here");
    }
}
