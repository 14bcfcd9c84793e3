//! Why a command did not do what was asked: what happened, what to do next, and the exit code. Every other module speaks
//! in these; none prints or exits by itself.

use std::fmt;

use serde_json::Value;

/// The kinds of failure that a script can tell apart by the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The meter refused the command, or the operation failed.
    Failed,
    /// The command line makes no sense, or an answer is needed and nobody can be asked.
    Usage,
    /// No login, or an account that may not do this.
    Login,
    /// The meter did not answer, for as long as it was waited for.
    Unreachable,
    /// A web server in front took the request, and waited for the meter in vain: it may still be at work on it.
    Silent,
    /// The meter has not what the command needs.
    Lacking,
    /// A file cannot be used.
    File,
    /// What was restored does not read back as it stands in the file.
    Differs,
    /// Somebody answered no, or the operation was cancelled.
    Cancelled,
    /// Left by Ctrl-C; what was begun on the meter goes on.
    Left,
    /// Whoever read the output has had enough, as `head` has; nobody is told, as with every other program.
    Unread,
}

/// The exit codes as the help and the man page list them.
pub const EXIT_CODES: &str = "\
Exit codes:
    0  done
    1  the meter refused the command, or the operation failed
    2  wrong usage, or a question that nobody could be asked (see --yes)
    3  the login was refused, or the account may not do this
    4  the meter did not answer for as long as --patience allows
    5  the meter has not what the command needs
    6  a file cannot be used
    7  what was restored does not read back as it stands in the file
    8  cancelled, or answered with no
  130  left with Ctrl-C; what was begun on the meter goes on
  141  whoever read the output closed it";

impl Kind {
    /// See [`EXIT_CODES`].
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Failed => 1,
            Kind::Usage => 2,
            Kind::Login => 3,
            Kind::Unreachable | Kind::Silent => 4,
            Kind::Lacking => 5,
            Kind::File => 6,
            Kind::Differs => 7,
            Kind::Cancelled => 8,
            Kind::Left => 130,
            Kind::Unread => 141,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Failure {
    /// What kind it is.
    pub kind: Kind,
    /// What happened, as a sentence.
    pub text: String,
    /// What to do next, as a sentence.
    pub hint: Option<String>,
    /// The last status of the operation that failed, whose result may say more.
    pub operation: Option<Value>,
}

impl Failure {
    /// A failure without advice.
    pub fn new(kind: Kind, text: impl Into<String>) -> Failure {
        Failure { kind, text: text.into(), hint: None, operation: None }
    }

    /// The same with advice, unless it has some already.
    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// A file that cannot be read or written.
    pub fn file(path: &std::path::Path, err: impl fmt::Display) -> Failure {
        Failure::new(Kind::File, format!("{}: {err}.", path.display()))
    }

    /// A file or a stream that cannot be written to, or that nobody reads any more.
    pub fn output(path: &std::path::Path, err: std::io::Error) -> Failure {
        match err.kind() {
            std::io::ErrorKind::BrokenPipe => Failure::new(Kind::Unread, "Nobody reads what is written."),
            _ => Failure::file(path, err),
        }
    }

    /// Ctrl-C, while nothing is under way on the meter.
    pub fn interrupted() -> Failure {
        Failure::new(Kind::Left, "Interrupted.")
    }
}
