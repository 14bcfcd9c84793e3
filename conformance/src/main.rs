//! The program: options, a run or a replay, a report, an exit status.

use std::ffi::OsString;
use std::process::ExitCode;

use meter_conformance::options::{Options, USAGE};
use meter_conformance::runner::Settled;
use meter_conformance::{report, runner, transcript};

fn main() -> ExitCode {
    let args: Result<Vec<_>, _> = std::env::args_os().skip(1).map(OsString::into_string).collect();
    let args = match args {
        Ok(args) => args,
        Err(strange) => {
            eprintln!("meter-conformance: {strange:?} is not UTF-8");
            return ExitCode::from(2);
        }
    };
    if args.iter().any(|it| it == "--help" || it == "-h") {
        return report::print(&format!("{USAGE}\n")).map_or(ExitCode::from(2), |()| ExitCode::SUCCESS);
    }
    match Options::parse(args.into_iter()).and_then(|it| run(&it)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(why) => {
            eprintln!("meter-conformance: {why}");
            ExitCode::from(2)
        }
    }
}

/// Whether all that must pass passed.
fn run(options: &Options) -> Result<bool, String> {
    if options.list {
        report::print(&report::list())?;
        return Ok(true);
    }
    // What cannot be read or written is told before a meter is bothered, not after half an hour.
    let old = report::prepare(options)?;
    let evidence = match &options.replay {
        Some(path) => transcript::load(path)?,
        None => runner::play(options)?,
    };
    let Settled { record, verdicts, alike } = runner::settle(evidence, options);
    report::write(&record, &verdicts, old, options)?;
    if let Some(path) = &options.record {
        let path_of = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
        if !alike {
            let why = "not written: without a password or key, which is also a word that rules read, it would be judged \
                otherwise; give that user another one";
            return Err(path_of(&why));
        }
        transcript::save(&record, path).map_err(|err| path_of(&err))?;
    }
    runner::outcome(&record, &verdicts)
}
