//! The layers that docs/architecture.md lists hold: a module imports only from the layers below its own. And a type name
//! means one thing in this crate.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The crate whose layers are checked. The list in the document begins with `layers of the` and this name.
const MEMBER: &str = "cloner";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .find(|above| above.join("docs").is_dir())
        .unwrap()
        .to_owned()
}

/// The layers of the document, from the top down; the modules of one layer are separated by `|`.
fn layers() -> Vec<Vec<String>> {
    let page = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let (_, list) = page.split_once(&format!("\nlayers of the {MEMBER}\n")).expect("the list of layers");
    let lines = list.split("```").next().unwrap().lines();
    lines.map(|line| line.split('|').map(|module| module.trim().to_owned()).collect()).collect()
}

/// All sources of the crate, each with its path below `src`. Modules of tests are left out.
fn sources() -> Vec<(String, String)> {
    fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
        for path in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs")
                && path.file_name().unwrap() != "tests.rs"
            {
                found.push(path);
            }
        }
    }
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    collect(&src, &mut paths);
    paths.sort();
    let production = |text: String| text.split("#[cfg(test)]\nmod tests").next().unwrap().to_owned();
    paths
        .iter()
        .map(|path| {
            let name = path.strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
            (name, production(fs::read_to_string(path).unwrap()))
        })
        .collect()
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

#[test]
fn modules_import_only_from_lower_layers() {
    let layers = layers();
    let layer_of = |module: &str| layers.iter().position(|layer| layer.iter().any(|name| name == module));
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (file, text) in sources() {
        let module = file.split('/').next().unwrap().trim_end_matches(".rs");
        if ["lib", "main"].contains(&module) {
            continue;
        }
        let own = layer_of(module).unwrap_or_else(|| panic!("docs/architecture.md: no layer has {module}"));
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !is_comment(line)) {
            for rest in line.split("crate::").skip(1) {
                let imported = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap();
                seen += 1;
                if imported != module && layer_of(imported).is_none_or(|below| below <= own) {
                    wrong.push(format!(
                        "{file}:{number}: {module} must not import {imported}: {}",
                        line.trim()
                    ));
                }
            }
        }
    }
    assert!(seen > 100, "the sources were not understood: {seen} imports");
    assert!(
        wrong.is_empty(),
        "imports upwards or sideways (layers: docs/architecture.md):\n{}",
        wrong.join("\n")
    );
}

/// The type that this line defines, if it does. An indented `type` is that of a trait.
fn defined_type(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub"));
    let keyword = words.next()?;
    let is_associated = keyword == "type" && line.starts_with(' ');
    if !["struct", "enum", "trait", "type"].contains(&keyword) || is_associated {
        return None;
    }
    words.next()?.split(|c: char| !c.is_ascii_alphanumeric()).next()
}

#[test]
fn every_type_name_is_unique() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (file, text) in sources() {
        for name in text.lines().filter(|line| !is_comment(line)).filter_map(defined_type) {
            places.entry(name.to_owned()).or_default().push(file.clone());
        }
    }
    assert!(places.len() > 50, "the sources were not understood: {places:?}");
    places.retain(|_, files| files.len() > 1);
    assert!(places.is_empty(), "type names that mean more than one thing: {places:#?}");
}
