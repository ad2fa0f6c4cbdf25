//! What Decant may depend on, and how: exact enough to be repeated, declared in one place, explained, and few.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Crates that end up in each binary or build it, the workspace's own not counted. A new one is a decision:
/// raise the number in the commit that explains the crate in docs/dependencies.md.
const AGREED: [(&str, usize); 3] =
    [("decant-cloner", 66), ("decant-controller", 145), ("kubectl-decant", 145)];
/// The only tables of a manifest that declare dependencies.
const TABLES: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Headings and lines of a manifest's tables. Our manifests keep one dependency to a line.
fn tables(manifest: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(manifest).unwrap();
    let mut heading = String::new();
    let mut found = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.trim_matches(['[', ']']).clone_into(&mut heading);
        } else {
            found.push((heading.clone(), line.to_owned()));
        }
    }
    found
}

fn members() -> Vec<PathBuf> {
    [
        "shared",
        "shared/test-support",
        "cloner",
        "controller",
        "controller/kubectl-decant",
        "controller/test-support",
    ]
    .map(|member| root().join(member).join("Cargo.toml"))
    .into()
}

/// The names and declarations under `[workspace.dependencies]`, our own crates left out.
fn declared() -> BTreeMap<String, String> {
    let lines = tables(&root().join("Cargo.toml"));
    let own = lines.into_iter().filter(|(heading, _)| heading == "workspace.dependencies");
    own.filter_map(|(_, line)| {
        let (name, value) = line.split_once('=')?;
        (!value.contains("path =")).then(|| (name.trim().to_owned(), value.trim().to_owned()))
    })
    .collect()
}

/// The version requirement in `name = "…"` or `name = { version = "…", … }`.
fn requirement(declaration: &str) -> Option<&str> {
    let start = match declaration.strip_prefix('"') {
        Some(rest) => rest,
        None => declaration.split_once("version = \"")?.1,
    };
    start.split_once('"').map(|(requirement, _)| requirement)
}

#[test]
fn every_requirement_is_a_full_version() {
    let declared = declared();
    assert!(declared.len() > 10, "the manifest was not understood: {declared:?}");
    for (name, declaration) in declared {
        let parts: Vec<&str> = requirement(&declaration).unwrap_or_default().split('.').collect();
        let is_whole = parts.len() == 3 && parts.iter().all(|part| part.parse::<u32>().is_ok());
        assert!(is_whole, "{name} = {declaration}: write major.minor.patch");
    }
}

#[test]
fn members_declare_no_versions() {
    for manifest in members() {
        for (heading, line) in tables(&manifest) {
            let table = heading.rsplit('.').next().unwrap_or_default();
            let is_of_dependency = TABLES.iter().any(|table| heading.contains(&format!("{table}.")));
            assert!(!is_of_dependency, "{}: [{heading}] belongs into one line", manifest.display());
            if TABLES.contains(&table) {
                let inherits = line.contains(".workspace = true") || line.contains("workspace = true,");
                assert!(inherits, "{}: {line:?} does not come from the workspace", manifest.display());
            }
        }
    }
}

#[test]
fn the_page_explains_exactly_the_direct_dependencies() {
    let page = fs::read_to_string(root().join("docs/dependencies.md")).unwrap();
    let explained: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let declared = declared();
    let declared: BTreeSet<&str> = declared.keys().map(String::as_str).collect();
    assert_eq!(explained, declared, "docs/dependencies.md (left) against Cargo.toml (right)");
}

#[test]
fn every_declared_dependency_is_used() {
    let used: BTreeSet<String> = members()
        .iter()
        .flat_map(|manifest| tables(manifest))
        .filter_map(|(_, line)| line.split_once('.').map(|(name, _)| name.to_owned()))
        .collect();
    for name in declared().keys() {
        assert!(used.contains(name), "{name} is declared in the workspace, but no member wants it");
    }
}

#[test]
fn binaries_stay_within_their_number_of_crates() {
    for (package, agreed) in AGREED {
        let crates = crates_of(package);
        eprintln!(
            "{} crates in {package}: {}",
            crates.len(),
            crates.iter().cloned().collect::<Vec<_>>().join(" ")
        );
        assert!(
            crates.len() <= agreed,
            "{} crates in {package}, {agreed} are agreed: {crates:?}",
            crates.len()
        );
    }
}

#[test]
fn the_page_states_the_number_of_crates() {
    let page = fs::read_to_string(root().join("docs/dependencies.md")).unwrap();
    for (package, agreed) in AGREED {
        let name = package.trim_start_matches("decant-");
        assert!(
            page.contains(&format!("{agreed} in the {name}")),
            "docs/dependencies.md: {agreed} in the {name}"
        );
    }
}

#[test]
fn fuzz_crates_require_full_versions() {
    for (heading, line) in tables(&root().join("cloner/fuzz/Cargo.toml")) {
        if heading != "dependencies" || line.contains("path =") {
            continue;
        }
        let wanted =
            line.split_once('=').and_then(|(_, value)| requirement(value.trim())).unwrap_or_default();
        let is_whole = wanted.split('.').filter(|part| part.parse::<u32>().is_ok()).count() == 3;
        assert!(is_whole, "cloner/fuzz: {line}: write major.minor.patch");
    }
}

#[test]
fn every_exception_has_a_reason() {
    let rules = fs::read_to_string(root().join("deny.toml")).unwrap();
    let lines: Vec<&str> = rules.lines().map(str::trim).collect();
    let mut seen = 0;
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.starts_with("{ ")) {
        seen += 1;
        let is_explained = line.contains("reason = \"") || lines[at - 1].starts_with('#');
        assert!(is_explained, "deny.toml: {line}: say why");
    }
    assert!(seen > 3, "deny.toml was not understood: {seen} exceptions");
}

/// All crates that a package needs to run or to be built on this machine. `cargo tree` knows which features
/// are on; `cargo metadata` and the lock file also list what only tests or other features need.
fn crates_of(package: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--package", package])
        .args(["--edges", "normal,build", "--prefix", "none", "--format", "{p}"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let crates: BTreeSet<String> = tree
        .lines()
        .filter(|line| !line.starts_with("decant-") && !line.starts_with("kubectl-decant "))
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some(format!("{}@{}", words.next()?, words.next()?.strip_prefix('v')?))
        })
        .collect();
    assert!(crates.len() > 20, "the tree was not understood: {tree}");
    crates
}
