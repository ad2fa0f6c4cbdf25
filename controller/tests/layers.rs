//! The modules of the controller depend on each other in one direction: the one that `docs/architecture.md` draws. Each type
//! has a name of its own.
#![allow(clippy::unwrap_used, clippy::expect_used)] // A test ends where it fails.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const PAGE: &str = include_str!("../../docs/architecture.md");

/// The layer of each module, counted from the top: a line of the block is a layer.
fn layers() -> BTreeMap<&'static str, usize> {
    let (_, block) = PAGE.split_once("\n```layers-controller\n").expect("docs/architecture.md has the block");
    let (block, _) = block.split_once("\n```").unwrap();
    let lines = block.lines().enumerate();
    lines.flat_map(|(layer, line)| line.split('|').map(move |module| (module.trim(), layer))).collect()
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for path in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        let is_test = path.file_stem().is_some_and(|name| name == "tests" || name == "stub");
        match path.is_dir() {
            _ if is_test => {}
            true => sources(&path, found),
            false if path.extension().is_some_and(|name| name == "rs") => found.push(path),
            false => {}
        }
    }
}

/// The modules that the code of a file names, without its comments and tests.
fn imports(text: &str) -> Vec<&str> {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let paths =
        lines.flat_map(|line| line.split("crate::").skip(1).chain(line.split("decant_controller::").skip(1)));
    paths.map(|path| path.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap()).collect()
}

#[test]
fn modules_import_only_from_lower_layers() {
    let (layers, root) = (layers(), Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut wrong = Vec::new();
    for file in files {
        let name = file.strip_prefix(&root).unwrap().with_extension("");
        let module = name.iter().next().unwrap().to_str().unwrap();
        if module == "lib" {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        assert!(!text.contains("use crate::{"), "{}: one `use` for each module, please", file.display());
        let layer =
            layers.get(module).unwrap_or_else(|| panic!("docs/architecture.md: no layer has {module}"));
        for import in imports(&text).into_iter().filter(|import| *import != module) {
            let is_below = layers.get(import).is_some_and(|below| below > layer);
            if !is_below {
                wrong.push(format!("{}: {module} may not import from {import}", name.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "docs/architecture.md, \"Layers of the controller\": {wrong:#?}");
}

/// The type that a line declares. A `type` that is indented belongs to a trait.
fn declared(line: &str) -> Option<&str> {
    let item = line.trim_start();
    let item = ["pub ", "pub(crate) ", "pub(super) "]
        .iter()
        .find_map(|mark| item.strip_prefix(mark))
        .unwrap_or(item);
    let kinds = if line.starts_with(' ') {
        &["struct ", "enum ", "trait "][..]
    } else {
        &["struct ", "enum ", "trait ", "type "]
    };
    let name = kinds.iter().find_map(|kind| item.strip_prefix(kind))?;
    name.split(|c: char| !c.is_alphanumeric() && c != '_').next()
}

#[test]
fn every_type_name_is_unique() {
    for root in ["src", "kubectl-decant/src"] {
        let mut files = Vec::new();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(root), &mut files);
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for file in &files {
            for name in fs::read_to_string(file).unwrap().lines().filter_map(declared) {
                found.entry(name.to_owned()).or_default().push(file.display().to_string());
            }
        }
        assert!(found.len() > 20, "{root}: {} types, the sources were not understood", found.len());
        found.retain(|_, files| files.len() > 1);
        assert!(found.is_empty(), "these names mean several types: {found:#?}");
    }
}
