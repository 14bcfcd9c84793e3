//! `POST /cmd/activate`: `{"service": "alert" or "push", "provider": "..."}`.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;

use super::super::device::failure;
use super::super::{App, failed, note};
use super::{BadMember, bad};
use crate::config::Config;
use crate::drivers::provider::{Errand, Service, activate};
use crate::drivers::reach::Reach;
use crate::http::{Answer, Reply};
use crate::ops::{Launch, Outcome, Who};
use crate::platform::PlatformError;
use crate::sys;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    service: Option<String>,
    provider: Option<String>,
}

/// What is to be activated with whom.
#[derive(Debug, PartialEq)]
pub(super) struct Wish {
    service: Service,
    provider: String,
}

/// The wish of a body.
pub(super) fn parse(body: &[u8]) -> Result<Wish, BadMember> {
    let body = body.trim_ascii();
    // serde would take a list for the members in their order.
    if !body.is_empty() && body != b"null" && !body.starts_with(b"{") {
        return bad("body", "must be an object with the members service and provider.");
    }
    let body: Option<Body> = match serde_json::from_slice(if body.is_empty() { b"null" } else { body }) {
        Ok(body) => body,
        Err(err) => return bad("body", format!("{err}.")),
    };
    let Body { service, provider } = body.unwrap_or(Body { service: None, provider: None });
    let service = match service.as_deref() {
        None => return bad("service", "missing; it must be \"alert\" or \"push\"."),
        Some("alert") => Service::Alert,
        Some("push") => Service::Push,
        Some(_) => return bad("service", "must be \"alert\" or \"push\"."),
    };
    match provider {
        None => bad("provider", format!("missing; /providers/{} has the names.", service.word())),
        Some(provider) => Ok(Wish { service, provider }),
    }
}

/// What the configuration makes of a wish; the error is an answer.
fn errand(config: &Config, wish: &Wish) -> Result<Errand, String> {
    let service = wish.service;
    let known = service.providers(&config.providers);
    if known.is_empty() {
        let key = match service {
            Service::Alert => "providers.alert",
            Service::Push => "providers.push",
        };
        return Err(PlatformError::Missing(key).to_string());
    }
    let Some(provider) = known.iter().find(|it| it.name == wish.provider) else {
        let names: Vec<_> = known.iter().map(|it| it.name.as_str()).collect();
        return Err(format!("provider: unknown; for {} there are: {}.", service.word(), names.join(", ")));
    };
    let Some(serial) = config.identity.serial.clone() else {
        return Err(PlatformError::Missing("identity.serial").to_string());
    };
    Ok(Errand {
        service,
        provider: provider.clone(),
        name: config.identity.hostname.clone().unwrap_or_else(sys::host::name),
        serial,
        options: config.providers.options.clone(),
    })
}

/// Begins the activation and answers with its token at once.
pub(in crate::api) fn run(app: &Arc<App>, body: &[u8], who: Who) -> Answer {
    let errand = match parse(body) {
        Ok(wish) => errand(&app.config, &wish),
        Err(err) => Err(err.to_string()),
    };
    let errand = match errand {
        Ok(errand) => errand,
        Err(text) => return Answer::Now(failed(&text)),
    };
    let app = Arc::clone(app);
    Answer::Detach(Box::new(move |exchange| {
        let command = format!("activate {} {}", errand.service.word(), errand.provider.name);
        let launch = Launch { kind: "activate", command: command.clone(), who: who.clone() };
        let (reach, state_dir) = (Reach::new(&app.config), app.config.state_dir.clone());
        let platform = Arc::clone(&app.platform);
        let begun =
            app.store.launch(launch, move |work| match activate(&errand, &reach, &platform, &state_dir, work) {
                Ok(result) => Outcome { fault: None, result: Some(result) },
                Err(err) => failure(err.tag(), err.is_cancelled(), err.to_string()),
            });
        exchange.reply(match begun {
            Ok((_, token)) => Reply::json(200, &json!({ "token": token.as_str() })),
            Err(err) => {
                let text = err.to_string();
                note(&app, &who, &command, &text);
                failed(&text)
            }
        });
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Identity, Provider, Providers};

    #[track_caller]
    fn check(config: &Config, body: &str, expect: &str) {
        let got = match parse(body.as_bytes()).map_err(|err| err.to_string()).and_then(|it| errand(config, &it)) {
            Ok(it) => format!("{} {} {} {}", it.service.word(), it.provider.control, it.name, it.serial),
            Err(text) => format!("error: {text}"),
        };
        assert!(got.starts_with(expect), "{got}\nexpected {expect}");
    }

    fn config(serial: Option<&str>) -> Config {
        let provider = |name: &str| Provider { name: name.into(), control: format!("https://{name}.test/") };
        let push = vec![provider("one"), provider("two")];
        Config {
            providers: Providers { push, ..Providers::default() },
            identity: Identity { hostname: Some("m".into()), serial: serial.map(String::from), ..Identity::default() },
            ..Config::default()
        }
    }

    #[test]
    fn a_service_and_a_provider_are_needed() {
        let config = config(Some("1"));
        check(&config, r#"{"service":"push","provider":"two"}"#, "push https://two.test/ m 1");
        for body in ["", "{}", "null", r#"{"provider":"one","service":null}"#] {
            check(&config, body, "error: service: missing");
        }
        check(&config, r#"{"service":"pull","provider":"one"}"#, "error: service: must be");
        check(&config, r#"{"service":"push"}"#, "error: provider: missing; /providers/push has");
        check(
            &config,
            r#"{"service":"push","provider":"three"}"#,
            "error: provider: unknown; for push there are: one, two.",
        );
        check(&config, r#"{"service":"push","provider":1}"#, "error: body: invalid type");
        check(&config, r#"{"service":"push","providr":"x"}"#, "error: body: unknown field `providr`");
        check(&config, r#"{"service":"push","service":"push"}"#, "error: body: duplicate field");
        check(&config, r#"["push","one"]"#, "error: body: must be an object");
    }

    #[test]
    fn what_the_configuration_lacks_is_named() {
        check(
            &config(Some("1")),
            r#"{"service":"alert","provider":"one"}"#,
            "error: this meter is not set up for it: providers.alert",
        );
        check(
            &config(None),
            r#"{"service":"push","provider":"one"}"#,
            "error: this meter is not set up for it: identity.serial",
        );
    }
}
