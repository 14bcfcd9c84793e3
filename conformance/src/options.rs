//! The command line. It knows what can be asked for, not what is done with it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::catalogue::{Area, areas};
use crate::danger::Class;
use crate::http::Target;
use crate::session::Credentials;
use crate::verdict::Rule;

/// How to call it.
pub const USAGE: &str = "\
meter-conformance --url http://HOST[:PORT]/api --user NAME [OPTION...]
meter-conformance --replay FILE [OPTION...]
meter-conformance --list

  --url URL               the meter's API
  --user NAME             a user with all rights
  --password-file FILE    that user's password, the file's first line (otherwise METER_PASSWORD)
  --allow CLASS,...       what may be touched beside `safe`; `all` for everything
  --only ID,...           only rules whose ids begin so
  --skip ID,...           no rules whose ids begin so
  --with NAME=VALUE       what only the tester knows; --list names them
  --strict                what the documents leave open counts as broken
  --report FORM           text, json, junit or markdown
  --out FILE              the report's file (standard output)
  --compare OLD.json      say what changed since that report
  --record FILE           keep what was sent and what came
  --replay FILE           judge what was kept, without a meter
  --timeout SECONDS       for one answer (10)
  --max-wait SECONDS      the longest wait for something to expire (90)
  --rate N                requests per second (20)
  --list                  print the catalogue and end
  --quiet                 no progress

Exit status: 0 if all that must pass passed, 1 if some failed, 2 if the run could not be made,
or is no basis for a verdict.";

/// Forms of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For a terminal.
    Text,
    /// For programs and for `--compare`.
    Json,
    /// For build servers.
    Junit,
    /// For documents.
    Markdown,
}

/// What the tester asked for.
pub struct Options {
    /// The meter's URL as given.
    pub url: String,
    /// The same, read.
    pub target: Target,
    /// The user with all rights.
    pub credentials: Option<Credentials>,
    /// Classes that may be touched; `Safe` always.
    pub allowed: Vec<Class>,
    only: Vec<String>,
    skip: Vec<String>,
    /// Parameters by name.
    pub params: BTreeMap<String, String>,
    /// Whether quirks count as broken.
    pub strict: bool,
    /// The report's form.
    pub form: Form,
    /// The report's file.
    pub out: Option<PathBuf>,
    /// An older report in JSON.
    pub compare: Option<PathBuf>,
    /// Where the transcript goes.
    pub record: Option<PathBuf>,
    /// A transcript to judge.
    pub replay: Option<PathBuf>,
    /// For one answer.
    pub timeout: Duration,
    /// The longest wait for something to expire.
    pub max_wait: Duration,
    /// Between the beginnings of two requests.
    pub gap: Duration,
    /// Print the catalogue.
    pub list: bool,
    /// No progress.
    pub quiet: bool,
}

impl Options {
    /// Reads the arguments, without the program's name. The error is for the user.
    pub fn parse(args: impl Iterator<Item = String>) -> Result<Options, String> {
        let mut res = Options {
            url: String::new(),
            target: Target { host: String::new(), port: 0, base: String::new() },
            credentials: None,
            allowed: vec![Class::Safe],
            only: Vec::new(),
            skip: Vec::new(),
            params: BTreeMap::new(),
            strict: false,
            form: Form::Text,
            out: None,
            compare: None,
            record: None,
            replay: None,
            timeout: Duration::from_secs(10),
            max_wait: Duration::from_secs(90),
            gap: Duration::from_millis(50),
            list: false,
            quiet: false,
        };
        let (mut user, mut file) = (None, None);
        let mut args = args;
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--url" => res.url = value()?,
                "--user" => user = Some(value()?),
                "--password-file" => file = Some(PathBuf::from(value()?)),
                "--allow" => res.allowed.extend(classes(&value()?)?),
                "--only" => res.only.extend(ids(&value()?)?),
                "--skip" => res.skip.extend(ids(&value()?)?),
                "--with" => {
                    let (name, value) = param(&value()?)?;
                    res.params.insert(name, value);
                }
                "--strict" => res.strict = true,
                "--report" => res.form = form(&value()?)?,
                "--out" => res.out = Some(value()?.into()),
                "--compare" => res.compare = Some(value()?.into()),
                "--record" => res.record = Some(value()?.into()),
                "--replay" => res.replay = Some(value()?.into()),
                "--timeout" => res.timeout = seconds(&arg, &value()?)?,
                "--max-wait" => res.max_wait = seconds(&arg, &value()?)?,
                "--rate" => res.gap = Duration::from_secs(1).div_f64(seconds(&arg, &value()?)?.as_secs_f64()),
                "--list" => res.list = true,
                "--quiet" => res.quiet = true,
                _ => return Err(format!("{arg} is no option")),
            }
        }
        if let Some(user) = user {
            res.credentials = Some(Credentials { user, password: password(file)? });
        }
        if !res.list && res.replay.is_none() {
            if res.url.is_empty() || res.credentials.is_none() {
                return Err("--url and --user are needed".into());
            }
            res.target = Target::parse(&res.url)?;
        }
        Ok(res)
    }

    /// Whether an area is to be played: its class is allowed, and one of its rules is chosen.
    pub fn chooses(&self, area: &Area) -> bool {
        self.allowed.contains(&area.class) && area.rules.iter().any(|it| self.chooses_rule(it))
    }

    /// Whether a rule is to be judged.
    pub fn chooses_rule(&self, rule: &Rule) -> bool {
        self.chooses_id(rule.id)
    }

    /// Whether the rule of this id is to be judged.
    pub fn chooses_id(&self, id: &str) -> bool {
        let named = |list: &[String]| list.iter().any(|it| id.starts_with(it.as_str()));
        (self.only.is_empty() || named(&self.only)) && !named(&self.skip)
    }
}

fn classes(list: &str) -> Result<Vec<Class>, String> {
    if list == "all" {
        return Ok(Class::ALL.to_vec());
    }
    let parse = |name: &str| {
        let all = Class::ALL.map(Class::name).join(", ");
        Class::parse(name).ok_or_else(|| format!("--allow: {name} is no class; there are {all}"))
    };
    list.split(',').map(parse).collect()
}

/// Beginnings of ids, each of at least one rule: a misspelt one would silently choose nothing.
fn ids(list: &str) -> Result<Vec<String>, String> {
    let known = |start: &str| areas().iter().flat_map(|it| it.rules).any(|it| it.id.starts_with(start));
    let check = |start: &str| match known(start) {
        true => Ok(start.to_string()),
        false => Err(format!("no rule's id begins with {start}; --list names them")),
    };
    list.split(',').map(check).collect()
}

fn param(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("--with {text}: NAME=VALUE is expected"))?;
    if areas().iter().flat_map(|it| it.params).any(|it| it.name == name) {
        Ok((name.into(), value.into()))
    } else {
        Err(format!("--with: no area knows {name}; --list names them"))
    }
}

fn form(name: &str) -> Result<Form, String> {
    match name {
        "text" => Ok(Form::Text),
        "json" => Ok(Form::Json),
        "junit" => Ok(Form::Junit),
        "markdown" => Ok(Form::Markdown),
        _ => Err(format!("--report: {name} is none of text, json, junit, markdown")),
    }
}

fn seconds(option: &str, text: &str) -> Result<Duration, String> {
    let number = text.parse::<f64>().ok().filter(|it| 0.001 <= *it && *it <= 86400.0);
    number.map(Duration::from_secs_f64).ok_or_else(|| format!("{option}: {text} is no number from 0.001 to 86400"))
}

fn password(file: Option<PathBuf>) -> Result<String, String> {
    match file {
        Some(path) => {
            let text = fs::read_to_string(&path).map_err(|err| format!("{}: {err}", path.display()))?;
            Ok(text.lines().next().unwrap_or_default().to_string())
        }
        None => std::env::var("METER_PASSWORD").map_err(|_| "--password-file or METER_PASSWORD is needed".into()),
    }
}
