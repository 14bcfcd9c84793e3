//! `/providers/...`, the providers of the configuration, and the services that are activated with them:
//! `/config/push/service` and `/config/alert/reporter/web/service`.

use std::sync::Arc;

use serde_json::{Value, json};

use super::query::Query;
use super::{App, failed, note, ok, shape};
use crate::drivers::provider::{self, Service};
use crate::http::{Answer, Reply};
use crate::ops::Who;

/// The version of the activation protocol that is spoken here: the JSON one.
const VERSION: u32 = 1;

/// `GET /providers/{service}`; the WebAPI wraps these lists in `reply`.
pub(super) fn list(app: &App, service: Service, query: Query) -> Reply {
    let all = service.providers(&app.config.providers).iter();
    let all: Vec<_> = all.map(|it| json!({ "name": it.name, "control": it.control, "version": VERSION })).collect();
    match shape(json!({ "providers": all }), query) {
        Ok(value) => Reply::json(200, &json!({ "reply": value })),
        Err(text) => failed(&text),
    }
}

/// The name of the provider with which a service is activated; empty if there is none.
pub(super) fn active(app: &App, service: Service) -> Result<Value, String> {
    match provider::name(&app.config.state_dir, service) {
        Ok(name) => Ok(json!(name.unwrap_or_default())),
        Err(err) => Err(format!("The {} service cannot be read: {err}.", service.word())),
    }
}

/// Ends a service. That is on disk before it is answered, which may take a moment.
pub(super) fn end(app: &Arc<App>, service: Service, who: Who) -> Answer {
    let app = Arc::clone(app);
    Answer::Detach(Box::new(move |exchange| {
        let command = format!("end service {}", service.word());
        exchange.reply(match provider::end(&app.config.state_dir, service) {
            Ok(()) => {
                note(&app, &who, &command, "OK");
                ok()
            }
            Err(err) => {
                let text = format!("The {} service cannot be ended: {err}.", service.word());
                note(&app, &who, &command, &text);
                failed(&text)
            }
        });
    }))
}
