//! A run: what is chosen is announced, played, and judged. Replaying a transcript is the same without the playing.

use std::io::{self, IsTerminal, Write};
use std::mem::discriminant;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::catalogue::{Area, areas};
use crate::danger::Class;
use crate::evidence::Evidence;
use crate::lab::{Lab, Stop};
use crate::options::Options;
use crate::transcript::{Exchange, Transcript};
use crate::verdict::{Finding, Mark, Verdict, weigh};

/// Plays the chosen areas. The error says why the run could not be made.
pub fn play(options: &Options) -> Result<Transcript, String> {
    let chosen: Vec<_> = areas().into_iter().filter(|it| options.chooses(it)).collect();
    if chosen.is_empty() {
        let named = |it: &&Area| it.rules.iter().any(|it| options.chooses_rule(it));
        let mut classes: Vec<_> = areas().into_iter().filter(named).map(|it| it.class.name()).collect();
        classes.dedup();
        return Err(match classes.is_empty() {
            true => "--skip leaves nothing of what --only names".into(),
            false => format!("the rules of --only are of class {}, which --allow does not name", classes.join(", ")),
        });
    }
    announce(&chosen, options);
    play_all(&chosen, options)
}

fn play_all(chosen: &[&'static Area], options: &Options) -> Result<Transcript, String> {
    let mut lab = Lab::new(options);
    lab.end_with(ends_by_signal()?);
    // Whoever is not let in would find one fault after the other, and none of them the meter's.
    lab.enter("login");
    match lab.login() {
        Err(Stop::Ended) => return Err(ENDED.into()),
        Err(Stop::Skip(_)) if lab.last("login/answer").is_some_and(is_refusal) => {
            let user = options.credentials.as_ref().map_or("", |it| it.user.as_str());
            return Err(format!("{} does not let {user} in; is the password right?", options.url));
        }
        // What else is wrong with the login, rules say.
        _ => {}
    }
    for (number, area) in chosen.iter().enumerate() {
        progress(options, &format!("[{}/{}] {}", number + 1, chosen.len(), area.name));
        lab.enter(area.name);
        match (area.play)(&mut lab) {
            Ok(()) => {}
            Err(Stop::Forbidden(what)) => return Err(format!("stopped by the guard: {what}")),
            Err(Stop::Ended) => return Err(ENDED.into()),
            Err(Stop::Skip(why)) => {
                lab.transcript.stopped.insert(area.name.into(), why);
            }
            Err(Stop::Gone(why)) => {
                for rest in &chosen[number..] {
                    lab.transcript.stopped.insert(rest.name.into(), why.clone());
                }
                lab.transcript.gone = Some(why);
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

const ENDED: &str = "ended by a signal; what had been changed was put back where nothing else is said";

/// Whether a login was answered by a meter that understood it and does not want it.
fn is_refusal(login: &Exchange) -> bool {
    let status = login.answer.as_ref().map_or(0, |it| it.status);
    let told =
        login.object().is_ok_and(|it| it.get("error").is_some_and(|it| it.is_string()) && !it.contains_key("jwt"));
    told && [200, 401, 403, 429].contains(&status)
}

/// What comes of a run: its record without secrets, and the verdicts.
pub struct Settled {
    /// The evidence without secrets.
    pub record: Transcript,
    /// What the rules say of the evidence as it was.
    pub verdicts: Vec<Verdict>,
    /// Whether they say the same of the record. They do not where a secret is also a word that a rule reads.
    pub alike: bool,
}

/// Judges what the meter said, and shows what is left of that without secrets: a password can be any word or number, and
/// what is put in its place must not be judged.
pub fn settle(transcript: Transcript, options: &Options) -> Settled {
    let mut verdicts = judge(&transcript, options);
    let record = transcript.sealed();
    let mut alike = true;
    for (it, shown) in verdicts.iter_mut().zip(judge(&record, options)) {
        if it.mark == shown.mark && discriminant(&it.finding) == discriminant(&shown.finding) {
            it.finding = shown.finding;
            continue;
        }
        alike = false;
        let hidden = || "not shown, since it cannot be told from a password or key".to_string();
        it.finding = match &it.finding {
            Finding::Kept => Finding::Kept,
            Finding::Quirk(_) => Finding::Quirk(hidden()),
            Finding::NoEvidence(_) => Finding::NoEvidence(hidden()),
            Finding::Broken { .. } => Finding::Broken { sent: hidden(), came: hidden() },
        };
    }
    Settled { record, verdicts, alike }
}

/// A flag that a signal sets; the second signal ends the program at once.
fn ends_by_signal() -> Result<Arc<AtomicBool>, String> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        let at_once = signal_hook::flag::register_conditional_shutdown(signal, 2, Arc::clone(&flag));
        at_once.and_then(|_| signal_hook::flag::register(signal, Arc::clone(&flag))).map_err(|err| err.to_string())?;
    }
    Ok(flag)
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

/// Whether all that must pass passed. The error says that the run is no basis for saying so: it broke off without a failure,
/// or nothing could be judged at all.
pub fn outcome(transcript: &Transcript, verdicts: &[Verdict]) -> Result<bool, String> {
    if verdicts.iter().any(|it| it.mark == Mark::Fail) {
        return Ok(false);
    }
    match &transcript.gone {
        Some(why) => Err(format!("the run ended early: {why}")),
        None if verdicts.iter().all(|it| it.mark == Mark::NotTested) => Err("no rule could be judged".into()),
        None => Ok(true),
    }
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

    fn options(args: &[&str]) -> Options {
        let fixed = ["--url", "http://127.0.0.1:9/api", "--user", "u", "--password-file", "/dev/null", "--quiet"];
        Options::parse(fixed.iter().chain(args).map(|it| it.to_string())).unwrap()
    }

    #[test]
    fn a_choice_of_nothing_is_no_run() {
        // Nobody listens there; it does not come to that.
        let refused = |args: &[&str]| play(&options(args)).unwrap_err();
        assert!(refused(&["--only", "cmd/reboot"]).contains("class reboot, which --allow does not name"));
        assert!(refused(&["--only", "cmd/reboot,cmd/wlan/01", "--allow", "db"]).contains("class wlan, reboot"));
        assert!(refused(&["--only", "auth/login/01", "--skip", "auth"]).contains("--skip leaves nothing"));
        assert!(refused(&["--only", "auth/login,cmd/reboot"]).contains("never answered"));
    }

    #[test]
    fn only_a_whole_run_without_a_failure_is_a_success() {
        let verdicts = |marks: &[Mark]| -> Vec<Verdict> {
            let rules = areas()[0].rules.iter().zip(marks);
            rules
                .map(|(it, mark)| Verdict { id: it.id, class: Class::Safe, finding: Finding::Kept, mark: *mark })
                .collect()
        };
        let (whole, cut) =
            (Transcript::default(), Transcript { gone: Some("silence".into()), ..Transcript::default() });
        assert_eq!(outcome(&whole, &verdicts(&[Mark::Pass, Mark::Warn, Mark::NotTested])), Ok(true));
        assert_eq!(outcome(&whole, &verdicts(&[Mark::Pass, Mark::Fail])), Ok(false));
        assert_eq!(outcome(&cut, &verdicts(&[Mark::Pass, Mark::Fail])), Ok(false));
        assert!(outcome(&cut, &verdicts(&[Mark::Pass])).is_err());
        assert!(outcome(&whole, &verdicts(&[Mark::NotTested])).is_err());
    }
}
