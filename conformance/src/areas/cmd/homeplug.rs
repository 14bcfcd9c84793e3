//! /cmd/homeplug: what it refuses, and, with bridges and a password that the tester names, that it sets one. It cannot see
//! the powerline: whether the bridges talk to each other afterwards is the tester's to look at.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::catalogue::{Area, Param};
use crate::danger::Class;
use crate::evidence::{Evidence, status};
use crate::http::Request;
use crate::lab::{Lab, Stop};
use crate::refusals::{self, Bodies, MALFORMED};
use crate::verdict::{Finding, Rule};

/// See the module.
pub const AREA: Area = Area {
    name: "cmd/homeplug",
    class: Class::Homeplug,
    touches: "sends bodies that must be refused, of which a meter that obeys them gives its own bridge a password from; \
        sets the password of bridges if they are named",
    params: &[
        Param {
            name: TARGETS,
            meaning: "a file with the bridges to set, a line MAC/DEK each; they keep the password.",
        },
        Param {
            name: PASSWORD,
            meaning: "a file whose first line is the password that these and the meter's bridge get.",
        },
        Param {
            name: LENGTHS_TOO,
            meaning: "yes if they may have passwords of 4 and of 24 characters for a moment before that.",
        },
    ],
    play,
    rules: RULES,
};

const PATH: &str = "/cmd/homeplug";
const TARGETS: &str = "homeplug.targets";
const PASSWORD: &str = "homeplug.password-file";
const LENGTHS_TOO: &str = "homeplug.lengths";
/// Numbers of rules for which no bridge needs a password.
const DOOR: &[&str] = &["01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12", "13", "18"];
/// Between two attempts to set a password.
const AWAY: Duration = Duration::from_secs(2);
const LEFT: &str = "the password of homeplug.password-file could not be set; the bridges of homeplug.targets and the \
    meter's own may have another one, and have to be set by hand";

// Nobody has these addresses: their first digits mark them as locally administered.
const MISSING: Bodies = &[
    ("no-action", r#"{"password":"Q7secret","targets":["02:00:00:00:00:01/QWER-TYUI-OPAS-DFGH"]}"#),
    ("no-password", r#"{"action":"setpwd","targets":["02:00:00:00:00:01/QWER-TYUI-OPAS-DFGH"]}"#),
    ("no-targets", r#"{"action":"setpwd","password":"Q7secret"}"#),
];
const ACTIONS: Bodies = &[
    ("action-other", r#"{"action":"reset","password":"Q7secret","targets":["02:00:00:00:00:01/QWER-TYUI-OPAS-DFGH"]}"#),
    ("action-number", r#"{"action":1,"password":"Q7secret","targets":["02:00:00:00:00:01/QWER-TYUI-OPAS-DFGH"]}"#),
];
const LENGTHS: Bodies = &[
    ("password-empty", r#"{"action":"setpwd","password":"","targets":["02:00:00:00:00:01/QWER-TYUI-OPAS-DFGH"]}"#),
    ("password-3", r#"{"action":"setpwd","password":"Q7s","targets":["02:00:00:00:00:01/QWER-TYUI-OPAS-DFGH"]}"#),
    (
        "password-25",
        r#"{"action":"setpwd","password":"Q7secret90123456789012345","targets":["02:00:00:00:00:01/QWER-TYUI-OPAS-DFGH"]}"#,
    ),
];
const CHARACTERS: Bodies = &[
    (
        "password-quote",
        r#"{"action":"setpwd","password":"Q7\"secret","targets":["02:00:00:00:00:01/QWER-TYUI-OPAS-DFGH"]}"#,
    ),
    (
        "password-tab",
        r#"{"action":"setpwd","password":"Q7\tsecret","targets":["02:00:00:00:00:01/QWER-TYUI-OPAS-DFGH"]}"#,
    ),
    (
        "password-nul",
        r#"{"action":"setpwd","password":"Q7\u0000secret","targets":["02:00:00:00:00:01/QWER-TYUI-OPAS-DFGH"]}"#,
    ),
    (
        "password-del",
        r#"{"action":"setpwd","password":"Q7\u007fsecret","targets":["02:00:00:00:00:01/QWER-TYUI-OPAS-DFGH"]}"#,
    ),
];
const TYPES: Bodies = &[
    (
        "password-number",
        r#"{"action":"setpwd","password":77777777,"targets":["02:00:00:00:00:01/QWER-TYUI-OPAS-DFGH"]}"#,
    ),
    (
        "targets-string",
        r#"{"action":"setpwd","password":"Q7secret","targets":"02:00:00:00:00:01/QWER-TYUI-OPAS-DFGH"}"#,
    ),
    ("target-number", r#"{"action":"setpwd","password":"Q7secret","targets":[7]}"#),
];
const NO_TARGETS: Bodies = &[("targets-none", r#"{"action":"setpwd","password":"Q7secret","targets":[]}"#)];
const BAD_TARGETS: Bodies = &[
    ("target-no-slash", r#"{"action":"setpwd","password":"Q7secret","targets":["02:00:00:00:00:01"]}"#),
    (
        "target-short-mac",
        r#"{"action":"setpwd","password":"Q7secret","targets":["02:00:00:00:01/QWER-TYUI-OPAS-DFGH"]}"#,
    ),
    (
        "target-no-hex",
        r#"{"action":"setpwd","password":"Q7secret","targets":["02:00:00:00:00:0g/QWER-TYUI-OPAS-DFGH"]}"#,
    ),
    ("target-no-dek", r#"{"action":"setpwd","password":"Q7secret","targets":["02:00:00:00:00:01/"]}"#),
    (
        "target-second",
        r#"{"action":"setpwd","password":"Q7secret","targets":["02:00:00:00:00:01/QWER-TYUI-OPAS-DFGH","x"]}"#,
    ),
];
const TWICE: Bodies = &[(
    "target-twice",
    r#"{"action":"setpwd","password":"Q7secret","targets":["02:00:00:00:00:01/QWER-TYUI-OPAS-DFGH","02:00:00:00:00:01/ASDF-QWER-TYUI-ZXCV"]}"#,
)];
/// What of these bodies must not come back.
const SECRETS: [&str; 6] = ["Q7secret", "Q7s", "77777777", "QWER-TYUI", "ASDF-QWER", "OPAS-DFGH"];

fn play(lab: &mut Lab<'_>) -> Result<(), Stop> {
    let order =
        json!({"action": "setpwd", "password": "Q7secret", "targets": ["02:00:00:00:00:01/QWER-TYUI-OPAS-DFGH"]});
    refusals::door(lab, PATH, &order)?;
    let time = lab.options.max_wait;
    for bodies in [MALFORMED, MISSING, ACTIONS, LENGTHS, CHARACTERS, TYPES, NO_TARGETS, BAD_TARGETS, TWICE] {
        refusals::bodies(lab, PATH, bodies, time)?;
    }
    refusals::look_for_secrets(lab, AREA.name, &SECRETS);
    let (path, _) = (lab.need(TARGETS)?, lab.need(PASSWORD)?);
    lab.go_beyond(DOOR)?;
    let targets = fs::read_to_string(path).map_err(|err| Stop::Skip(format!("--with {TARGETS}={path}: {err}")))?;
    let targets: Vec<_> = targets.lines().map(str::trim).filter(|it| !it.is_empty()).collect();
    let password = lab.secret(PASSWORD)?.unwrap_or_default();
    let mut secrets: Vec<_> = targets.iter().filter_map(|it| it.split_once('/')).map(|it| it.1).collect();
    secrets.push(&password);
    secrets.extend(SECRETS);
    // The powerline may be the meter's only way out, and be away for a while after each change.
    lab.expect_down(true);
    let order =
        |password: &str| Request::post(PATH, &json!({"action": "setpwd", "password": password, "targets": targets}));
    let mut res = Ok(());
    if lab.param(LENGTHS_TOO) == Some("yes") {
        res = [("shortest", "Q7.s"), ("longest", "Q7 longest, 24 letters ~")]
            .into_iter()
            .try_for_each(|(label, password)| set(lab, label, &order(password)).map(drop));
    }
    let set_at_last = lab.put_back(|lab| set(lab, "set", &order(&password)));
    if !matches!(set_at_last, Ok(true)) {
        lab.warn(LEFT);
    }
    // The same once more changes nothing, and shows that the bridges still answer.
    let res = res.and(set_at_last).and_then(|done| if done { set(lab, "again", &order(&password)) } else { Ok(false) });
    lab.expect_down(false);
    refusals::look_for_secrets(lab, AREA.name, &secrets);
    res.map(drop)
}

/// Sets a password, as `LABEL`, and again, as `LABEL/again/1` and so on, until it is set or the longest wait is over: bridges
/// must not be left with half a change. Returns whether it is.
fn set(lab: &mut Lab<'_>, label: &str, order: &Request) -> Result<bool, Stop> {
    let (begun, wait) = (Instant::now(), lab.options.max_wait);
    for number in 0.. {
        let label = attempt(label, number);
        let end = match lab.operation(&label, order, wait) {
            Err(Stop::Skip(_)) => None,
            end => end?,
        };
        let replied = lab.last(&label).is_some_and(|it| it.success().is_ok());
        let token = lab.last_token(&label).is_some();
        if replied && end.map_or(!token, |it| !it.contains_key("error")) {
            return Ok(true);
        }
        // Whoever answers will say the same again, and whoever does not may be on the way back.
        let answered = lab.last(&label).is_some_and(|it| it.answer.is_ok());
        if 2 <= number && (answered || wait < begun.elapsed()) {
            break;
        }
        lab.wait(AWAY);
    }
    Ok(false)
}

fn attempt(label: &str, number: usize) -> String {
    if number == 0 { label.into() } else { format!("{label}/again/{number}") }
}

/// The first attempt that was answered at all did what it was to do: after a change the meter may be out of reach for a
/// while.
fn carried_out(ev: &Evidence<'_>, label: &str) -> Result<Finding, Finding> {
    let again = format!("{label}/again/");
    let is_one = |it: &str| it == label || it.strip_prefix(&again).is_some_and(|it| !it.contains('/'));
    let all = ev.all(label)?;
    let answered = all.into_iter().find(|it| is_one(&it.label) && it.answer.is_ok());
    status::carried_out(ev, answered.map_or(label, |it| &it.label))
}

const CLAUSE: &str = "cmd-api: Manage HomePlug";

const RULES: &[Rule] = &[
    Rule::must(
        "cmd/homeplug/01",
        "WebAPI §1",
        "Without a valid login it is answered with 401 and a challenge.",
        refusals::unauthorized,
    ),
    Rule::must("cmd/homeplug/02", "WebAPI §5", "Only POST sets a password; GET and PUT are refused.", |ev| {
        refusals::other_methods(ev)
    }),
    Rule::must("cmd/homeplug/03", CLAUSE, "A body that is no JSON object is refused with `error`.", |ev| {
        refusals::all_refused(ev, MALFORMED)
    }),
    Rule::must(
        "cmd/homeplug/04",
        CLAUSE,
        "Without `action`, `password` or `targets` it is refused with `error`.",
        |ev| refusals::all_refused(ev, MISSING),
    ),
    Rule::must("cmd/homeplug/05", CLAUSE, "An `action` other than setpwd is refused with `error`.", |ev| {
        refusals::all_refused(ev, ACTIONS)
    }),
    Rule::must("cmd/homeplug/06", CLAUSE, "A password of less than 4 or more than 24 characters is refused.", |ev| {
        refusals::all_refused(ev, LENGTHS)
    }),
    Rule::must("cmd/homeplug/07", CLAUSE, "A password with a double quote or a control character is refused.", |ev| {
        refusals::all_refused(ev, CHARACTERS)
    }),
    Rule::must("cmd/homeplug/08", CLAUSE, "A member of another type than the documents have is refused.", |ev| {
        refusals::all_refused(ev, TYPES)
    }),
    Rule::must("cmd/homeplug/09", CLAUSE, "An empty list of targets is refused.", |ev| {
        refusals::all_refused(ev, NO_TARGETS)
    }),
    Rule::must(
        "cmd/homeplug/10",
        CLAUSE,
        "A target that is not a MAC address, a slash and a DEK is refused, also behind one that is.",
        |ev| refusals::all_refused(ev, BAD_TARGETS),
    ),
    Rule::choice("cmd/homeplug/11", CLAUSE, "A bridge that is named twice is refused.", |ev| {
        refusals::all_refused(ev, TWICE)
    }),
    Rule::choice("cmd/homeplug/12", CLAUSE, "The error of a bad body names the member at fault.", |ev| {
        let named = [
            ("no-action", "action"),
            ("no-password", "password"),
            ("no-targets", "targets"),
            ("password-25", "password"),
            ("targets-none", "targets"),
            ("target-no-hex", "targets"),
        ];
        refusals::names_the_member(ev, &named)
    }),
    Rule::should("cmd/homeplug/13", CLAUSE, "No answer has a password or a DEK in it.", |ev| {
        refusals::keeps_secrets(ev)
    }),
    Rule::must("cmd/homeplug/14", CLAUSE, "The tester's bridges get the tester's password.", |ev| {
        carried_out(ev, "set")
    }),
    Rule::must("cmd/homeplug/15", CLAUSE, "Passwords of 4 and of 24 characters are set.", |ev| {
        if ev.get("set").is_ok() && ev.get("shortest").is_err() {
            return Err(Finding::NoEvidence(format!("needs --with {LENGTHS_TOO}=yes")));
        }
        carried_out(ev, "shortest")?;
        carried_out(ev, "longest")
    }),
    Rule::should("cmd/homeplug/16", CLAUSE, "The same password once more is set like the first time.", |ev| {
        carried_out(ev, "again")
    }),
    Rule::must(
        "cmd/homeplug/17",
        "WebAPI §2",
        "Where it gives a token, that and its statuses have the form clients need.",
        status::form,
    ),
    refusals::limited("cmd/homeplug/18"),
];

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::evidence::testing::{broken, kept, transcript, untested};

    fn check(rule: &str, answers: &[(&str, u16, &str)], expect: fn(Result<Finding, Finding>)) {
        let run = transcript(AREA.name, answers.iter().copied());
        let rule = RULES.iter().find(|it| it.id.ends_with(rule)).unwrap();
        expect((rule.judge)(&Evidence::new(&run, AREA.name)));
    }

    #[test]
    fn bodies_are_what_their_names_say() {
        let password = |name: &str| {
            let text = LENGTHS.iter().chain(CHARACTERS).find(|it| it.0 == name).unwrap().1;
            serde_json::from_str::<Value>(text).unwrap()["password"].as_str().unwrap().to_string()
        };
        assert_eq!((password("password-3").len(), password("password-25").len()), (3, 25));
        assert!(password("password-quote").contains('"') && password("password-nul").contains('\0'));
        assert_eq!(("Q7.s".len(), "Q7 longest, 24 letters ~".len()), (4, 24));
    }

    #[test]
    fn a_password_is_set_at_once_or_by_an_operation() {
        let token = r#"{"status":"in progress","token":"473c31462e62848b5352314dfc608669"}"#;
        check("/14", &[("set", 200, r#"{"status":"OK"}"#)], kept);
        check("/14", &[("set", 200, token), ("set/poll/1", 200, r#"{"result":{"done":true}}"#)], kept);
        check("/14", &[("set", 200, token), ("set/poll/1", 200, r#"{"result":{"done":true,"error":"X"}}"#)], broken);
        check("/14", &[("set", 200, r#"{"error":"no bridge"}"#)], broken);
        check("/14", &[], untested);
        check("/14", &[("set/again/1", 200, r#"{"status":"OK"}"#)], kept);
        let mut run = transcript(AREA.name, [("set", 200, ""), ("set/again/1", 200, r#"{"status":"OK"}"#)]);
        broken(carried_out(&Evidence::new(&run, AREA.name), "set"));
        run.exchanges[0].answer = Err(crate::http::Fault::Silent(0));
        kept(carried_out(&Evidence::new(&run, AREA.name), "set"));
    }
}
