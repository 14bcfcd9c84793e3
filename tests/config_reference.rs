//! `init/config.md` is the reference of the configuration. It is made from the sources: keys, types and meaning from the
//! structs of `src/config.rs` and their comments, defaults from what the code makes of a file that leaves a key out.
//!
//! `METERD_WRITE=1 cargo test --test config_reference` writes it anew.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use meterd::config::Config;

/// A file in which everything that may be left out as a whole is there, with what it cannot do without.
const WHOLE: &str = r#"{
    "listen": [{"unix": "/run/meterd/front.sock"}],
    "platform": {"ntp": {"stop": ["x"], "start": ["x"]}, "ptp": {"stop": ["x"], "start": ["x"]}},
    "wlan": {"control": "/run/wpa_supplicant/wlan0", "config": "/etc/wpa_supplicant.conf"},
    "homeplug": {"interface": "eth1"},
    "providers": {"alert": [{"name": "x", "control": "http://x.example/"}], "push": [{"name": "x", "control": "http://x.example/"}]},
    "remote_maps": {"NAME": {"registers": [{"name": "x", "register": 0, "type": "P"}]}},
    "update": {"url": "http://x.example/", "public_key": "RWS7OLKbDMDJ5ctMqW9gFjHW/+Ega0iIZ3SHeDAhawJgLbdxUCO2/coe"}
}"#;

const HEAD: &str = "\
# The configuration, key by key

`meterd --config FILE` reads one JSON file; `init/meterd.json` is an example of a whole one. A key that is not known is an
error that names it, and so is a value that makes no sense: `meterd check --config FILE` says it without starting. A key in
bold has no default. Where a whole object is left out, the meter has no such part, and a command that needs it names the
key that is missing. Without any file the service runs in bench mode.

This page is made from `src/config.rs` and `src/config/` by `METERD_WRITE=1 cargo test --test config_reference`; `cargo
test` fails where the two differ.
";

/// A member of a struct, as the source has it.
struct Field {
    key: String,
    kind: String,
    says: String,
    has_default: bool,
}

/// A struct or an enum.
#[derive(Default)]
struct Type {
    says: String,
    fields: Vec<Field>,
    /// The words of an enum.
    words: Vec<String>,
}

/// Reads the public types of all configuration sources. Their form is rustfmt's, which is what makes this simple.
fn types() -> BTreeMap<String, Type> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files: Vec<PathBuf> = fs::read_dir(root.join("config")).unwrap().map(|it| it.unwrap().path()).collect();
    files.push(root.join("config.rs"));
    let mut res = BTreeMap::new();
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        read_types(text.split("#[cfg(test)]").next().unwrap(), &mut res);
    }
    res
}

fn read_types(text: &str, res: &mut BTreeMap<String, Type>) {
    let (mut says, mut attributes) = (String::new(), String::new());
    let mut open: Option<(String, Type, bool)> = None;
    for line in text.lines() {
        let trimmed = line.trim();
        if let Some(comment) = trimmed.strip_prefix("/// ") {
            says += if says.is_empty() { "" } else { " " };
            says += comment;
            continue;
        }
        if trimmed.starts_with("#[") {
            attributes += trimmed;
            continue;
        }
        let (comment, attribute) = (std::mem::take(&mut says), std::mem::take(&mut attributes));
        if line == "}" {
            res.extend(open.take().map(|it| (it.0, it.1)));
            continue;
        }
        let opens = ["pub struct ", "pub enum "].iter().find_map(|it| line.strip_prefix(it)?.strip_suffix(" {"));
        if let Some(name) = opens {
            open = Some((name.into(), Type { says: comment, ..Type::default() }, attribute.contains(", default)")));
        } else if let Some((_, found, all_default)) = &mut open {
            if let Some((name, kind)) = trimmed.strip_prefix("pub ").and_then(|it| it.split_once(": ")) {
                let renamed = attribute.split("rename = \"").nth(1).and_then(|it| it.split('"').next());
                let kind = kind.trim_end_matches(',').to_string();
                let has_default = *all_default || kind.starts_with("Option<") || attribute.contains("serde(default");
                found.fields.push(Field { key: renamed.unwrap_or(name).into(), kind, says: comment, has_default });
            } else if let Some(word) =
                trimmed.strip_suffix(',').filter(|it| it.bytes().all(|it| it.is_ascii_alphanumeric()))
            {
                found.words.push(word.to_lowercase());
            }
        }
    }
}

/// The innermost type, and how it is wrapped in words.
fn unwrapped(kind: &str) -> (&str, &str) {
    for (before, words) in [("Vec<", "list"), ("BTreeMap<String, ", "object")] {
        if let Some(inner) = kind.strip_prefix(before) {
            return (inner.trim_end_matches('>'), words);
        }
    }
    match kind.strip_prefix("Option<").and_then(|it| it.strip_suffix('>')) {
        Some(inner) => unwrapped(inner),
        None => (kind, ""),
    }
}

fn type_words(kind: &str, types: &BTreeMap<String, Type>) -> String {
    let (inner, wrapped) = unwrapped(kind);
    let single = match inner {
        "bool" => "true or false".into(),
        "String" => "text".into(),
        "PathBuf" => "path".into(),
        "usize" | "u64" | "u32" | "u16" => "whole number".into(),
        "f64" => "number".into(),
        "Subnet" => "network, such as `\"10.0.0.0/8\"`".into(),
        "Command" => "program with its arguments, a list of texts".into(),
        "Listen" => "`\"ADDRESS:PORT\"` or object".into(),
        name => match types.get(name) {
            Some(found) if !found.words.is_empty() => {
                found.words.iter().map(|it| format!("`\"{it}\"`")).collect::<Vec<_>>().join(", ")
            }
            Some(_) => "object".into(),
            None => panic!("{name} has no words for this page"),
        },
    };
    match wrapped {
        "list" => format!("list of: {single}"),
        "object" => format!("object, by names of: {single}"),
        _ => single,
    }
}

/// What the code's own `Debug` says of each member, by the path of its names; lists and maps by their first element.
fn values(debug: &str) -> BTreeMap<String, String> {
    let mut res = BTreeMap::new();
    let mut path: Vec<String> = Vec::new();
    for line in debug.lines() {
        let line = line.trim();
        let (name, value) = match line.split_once(": ") {
            Some((name, value)) => (name.trim_matches('"'), value),
            None => ("", line),
        };
        if value.ends_with(['{', '[', '(']) {
            path.push(name.into());
        } else if line.starts_with(['}', ']', ')']) {
            path.pop();
        } else {
            let at: Vec<&str> = path.iter().map(String::as_str).chain([name]).filter(|it| !it.is_empty()).collect();
            res.entry(at.join(".")).or_insert(value.trim_end_matches(',').to_string());
        }
    }
    res
}

struct Page<'a> {
    types: &'a BTreeMap<String, Type>,
    values: BTreeMap<String, String>,
    text: String,
}

impl Page<'_> {
    /// The section of a struct, which may be that of several keys; those of its members follow.
    fn section(&mut self, name: &str, places: &[String]) {
        let found = &self.types[name];
        let at = places[0].as_str();
        let title = places.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(", ");
        let title = if at.is_empty() { "Top level".into() } else { format!("{title}\n\n{}", found.says) };
        write!(self.text, "\n## {title}\n\n| key | type | default | meaning |\n|---|---|---|---|\n").unwrap();
        let mut below: Vec<(&str, Vec<String>)> = Vec::new();
        for field in &found.fields {
            let path = if at.is_empty() { field.key.clone() } else { format!("{at}.{}", field.key) };
            let (inner, wrapped) = unwrapped(&field.kind);
            let inner = if inner == "Listen" { "UnixListen" } else { inner };
            let kind = self.types.get(inner);
            let is_section = kind.is_some_and(|it| !it.fields.is_empty());
            if is_section {
                let place = match wrapped {
                    "list" => format!("{path}[]"),
                    "object" => format!("{path}.NAME"),
                    _ => path.clone(),
                };
                match below.iter_mut().find(|it| it.0 == inner) {
                    Some(same) => same.1.push(place),
                    None => below.push((inner, vec![place])),
                }
            }
            let key = if field.has_default { format!("`{}`", field.key) } else { format!("**`{}`**", field.key) };
            let default = match self.values.get(&path.replace("[]", "").replace("type", "kind")) {
                _ if path == "listen" => "`[\"0.0.0.0:80\"]`".into(),
                _ if !field.has_default => String::new(),
                Some(value) if kind.is_some_and(|it| !it.words.is_empty()) => format!("`\"{}\"`", value.to_lowercase()),
                Some(value) if ["None", "[]", "{}"].contains(&value.as_str()) => String::new(),
                Some(value) => format!("`{value}`"),
                None if is_section => String::new(),
                None => panic!("the default of {path} is not known"),
            };
            let says = field.says.replace('|', "\\|");
            writeln!(self.text, "| {key} | {} | {default} | {says} |", type_words(&field.kind, self.types)).unwrap();
        }
        for (name, places) in below {
            self.section(name, &places);
        }
    }
}

fn page() -> String {
    let file = std::env::temp_dir().join(format!("meterd-config-{}.json", std::process::id()));
    fs::write(&file, WHOLE).unwrap();
    let whole = Config::load(&file).unwrap();
    fs::remove_file(&file).unwrap();
    let types = types();
    let mut values = values(&format!("{whole:#?}"));
    // What the file above had to say is no default.
    values.extend(self::values(&format!("{:#?}", Config::default())).into_iter().filter(|it| it.1 != "None"));
    let mut page = Page { types: &types, values, text: HEAD.into() };
    page.section("Config", &[String::new()]);
    page.text
}

#[test]
fn the_reference_of_the_configuration_is_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("init/config.md");
    let made = page();
    if std::env::var_os("METERD_WRITE").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    if let Some((line, (found, made))) = found.lines().zip(made.lines()).enumerate().find(|(_, (a, b))| a != b) {
        panic!("init/config.md, line {}:\n{found}\nshould be\n{made}", line + 1);
    }
    assert_eq!(found.len(), made.len(), "init/config.md has lines too few or too many");
}
