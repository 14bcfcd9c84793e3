//! SECURITY.md names tests and files; this sees to it that they exist. It knows nothing of what they show.

use std::path::Path;

/// Texts between backticks that begin with one of our folders.
fn references(text: &str) -> impl Iterator<Item = &str> {
    let ours = |it: &&str| ["src/", "tests/", "init/", "fuzz/"].iter().any(|folder| it.starts_with(folder));
    text.split('`').skip(1).step_by(2).filter(ours)
}

/// Why a reference leads nowhere.
fn wrong(root: &Path, reference: &str) -> Option<String> {
    let (path, name) = reference.split_once("::").map_or((reference, None), |(path, name)| (path, Some(name)));
    let file = root.join(path);
    let Some(name) = name else {
        return (!file.exists()).then(|| format!("{path} does not exist"));
    };
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let defined = ["fn", "def"].iter().any(|word| text.contains(&format!("{word} {name}(")));
    (!defined).then(|| format!("{path} has no {name}"))
}

#[test]
fn every_test_and_file_that_is_named_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let wrong: Vec<String> = references(&text).filter_map(|it| wrong(root, it)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let tests = references(&text).filter(|it| it.contains("::")).count();
    assert!(40 <= tests, "only {tests} tests were found in the text: the way it names them has changed");
}

#[test]
fn what_does_not_exist_is_noticed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (reference, expect) in [
        ("src/auth/tests.rs::a_hash_logs_in_once", None),
        ("src/auth/tests.rs::a_hash_logs_in", Some("has no a_hash_logs_in")),
        ("src/auth/none.rs", Some("does not exist")),
        ("src/auth/none.rs::a_hash_logs_in_once", Some("has no")),
    ] {
        let got = wrong(root, reference);
        match expect {
            None => assert_eq!(got, None),
            Some(text) => assert!(got.is_some_and(|it| it.contains(text)), "{reference}"),
        }
    }
}
