//! Whatever stands behind the `?` of a target: options are decoded or refused, a filter keeps only what is there, and
//! `max-depth` leaves as many levels as it says.

use meterd::api::filter::{Filter, max_depth};
use meterd::api::query::Query;
use serde_json::Value;

/// See the module.
pub fn check(data: &[u8]) {
    // A query, and after a line's end the value that it is about.
    let text = String::from_utf8_lossy(data);
    let (raw, value) = text.split_once('\n').unwrap_or((&text, r#"{"a":[{"b":1},{"b":[2,{"c":null}]}],"d":{"b":{}}}"#));
    let Ok(value) = serde_json::from_str::<Value>(value) else { return };
    match Query::parse(raw) {
        Ok(mut query) => {
            let filter = query.take("filter");
            assert_eq!(query.take("filter"), None);
            filtered(filter.as_deref().unwrap_or_default(), &value);
        }
        Err(err) => assert!(!err.to_string().is_empty()),
    }
    // As it is, so that the fuzzer need not find the name of the option.
    filtered(raw, &value);
    for depth in 1..6 {
        let cut = max_depth(value.clone(), depth);
        assert!(levels(&cut) <= depth, "{depth}: {cut}");
        assert!(depth <= levels(&value) || cut == value, "{depth}: {cut}");
    }
}

fn filtered(text: &str, value: &Value) {
    match Filter::parse(text) {
        Ok(filter) => {
            let kept = filter.apply(value.clone());
            assert!(is_part(&kept, value), "{text}: {kept} of {value}");
            assert!(!text.is_empty() || kept == *value);
        }
        Err(err) => assert!(err.to_string().starts_with("filter: ")),
    }
}

/// Whether `part` is `whole` with members and elements left out, in their order.
fn is_part(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => {
            part.iter().all(|(name, it)| whole.get(name).is_some_and(|other| is_part(it, other)))
        }
        (Value::Array(part), Value::Array(whole)) => {
            let mut rest = whole.iter();
            part.iter().all(|it| rest.any(|other| is_part(it, other)))
        }
        (part, whole) => part == whole,
    }
}

/// Levels of objects and arrays in a value. The list of names that stands for an object is no level more.
fn levels(value: &Value) -> usize {
    match value {
        Value::Object(members) => 1 + members.values().map(levels).max().unwrap_or(0),
        Value::Array(elements) => 1 + elements.iter().map(levels).max().unwrap_or(0),
        _ => 0,
    }
}
