//! What `docs/operations.md` says about flags and series is what there is.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::process::Command;

use clap::CommandFactory;
use decant_controller::args::Cli;

const DOCUMENT: &str = include_str!("../../docs/operations.md");
const SERIES: &str = include_str!("../src/pages/metrics.rs");
const RULES: &str = include_str!("../deploy/monitoring/rules.yaml");

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
fn our_alerts_ask_for_series_that_exist() {
    let exist = series(SERIES, '"');
    let asked: BTreeSet<&str> = RULES
        .split(|c: char| !(c.is_ascii_lowercase() || c == '_'))
        .filter(|word| word.starts_with("decant_"))
        .collect();
    assert!(!asked.is_empty());
    assert!(asked.iter().all(|name| exist.contains(*name)), "{asked:?}");
}

#[test]
fn promtool_accepts_the_rules() {
    let groups = RULES.split_once("\nspec:\n").expect("a PrometheusRule").1;
    let plain: String =
        groups.lines().map(|line| format!("{}\n", line.strip_prefix("  ").unwrap_or(line))).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), plain).unwrap();
    let output = match Command::new("promtool").args(["check", "rules"]).arg(file.path()).output() {
        Ok(output) => output,
        Err(e) => {
            assert!(std::env::var_os("CI").is_none(), "promtool is not installed: {e}");
            return;
        }
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
