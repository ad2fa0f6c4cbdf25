//! `docs/defects.md` names a test in each row, and the test exists.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::path::Path;

const DOCUMENT: &str = include_str!("../../docs/defects.md");

/// All Rust sources below `folder`, as one text.
fn sources(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("fuzz") {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_row_names_a_test_that_exists() {
    let mut text = String::new();
    for member in ["cloner", "controller", "shared"] {
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(member), &mut text);
    }
    let rows: Vec<&str> = DOCUMENT.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 20, "the table was not understood");
    for row in rows {
        let test = row.trim_end_matches(" |").rsplit("| ").next().unwrap().trim_matches('`');
        let declared = format!("#[test]\nfn {test}()");
        let indented = format!("    #[test]\n    fn {test}()");
        assert!(text.contains(&declared) || text.contains(&indented), "no test is called {test}");
    }
}
