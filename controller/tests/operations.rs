//! The tables of `docs/operations.md` are those of the code: flags, annotations, reasons and exit codes are rendered from it, series and
//! events are compared with it.
//!
//! `GOLDEN=write cargo test -p decant-controller --test operations` rewrites the rendered tables.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;

use clap::CommandFactory;
use decant_controller::cli::Cli;
use decant_controller::summary::advice::ADVICE;
use decant_shared::protocol::exit_code::Exit;
use decant_test_support::generated;

const DOCUMENT: &str = include_str!("../../docs/operations.md");
const ANNOTATIONS: &str = include_str!("../src/objects/annotations.rs");
/// What events and conditions are made of.
const REASONS: [&str; 4] = [
    include_str!("../src/objects/reason.rs"),
    include_str!("../src/reconcile/events.rs"),
    include_str!("../src/reconcile/status/conditions.rs"),
    include_str!("../src/reconcile/status/running.rs"),
];
const SCHEMA: &str = include_str!("../deploy/chart/values.schema.json");
/// Variables that the chart or the base sets by other values, or that only a process outside of a cluster needs.
const NOT_SETTINGS: [&str; 14] = [
    "DECANT_KUBECONFIG",
    "DECANT_NAMESPACE",
    "DECANT_CLONER_IMAGE",
    "DECANT_PULL_POLICY",
    "DECANT_PULL_SECRETS",
    "DECANT_LISTEN",
    "DECANT_PROBE_LISTEN",
    "DECANT_NO_LEADER_ELECTION",
    "DECANT_WEBHOOK_LISTEN",
    "DECANT_WEBHOOK_SERVICE",
    "DECANT_WEBHOOK_CLIENT_CA",
    "DECANT_WEBHOOK_CLIENT_NAMES",
    "DECANT_SERVICE_ACCOUNT",
    "POD_NAME",
];
const SERIES: &str = include_str!("../src/pages/metrics.rs");

/// Cells of the table whose heading begins with `heading`.
fn table(heading: &str) -> Vec<Vec<String>> {
    let start = DOCUMENT.find(&format!("| {heading} |")).expect("the table is there");
    let rows = DOCUMENT[start..].lines().take_while(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// The value of a flag that is not given, in backticks, or nothing.
fn default_of(flag: &clap::Arg) -> String {
    let values: Vec<_> = flag.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let joined = values.join(",");
    if joined.is_empty() || joined == "false" { String::new() } else { format!("`{joined}`") }
}

fn help_of(flag: &clap::Arg) -> String {
    flag.get_help().map(ToString::to_string).unwrap_or_default().trim_end_matches('.').replace('|', "\\|")
}

fn long_flags(command: &clap::Command) -> Vec<clap::Arg> {
    let is_flag = |flag: &&clap::Arg| flag.get_long().is_some_and(|long| !matches!(long, "help" | "version"));
    command.get_arguments().filter(is_flag).cloned().collect()
}

/// The flags of `controller run`, with a star where `controller webhook` has them, too.
fn controller_flags() -> String {
    let cli = Cli::command();
    let webhook: BTreeSet<String> = long_flags(cli.find_subcommand("webhook").unwrap())
        .iter()
        .filter_map(|flag| flag.get_long().map(str::to_owned))
        .collect();
    let rows = long_flags(cli.find_subcommand("run").unwrap()).into_iter().map(|flag| {
        let long = flag.get_long().unwrap();
        let variable = flag.get_env().map(|name| format!("`{}`", name.to_string_lossy())).unwrap_or_default();
        let star = if webhook.contains(long) { " *" } else { "" };
        vec![format!("`--{long}`"), variable, default_of(&flag), format!("{}{star}", help_of(&flag))]
    });
    generated::table(&["Flag", "Variable", "Default", "Meaning"], rows)
}

/// `/// On WHERE: WHAT` above the constant of an annotation of Decant's own.
fn annotations() -> String {
    let mut rows = Vec::new();
    let mut comment = String::new();
    for line in ANNOTATIONS.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            comment.push_str(if text.is_empty() { "  " } else { text });
        } else if let Some((_, rest)) = line.split_once("&str = \"decant.dev/") {
            let name = rest.split('"').next().unwrap();
            // What follows an empty line is about the code.
            let text = comment.split("  ").next().unwrap().trim().trim_start_matches("On ");
            let (on, what) =
                text.split_once(": ").unwrap_or_else(|| panic!("{name}: On WHERE: WHAT, not {text}"));
            let what = what.trim_end_matches('.').replace(['[', ']'], "");
            rows.push(vec![format!("`decant.dev/{name}`"), on.to_owned(), what]);
            comment.clear();
        } else {
            comment.clear();
        }
    }
    generated::table(&["Annotation", "On", "Meaning"], rows)
}

fn reasons() -> String {
    let rows = ADVICE.iter().map(|advice| {
        let reason = format!("`{}`", advice.reason);
        let reason = if advice.blocks { format!("**{reason}**") } else { reason };
        vec![reason, advice.means.to_owned(), advice.helps.to_owned()]
    });
    generated::table(&["Reason", "Meaning", "What helps"], rows)
}

fn exit_codes() -> String {
    let rows = Exit::ALL.iter().map(|exit| vec![exit.code().to_string(), exit.sentence().to_owned()]);
    generated::table(&["Code", "Meaning"], rows)
}

#[test]
fn the_generated_tables_are_those_of_the_code() {
    let tables = [
        ("reasons", reasons()),
        ("controller-flags", controller_flags()),
        ("annotations", annotations()),
        ("exit-codes", exit_codes()),
    ];
    generated::check(&tables, "cargo test -p decant-controller --test operations");
}

#[test]
fn every_flag_has_a_variable_and_a_meaning() {
    let flags = long_flags(Cli::command().find_subcommand("run").unwrap());
    assert!(flags.len() > 30);
    for flag in flags {
        assert!(flag.get_env().is_some() && !help_of(&flag).is_empty(), "{flag:?}");
    }
}

#[test]
fn every_annotation_of_ours_is_in_the_table() {
    let exist = ANNOTATIONS.matches("\"decant.dev/").count();
    assert!(exist > 8, "the source was not understood");
    assert_eq!(annotations().lines().count(), exist + 2);
}

/// Names in quotes or backticks that look like series.
fn series(text: &str, quote: char) -> BTreeSet<String> {
    text.split(quote)
        .filter(|word| word.starts_with("decant_") || word.starts_with("kubevirt_cdi_"))
        .filter(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_table_lists_every_series() {
    let told: String = table("Series").into_iter().map(|row| row[0].clone()).collect::<Vec<_>>().join(" ");
    assert_eq!(series(SERIES, '"'), series(&told, '`'));
}

/// `maxClones` is `DECANT_MAX_CLONES`.
fn variable_of(setting: &str) -> String {
    let mut name = "DECANT_".to_owned();
    for c in setting.chars() {
        if c.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(c.to_ascii_uppercase());
    }
    name
}

#[test]
fn the_settings_of_the_chart_are_exactly_the_flags() {
    let cli = Cli::command();
    let flags: BTreeSet<String> = cli
        .find_subcommand("run")
        .unwrap()
        .get_arguments()
        .filter_map(|flag| Some(flag.get_env()?.to_string_lossy().into_owned()))
        .filter(|name| !NOT_SETTINGS.contains(&name.as_str()))
        .collect();
    let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
    let settings = schema["properties"]["settings"]["properties"].as_object().unwrap();
    let settings: BTreeSet<String> = settings.keys().map(|name| variable_of(name)).collect();
    assert_eq!(flags, settings);
}

/// Whether it looks like a reason of Kubernetes: two words or more in one, each with a capital.
fn is_reason(word: &str) -> bool {
    let capitals = word.chars().filter(char::is_ascii_uppercase).count();
    word.starts_with(|c: char| c.is_ascii_uppercase())
        && word.chars().all(|c| c.is_ascii_alphabetic())
        && (2..word.len()).contains(&capitals)
}

#[test]
fn every_reason_of_an_event_is_explained() {
    let reasons: BTreeSet<&str> =
        REASONS.iter().flat_map(|source| source.split('"')).filter(|word| is_reason(word)).collect();
    assert!(reasons.len() > 20, "the sources were not understood: {reasons:?}");
    let missing: Vec<&&str> =
        reasons.iter().filter(|reason| !DOCUMENT.contains(&format!("`{reason}`"))).collect();
    assert!(missing.is_empty(), "docs/operations.md lacks {missing:?}");
}
