//! The entry: arguments and config in, exit status out. 0 done, 1 failed, 2 wrong usage.

use std::io::{self, BufRead, Read, Write};
use std::process::ExitCode;

use log::LevelFilter;

use meterd::auth::{Privileges, Secret, users};
use meterd::cli::{self, Action, HELP, Invocation};
use meterd::config::Config;
use meterd::drivers::register_db::backup::Backup;
use meterd::drivers::register_db::ingest::Ingest;
use meterd::drivers::register_db::{Range, Stamp, look, schema};
use meterd::logger::{self, Target};
use meterd::service::{self, Failure};
use meterd::sys::heap::{self, Wiping};
use meterd::sys::privilege;

/// Whatever held a secret is overwritten when it is freed.
#[global_allocator]
static HEAP: Wiping = Wiping;

/// Bytes of a password on standard input.
const MAX_PASSWORD: u64 = 256;

fn main() -> ExitCode {
    heap::share_one();
    let invocation = match cli::parse(std::env::args().skip(1)) {
        Ok(invocation) => invocation,
        Err(err) => {
            eprintln!("meterd: {err}");
            return ExitCode::from(2);
        }
    };
    let target = if invocation.syslog { Target::Syslog } else { Target::Stderr };
    logger::start(target, if invocation.verbose { LevelFilter::Debug } else { LevelFilter::Info });
    match run(&invocation) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output has closed it; nobody is left to be told.
        Err(err) if err.downcast_ref::<io::Error>().is_some_and(|it| it.kind() == io::ErrorKind::BrokenPipe) => {
            ExitCode::FAILURE
        }
        Err(err) => {
            log::error!("{err}");
            ExitCode::FAILURE
        }
    }
}

fn run(invocation: &Invocation) -> Result<(), Failure> {
    let load = || -> Result<Config, Failure> {
        Ok(match &invocation.config {
            Some(path) => Config::load(path)?,
            None => Config::bench(),
        })
    };
    match &invocation.action {
        Action::Help => print(HELP),
        Action::Version => print(concat!("meterd ", env!("CARGO_PKG_VERSION"), "\n")),
        Action::Serve => service::run(&load()?, invocation.config.as_deref(), &load),
        Action::UserSet { name, privileges } => {
            let config = own(load()?)?;
            let mut password = String::new();
            io::stdin().lock().take(MAX_PASSWORD).read_to_string(&mut password)?;
            let password = Secret::from(password.trim_end_matches(['\r', '\n']).to_string());
            let privileges = match privileges {
                Some(list) => Privileges::parse(list)?,
                None => Privileges::OWNER,
            };
            Ok(users::set(&config.state_dir, &config.realm, name, &password, privileges)?)
        }
        Action::UserList => {
            let config = load()?;
            let users = users::list(&config.state_dir, config.factory_users.as_deref())?;
            let names = |it: &users::Entry| it.privileges.names().collect::<Vec<_>>().join(",");
            let lines = users.iter().map(|it| format!("{}\t{}\n", it.name, names(it)));
            print(&lines.collect::<String>())
        }
        Action::UserDel { name } => Ok(users::del(&own(load()?)?.state_dir, name)?),
        Action::Ingest => ingest(&own(load()?)?),
        Action::Backup { from, to } => backup(&load()?, from.as_deref(), to.as_deref()),
        Action::FactoryWipe => match service::factory_wipe(&load()?)? {
            true => print("factory restore: all data and settings were removed\n"),
            false => Ok(()),
        },
        Action::Check => check(&load()?),
        Action::Health => Ok(service::health(&load()?)?),
    }
}

fn print(text: &str) -> Result<(), Failure> {
    Ok(io::stdout().lock().write_all(text.as_bytes())?)
}

/// Files that a command writes must belong to whom the state folder belongs to, or the service cannot use them.
fn own(config: Config) -> Result<Config, Failure> {
    meterd::sys::fs::private_dir(&config.state_dir)?;
    privilege::become_owner_of(&config.state_dir)?;
    Ok(config)
}

fn ingest(config: &Config) -> Result<(), Failure> {
    let mut conn = schema::open(&service::database_path(config))?;
    let mut ingest = Ingest::default();
    for line in io::stdin().lock().split(b'\n') {
        let line = line?;
        ingest.line(&mut conn, line.strip_suffix(b"\r").unwrap_or(&line))?;
    }
    Ok(())
}

fn backup(config: &Config, from: Option<&str>, to: Option<&str>) -> Result<(), Failure> {
    let stamp = |name: &str, text: Option<&str>| {
        text.map(|it| Stamp::parse(it).map_err(|err| Failure::from(format!("--{name}: {err}")))).transpose()
    };
    let range = Range { from: stamp("from", from)?, to: stamp("to", to)? };
    let mut conn = look::open(&service::database_path(config))?;
    let mut backup = Backup::open(&conn, range, None)?;
    let mut out = io::stdout().lock();
    let mut page = Vec::new();
    loop {
        page.clear();
        let more = backup.next_page(&mut conn, &mut page)?;
        out.write_all(&page)?;
        if !more {
            return Ok(out.flush()?);
        }
    }
}

fn check(config: &Config) -> Result<(), Failure> {
    let users = users::list(&config.state_dir, config.factory_users.as_deref())?;
    let path = service::database_path(config);
    let mut text = format!("config: usable\nusers: {}\n", users.len());
    if path.exists() {
        let conn = look::open(&path)?;
        look::check(&conn)?;
        text += &format!("database: sound, {} registers\n", schema::registers(&conn)?.len());
    } else {
        text += "database: none yet\n";
    }
    print(&text)
}
