//! The alerts fire when they should and only then, and the dashboard asks for nothing that does not exist.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

const RULES: &str = include_str!("../deploy/monitoring/rules.yaml");
const CASES: &str = include_str!("../deploy/monitoring/rules_test.yaml");
const DASHBOARD: &str = include_str!("../deploy/monitoring/dashboard.json");
const CONTROLLER: &str = include_str!("../src/pages/metrics.rs");
const SOURCE: &str = include_str!("../../cloner/src/report/metrics.rs");

/// The rules as Prometheus reads them from a file: the part below `spec`.
fn plain_rules() -> String {
    let groups = RULES.split_once("\nspec:\n").expect("a PrometheusRule").1;
    groups.lines().map(|line| format!("{}\n", line.strip_prefix("  ").unwrap_or(line))).collect()
}

/// The output of `promtool ARGS` in a directory with the rules and their cases; nothing where it is not installed.
fn promtool(args: &[&str]) -> Option<(bool, String)> {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("rules.yaml"), plain_rules()).unwrap();
    fs::write(directory.path().join("cases.yaml"), CASES).unwrap();
    match Command::new("promtool").args(args).current_dir(directory.path()).output() {
        Ok(output) => {
            let text = [output.stdout, output.stderr].concat();
            Some((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
        }
        Err(e) => {
            assert!(std::env::var_os("CI").is_none(), "promtool is not installed: {e}");
            None
        }
    }
}

/// The words after `key` in lines of a YAML file.
fn values<'t>(text: &'t str, key: &str) -> BTreeSet<&'t str> {
    text.split(key).skip(1).filter_map(|rest| rest.split([' ', ',', '\n', '}']).next()).collect()
}

/// Words of queries that look like Decant's series.
fn series(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !(c.is_ascii_lowercase() || c == '_'))
        .filter(|word| word.starts_with("decant_") || word.starts_with("kubevirt_cdi_"))
        .collect()
}

#[test]
fn promtool_accepts_the_rules() {
    if let Some((good, said)) = promtool(&["check", "rules", "rules.yaml"]) {
        assert!(good, "{said}");
    }
}

#[test]
fn each_alert_fires_exactly_in_its_cases() {
    if let Some((good, said)) = promtool(&["test", "rules", "cases.yaml"]) {
        assert!(good, "{said}");
    }
}

#[test]
fn each_alert_has_a_firing_and_a_silent_case() {
    let alerts = values(RULES, "- alert: ");
    assert!(alerts.len() > 5, "{alerts:?}");
    for alert in alerts {
        let cases: Vec<&str> =
            CASES.split("eval_time: ").filter(|case| case.contains(&format!("alertname: {alert}"))).collect();
        assert!(cases.iter().any(|case| case.contains("exp_labels")), "{alert} never fires");
        let quiet = cases.iter().any(|case| case.contains("exp_alerts: []"));
        assert!(quiet, "{alert} is never quiet");
    }
}

#[test]
fn the_dashboard_and_the_rules_query_only_existing_series() {
    let exist: BTreeSet<&str> = [CONTROLLER, SOURCE]
        .into_iter()
        .flat_map(series)
        .chain(["kubevirt_cdi_clone_progress_total", "kubevirt_cdi_clone_pods_high_restart"])
        .chain(["kubevirt_cdi_upload_pods_high_restart"])
        .collect();
    for text in [DASHBOARD, RULES] {
        let asked = series(text);
        assert!(asked.len() > 3, "{asked:?}");
        assert!(asked.is_subset(&exist), "{:?}", asked.difference(&exist));
    }
}

#[test]
fn the_dashboard_shows_every_series_of_the_controller() {
    let shown = series(DASHBOARD);
    let exist: BTreeSet<&str> = CONTROLLER.split('"').filter(|word| series(word).contains(word)).collect();
    assert!(exist.len() > 10, "{exist:?}");
    assert!(exist.is_subset(&shown), "not on the dashboard: {:?}", exist.difference(&shown));
}

#[test]
fn the_dashboard_is_valid_for_grafana() {
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    assert_eq!(dashboard["uid"], "decant");
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "two panels with one id");
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let title = panel["title"].as_str().unwrap();
        assert!(!panel["targets"].as_array().unwrap().is_empty(), "{title} asks nothing");
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title} has no unit");
        let right = panel["gridPos"]["x"].as_u64().unwrap() + panel["gridPos"]["w"].as_u64().unwrap();
        assert!(right <= 24, "{title} leaves the screen");
    }
}
