//! `GET /openapi.json`: what this API looks like, for programs (OpenAPI 3.1). The description is the file beside this
//! one, served as it stands: building it for each request would cost more memory than it takes in the binary. That it
//! says what the router does is for the tests to see.

use std::borrow::Cow;

use crate::http::Reply;

/// One line for each path and for each component.
const TEXT: &str = include_str!("openapi.json");

/// The description.
pub(super) fn get() -> Reply {
    Reply { status: 200, body: Cow::Borrowed(TEXT.as_bytes()), headers: Vec::new() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use serde_json::{Map, Value, json};

    use super::super::route::{self, Need, ROUTES};
    use super::*;

    fn description() -> Value {
        serde_json::from_str(TEXT).unwrap()
    }

    /// `at` itself, or what it refers to.
    fn resolved<'a>(all: &'a Value, at: &'a Value) -> &'a Value {
        match at.get("$ref").and_then(Value::as_str) {
            Some(to) => all.pointer(to.strip_prefix('#').unwrap()).unwrap_or_else(|| panic!("{to} leads nowhere")),
            None => at,
        }
    }

    fn paths(all: &Value) -> &Map<String, Value> {
        all["paths"].as_object().unwrap()
    }

    /// The operations of a path by their methods, in lower case.
    fn operations<'a>(all: &'a Value, item: &'a Value) -> Vec<(&'a str, &'a Value)> {
        let members = resolved(all, item).as_object().unwrap();
        members.iter().filter(|it| it.0 != "parameters").map(|(name, value)| (name.as_str(), value)).collect()
    }

    fn security(need: Need) -> Value {
        match need {
            Need::Nobody => json!([]),
            Need::Login => json!([{ "token": [] }]),
            Need::View => json!([{ "token": ["view_settings"] }, { "token": ["save"] }]),
            Need::Save => json!([{ "token": ["save"] }]),
        }
    }

    #[test]
    fn every_path_that_is_described_is_served_with_these_methods_and_rights() {
        let all = description();
        for (path, item) in paths(&all) {
            let concrete = path.replace("{token}", &"0".repeat(32)).replace("{idx}", "0");
            let found = route::find(&concrete).unwrap_or_else(|| panic!("{path} is not served"));
            let operations = operations(&all, item);
            let mut methods: Vec<_> = operations.iter().map(|it| it.0.to_ascii_uppercase()).collect();
            methods.sort_by_key(|it| it != "GET");
            assert_eq!(methods.join(", "), found.methods, "{path}");
            for (method, operation) in operations {
                let need = found.need_of(&method.to_ascii_uppercase()).unwrap();
                assert_eq!(operation.get("security").unwrap_or(&all["security"]), &security(need), "{method} {path}");
            }
        }
    }

    #[test]
    fn every_path_that_is_served_is_described() {
        let all = description();
        for route in ROUTES {
            let path = match route.path {
                "/sys/status/*" => "/sys/status/{token}",
                path => path.trim_end_matches("/*"),
            };
            assert!(paths(&all).contains_key(path), "{path}");
        }
    }

    /// Paths of the members that a schema has, as far down as it tells.
    fn members(all: &Value, at: String, schema: &Value, found: &mut BTreeSet<String>) {
        let schema = resolved(all, schema);
        found.insert(at.clone());
        if let Some(items) = schema.get("items") {
            members(all, format!("{at}/{{idx}}"), items, found);
        }
        for (name, schema) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            members(all, format!("{at}/{name}"), schema, found);
        }
    }

    #[test]
    fn every_member_that_can_be_asked_for_by_its_path_is_described_and_no_other() {
        let all = description();
        let stems = ROUTES.iter().filter_map(|it| it.path.strip_suffix("/*"));
        for stem in stems.map(|it| if it == "/sys/status" { "/sys/status/{token}" } else { it }) {
            let item = resolved(&all, &all["paths"][stem]);
            let schema = &item["get"]["responses"]["200"]["content"]["application/json"]["schema"];
            // The first is that of the whole, the second what `filter` and `max-depth` leave.
            let whole = &schema["allOf"][1]["properties"]["result"]["anyOf"][0];
            let mut expect = BTreeSet::new();
            members(&all, stem.to_string(), whole, &mut expect);
            let below = format!("{stem}/");
            let got = paths(&all).keys().filter(|it| *it == stem || it.starts_with(&below)).cloned();
            assert_eq!(got.collect::<BTreeSet<_>>(), expect);
        }
    }

    #[test]
    fn nothing_in_it_leads_nowhere() {
        fn visit(all: &Value, at: &Value) {
            resolved(all, at);
            match at {
                Value::Object(members) => members.values().for_each(|it| visit(all, it)),
                Value::Array(items) => items.iter().for_each(|it| visit(all, it)),
                _ => {}
            }
        }
        let all = description();
        visit(&all, &all);
    }

    /// The texts in capitals that the sources of `path`, a file or a folder, have outside of their tests.
    fn capitals(path: &Path, found: &mut BTreeSet<String>) {
        if path.is_dir() {
            return fs::read_dir(path).unwrap().for_each(|it| capitals(&it.unwrap().path(), found));
        }
        if ["tests.rs", "testing.rs"].iter().any(|it| path.ends_with(it)) {
            return;
        }
        let text = fs::read_to_string(path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for word in
            code.lines().filter(|it| !it.trim().starts_with("//")).flat_map(|it| it.split('"').skip(1).step_by(2))
        {
            if word.len() > 2 && word.bytes().all(|it| it.is_ascii_uppercase() || it == b'_') {
                found.insert(word.to_string());
            }
        }
    }

    #[test]
    fn the_tags_of_a_status_are_those_of_the_sources() {
        let all = description();
        let schemas = &all["components"]["schemas"];
        let enumerated = ["InfoTag", "ErrorTag"].map(|it| schemas[it]["enum"].as_array().unwrap());
        let described: BTreeSet<_> =
            enumerated.into_iter().flatten().map(|it| it.as_str().unwrap().to_string()).collect();
        let mut found = BTreeSet::new();
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        for it in ["ops/status.rs", "ops/store.rs", "ops/threads.rs", "api/cmd", "drivers/update", "drivers/provider"] {
            capitals(&sources.join(it), &mut found);
        }
        for it in ["error.rs", "job.rs"] {
            capitals(&sources.join("drivers/register_db").join(it), &mut found);
        }
        assert_eq!(found, described);
    }

    #[test]
    fn it_stays_small() {
        assert!(TEXT.len() < 44 * 1024, "{}", TEXT.len());
    }
}
