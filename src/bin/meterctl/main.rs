//! meterctl, the command-line client of a meter's WebAPI: for technicians at a terminal, and for scripts.
//!
//! It is a client like any other and uses nothing of the service's own reading of the API, so that it works with any meter
//! and finds the service's mistakes. The one part that both share is the heap that overwrites what it frees, which knows
//! nothing of meters. From the command line ([`args`]) a command goes by way of a login that lasts ([`session`]) over
//! HTTP ([`http`], [`wire`]); what takes long is watched ([`watch`]).

mod args;
mod backup;
mod commands;
mod documents;
mod failure;
mod files;
mod http;
mod interrupt;
mod login;
mod moment;
mod prompt;
mod replies;
mod session;
mod state;
mod terminal;
mod watch;
mod wire;
mod words;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use args::{Command, Common, Line};
use commands::{account, database, device, outward, power, restore, wireless};
use failure::{Failure, Kind};
use prompt::Source;
use session::Session;
use terminal::Terminal;

/// Whatever held a password is overwritten when it is freed.
#[global_allocator]
static HEAP: meterd::sys::heap::Wiping = meterd::sys::heap::Wiping;

fn main() -> ExitCode {
    let line = match Line::try_parse() {
        Ok(line) => line,
        Err(err) => {
            let is_question = matches!(err.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            match !is_question && std::env::args_os().any(|it| it == "--json") {
                true => Terminal::new(true, false, false).failure(&misuse(&err)),
                false => drop(err.print()),
            }
            return if is_question { ExitCode::SUCCESS } else { ExitCode::from(Kind::Usage.exit_code()) };
        }
    };
    let common = &line.common;
    let terminal = Terminal::new(common.json, common.yes, common.quiet);
    if let Err(err) = interrupt::watch() {
        terminal.note(&format!("Ctrl-C ends at once, because it cannot be watched for ({err})."));
    }
    match run(&line, &terminal) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            terminal.failure(&failure);
            ExitCode::from(failure.kind.exit_code())
        }
    }
}

/// What clap has to say of a command line, in one sentence for a script.
fn misuse(err: &clap::Error) -> Failure {
    let text = err.render().to_string();
    let first = text.trim_start_matches("error: ").split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = first.split_whitespace().collect();
    Failure::new(Kind::Usage, words.join(" ")).hint("See meterctl --help.")
}

fn run(line: &Line, terminal: &Terminal) -> Result<(), Failure> {
    match &line.command {
        Command::Completions { shell } => terminal.raw(&documents::completions(*shell)),
        Command::Man => {
            let page =
                documents::man_page().map_err(|err| Failure::new(Kind::Failed, format!("The man page: {err}.")))?;
            terminal.raw(&page)
        }
        Command::Restore(args) if args.check => restore::check(terminal, args),
        command => on_a_meter(command, &mut connect(&line.common, terminal)?),
    }
}

fn connect<'a>(common: &'a Common, terminal: &'a Terminal) -> Result<Session<'a>, Failure> {
    let Some(url) = &common.url else {
        return Err(
            Failure::new(Kind::Usage, "Which meter?").hint("Say --url http://meter.local, or set METERCTL_URL.")
        );
    };
    let http = http::Http::new(url, common.cacert.as_deref(), common.insecure)?;
    let password = Source {
        what: "Password",
        file: common.password_file.as_ref(),
        option: "--password-file",
        variable: Some("METERCTL_PASSWORD"),
        is_new: false,
    };
    Ok(Session::new(http, &common.user, password, terminal, common.patience))
}

fn on_a_meter(command: &Command, session: &mut Session) -> Result<(), Failure> {
    match command {
        Command::Login => account::login(session),
        Command::Logout => account::logout(session),
        Command::Whoami => account::whoami(session),
        Command::Reboot { wait } => power::reboot(session, *wait),
        Command::SetTime { when } => device::set_time(session, when.as_deref()),
        Command::Restore(args) => restore::run(session, args),
        Command::Backup(args) => database::backup(session, args),
        Command::Zero(args) => database::rework(session, "zero", args),
        Command::Split(args) => database::rework(session, "split", args),
        Command::Clear { what } => device::clear(session, *what),
        Command::Wlan(command) => wireless::wlan(session, command),
        Command::Homeplug(command) => wireless::homeplug(session, command),
        Command::TestEmail(args) => outward::test_email(session, args),
        Command::TestRemote { linktype, address, detach } => {
            outward::test_remote(session, linktype, address, detach.detach)
        }
        Command::Activate { service, provider, detach } => {
            outward::activate(session, *service, provider.as_deref(), detach.detach)
        }
        Command::Update(command) => device::update(session, command),
        Command::FactoryRestore => power::factory_restore(session),
        Command::Status { token } => account::status(session, token),
        Command::Wait { token } => account::wait(session, token),
        Command::Cancel { token } => account::cancel(session, token),
        Command::Ledger => account::ledger(session),
        Command::Completions { .. } | Command::Man => unreachable!("needs no meter"),
    }
}
