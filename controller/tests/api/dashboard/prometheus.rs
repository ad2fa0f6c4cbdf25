//! A Prometheus server of the test's own.

use std::fs;
use std::process::{Command, Stdio};

use decant_test_support::net::Closed;
use serde_json::{Value, json};

use super::programs::Running;

/// The PrometheusRule.
const RULES: &str = include_str!("../../../deploy/monitoring/rules.yaml");

/// Ended when dropped; what it stored goes with it.
pub(super) struct Prometheus {
    port: u16,
    /// No other process gets the port.
    _held: Closed,
    _server: Running,
    _directory: tempfile::TempDir,
}

impl Prometheus {
    /// Scrapes a controller and a source on loopback every second, and has our rules.
    pub(super) fn start(controller_port: u16, source_port: u16) -> Self {
        let directory = tempfile::tempdir().unwrap();
        // The file of a PrometheusRule is a rule file below `spec`.
        let rules: String = RULES
            .split_once("\nspec:\n")
            .unwrap()
            .1
            .lines()
            .map(|line| format!("{}\n", line.strip_prefix("  ").unwrap_or(line)))
            .collect();
        fs::write(directory.path().join("rules.yaml"), rules).unwrap();
        // JSON is YAML. The source's name in its certificate is no name of this machine, as for CDI's own scrapes.
        let configuration = json!({
            "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
            "rule_files": ["rules.yaml"],
            "scrape_configs": [
                { "job_name": "decant-controller",
                  "static_configs": [{ "targets": [format!("127.0.0.1:{controller_port}")] }] },
                { "job_name": "decant-sources", "scheme": "https", "tls_config": { "insecure_skip_verify": true },
                  "static_configs": [{ "targets": [format!("127.0.0.1:{source_port}")] }] },
            ],
        });
        let file = directory.path().join("prometheus.yaml");
        fs::write(&file, configuration.to_string()).unwrap();
        let held = Closed::new();
        let port = held.port();
        let server = Running::start(
            Command::new("prometheus")
                .arg(format!("--config.file={}", file.display()))
                .arg(format!("--storage.tsdb.path={}", directory.path().join("store").display()))
                .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                .arg("--log.level=error")
                .stdout(Stdio::null()),
        );
        Self { port, _held: held, _server: server, _directory: directory }
    }

    /// The result vector of a query; empty as long as the server does not answer.
    pub(super) fn samples(&self, query: &str) -> Value {
        let answer = self.get("query", &[("query", query)]);
        // A query that cannot be read will never have an answer.
        let error = answer["error"].as_str().unwrap_or_default();
        assert!(answer["errorType"] != "bad_data", "{query}: {error}");
        answer["data"].get("result").cloned().unwrap_or_else(|| json!([]))
    }

    /// What Grafana's `label_values(series, label)` offers.
    pub(super) fn label_values(&self, series: &str, label: &str) -> Value {
        self.get(&format!("label/{label}/values"), &[("match[]", series)])["data"].clone()
    }

    /// All rules with their state.
    pub(super) fn rules(&self) -> Vec<Value> {
        let answer = self.get("rules", &[]);
        let groups = answer["data"]["groups"].as_array().cloned().unwrap_or_default();
        groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect()
    }

    fn get(&self, what: &str, expected_text: &[(&str, &str)]) -> Value {
        // A query that is wrong is answered 400, with the reason in the body.
        let request = ureq::get(format!("http://127.0.0.1:{}/api/v1/{what}", self.port));
        let request = request.query_pairs(expected_text.iter().copied());
        let answer = request.config().http_status_as_error(false).proxy(None).build().call();
        let text = answer.ok().and_then(|mut answer| answer.body_mut().read_to_string().ok());
        text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }
}
