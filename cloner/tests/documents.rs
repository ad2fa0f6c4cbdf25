//! What the documents say about the sources: paths that they name exist, and they name what users set and read.
//!
//! `GOLDEN=write cargo test -p decant-cloner --test documents` rewrites the table of the cloner's flags in `docs/operations.md`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use decant_cloner::pipeline::rate_limiter::RateLimiter;
use decant_cloner::report::limit_control::LimitControl;
use decant_cloner::report::metrics;
use decant_shared::protocol::progress::Progress;
use decant_test_support::generated;

/// The top directories whose paths documents name.
const TOPS: [&str; 5] = ["shared", "cloner", "controller", "scripts", "docs"];
/// What a path in a document may leave out at its start.
const STARTS: [&str; 3] = ["", "cloner/src", "shared/src"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All files below `directory` with this extension.
fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
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
    found.extend(
        ["README.md", "CHANGELOG.md", "SECURITY.md", "CONTRIBUTING.md"].map(|name| root().join(name)),
    );
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

/// Each text between `open` and the next `close`.
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
    let is_directory =
        word.ends_with('/') && STARTS.iter().any(|start| root().join(start).join(first).is_dir());
    let is_absolute = first.is_empty();
    word.chars().all(is_name) && !is_absolute && (is_source || is_directory || TOPS.contains(&first))
}

/// Whether the path is there; of one with a `*`, the directory before it.
fn exists(path: &Path) -> bool {
    let is_plain = |part: &&Path| !part.as_os_str().to_string_lossy().contains('*');
    path.ancestors().find(is_plain).is_some_and(Path::exists)
}

#[test]
fn every_path_in_backticks_exists() {
    let mut missing = BTreeSet::new();
    let mut seen = 0;
    for document in documents() {
        let directory = document.parent().unwrap();
        for paragraph in paragraphs(&document) {
            let words = between(&paragraph, "`", '`').into_iter().flat_map(str::split_whitespace);
            for word in words.map(|word| word.trim_start_matches("./")).filter(|word| is_path(word)) {
                seen += 1;
                let is_there = STARTS.iter().any(|start| exists(&root().join(start).join(word)));
                if !is_there && !exists(&directory.join(word)) {
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
fn every_named_test_exists() {
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

/// A module is named as `file.rs`, `directory/`, or by a path into its directory, in the table of its crate.
#[test]
fn the_architecture_names_every_module() {
    let page = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    for member in ["shared", "cloner", "controller"] {
        let (_, section) = page.split_once(&format!("\n### {member}/src\n")).unwrap();
        let section = section.split("\n## ").next().and_then(|rest| rest.split("\n### ").next()).unwrap();
        let named = between(section, "`", '`');
        let entries = fs::read_dir(root().join(member).join("src")).unwrap();
        for entry in entries.map(|entry| entry.unwrap().path()) {
            let module = entry.file_stem().unwrap().to_str().unwrap().to_owned();
            let is_named = |name: &&str| {
                let name = name.strip_prefix(&format!("{member}/src/")).unwrap_or(name);
                name == format!("{module}.rs") || name.starts_with(&format!("{module}/"))
            };
            let is_module = !["lib", "main"].contains(&module.as_str());
            assert!(!is_module || named.iter().any(is_named), "docs/architecture.md: {member}/src: {module}");
        }
    }
}

/// The anchors of a document's headings.
fn headings(document: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(document).unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.strip_prefix('#'));
    let anchor = |line: &str| -> String {
        let kept =
            line.trim_matches(['#', ' ']).chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
    };
    lines.map(anchor).collect()
}

/// The lines that a document's shell examples have a user type.
fn commands(document: &Path) -> Vec<String> {
    let text = fs::read_to_string(document).unwrap();
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.flat_map(str::lines).map(|line| line.trim().to_owned()).collect()
}

#[test]
fn scripts_and_manifests_of_examples_exist() {
    let mut seen = 0;
    for document in documents() {
        for line in commands(&document) {
            let words = line.split(|c: char| c.is_whitespace() || "\"$();|&".contains(c));
            let paths = words.map(|word| word.trim_start_matches("./")).filter(|word| {
                ["scripts/", "docs/", "controller/deploy"].iter().any(|top| word.starts_with(top))
            });
            for path in paths {
                seen += 1;
                assert!(root().join(path).exists(), "{}: {line}: there is no {path}", document.display());
            }
        }
    }
    assert!(seen > 15, "the documents were not understood: {seen} paths");
}

#[test]
fn flags_of_examples_exist() {
    use clap::CommandFactory;
    let command = decant_cloner::commands::cli::Cli::command();
    let long = |command: &clap::Command| -> BTreeSet<String> {
        command.get_arguments().filter_map(|flag| flag.get_long().map(str::to_owned)).collect()
    };
    let mut known = long(&command);
    known.extend(command.get_subcommands().flat_map(long));
    let mut seen = 0;
    for document in documents() {
        for paragraph in paragraphs(&document) {
            // What is in backticks begins with the program's name.
            for line in between(&paragraph, "`", '`').into_iter().filter(|line| line.starts_with("cloner ")) {
                for flag in line.split_whitespace().filter_map(|word| word.strip_prefix("--")) {
                    let name = flag.split('=').next().unwrap();
                    seen += 1;
                    let is_known = known.contains(name) || ["help", "version"].contains(&name);
                    assert!(is_known, "{}: {line}: there is no --{name}", document.display());
                }
            }
        }
    }
    assert!(seen > 3, "the documents were not understood: {seen} flags");
}

/// All sources as one text, in which a string that continues on the next line is joined.
fn sources() -> String {
    let mut text = String::new();
    for member in ["cloner/src", "controller/src", "controller/kubectl-decant/src", "shared/src"] {
        for file in files(&root().join(member), "rs") {
            let source = fs::read_to_string(file).unwrap();
            let mut lines = source.split("\\\n");
            text.push_str(lines.next().unwrap_or_default());
            lines.for_each(|line| text.push_str(line.trim_start()));
        }
    }
    text
}

#[test]
fn every_troubleshooting_message_exists_in_the_code() {
    let sources = sources();
    let page = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let (_, page) = page.split_once("\n### Messages\n").unwrap();
    let (page, _) = page.split_once("\n## ").unwrap();
    let messages: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix("| `")?.split("` | ").next()).collect();
    assert!(messages.len() > 90, "the page was not understood: {messages:?}");
    for message in messages {
        let pieces: Vec<&str> = message.split('…').filter(|piece| piece.trim().len() > 3).collect();
        assert!(!pieces.is_empty(), "{message}: nothing of it can be looked for");
        for piece in pieces {
            assert!(sources.contains(piece), "{message}: the code does not contain {piece:?}");
        }
    }
}

#[test]
fn every_relative_link_resolves() {
    let mut missing = BTreeSet::new();
    let mut seen = 0;
    for document in documents() {
        for paragraph in paragraphs(&document) {
            for link in between(&paragraph, "](", ')').into_iter().filter(|link| !link.contains(':')) {
                seen += 1;
                let path = link.split('#').next().unwrap();
                // Without a path it leads to a heading of the same document.
                let leads_to =
                    if path.is_empty() { document.clone() } else { document.parent().unwrap().join(path) };
                let is_there = match link.split_once('#') {
                    Some((_, heading)) => headings(&leads_to).contains(heading),
                    None => leads_to.exists(),
                };
                if !is_there {
                    missing.insert(format!("{}: {link}", document.display()));
                }
            }
        }
    }
    assert!(seen > 5, "the documents were not understood: {seen} links");
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn the_documents_name_every_variable_of_ours() {
    let sources = ["cloner/src", "shared/src"].map(|directory| files(&root().join(directory), "rs")).concat();
    let texts: Vec<String> = sources.iter().map(|source| fs::read_to_string(source).unwrap()).collect();
    let used: BTreeSet<&str> = texts.iter().flat_map(|text| variables(text)).collect();
    assert!(used.len() > 5, "the sources were not understood: {used:?}");
    let pages = protocol() + &fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let named = variables(&pages);
    let missing: Vec<&&str> = used.difference(&named).collect();
    assert!(missing.is_empty(), "docs/protocol.md and docs/operations.md lack {missing:?}");
}

fn variables(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.strip_prefix("DECANT_").is_some_and(|rest| !rest.is_empty())).collect()
}

#[test]
fn the_protocol_names_every_series_of_the_metrics_page() {
    let progress = Progress::new(0);
    // There are series for these once they are known.
    progress.set_total_bytes(1);
    progress.set_kept_bytes(0);
    progress.set_durable_bytes(0);
    let control = LimitControl::new(Arc::new(RateLimiter::new(None)), None);
    let page = metrics::page(&progress, &control, "owner").unwrap();
    let series: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert!(series.len() > 5, "the page was not understood: {page}");
    let protocol = protocol();
    let is_named = |name: &str| ['`', '{'].iter().any(|end| protocol.contains(&format!("`{name}{end}")));
    let missing: Vec<&str> = series.into_iter().filter(|name| !is_named(name)).collect();
    assert!(missing.is_empty(), "docs/protocol.md lacks {missing:?}");
}

/// The flags of the cloner's commands, hidden ones included. Those of several commands are listed once.
fn cloner_flags() -> String {
    use clap::CommandFactory;
    let command = decant_cloner::commands::cli::Cli::command();
    let mut rows: Vec<(String, Vec<String>, String)> = Vec::new();
    for (name, flags) in command.get_subcommands().map(|sub| (sub.get_name(), sub)).chain([("all", &command)])
    {
        let is_flag =
            |flag: &&clap::Arg| flag.get_long().is_some_and(|long| !["help", "version"].contains(&long));
        for flag in flags.get_arguments().filter(is_flag) {
            let variable = flag.get_env().map(|name| format!("`{}`", name.to_string_lossy()));
            let defaults: Vec<_> =
                flag.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
            let default = defaults.join(",");
            let default = if default.is_empty() || default == "false" {
                default.replace("false", "")
            } else {
                format!("`{default}`")
            };
            let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
            let hidden = if flag.is_hide_set() { " (hidden)" } else { "" };
            let help = help.trim_end_matches('.').replace('|', "\\|");
            let long = format!("`--{}`{hidden}", flag.get_long().unwrap());
            let rest = format!("{} | {default} | {help}", variable.unwrap_or_default());
            match rows.iter_mut().find(|(other, _, same)| *other == long && *same == rest) {
                Some((_, commands, _)) => commands.push(name.to_owned()),
                None => rows.push((long, vec![name.to_owned()], rest)),
            }
        }
    }
    let rows = rows.into_iter().map(|(long, commands, rest)| vec![long, commands.join(", "), rest]);
    // The last cell of a row is three of the table.
    generated::table(&["Flag", "Commands", "Variable", "Default", "Meaning"], rows)
}

#[test]
fn the_table_of_the_cloners_flags_is_that_of_the_code() {
    generated::check(&[("cloner-flags", cloner_flags())], "cargo test -p decant-cloner --test documents");
}
