//! The tables of `docs/protocol.md` section 7 have the steps of the code in the order in which the code tries them.
//!
//! What the code tries is read from its text: the steps that a function names, and those of the functions that it calls, in the order in
//! the code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const PAGE: &str = include_str!("../../../docs/protocol.md");

/// Functions that have their own table.
const TABLES: [&str; 5] = [
    "before_claim::step",
    "before_claim::foreign",
    "running::marked_done",
    "running::step",
    "populated::step",
];

/// A table: its heading, the function that decides there, and the steps that it names but cannot come to.
struct Table {
    heading: &'static str,
    function: &'static str,
    unreachable: &'static [&'static str],
}

const fn table(heading: &'static str, function: &'static str) -> Table {
    Table { heading, function, unreachable: &[] }
}

/// All tables, in the page's order.
const ALL: [Table; 6] = [
    table("7.1 Every clone", "rules::step"),
    // Unsupported sources are handled before the step that calls it.
    Table { heading: "7.2 No claim", function: "before_claim::step", unreachable: &["NotOurs"] },
    table("7.3 A claim of others", "before_claim::foreign"),
    table("7.4 A marked claim", "running::marked_done"),
    table("7.5 A clone under way", "running::step"),
    table("7.6 A claim that is filled before it is bound", "populated::step"),
];

/// The text of every function in `reconcile/rules/`, by `module::name`.
fn functions() -> BTreeMap<String, String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/reconcile/rules");
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let module = if stem == "mod" { "rules" } else { stem };
        let text = fs::read_to_string(&path).unwrap();
        // Functions of the module itself are not indented, and end with the first brace that is not.
        for function in text.split("\nfn ").skip(1).chain(visible(&text)) {
            let name = function.split(['(', '<']).next().unwrap();
            let body = function.split("\n}").next().unwrap();
            let body = body.split_once('{').map_or("", |(_, body)| body);
            found.insert(format!("{module}::{name}"), body.to_owned());
        }
    }
    found
}

/// Those with a visibility, from their names on.
fn visible(text: &str) -> impl Iterator<Item = &str> {
    let marks = ["\npub fn ", "\npub(super) fn ", "\npub(crate) fn "];
    marks.into_iter().flat_map(|mark| text.split(mark).skip(1))
}

/// The steps that `function` of `all` tries, without those of other tables.
fn tried(function: &str, all: &BTreeMap<String, String>) -> Vec<String> {
    let (module, _) = function.split_once("::").unwrap();
    let text: String = all[function].lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let mut found = Vec::new();
    let mut path = String::new();
    for c in text.chars() {
        // The dot stays with the name of a method, which is none of these functions.
        if c.is_alphanumeric() || c == '_' || c == ':' || c == '.' {
            path.push(c);
            continue;
        }
        let word = std::mem::take(&mut path);
        if let Some(step) = word.strip_prefix("Step::") {
            found.push(step.to_owned());
        } else if let Some(called) = called(&word, module, all).filter(|_| c == '(')
            && !TABLES.contains(&called.as_str())
        {
            found.extend(tried(&called, all));
        }
    }
    found.extend(path.strip_prefix("Step::").map(str::to_owned));
    found
}

/// The function that `word` names in `module`: one of another module, of the same, or one that is imported.
fn called(word: &str, module: &str, all: &BTreeMap<String, String>) -> Option<String> {
    let own = format!("{module}::{word}");
    if word.contains("::") || all.contains_key(&own) {
        let path = if word.contains("::") { word } else { &own };
        return all.contains_key(path).then(|| path.to_owned());
    }
    let mut others = all.keys().filter(|path| path.ends_with(&format!("::{word}")));
    others.next().filter(|_| !word.is_empty() && others.next().is_none()).cloned()
}

/// The steps of the table below `heading`, in its order.
fn rows(heading: &str) -> Vec<String> {
    let (_, section) = PAGE.split_once(&format!(" {heading}\n")).expect(heading);
    let lines = section.lines().take_while(|line| !line.starts_with('#'));
    let cells = lines.filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
    cells.flat_map(|cell| cell.split(", ").map(|name| name.trim_matches('`').to_owned())).collect()
}

/// Without `Nothing`, which is not a state of a clone.
fn states(steps: Vec<String>, unreachable: &[&str]) -> Vec<String> {
    let is_state = |step: &String| step != "Nothing" && !unreachable.contains(&step.as_str());
    steps.into_iter().filter(is_state).collect()
}

#[test]
fn each_table_lists_the_steps_of_the_code_in_order() {
    let all = functions();
    for Table { heading, function, unreachable } in ALL {
        let code = states(tried(function, &all), unreachable);
        let page = states(rows(heading), &[]);
        let known: BTreeSet<&String> = code.iter().collect();
        let shown: BTreeSet<&String> = page.iter().collect();
        assert_eq!(shown, known, "{heading}: the steps of the page, and those of {function}");
        let mut rest = code.iter();
        for step in &page {
            let is_next = rest.any(|tried| tried == step);
            assert!(is_next, "{heading}: {function} does not try {step} at this place, but:\n{code:#?}");
        }
    }
}

#[test]
fn every_step_is_in_a_table() {
    let source =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/reconcile/step.rs")).unwrap();
    let (_, steps) = source.split_once("pub enum Step {\n").unwrap();
    let (steps, _) = steps.split_once("\n}").unwrap();
    let names = steps.lines().map(str::trim).filter(|line| !line.starts_with("//"));
    let names: BTreeSet<String> =
        names.map(|line| line.split(['(', ',']).next().unwrap().to_owned()).collect();
    let shown: BTreeSet<String> = ALL.iter().flat_map(|table| rows(table.heading)).collect();
    assert_eq!(shown, names);
}
