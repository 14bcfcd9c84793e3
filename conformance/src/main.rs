//! The program: options, a run or a replay, a report, an exit status.

use std::process::ExitCode;

use meter_conformance::options::{Options, USAGE};
use meter_conformance::{report, runner, transcript};

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
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
    if let Some(path) = &options.record {
        transcript::save(&evidence, path).map_err(|err| format!("{}: {err}", path.display()))?;
    }
    let verdicts = runner::judge(&evidence, options);
    report::write(&evidence, &verdicts, old, options)?;
    runner::outcome(&evidence, &verdicts)
}
