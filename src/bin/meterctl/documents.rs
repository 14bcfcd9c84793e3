//! Completions and the man page, one for all commands, from the same definitions as the help.

use std::io;

use clap::{Command, CommandFactory, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::args::Line;
use super::failure::EXIT_CODES;

/// What the environment says, beside the options that name a variable themselves.
const ENVIRONMENT: [(&str, &str); 9] = [
    ("METERCTL_URL, METERCTL_USER, METERCTL_PASSWORD_FILE, METERCTL_CACERT", "Defaults of the options of those names."),
    ("METERCTL_PASSWORD", "The password."),
    ("METERCTL_WLAN_KEY", "The key for wlan add."),
    ("METERCTL_HOMEPLUG_PASSWORD", "The new password for homeplug set-password."),
    ("METERCTL_HOMEPLUG_TARGETS", "Its bridges, each as MAC/DEK, with blanks between."),
    ("METERCTL_MAIL_PASSWORD", "The mail password for test-email."),
    ("NO_COLOR", "If it is set, nothing is coloured."),
    ("XDG_CACHE_HOME", "Where tokens and the journals of interrupted restores are kept."),
    ("TERM", "If it is dumb, nothing is coloured."),
];

/// Shells with completions.
#[derive(Clone, Copy, ValueEnum)]
pub enum Shells {
    /// bash
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
}

/// Completions for a shell.
pub fn completions(shell: Shells) -> Vec<u8> {
    let shell = match shell {
        Shells::Bash => Shell::Bash,
        Shells::Zsh => Shell::Zsh,
        Shells::Fish => Shell::Fish,
    };
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut Line::command(), "meterctl", &mut out);
    out
}

/// The whole man page.
pub fn man_page() -> io::Result<Vec<u8>> {
    // Not built yet, so that the options of every command are shown once and not with each.
    let command = Line::command().after_help("");
    let man = Man::new(command.clone());
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    Roff::new().control("SH", ["COMMANDS"]).to_writer(&mut out)?;
    for sub in command.get_subcommands() {
        describe(&mut out, sub, "meterctl")?;
    }
    let mut roff = Roff::new();
    roff.control("SH", ["ENVIRONMENT"]);
    for (name, text) in ENVIRONMENT {
        roff.control("TP", []).text([bold(name)]).text([roman(text)]);
    }
    roff.control("SH", ["EXIT STATUS"]);
    for (code, text) in EXIT_CODES.lines().skip(1).filter_map(|it| it.trim().split_once("  ")) {
        roff.control("TP", []).text([bold(code)]).text([roman(text)]);
    }
    roff.to_writer(&mut out)?;
    Ok(out)
}

/// A command with its options as a subsection, or those below it.
fn describe(out: &mut Vec<u8>, command: &Command, above: &str) -> io::Result<()> {
    let name = format!("{above} {}", command.get_name());
    if command.has_subcommands() {
        return command.get_subcommands().try_for_each(|it| describe(out, it, &name));
    }
    let mut section = Vec::new();
    let command = command.clone().disable_help_flag(true).bin_name(&name);
    let man = Man::new(command.clone());
    man.render_synopsis_section(&mut section)?;
    if let Some(about) = command.get_about() {
        Roff::new().control("PP", []).text([roman(format!("{about}."))]).to_writer(&mut section)?;
    }
    if command.get_arguments().next().is_some() {
        man.render_options_section(&mut section)?;
    }
    // The headings of a page of its own become one subsection here.
    let section = String::from_utf8_lossy(&section).into_owned();
    let lines =
        section.lines().filter(|it| !it.starts_with(".SH") && !it.contains(r".ie \n(.g") && !it.starts_with(".el"));
    Roff::new().control("SS", [name.as_str()]).to_writer(out)?;
    for line in lines {
        out.extend_from_slice(line.as_bytes());
        out.push(b'\n');
    }
    Ok(())
}
