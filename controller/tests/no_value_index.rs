//! `value["name"]` of serde_json panics where its parent is a text or a list and something is written, and hides what
//! is missing where something is read. Objects come from others, so the controller reads them into typed views, and
//! builds what it writes in one piece.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};

/// Files that still have it.
const NOT_YET: [&str; 0] = [];
/// Modules that only tests have.
const TESTS_ONLY: [&str; 1] = ["webhook/stub.rs"];

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The part of a file that is not for tests: unit tests are at the end.
fn program(text: &str) -> &str {
    text.split("\n#[cfg(test)]").next().unwrap_or_default()
}

/// Where `text` indexes something by a text, or by a constant, which may be one.
fn indexed(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
        for (at, _) in line.match_indices('[') {
            let before = line[..at].chars().next_back();
            let is_index = before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | ')' | ']' | '?'));
            let inner = line[at + 1..].split(']').next().unwrap_or_default();
            let is_text = inner.starts_with('"') || inner.starts_with("&\"");
            let is_constant = inner.len() > 1
                && inner.chars().all(|c| c.is_ascii_uppercase() || c == '_' || c.is_ascii_digit())
                && inner.starts_with(|c: char| c.is_ascii_uppercase());
            if is_index && (is_text || is_constant) {
                found.push(line.to_owned());
            }
        }
    }
    found
}

#[test]
fn objects_are_not_indexed_by_field_name() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 50, "{files:?}");
    let mut clean = Vec::new();
    for file in files {
        let name = file.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
        let is_for_tests = TESTS_ONLY.contains(&name.as_str()) || name.contains("tests");
        let found = indexed(program(&std::fs::read_to_string(&file).unwrap()));
        if NOT_YET.contains(&name.as_str()) {
            if found.is_empty() {
                clean.push(name);
            }
        } else {
            assert!(
                is_for_tests || found.is_empty(),
                "{name}: use a typed view, or build it in one piece: {found:#?}"
            );
        }
    }
    assert!(clean.is_empty(), "no longer an exception: {clean:?}");
}

#[test]
fn an_index_by_name_is_detected_and_a_list_index_is_not() {
    for bad in [
        r#"let x = v["a"];"#,
        r#"object["metadata"]["name"] = 1.into();"#,
        r#"call()?["status"]"#,
        "patch[META] = x;",
        r#"x(&v["a"])"#,
    ] {
        assert!(!indexed(bad).is_empty(), "{bad}");
    }
    for good in [
        r#"let x = ["a", "b"];"#,
        r#"json!({ "a": ["b"] })"#,
        r#"open("x", &["a"])"#,
        "let x: [u8; 4] = y;",
        r#"vec!["a"]"#,
        r#"#[serde(rename = "x")]"#,
        "list[at]",
        r#"// v["a"]"#,
    ] {
        assert!(indexed(good).is_empty(), "{good}");
    }
}
