//! What `/sys/status/{token}` says of an operation, in the words of the WebAPI.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

/// Why an operation failed: the wire's tag with its arguments, and the same in plain words for `error` of a reply.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// Machine tag, such as `BADREG`.
    pub tag: Cow<'static, str>,
    /// Arguments of the tag; always as many as its text needs.
    pub args: Vec<String>,
    /// Plain words that name the member at fault.
    pub text: String,
}

impl Fault {
    /// The operation was cancelled.
    pub fn cancelled() -> Self {
        Fault { tag: "CANCELED".into(), args: Vec::new(), text: "Cancelled.".into() }
    }

    /// A mistake of the service itself.
    pub fn internal() -> Self {
        Fault { tag: "INTERNAL".into(), args: Vec::new(), text: "An internal error occurred.".into() }
    }

    /// The service was stopped in good order, and the operation cannot go on; `text` is what its driver says of an end
    /// that was asked for.
    pub fn stopped(text: &str) -> Self {
        let effect = match text.strip_prefix("Cancelled") {
            Some(rest) => rest.trim_end_matches('.').to_string(),
            None => format!(". {}", text.trim_end_matches('.')),
        };
        Fault { text: format!("Stopped with the service{effect}. Start it again."), ..Fault::interrupted() }
    }

    /// The service was stopped or lost power, and the operation cannot go on.
    pub fn interrupted() -> Self {
        let text = "The operation was interrupted by a restart of the meter; start it again.";
        Fault { tag: "INTERRUPTED".into(), args: Vec::new(), text: text.into() }
    }
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The failure; absent on success.
    pub fault: Option<Fault>,
    /// The `result` member, for operations that have one.
    pub result: Option<Value>,
}

/// A moment of an operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// When the record was made: Unix seconds of the wall clock as a decimal string.
    pub ts: String,
    /// Between 0 and 1; absent before there is anything to say.
    pub progress: Option<f64>,
    /// Tag of the current action.
    pub info: Option<Cow<'static, str>>,
    /// Arguments of `info`.
    pub args: Vec<String>,
    /// Set once it is over.
    pub outcome: Option<Outcome>,
    /// The growing `result` of a running operation.
    pub result: Option<Value>,
}

impl Status {
    /// The object of `/sys/status/{token}`. Absent members are left out, `progress` always has a decimal point and
    /// `args` belongs to `error` if there is one, else to `info`: the official client relies on all three.
    pub fn to_json(&self) -> Value {
        let mut res = Map::new();
        let fault = self.outcome.as_ref().and_then(|it| it.fault.as_ref());
        let args = fault.map_or(&self.args, |it| &it.args);
        if !args.is_empty() {
            res.insert("args".into(), json!(args));
        }
        res.insert("done".into(), json!(self.outcome.is_some()));
        if let Some(fault) = fault {
            res.insert("error".into(), json!(fault.tag));
        }
        if let Some(info) = &self.info {
            res.insert("info".into(), json!(info));
        }
        if let Some(progress) = self.progress {
            res.insert("progress".into(), json!(progress.clamp(0.0, 1.0)));
        }
        if let Some(result) = self.outcome.as_ref().and_then(|it| it.result.as_ref()).or(self.result.as_ref()) {
            res.insert("result".into(), result.clone());
        }
        res.insert("ts".into(), json!(self.ts));
        Value::Object(res)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> Status {
        Status {
            ts: "1.5".into(),
            progress: Some(0.0),
            info: Some("RESTORE".into()),
            args: vec![],
            outcome: None,
            result: None,
        }
    }

    #[test]
    fn a_stop_of_the_service_is_no_cancellation() {
        for (text, expect) in [
            ("Cancelled.", "Stopped with the service. Start it again."),
            ("Cancelled; nothing was installed.", "Stopped with the service; nothing was installed. Start it again."),
            ("It was not set.", "Stopped with the service. It was not set. Start it again."),
        ] {
            let fault = Fault::stopped(text);
            assert_eq!((fault.tag.as_ref(), fault.text.as_str()), ("INTERRUPTED", expect));
        }
    }

    #[test]
    fn progress_always_has_a_decimal_point() {
        let mut status = running();
        assert_eq!(status.to_json().to_string(), r#"{"done":false,"info":"RESTORE","progress":0.0,"ts":"1.5"}"#);
        status.progress = Some(1.0);
        assert!(status.to_json().to_string().contains(r#""progress":1.0"#));
    }

    #[test]
    fn the_arguments_of_an_error_come_before_those_of_the_info() {
        let mut status = running();
        status.args = vec!["x".into()];
        let fault = Fault { tag: "BADREG".into(), args: vec!["Grid".into()], text: String::new() };
        status.outcome = Some(Outcome { fault: Some(fault), result: None });
        let json = status.to_json();
        assert_eq!((&json["args"], &json["error"], &json["done"]), (&json!(["Grid"]), &json!("BADREG"), &json!(true)));
    }
}
