//! A run: what is chosen is announced, played, and judged. Replaying a transcript is the same without the playing.

use std::io::{self, IsTerminal, Write};

use crate::catalogue::{Area, areas};
use crate::danger::Class;
use crate::evidence::Evidence;
use crate::lab::{Lab, Stop};
use crate::options::Options;
use crate::transcript::Transcript;
use crate::verdict::{Finding, Verdict, weigh};

/// Plays the chosen areas. The error says why the run could not be made.
pub fn play(options: &Options) -> Result<Transcript, String> {
    let chosen: Vec<_> = areas().into_iter().filter(|it| options.chooses(it)).collect();
    announce(&chosen, options);
    play_all(&chosen, options)
}

fn play_all(chosen: &[&'static Area], options: &Options) -> Result<Transcript, String> {
    let mut lab = Lab::new(options);
    for (number, area) in chosen.iter().enumerate() {
        progress(options, &format!("[{}/{}] {}", number + 1, chosen.len(), area.name));
        lab.enter(area.name);
        match (area.play)(&mut lab) {
            Ok(()) => {}
            Err(Stop::Forbidden(what)) => return Err(format!("stopped by the guard: {what}")),
            Err(Stop::Skip(why)) => {
                lab.transcript.stopped.insert(area.name.into(), why);
            }
            Err(Stop::Gone(why)) => {
                for rest in &chosen[number..] {
                    lab.transcript.stopped.insert(rest.name.into(), why.clone());
                }
                break;
            }
        }
    }
    progress(options, "");
    let exchanges = &lab.transcript.exchanges;
    if let (Some(first), true) = (exchanges.first(), exchanges.iter().all(|it| it.answer.is_err())) {
        return Err(format!("{} never answered: {}", options.url, first.answer_text()));
    }
    Ok(lab.transcript)
}

/// Judges a transcript by the rules that were chosen. What was not allowed is not tested.
pub fn judge(transcript: &Transcript, options: &Options) -> Vec<Verdict> {
    let mut res = Vec::new();
    for area in areas() {
        let evidence = Evidence::new(transcript, area.name);
        for rule in area.rules.iter().filter(|it| options.chooses_rule(it)) {
            let finding = if area.class == Class::Safe || transcript.allowed.contains(&area.class) {
                (rule.judge)(&evidence).unwrap_or_else(|finding| finding)
            } else {
                Finding::NoEvidence(format!("class {} was not allowed", area.class))
            };
            let mark = weigh(rule, &finding, options.strict);
            res.push(Verdict { id: rule.id, class: area.class, finding, mark });
        }
    }
    res
}

fn announce(chosen: &[&Area], options: &Options) {
    if options.quiet {
        return;
    }
    eprintln!("{} will be asked for {} areas:", options.url, chosen.len());
    for class in Class::ALL {
        let touched: Vec<_> = chosen.iter().filter(|it| it.class == class).map(|it| it.touches).collect();
        if !touched.is_empty() {
            eprintln!("  {:16}{}", class.name(), touched.join("; "));
        }
    }
}

/// One line that is written over and over on a terminal; elsewhere only its beginnings would be left, so nothing.
fn progress(options: &Options, text: &str) {
    if !options.quiet && io::stderr().is_terminal() {
        eprint!("\r\x1b[K{text}");
        let _ = io::stderr().flush();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::http::{Request, Target};

    /// An area that says it is harmless and is not.
    const MISTAKEN: Area = Area {
        name: "mistaken",
        class: Class::Safe,
        touches: "nothing, it says",
        params: &[],
        play: |lab| lab.send("x", &Request::post("/cmd/factory-restore", &json!({})).anonymous()).map(|_| ()),
        rules: &[],
    };

    #[test]
    fn an_area_that_oversteps_its_leave_ends_the_run() {
        let args = ["--url", "http://127.0.0.1:9/api", "--replay", "none", "--allow", "reboot,db", "--quiet"];
        let mut options = Options::parse(args.iter().map(|it| it.to_string())).unwrap();
        options.target = Target::parse(&options.url).unwrap();
        // The program ends with 2 whenever there is no transcript.
        let why = play_all(&[&MISTAKEN], &options).unwrap_err();
        assert!(why.contains("stopped by the guard") && why.contains("factory-restore"), "{why}");
    }
}
