//! The modules of the shared crate import only in the direction that `docs/architecture.md` lists, and every type name is
//! unique in the crate.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "an error fails the test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const PAGE: &str = include_str!("../../docs/architecture.md");

/// The modules in the document's block, from the top layer down.
fn layers() -> Vec<&'static str> {
    let (_, block) =
        PAGE.split_once("\n```layers-shared\n").expect("docs/architecture.md has no block layers-shared");
    block.lines().take_while(|line| *line != "```").map(str::trim).collect()
}

/// All source files of the crate, with their paths below `src`.
fn sources() -> BTreeMap<PathBuf, String> {
    fn collect(directory: &Path, root: &Path, found: &mut BTreeMap<PathBuf, String>) {
        for path in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                collect(&path, root, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().to_owned();
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = BTreeMap::new();
    collect(&root, &root, &mut found);
    found
}

fn identifier(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}

fn code_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//"))
}

#[test]
fn modules_import_only_from_lower_layers() {
    let layers = layers();
    let mut imports = 0;
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        let module = file.with_extension("").iter().next().unwrap().to_str().unwrap().to_owned();
        if module == "lib" {
            let modules: Vec<&str> =
                code_lines(&text).filter_map(|line| line.strip_prefix("pub mod ")).collect();
            assert!(modules.iter().all(|line| layers.contains(&identifier(line))), "{modules:?}, {layers:?}");
            assert_eq!(modules.len(), layers.len(), "{modules:?}, {layers:?}");
            continue;
        }
        assert!(!text.contains("crate::{"), "{}: use one statement for each module", file.display());
        let layer = layers.iter().position(|name| *name == module).unwrap();
        for imported in code_lines(&text).flat_map(|line| line.split("crate::").skip(1)).map(identifier) {
            imports += 1;
            if imported != module && !layers[layer..].contains(&imported) {
                wrong.push(format!("{}: {module} imports {imported}", file.display()));
            }
        }
    }
    assert!(imports > 20, "only {imports} imports were found");
    assert!(wrong.is_empty(), "imports against the order in docs/architecture.md: {wrong:#?}");
}

#[test]
fn the_protocol_uses_no_sockets_and_no_files() {
    for (file, text) in sources() {
        let is_io =
            |line: &str| ["std::net", "std::fs", "std::os", "rustix"].iter().any(|path| line.contains(path));
        let uses: Vec<&str> = code_lines(&text).filter(|line| is_io(line)).collect();
        assert!(uses.is_empty() || !file.starts_with("protocol"), "{}: {uses:?}", file.display());
    }
}

/// The name of the type that `line` declares. An indented `type` belongs to a trait.
fn declared_type(line: &str) -> Option<&str> {
    let kinds: &[&str] = match line.starts_with(' ') {
        true => &["struct ", "enum ", "trait "],
        false => &["struct ", "enum ", "trait ", "type "],
    };
    let item = line.trim_start();
    let item = ["pub(crate) ", "pub(super) ", "pub "]
        .iter()
        .find_map(|prefix| item.strip_prefix(prefix))
        .unwrap_or(item);
    kinds.iter().find_map(|kind| item.strip_prefix(kind)).map(identifier)
}

#[test]
fn type_names_are_unique() {
    let mut found: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for (file, text) in sources() {
        for name in text.lines().filter_map(declared_type) {
            found.entry(name.to_owned()).or_default().push(file.clone());
        }
    }
    assert!(found.len() > 50, "only {} types were found", found.len());
    found.retain(|_, files| files.len() > 1);
    assert!(found.is_empty(), "names of several types: {found:#?}");
}
