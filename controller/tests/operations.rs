//! What `docs/reference.md` says about flags, annotations, series, events and exit codes is what there is.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;

use clap::CommandFactory;
use decant_controller::cli::Cli;
use decant_shared::protocol::exit_code::Exit;

const DOCUMENT: &str = include_str!("../../docs/reference.md");
/// Has the reasons of conditions, and what helps.
const OPERATIONS: &str = include_str!("../../docs/operations.md");
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

#[test]
fn every_flag_stands_in_the_table_with_its_variable_and_default() {
    let cli = Cli::command();
    let run = cli.find_subcommand("run").unwrap();
    let flags: BTreeSet<(String, String, String)> = run
        .get_arguments()
        .filter(|flag| flag.get_long().is_some_and(|long| long != "help"))
        .map(|flag| {
            let default: Vec<String> =
                flag.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
            let default = default.join(",");
            let default = if default.is_empty() || default == "false" {
                default.replace("false", "")
            } else {
                format!("`{default}`")
            };
            let env = flag.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            (format!("`--{}`", flag.get_long().unwrap()), format!("`{env}`"), default)
        })
        .collect();
    let told: BTreeSet<(String, String, String)> =
        table("Flag").into_iter().map(|row| (row[0].clone(), row[1].clone(), row[2].clone())).collect();
    assert_eq!(flags, told);
}

#[test]
fn the_flags_of_the_webhook_alone_are_those_that_are_marked() {
    let cli = Cli::command();
    let webhook = cli.find_subcommand("webhook").unwrap();
    let flags: BTreeSet<String> = webhook
        .get_arguments()
        .filter_map(|flag| flag.get_long())
        .filter(|long| *long != "help")
        .map(|long| format!("`--{long}`"))
        .collect();
    let marked: BTreeSet<String> =
        table("Flag").into_iter().filter(|row| row[3].ends_with(" *")).map(|row| row[0].clone()).collect();
    assert_eq!(flags, marked);
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
fn every_series_stands_in_the_table() {
    let told: String = table("Series").into_iter().map(|row| row[0].clone()).collect::<Vec<_>>().join(" ");
    assert_eq!(series(SERIES, '"'), series(&told, '`'));
}

#[test]
fn every_annotation_of_ours_stands_in_the_table_and_no_other() {
    let of_ours = |text: &str, quote: char| -> BTreeSet<String> {
        text.split(quote).filter(|word| word.starts_with("decant.dev/")).map(str::to_owned).collect()
    };
    let told: String =
        table("Annotation").into_iter().map(|row| row[0].clone()).collect::<Vec<_>>().join(" ");
    let exist = of_ours(ANNOTATIONS, '"');
    assert!(exist.len() > 8, "the source was not understood: {exist:?}");
    assert_eq!(exist, of_ours(&told, '`'));
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
fn every_flag_is_a_setting_of_the_chart_and_nothing_else_is() {
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

#[test]
fn every_exit_code_stands_in_the_table() {
    let told: Vec<(String, String)> =
        table("Code").into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    let codes: Vec<(String, String)> =
        Exit::ALL.iter().map(|exit| (exit.code().to_string(), exit.sentence().to_owned())).collect();
    assert_eq!(codes, told);
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
    let is_told =
        |reason: &&&str| [DOCUMENT, OPERATIONS].iter().any(|page| page.contains(&format!("`{reason}`")));
    let missing: Vec<&&str> = reasons.iter().filter(|reason| !is_told(reason)).collect();
    assert!(missing.is_empty(), "docs/reference.md and docs/operations.md lack {missing:?}");
}
