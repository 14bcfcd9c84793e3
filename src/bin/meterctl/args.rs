//! The command line. Help, completions and the man page all come from these definitions, so they cannot differ.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

use super::documents::Shells;
use super::failure::EXIT_CODES;
use super::moment::Moment;

/// A client for every command of a meter's WebAPI.
///
/// Works with any meter that speaks the WebAPI (version 4.6); what a meter has not is said in words. Results go to
/// standard output; progress, questions and errors to standard error.
///
/// The password comes from --password-file, METERCTL_PASSWORD or a prompt, never from an argument. The token that it is
/// exchanged for is kept for ten minutes in $XDG_CACHE_HOME/meterctl (or ~/.cache/meterctl), readable by its owner alone.
///
/// Ctrl-C during an operation asks the meter to cancel it and waits for the end; a second Ctrl-C leaves at once, and the
/// operation goes on by itself. During a restore the first Ctrl-C leaves: what was sent is finished by the meter, and
/// --resume goes on with the rest.
#[derive(Parser)]
#[command(name = "meterctl", version, after_help = EXIT_CODES, max_term_width = 100, disable_help_subcommand = true)]
pub struct Line {
    /// Options of every command
    #[command(flatten)]
    pub common: Common,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Args)]
#[command(next_help_heading = "Common options")]
pub struct Common {
    // Not a doc comment, because rustdoc would make links of it.
    #[arg(long, global = true, env = "METERCTL_URL", value_name = "URL")]
    #[arg(help = "Where the meter is: meter.local, http://192.168.1.20:8080, https://meter.example/api")]
    pub url: Option<String>,
    /// The account to log in with
    #[arg(long, global = true, env = "METERCTL_USER", value_name = "USER", default_value = "owner")]
    pub user: String,
    /// A file whose first line is the password
    #[arg(long, global = true, env = "METERCTL_PASSWORD_FILE", value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// One JSON object on standard output instead of words, for scripts
    #[arg(long, global = true)]
    pub json: bool,
    /// Do not ask before anything is changed
    #[arg(long, short, global = true)]
    pub yes: bool,
    /// No progress and no remarks on the terminal
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// How long to wait for a meter that does not answer while something is under way
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 600)]
    pub patience: u64,
    /// Certificates to trust for https, instead of the public ones (PEM)
    #[arg(long, global = true, env = "METERCTL_CACERT", value_name = "FILE")]
    pub cacert: Option<PathBuf>,
    /// Do not verify the meter's certificate
    #[arg(long, global = true)]
    pub insecure: bool,
}

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Log in anew and keep the token
    Login,
    /// End the kept token, here and on the meter
    Logout,
    /// Show the account and its rights
    Whoami,
    /// Reboot the meter
    Reboot {
        /// Show the way down and up, and end when the meter answers again
        #[arg(long)]
        wait: bool,
    },
    /// Set the clock, or only restart NTP and PTP if no time is given
    SetTime {
        /// This computer's time (now), seconds since 1970, or a date such as 2023-02-27T18:38:11Z
        #[arg(value_name = "now|STAMP")]
        when: Option<String>,
    },
    /// Put the rows of a backup back into the register database
    Restore(Restore),
    /// Write the register database to a file
    Backup(Backup),
    /// Zero registers in the register database
    Zero(Rework),
    /// Split the positive part of net registers into their positive-only registers
    Split(Rework),
    /// Clear the excess of remote registers, or the web server's cache
    Clear {
        /// What to clear
        what: Clear,
    },
    /// Wireless networks
    #[command(subcommand)]
    Wlan(Wlan),
    /// HomePlug bridges
    #[command(subcommand)]
    Homeplug(Homeplug),
    /// Let the meter send a test mail
    TestEmail(TestEmail),
    /// Let the meter try to read a remote device
    TestRemote {
        /// How to reach it: modbus, slowd, tcp, udp, ...
        linktype: String,
        /// Where it is: sunspec.1@192.168.1.50
        address: String,
        #[command(flatten)]
        detach: Detach,
    },
    /// Activate a service with a provider
    Activate {
        /// Which service
        service: Service,
        /// The provider's name; without it the providers are listed
        provider: Option<String>,
        #[command(flatten)]
        detach: Detach,
    },
    /// Firmware and kernel
    #[command(subcommand)]
    Update(Update),
    /// Remove all data and settings and reboot
    FactoryRestore,
    /// Show how far an operation is
    Status {
        /// What the command that began it printed
        token: String,
    },
    /// Wait for the end of an operation
    Wait {
        /// What the command that began it printed
        token: String,
    },
    /// Cancel an operation
    Cancel {
        /// What the command that began it printed
        token: String,
    },
    /// Show who ran which command, on a meter that keeps a ledger
    Ledger,
    /// Print completions for a shell: source <(meterctl completions bash)
    Completions {
        /// The shell
        shell: Shells,
    },
    /// Print the man page: meterctl man | man -l -
    Man,
}

/// For commands that begin an operation.
#[derive(Args, Clone, Copy)]
pub struct Detach {
    /// Print the operation's token and leave it to itself
    #[arg(long)]
    pub detach: bool,
}

/// The time that a command is limited to.
#[derive(Args, Clone, Copy)]
pub struct Range {
    /// Not older than this (seconds since 1970, or a date; UTC)
    #[arg(long, value_name = "STAMP", value_parser = Moment::parse)]
    pub from: Option<Moment>,
    /// Not younger than this; a date alone means its end
    #[arg(long, value_name = "STAMP", value_parser = Moment::parse_end)]
    pub to: Option<Moment>,
}

/// Whether to save first what a command changes.
#[derive(Args)]
#[command(group = ArgGroup::new("first"))]
pub struct BackupFirst {
    /// Write a backup of the touched time to this file first
    #[arg(long, value_name = "FILE", group = "first")]
    pub backup: Option<PathBuf>,
    /// Do not offer to take a backup first
    #[arg(long, group = "first")]
    pub no_backup: bool,
}

/// `restore`
#[derive(Args)]
pub struct Restore {
    /// The backup: text or gzip, of any size
    pub file: PathBuf,
    #[command(flatten)]
    pub range: Range,
    /// Only these registers, by name or database id
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub regs: Option<Vec<String>>,
    /// Look at the file only; no meter is needed
    #[arg(long, conflicts_with_all = ["resume", "regs", "detach", "as_is"])]
    pub check: bool,
    /// Go on where an interrupted restore of this file stopped
    #[arg(long)]
    pub resume: bool,
    /// Do not read back what was restored
    #[arg(long)]
    pub no_verify: bool,
    /// Send the file as it is, in one piece and unchecked: for formats that meterctl does not know
    #[arg(long, conflicts_with_all = ["resume"])]
    pub as_is: bool,
    /// Do not pack what is sent
    #[arg(long)]
    pub plain: bool,
    /// Base64 characters per chunk; fewer suit a poor link
    #[arg(long, value_name = "N", default_value_t = super::backup::chunks::MAX_CHARS,
        value_parser = clap::value_parser!(u64).range(super::backup::chunks::MIN_CHARS..=super::backup::chunks::MAX_CHARS))]
    pub chunk: u64,
    #[command(flatten)]
    pub first: BackupFirst,
    /// Send the file, but do not wait until the last of it is applied
    #[command(flatten)]
    pub detach: Detach,
}

/// `backup`
#[derive(Args)]
pub struct Backup {
    /// Where to; - is standard output, a name in .gz is packed
    #[arg(long, short, value_name = "FILE")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub range: Range,
}

/// `zero` and `split`
#[derive(Args)]
pub struct Rework {
    #[command(flatten)]
    pub range: Range,
    /// Only these registers, by name or database id
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub regs: Option<Vec<String>>,
    #[command(flatten)]
    pub first: BackupFirst,
    #[command(flatten)]
    pub detach: Detach,
}

/// What can be cleared.
#[derive(Clone, Copy, ValueEnum, PartialEq, Eq)]
pub enum Clear {
    /// What remote registers still owe; paid out at once
    Excess,
    /// The web server's cache of compressed files
    #[value(name = "web_cache")]
    WebCache,
}

/// `wlan`
#[derive(Subcommand)]
pub enum Wlan {
    /// Show what is on the air and which networks are known
    List,
    /// Add a network and select it; its key comes from --key-file, METERCTL_WLAN_KEY or a prompt
    Add {
        /// Its name
        ssid: String,
        /// It has no key
        #[arg(long, conflicts_with_all = ["key_file", "hex"])]
        open: bool,
        /// A file whose first line is the key
        #[arg(long, value_name = "FILE")]
        key_file: Option<PathBuf>,
        /// The key is hexadecimal, not a passphrase
        #[arg(long)]
        hex: bool,
        /// The network does not broadcast its name
        #[arg(long)]
        hidden: bool,
        #[command(flatten)]
        detach: Detach,
    },
    /// Select a known network
    Select {
        /// Its name, or its id in the list
        network: String,
        #[command(flatten)]
        detach: Detach,
    },
    /// Forget a known network
    Forget {
        /// Its name, or its id in the list
        network: String,
        #[command(flatten)]
        detach: Detach,
    },
}

/// `homeplug`
#[derive(Subcommand)]
pub enum Homeplug {
    /// Give bridges a new password; password and DEKs come from files, the environment or prompts
    SetPassword {
        /// MAC addresses of the bridges; the DEK of each is asked for
        #[arg(value_name = "MAC")]
        bridges: Vec<String>,
        /// A file with a line MAC/DEK per bridge; METERCTL_HOMEPLUG_TARGETS has them with blanks between
        #[arg(long, value_name = "FILE", conflicts_with = "bridges")]
        targets_file: Option<PathBuf>,
        /// A file whose first line is the new password; else METERCTL_HOMEPLUG_PASSWORD or a prompt
        #[arg(long, value_name = "FILE")]
        new_password_file: Option<PathBuf>,
        #[command(flatten)]
        detach: Detach,
    },
}

/// `test-email`
#[derive(Args)]
pub struct TestEmail {
    /// Who gets the mail
    pub address: String,
    /// The mail relay; without it the meter asks the addressee's own servers
    #[arg(long, value_name = "HOST")]
    pub smarthost: Option<String>,
    /// The account there
    #[arg(long, value_name = "USER", requires = "smarthost")]
    pub mailuser: Option<String>,
    /// A file whose first line is its password; else METERCTL_MAIL_PASSWORD or a prompt
    #[arg(long, value_name = "FILE", requires = "mailuser")]
    pub mail_password_file: Option<PathBuf>,
    /// The sender's address
    #[arg(long, value_name = "ADDRESS")]
    pub fromaddr: Option<String>,
    #[command(flatten)]
    pub detach: Detach,
}

/// Services that can be activated.
#[derive(Clone, Copy, ValueEnum)]
pub enum Service {
    /// Alert reporting
    Alert,
    /// Data sharing
    Push,
}

impl Service {
    /// The API's word.
    pub fn word(self) -> &'static str {
        match self {
            Service::Alert => "alert",
            Service::Push => "push",
        }
    }
}

/// What can be updated.
#[derive(Clone, Copy, ValueEnum)]
pub enum Target {
    /// The firmware
    Fw,
    /// The kernel
    Kernel,
}

impl Target {
    /// The API's word.
    pub fn word(self) -> &'static str {
        match self {
            Target::Fw => "fw",
            Target::Kernel => "kernel",
        }
    }
}

/// `update`
#[derive(Subcommand)]
pub enum Update {
    /// Show the version that is offered
    List {
        /// Of what
        target: Target,
        /// The release branch; the installed one's by default
        #[arg(long)]
        branch: Option<String>,
    },
    /// Install a version, with the way down and up if the meter starts anew
    Install {
        /// What
        target: Target,
        /// The release branch; the installed one's by default
        #[arg(long)]
        branch: Option<String>,
        /// This version; an older one may damage the meter
        #[arg(long)]
        version: Option<String>,
        /// Even if it is not newer
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        detach: Detach,
    },
}
