//! What the documents say about the sources: paths that they name exist, and protocol.md names what users set and
//! what they read.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use decant_cloner::metrics;
use decant_shared::progress::Progress;

/// The top folders whose paths documents name.
const TOPS: [&str; 5] = ["shared", "cloner", "controller", "scripts", "docs"];
/// What a path in a document may leave out at its start.
const STARTS: [&str; 3] = ["", "cloner/src", "shared/src"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All files below `folder` with this extension.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|own| own == extension) {
            found.push(path);
        }
    }
    found
}

fn documents() -> Vec<PathBuf> {
    let mut found = files(&root().join("docs"), "md");
    found.extend(["README.md", "CHANGELOG.md"].map(|name| root().join(name)));
    found
}

fn protocol() -> String {
    fs::read_to_string(root().join("docs/protocol.md")).unwrap()
}

/// The document's paragraphs. Blocks of code are left out: backticks and brackets mean something else there.
fn paragraphs(document: &Path) -> Vec<String> {
    let text = fs::read_to_string(document).unwrap();
    text.split("\n```").step_by(2).flat_map(|prose| prose.split("\n\n")).map(str::to_owned).collect()
}

/// What stands between `open` and the next `close`, each time.
fn between<'t>(text: &'t str, open: &str, close: char) -> Vec<&'t str> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, behind)) = rest.split_once(open) {
        let Some((token, behind)) = behind.split_once(close) else { break };
        found.push(token);
        rest = behind;
    }
    found
}

/// Whether `word` is meant as a path of this repository. `target/release/cloner` is not: cargo makes that.
fn is_path(word: &str) -> bool {
    let Some((first, _)) = word.split_once('/') else { return false };
    let is_name = |c: char| c.is_ascii_alphanumeric() || "/._-*".contains(c);
    let is_source = [".rs", ".sh", ".md", ".toml"].iter().any(|end| word.ends_with(end));
    let is_folder = word.ends_with('/') && STARTS.iter().any(|start| root().join(start).join(first).is_dir());
    let is_absolute = first.is_empty();
    word.chars().all(is_name) && !is_absolute && (is_source || is_folder || TOPS.contains(&first))
}

/// Whether the path is there; of one with a `*`, the folder before it.
fn exists(path: &Path) -> bool {
    let is_plain = |part: &&Path| !part.as_os_str().to_string_lossy().contains('*');
    path.ancestors().find(is_plain).is_some_and(Path::exists)
}

#[test]
fn every_path_in_backticks_exists() {
    let mut missing = BTreeSet::new();
    let mut seen = 0;
    for document in documents() {
        let folder = document.parent().unwrap();
        for paragraph in paragraphs(&document) {
            let words = between(&paragraph, "`", '`').into_iter().flat_map(str::split_whitespace);
            for word in words.map(|word| word.trim_start_matches("./")).filter(|word| is_path(word)) {
                seen += 1;
                let is_there = STARTS.iter().any(|start| exists(&root().join(start).join(word)));
                if !is_there && !exists(&folder.join(word)) {
                    missing.insert(format!("{}: {word}", document.display()));
                }
            }
        }
    }
    assert!(seen > 20, "the documents were not understood: {seen} paths");
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Tests are named as `file.rs::name`, where the name is that of a test or of a module of tests.
#[test]
fn every_test_that_is_named_exists() {
    let mut missing = BTreeSet::new();
    let mut seen = 0;
    for document in documents() {
        for paragraph in paragraphs(&document) {
            for word in between(&paragraph, "`", '`') {
                let Some((file, name)) = word.split_once(".rs::") else { continue };
                seen += 1;
                let text = fs::read_to_string(root().join(format!("{file}.rs"))).unwrap_or_default();
                let forms = [format!("fn {name}("), format!("in_each_mode!({name},")];
                let is_there =
                    forms.iter().any(|form| text.contains(form)) || text.contains(&format!("    {name},\n"));
                if !is_there {
                    missing.insert(format!("{}: {word}", document.display()));
                }
            }
        }
    }
    assert!(seen > 20, "the documents were not understood: {seen} tests");
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_relative_link_leads_somewhere() {
    let mut missing = BTreeSet::new();
    let mut seen = 0;
    for document in documents() {
        for paragraph in paragraphs(&document) {
            for link in between(&paragraph, "](", ')').into_iter().filter(|link| !link.contains(':')) {
                seen += 1;
                let path = link.split('#').next().unwrap();
                // Without a path it leads to a heading of the same document.
                if !path.is_empty() && !document.parent().unwrap().join(path).exists() {
                    missing.insert(format!("{}: {link}", document.display()));
                }
            }
        }
    }
    assert!(seen > 5, "the documents were not understood: {seen} links");
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn the_protocol_names_every_variable_of_ours() {
    let sources = ["cloner/src", "shared/src"].map(|folder| files(&root().join(folder), "rs")).concat();
    let texts: Vec<String> = sources.iter().map(|source| fs::read_to_string(source).unwrap()).collect();
    let used: BTreeSet<&str> = texts.iter().flat_map(|text| variables(text)).collect();
    assert!(used.len() > 5, "the sources were not understood: {used:?}");
    let protocol = protocol();
    let named = variables(&protocol);
    let missing: Vec<&&str> = used.difference(&named).collect();
    assert!(missing.is_empty(), "docs/protocol.md lacks {missing:?}");
}

fn variables(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.strip_prefix("DECANT_").is_some_and(|rest| !rest.is_empty())).collect()
}

#[test]
fn the_protocol_names_every_series_of_the_metrics_page() {
    let progress = Progress::new(0);
    // There is a series for it once it is known.
    progress.set_total_bytes(1);
    let page = metrics::page(&progress, "owner").unwrap();
    let series: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert!(series.len() > 5, "the page was not understood: {page}");
    let protocol = protocol();
    let is_named = |name: &str| ['`', '{'].iter().any(|end| protocol.contains(&format!("`{name}{end}")));
    let missing: Vec<&str> = series.into_iter().filter(|name| !is_named(name)).collect();
    assert!(missing.is_empty(), "docs/protocol.md lacks {missing:?}");
}
