//! `POST /cmd/update`: its members become an order for the driver. Listing is answered when the server has answered;
//! installing is an operation, and the reply is its token.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::{App, failed, note};
use super::{BadMember, bad};
use crate::config::{Target, check_branch};
use crate::drivers::reach::{Lookout, Reach};
use crate::drivers::update::{self, Failure, Order, Plan, Version};
use crate::drivers::{Watch, power};
use crate::http::{Answer, Exchange, Reply, Request};
use crate::ops::{Fault, Launch, Outcome, Who, Work};

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Body {
    action: Option<Value>,
    target: Option<Value>,
    branch: Option<Value>,
    force: Option<Value>,
    version: Option<Value>,
}

/// What is to be done with an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    List,
    Install,
}

/// The order of a body.
pub(super) fn parse(body: &[u8]) -> Result<(Action, Order), BadMember> {
    let body = members(body)?;
    let action = match text("action", body.action)?.as_deref() {
        Some("list") => Action::List,
        Some("install") => Action::Install,
        Some(_) => return bad("action", "must be \"list\" or \"install\"."),
        None => return bad("action", "missing; it must be \"list\" or \"install\"."),
    };
    let target = match text("target", body.target)?.as_deref() {
        Some("fw") => Target::Fw,
        Some("kernel") => Target::Kernel,
        Some(_) => return bad("target", "must be \"fw\" or \"kernel\"."),
        None => return bad("target", "missing; it must be \"fw\" or \"kernel\"."),
    };
    let branch = text("branch", body.branch)?;
    // An empty one is the default release branch.
    if let Some(Err(reason)) = branch.as_deref().filter(|it| !it.is_empty()).map(check_branch) {
        return bad("branch", format!("{reason}."));
    }
    let force = match body.force {
        None => false,
        Some(Value::Bool(force)) => force,
        Some(_) => return bad("force", "must be true or false."),
    };
    let version = text("version", body.version)?.map(|it| Version::parse(&it)).transpose();
    let version = version.or_else(|reason| bad("version", format!("{reason}.")))?;
    Ok((action, Order { target, branch, force, version }))
}

/// Lists what there is, or begins to install it.
pub(in crate::api) fn run(app: &Arc<App>, request: &Request, who: Who) -> Answer {
    let (action, order) = match parse(&request.body) {
        Ok(parsed) => parsed,
        Err(err) => return Answer::Now(failed(&err.to_string())),
    };
    let lacking = app.platform.lacks_installer(order.target).filter(|_| action == Action::Install);
    let target = order.target;
    let plan = match lacking.map_or_else(|| update::plan(order, &app.config), |key| Err(Failure::Missing(key))) {
        Ok(plan) => plan,
        Err(err) => return Answer::Now(failed(&err.to_string())),
    };
    let app = Arc::clone(app);
    Answer::Detach(Box::new(move |exchange| match action {
        Action::List => list(&app, &plan, exchange),
        Action::Install => install(app, plan, target, who, exchange),
    }))
}

fn list(app: &App, plan: &Plan, exchange: Exchange) {
    let deadline: Duration = exchange.received() + app.config.limits.reply_within();
    let look = Lookout { watch: &Nobody, deadline };
    exchange.reply(match update::list(plan, &Reach::new(&app.config), &look) {
        Ok(offer) => {
            let mut res = json!({ "version": offer.version });
            if let Some(minimum) = offer.minimum {
                res["minimum"] = json!(minimum);
            }
            if let Some(withheld) = offer.withheld {
                res["status"] = json!(withheld);
            }
            Reply::json(200, &res)
        }
        Err(err) => failed(&err.to_string()),
    });
}

fn install(app: Arc<App>, plan: Plan, target: Target, who: Who, exchange: Exchange) {
    let command = format!("update install {}{}", target.name(), plan.wishes());
    let launch = Launch { kind: "update", command: command.clone(), who: who.clone() };
    let begun = {
        let app = Arc::clone(&app);
        app.clone().store.launch(launch, move |work| outcome(&app, &plan, work))
    };
    exchange.reply(match begun {
        Ok((_, token)) => Reply::json(200, &json!({ "token": token.as_str() })),
        Err(err) => {
            let text = err.to_string();
            note(&app, &who, &command, &text);
            failed(&text)
        }
    });
}

fn outcome(app: &App, plan: &Plan, work: &Work) -> Outcome {
    let (result, ended) = update::install(plan, &Reach::new(&app.config), &app.platform, work);
    if ended.is_ok()
        && let Err(err) = power::need(&app.config.state_dir, &app.boot_id)
    {
        // What was installed is not undone because `/sys/reboot` does not know of it.
        log::error!("that a reboot is needed could not be recorded: {err}");
    }
    let fault = ended.err().map(|err| {
        let (tag, args) = err.fault();
        Fault { tag: tag.into(), args, text: err.to_string() }
    });
    Outcome { fault, result: Some(result) }
}

/// A list has no token by which anybody could cancel it.
struct Nobody;

impl Watch for Nobody {
    fn cancelled(&self) -> bool {
        false
    }
    fn progress(&self, _: f64) {}
    fn result(&self, _: Value) {}
}

fn members(body: &[u8]) -> Result<Body, BadMember> {
    match body.trim_ascii() {
        b"" | b"null" => Ok(Body::default()),
        [b'{', ..] => serde_json::from_slice(body).or_else(|err| bad("body", format!("{err}."))),
        // serde would take a list for the members in their order.
        _ => bad("body", "must be an object with the members action and target."),
    }
}

fn text(name: &'static str, value: Option<Value>) -> Result<Option<String>, BadMember> {
    match value {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => bad(name, "must be a string."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, expect: &str) {
        let got = match parse(body.as_bytes()) {
            Ok((action, Order { target, branch, force, version })) => {
                let version = version.map(|it| it.to_string());
                format!("{action:?} {} {branch:?} {force} {version:?}", target.name())
            }
            Err(err) => format!("error: {err}"),
        };
        assert!(got.starts_with(expect), "{body}\n{got}\nexpected {expect}");
    }

    #[test]
    fn members_become_an_order() {
        check(r#"{"action":"list","target":"fw"}"#, "List fw None false None");
        check(r#"{"action":"list","target":"kernel","branch":""}"#, r#"List kernel Some("") false None"#);
        check(
            r#"{"action":"install","target":"fw","branch":"beta-2","force":true,"version":"4.5alpha1"}"#,
            r#"Install fw Some("beta-2") true Some("4.5alpha1")"#,
        );
        check(
            r#"{"action":"install","target":"fw","branch":null,"force":null,"version":null}"#,
            "Install fw None false None",
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for body in ["", "{}", "null", r#"{"target":"fw"}"#] {
            check(body, r#"error: action: missing; it must be "list" or "install"."#);
        }
        check(r#"{"action":"install"}"#, r#"error: target: missing; it must be "fw" or "kernel"."#);
        check(r#"{"action":"remove","target":"fw"}"#, "error: action: must be");
        check(r#"{"action":"list","target":"skin"}"#, "error: target: must be");
        check(r#"{"action":1,"target":"fw"}"#, "error: action: must be a string.");
        for branch in ["..", "../x", "a/b", ".x", "a b", "a%2f", "\u{e9}", "a\\n"] {
            let body = format!(r#"{{"action":"list","target":"fw","branch":"{branch}"}}"#);
            check(&body, "error: branch: must consist of");
        }
        check(r#"{"action":"list","target":"fw","branch":7}"#, "error: branch: must be a string.");
        check(r#"{"action":"install","target":"fw","force":1}"#, "error: force: must be true or false.");
        check(r#"{"action":"install","target":"fw","version":4.5}"#, "error: version: must be a string.");
        check(r#"{"action":"install","target":"fw","version":""}"#, "error: version: must begin with a digit.");
        check(r#"{"action":"list","target":"fw","verison":"1"}"#, "error: body: unknown field `verison`");
        check(r#"{"action":"list","action":"install"}"#, "error: body: duplicate field `action`");
        check(r#"["list","fw"]"#, "error: body: must be an object");
        check(r#"{"action":"list""#, "error: body: EOF");
    }
}
