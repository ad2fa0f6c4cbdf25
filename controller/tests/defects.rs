//! `docs/migrate-from-cdi.md` and `docs/security.md` name a test in each row of their tables, and the test exists.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::path::Path;

const DEFECTS: &str = include_str!("../../docs/migrate-from-cdi.md");
const THREATS: &str = include_str!("../../docs/security.md");
/// The heading of the column that names tests.
const HEADING: &str = "| Test |";

/// All Rust sources below `directory`, as one text.
fn sources(directory: &Path, text: &mut String) {
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("fuzz") {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

/// Whether one of the sources has a test of this name; a property is in `proptest!` and has arguments.
fn is_test(name: &str, sources: &str) -> bool {
    ["", "    ", "        "].iter().any(|indent| sources.contains(&format!("#[test]\n{indent}fn {name}(")))
}

/// The last cells of all rows of tables whose last column names tests.
fn last_cells(document: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut is_table = false;
    for line in document.lines() {
        if !line.starts_with('|') {
            is_table = false;
        } else if line.ends_with(HEADING) {
            is_table = true;
        } else if is_table && !line.starts_with("|---") {
            found.push(line.trim_end_matches(" |").rsplit("| ").next().unwrap());
        }
    }
    found
}

#[test]
fn every_row_names_tests_that_exist() {
    let mut text = String::new();
    for member in ["cloner", "controller", "shared"] {
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(member), &mut text);
    }
    for (document, rows) in [(DEFECTS, 20), (THREATS, 100)] {
        let cells = last_cells(document);
        assert!(cells.len() > rows, "the table was not understood: {} rows", cells.len());
        for cell in cells {
            for test in cell.split(", ").map(|test| test.trim_matches('`')) {
                assert!(is_test(test, &text), "no test is called {test}");
            }
        }
    }
}
