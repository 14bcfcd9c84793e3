//! /providers: the lists of services that can be activated. They may come from the internet, so one that cannot be had is
//! not the meter's fault.

use serde_json::Value;

use crate::catalogue::Area;
use crate::danger::Class;
use crate::evidence::Evidence;
use crate::http::Request;
use crate::lab::{Lab, Stop};
use crate::verdict::{Finding, Rule};

/// See the module.
pub const AREA: Area = Area {
    name: "providers",
    class: Class::Safe,
    touches: "reads the lists of providers",
    params: &[],
    play,
    rules: RULES,
};

fn play(lab: &mut Lab<'_>) -> Result<(), Stop> {
    for service in ["alert", "push"] {
        lab.get(service, &format!("/providers/{service}"))?;
        lab.send(&format!("anonymous/{service}"), &Request::get(&format!("/providers/{service}")).anonymous())?;
    }
    Ok(())
}

const RULES: &[Rule] = &[
    Rule::should(
        "providers/01",
        "WebAPI /providers/alert",
        "/providers/alert is `reply`, with an array `providers` of `name` and `control`.",
        |ev| list(ev, "alert"),
    ),
    Rule::should(
        "providers/02",
        "WebAPI /providers/push",
        "/providers/push is `reply`, with an array `providers` of `name` and `control`.",
        |ev| list(ev, "push"),
    ),
    Rule::must("providers/03", "WebAPI /providers, 401", "Without a login the lists are a 401.", |ev| {
        for it in ev.all("anonymous/")? {
            // What is not served at all need not tell whether there is a login.
            if it.reply()?.status != 404 {
                it.unauthorized()?;
            }
        }
        Ok(Finding::Kept)
    }),
];

fn list(ev: &Evidence<'_>, service: &str) -> Result<Finding, Finding> {
    let it = ev.get(service)?;
    let body = it.object()?;
    if it.reply()?.status == 200
        && let Some(Value::String(why)) = body.get("error")
    {
        return Err(Finding::NoEvidence(format!("the meter has no list: {why}")));
    }
    let body = it.success()?;
    let providers = body.get("reply").and_then(|it| it.get("providers")).and_then(Value::as_array);
    let Some(providers) = providers else {
        return Err(it.broken("`reply` must hold an array `providers`"));
    };
    for provider in providers {
        let strings = ["name", "control"].iter().all(|it| provider[*it].is_string());
        it.want(strings, "each provider needs strings `name` and `control`")?;
        let version = provider.get("version").is_none_or(Value::is_u64);
        it.want(version, "`version` must be an integer from 0")?;
    }
    Ok(Finding::Kept)
}

#[cfg(test)]
mod tests {
    use crate::evidence::testing::{broken, judge, kept, untested};

    #[test]
    fn the_wrapper_is_reply() {
        let push = |body| judge("providers/02", &[("push", 200, body)]);
        kept(push(r#"{"reply":{"providers":[]}}"#));
        kept(push(r#"{"reply":{"providers":[{"name":"n","control":"http://x","version":1}]}}"#));
        broken(push(r#"{"result":{"providers":[]}}"#));
        broken(push(r#"{"reply":{"providers":[{"name":"n"}]}}"#));
        broken(push(r#"{"reply":{"providers":[{"name":"n","control":"c","version":"1"}]}}"#));
        untested(push(r#"{"error":"no internet"}"#));
    }
}
