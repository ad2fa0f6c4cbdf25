//! Documents, sections and rows that sources, scripts and documents cite exist.
//!
//! A citation is the name of a document with `section` or `row` after it: `docs/protocol.md section 4.6, rows 1 to 14`,
//! `docs/protocol.md sections 1.12 and 1.13`, `docs/migrate-from-cdi.md row 14`. It ends with its parenthesis, its sentence, or where the
//! next one begins. In sources and on the page itself, numbers alone in a parenthesis, `(6.4)`, are sections of the protocol. What is in
//! quotes or backticks after a number has to be in that section. `docs/operations.md, "Block devices"` names a heading.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The page whose sections have numbers.
const PAGE: &str = "docs/protocol.md";
/// The page whose rows have numbers. It counts as one section, [`ROWS`].
const PAGE_OF_ROWS: &str = "docs/migrate-from-cdi.md";
/// How the part of [`PAGE_OF_ROWS`] with the rows is called among the sections.
const ROWS: &str = "rows";
/// Words that numbers follow.
const ANCHORS: [&str; 3] = ["protocol.md", "protocol", "migrate-from-cdi.md"];
/// Words that may stand between the numbers of one citation.
const JOINING: [&str; 5] = ["and", "or", "section", "sections", "to"];

/// The text of each section by its number, `4.6` or `8`.
type Sections = BTreeMap<String, String>;

/// One thing that a citation names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Cited {
    Section(String),
    Row(String, u32),
    Words(String, String),
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Whether `text` is the number of a section: `8`, `4.6`, `1.12`.
fn is_section(text: &str) -> bool {
    let is_number = |part: &str, digits| {
        (1..=digits).contains(&part.len())
            && !part.starts_with('0')
            && part.bytes().all(|b| b.is_ascii_digit())
    };
    match text.split_once('.') {
        Some((chapter, section)) => is_number(chapter, 1) && is_number(section, 2),
        None => is_number(text, 1),
    }
}

/// Adds the sections of `page`; the numbers that were there already are returned.
fn add_sections(page: &str, sections: &mut Sections) -> Vec<String> {
    let mut twice = Vec::new();
    let mut current = None;
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("## ").or_else(|| line.strip_prefix("### ")) {
            let number = title.split_whitespace().next().unwrap_or_default().trim_end_matches('.');
            current = is_section(number).then(|| number.to_owned());
            if let Some(number) = &current
                && sections.insert(number.clone(), String::new()).is_some()
            {
                twice.push(number.clone());
            }
        }
        if let Some(number) = &current {
            let text = sections.entry(number.clone()).or_default();
            text.push_str(line);
            text.push('\n');
        }
    }
    twice
}

fn sections() -> Sections {
    let mut sections = Sections::new();
    let twice = add_sections(&fs::read_to_string(root().join(PAGE)).unwrap(), &mut sections);
    assert!(twice.is_empty(), "{PAGE}: sections of this number were there before: {twice:?}");
    let page = fs::read_to_string(root().join(PAGE_OF_ROWS)).unwrap();
    let (_, differences) = page.split_once("\n## Where CDI and Decant differ\n").unwrap();
    let differences = differences.split("\n## ").next().unwrap();
    sections.insert(ROWS.to_owned(), differences.to_owned());
    sections
}

/// Whether a table of `section` has a row of this number. One row may have several: `| 9, 10, 11 | ...`.
fn has_row(section: &str, row: u32) -> bool {
    let cells = section.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    cells.flat_map(|cell| cell.split(", ")).any(|number| number.parse() == Ok(row))
}

fn exists(cited: &Cited, sections: &Sections) -> bool {
    match cited {
        Cited::Section(number) => sections.contains_key(number),
        Cited::Row(number, row) => sections.get(number).is_some_and(|text| has_row(text, *row)),
        Cited::Words(number, words) => sections.get(number).is_some_and(|text| text.contains(words.as_str())),
    }
}

/// `text` up to the end of the parenthesis or, outside of one, of the clause, and up to the next citation.
fn passage(text: &str, is_in_parenthesis: bool) -> &str {
    let ends: &[&str] = if is_in_parenthesis { &[")", ". "] } else { &[")", ". ", ": ", "; "] };
    let all = ends.iter().chain(&["docs/", "protocol.md", "migrate-from-cdi.md"]);
    let end = all.filter_map(|end| text.find(end)).min().unwrap_or(text.len());
    text[..end].trim_end_matches(['.', ' '])
}

/// Whether a parenthesis is open at the end of `text`.
fn is_in_parenthesis(text: &str) -> bool {
    text.rfind('(') > text.rfind(')')
}

/// What the numbers of `passage`, which follow `anchor`, name. The first word has to be a number, `section` or `row`.
fn cited(passage: &str, anchor: &str) -> Vec<Cited> {
    let mut found: Vec<Cited> = Vec::new();
    let mut section = if PAGE_OF_ROWS.ends_with(anchor) { ROWS.to_owned() } else { String::new() };
    let mut is_of_rows = false;
    // Whether a number without a dot can be meant: after words of other kinds, it counts something else.
    let mut is_joined = true;
    let mut is_range = false;
    for (at, piece) in passage.replace('`', "\"").split('"').enumerate() {
        if at % 2 == 1 {
            found.push(Cited::Words(section.clone(), piece.to_owned()));
            continue;
        }
        for word in piece.split_whitespace() {
            let bare = word.trim_matches(|c: char| !c.is_alphanumeric() && c != '#');
            let row = bare.strip_prefix('#').and_then(|digits| digits.parse().ok());
            let row = row.or_else(|| bare.parse().ok().filter(|_| is_of_rows && is_joined));
            if let Some(row) = row {
                match found.last() {
                    Some(Cited::Row(_, first)) if is_range => {
                        found.extend((*first + 1..=row).map(|row| Cited::Row(section.clone(), row)));
                    }
                    _ => found.push(Cited::Row(section.clone(), row)),
                }
                (is_of_rows, is_joined, is_range) = (true, true, false);
            } else if is_section(bare) && (is_joined || bare.contains('.')) {
                if is_range {
                    found.extend(sections_between(&section, bare).map(Cited::Section));
                }
                bare.clone_into(&mut section);
                found.push(Cited::Section(section.clone()));
                (is_of_rows, is_joined, is_range) = (false, true, false);
            } else {
                is_range = bare == "to";
                is_of_rows |= matches!(bare, "row" | "rows");
                is_joined = matches!(bare, "row" | "rows") || is_joined && JOINING.contains(&bare);
            }
        }
    }
    found
}

/// The sections between two of one chapter, without both.
fn sections_between(first: &str, last: &str) -> impl Iterator<Item = String> + use<> {
    let parts = |text: &str| -> Option<(String, u32)> {
        let (chapter, section) = text.split_once('.')?;
        Some((chapter.to_owned(), section.parse().ok()?))
    };
    let range = parts(first).zip(parts(last)).filter(|(first, last)| first.0 == last.0);
    range.into_iter().flat_map(|((chapter, first), (_, last))| {
        (first + 1..last).map(move |section| format!("{chapter}.{section}"))
    })
}

/// All that `text` cites.
fn citations(text: &str) -> Vec<Cited> {
    let lower = text.to_ascii_lowercase();
    let mut found = Vec::new();
    for anchor in ANCHORS {
        for (at, _) in lower.match_indices(anchor) {
            let is_word =
                !text[..at].ends_with(|c: char| c.is_alphanumeric() || ['_', ':', '-'].contains(&c));
            let rest = &text[at + anchor.len()..];
            // The name may be in backticks, or be the target of a link.
            let rest = rest.trim_start_matches(['`', ')']);
            let rest = rest.strip_prefix(',').unwrap_or(rest);
            let Some(numbers) = rest.strip_prefix(' ') else { continue };
            let is_named = ["section", "row"].iter().any(|word| numbers.starts_with(word));
            // The bare word is also one of prose: "protocol 1".
            let is_citation =
                is_named || anchor.contains('.') && numbers.starts_with(|c: char| c.is_ascii_digit());
            if is_word && is_citation {
                let before = &text[..at];
                let numbers = if before.ends_with('`') {
                    numbers.split('`').next().unwrap_or(numbers)
                } else {
                    numbers
                };
                found.extend(cited(passage(numbers, is_in_parenthesis(before)), anchor));
            }
        }
    }
    found
}

/// What numbers alone in a parenthesis cite.
fn bare_citations(text: &str) -> Vec<Cited> {
    let mut found = Vec::new();
    for inner in text.split('(').skip(1).filter_map(|rest| rest.split(')').next()) {
        let mut words = inner.split([' ', ',']).filter(|word| !word.is_empty());
        let is_bare = words.all(|word| is_section(word) && word.contains('.') || JOINING.contains(&word));
        if is_bare && inner.contains('.') {
            found.extend(cited(inner, PAGE));
        }
    }
    found
}

/// The comments of a source or script, those of successive lines as one text.
fn comments(source: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    for line in source.lines().map(str::trim_start) {
        let is_comment = line.starts_with("//") || line.starts_with('#') && !line.starts_with("#[");
        let whole = is_comment.then(|| line.trim_start_matches(['/', '!', '#']));
        match (whole, found.last_mut()) {
            (Some(comment), Some(last)) => last.extend([comment.trim(), " "]),
            _ => {
                let beside = line.split_once(" // ").map_or("", |(_, comment)| comment);
                found.extend([beside.to_owned(), String::new()]);
            }
        }
    }
    found
}

/// All files below `directory` with this extension, but for what cargo made.
fn files(directory: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    if directory.join("CACHEDIR.TAG").exists() {
        return;
    }
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, extension, found);
        } else if path.extension().is_some_and(|own| own == extension) {
            found.push(path);
        }
    }
}

/// Sources, scripts, manifests and settings, but for this file, whose examples name what there is not.
fn sources() -> Vec<PathBuf> {
    let mut sources = ["Cargo.toml", "deny.toml"].map(|name| root().join(name)).to_vec();
    for directory in ["cloner", "controller", "shared", "scripts"] {
        for extension in ["rs", "sh", "py", "yaml", "toml", "tpl", "txt", "json"] {
            files(&root().join(directory), extension, &mut sources);
        }
    }
    sources.retain(|path| !path.ends_with(file!()));
    sources
}

/// Every text that may cite, with the file that it is in.
fn texts() -> Vec<(PathBuf, String)> {
    let sources = sources();
    let top = ["README.md", "CHANGELOG.md", "SECURITY.md", "CONTRIBUTING.md"];
    let mut pages = top.map(|name| root().join(name)).to_vec();
    files(&root().join("docs"), "md", &mut pages);
    let read = |path: &PathBuf| fs::read_to_string(path).unwrap();
    let in_sources =
        sources.iter().flat_map(|path| comments(&read(path)).into_iter().map(|text| (path.clone(), text)));
    let in_pages = pages.iter().flat_map(|path| {
        let paragraphs: Vec<String> = read(path).split("\n\n").map(|text| text.replace('\n', " ")).collect();
        paragraphs.into_iter().map(|text| (path.clone(), text))
    });
    in_sources.chain(in_pages).collect()
}

#[test]
fn every_cited_section_and_row_exists() {
    let sections = sections();
    let mut missing = BTreeSet::new();
    let mut seen = 0;
    for (path, text) in texts() {
        let mut all = citations(&text);
        if path.extension() == Some("rs".as_ref()) || path.ends_with(PAGE) {
            all.extend(bare_citations(&text));
        }
        for cited in all {
            seen += 1;
            if !exists(&cited, &sections) {
                let name = path.strip_prefix(root()).unwrap_or(&path).display().to_string();
                missing.insert(format!("{name}: {cited:?}"));
            }
        }
    }
    assert!(seen > 150, "the citations were not understood: {seen}");
    assert!(missing.is_empty(), "no page has {missing:#?}");
}

/// Names of documents in `text`: what is after `docs/` up to `.md`, and what follows.
fn documents_named(text: &str) -> Vec<(&str, &str)> {
    let ends = |rest: &str| rest.find(|c: char| !(c.is_alphanumeric() || "/-_.".contains(c)));
    let mut found = Vec::new();
    for (at, _) in text.match_indices("docs/") {
        let rest = &text[at..];
        let name = &rest[..ends(rest).unwrap_or(rest.len())];
        if let Some(stem) = name.trim_end_matches('.').strip_suffix(".md") {
            found.push((&rest[..stem.len() + 3], &rest[stem.len() + 3..]));
        }
    }
    found
}

/// `docs/operations.md, "Block devices"` has a heading of that name.
#[test]
fn every_document_and_heading_that_a_source_names_exists() {
    let mut missing = BTreeSet::new();
    let mut seen = 0;
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap();
        for (document, rest) in documents_named(&text) {
            seen += 1;
            let page = fs::read_to_string(root().join(document));
            let heading =
                rest.trim_start_matches('\\').strip_prefix(", \\\"").and_then(|rest| rest.split('\\').next());
            let heading = heading.or_else(|| rest.strip_prefix(", \"")?.split('"').next());
            let has_heading = |page: &str| {
                heading.is_none_or(|heading| {
                    page.lines()
                        .any(|line| line.starts_with('#') && line.trim_start_matches(['#', ' ']) == heading)
                })
            };
            if !page.is_ok_and(|page| has_heading(&page)) {
                missing.insert(format!("{}: {document} {heading:?}", path.display()));
            }
        }
    }
    assert!(seen > 100, "the sources were not understood: {seen}");
    assert!(missing.is_empty(), "there is no {missing:#?}");
}

/// Numbers need the name of a document in front of them: "contract 4.6" leads nowhere.
#[test]
fn every_citation_names_its_document() {
    for (path, text) in texts() {
        let lower = text.to_ascii_lowercase();
        let is_number =
            |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit()) || rest.starts_with("section");
        let is_bare = ["contract ", "contract, "].iter().any(|word| lower.split(word).skip(1).any(is_number));
        assert!(!is_bare, "{}: {text}", path.display());
    }
}

#[test]
fn every_form_of_citation_is_parsed() {
    let section = |number: &str| Cited::Section(number.to_owned());
    let row = |number: &str, row| Cited::Row(number.to_owned(), row);
    let words = |number: &str, words: &str| Cited::Words(number.to_owned(), words.to_owned());
    for (text, expected) in [
        ("Ends (docs/protocol.md section 1.12), as 2 of 3.", vec![section("1.12")]),
        ("The four of docs/protocol.md section 2.6: two of them.", vec![section("2.6")]),
        (
            "(docs/protocol.md section 4.6, rows 1 to 3)",
            vec![section("4.6"), row("4.6", 1), row("4.6", 2), row("4.6", 3)],
        ),
        ("(docs/migrate-from-cdi.md rows 16 and 20)", vec![row(ROWS, 16), row(ROWS, 20)]),
        ("(docs/migrate-from-cdi.md rows 16 to 18)", vec![row(ROWS, 16), row(ROWS, 17), row(ROWS, 18)]),
        ("(docs/migrate-from-cdi.md row 28)", vec![row(ROWS, 28)]),
        (
            "(docs/protocol.md section 1.13 and docs/migrate-from-cdi.md row 13)",
            vec![section("1.13"), row(ROWS, 13)],
        ),
        ("(docs/protocol.md section 4.6 row 1, 4.8)", vec![section("4.6"), row("4.6", 1), section("4.8")]),
        ("(docs/protocol.md sections 3.3 to 3.5)", vec![section("3.3"), section("3.4"), section("3.5")]),
        ("(docs/protocol.md sections 1 and 2)", vec![section("1"), section("2")]),
        ("docs/protocol.md section 4.4, \"exempt\".", vec![section("4.4"), words("4.4", "exempt")]),
        ("(docs/protocol.md section 3.5, direct flow; 4.8 for sizes)", vec![section("3.5"), section("4.8")]),
        (
            "In the order of docs/protocol.md section 1.4 in that of 3.3.",
            vec![section("1.4"), section("3.3")],
        ),
        ("the tables in `docs/protocol.md` section 7 that", vec![section("7")]),
        ("(docs/protocol.md, 6.5)", vec![section("6.5")]),
        ("of docs/protocol.md section 2.6; `x` is 1.2", vec![section("2.6")]),
        ("as [protocol.md](protocol.md), 4.6 says", vec![section("4.6")]),
        ("see protocol section 4.4", vec![section("4.4")]),
        ("that the protocol, its 4 rows, decant_shared::protocol::X and protocol 5 say", vec![]),
    ] {
        assert_eq!(citations(text), expected, "{text}");
    }
    let bare = "attributes (6.4), (1.8, 6.3); then (1.10 GiB), (0.5), (5), (0.5 to 5 s)";
    assert_eq!(bare_citations(bare), ["6.4", "1.8", "6.3"].map(section));
}

#[test]
fn a_missing_section_or_row_is_detected() {
    let mut sections = Sections::new();
    let page = "# P\n\n## 2. A\n\n### 2.4 B\n\n| # | T |\n|---|---|\n| 0 | x |\n| 9, 10 | \"y\" |\n";
    assert_eq!(add_sections(page, &mut sections), Vec::<String>::new());
    for (text, is_there) in [
        ("(protocol.md section 2)", true),
        ("(protocol.md section 3)", false),
        ("(protocol.md section 2.4, row 0)", true),
        ("(protocol.md section 2.4, rows 9 to 10)", true),
        ("(protocol.md section 2.4, row 8)", false),
        ("(protocol.md section 2.4, rows 9 to 11)", false),
        ("(protocol.md section 2.5)", false),
        ("(protocol.md section 2.4, `y`)", true),
        ("(protocol.md section 2.4, `z`)", false),
        ("(migrate-from-cdi.md row 9)", false),
    ] {
        let is_all_there = citations(text).iter().all(|cited| exists(cited, &sections));
        assert_eq!(is_all_there, is_there, "{text}");
    }
    assert_eq!(add_sections("## 2.4 Again\n", &mut sections), ["2.4"]);
}

#[test]
fn comments_on_successive_lines_form_one_text() {
    let source = "//! One (protocol.md\n//! section 1.4).\nlet a = 1; // two\n// three\n// four\n";
    let comments: Vec<String> = comments(source).into_iter().filter(|text| !text.is_empty()).collect();
    assert_eq!(comments, ["One (protocol.md section 1.4). ", "two", "three four "]);
}
