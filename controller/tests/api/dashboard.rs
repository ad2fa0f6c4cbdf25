//! Every query of the Grafana dashboard, and every rule, asked of a real Prometheus that scrapes a real controller and a
//! real source pod's program that copies to a real target.

mod programs;
mod prometheus;

use std::time::{Duration, Instant};

use decant_controller::api::cluster::{Cluster, Part};
use decant_controller::objects::{Kind, names};
use decant_test_support::net::Closed;
use serde_json::{Value, json};

use crate::budget::many_clones::{make, make_golden};
use crate::sandbox::Sandbox;
use programs::{Ends, Running};
use prometheus::Prometheus;

const DASHBOARD: &str = include_str!("../../deploy/monitoring/dashboard.json");
/// Scrapes come every second; rates and the controller's own polls need several.
const PATIENCE: Duration = Duration::from_secs(120);

/// All values of `name` at any depth.
fn all<'v>(value: &'v Value, name: &str, found: &mut Vec<&'v str>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(text) if key == name => found.push(text),
                    _ => all(value, name, found),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| all(value, name, found)),
        _ => {}
    }
}

/// The queries of the panels as Grafana sends them with everything selected.
fn queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut found = Vec::new();
    all(&dashboard["panels"], "expr", &mut found);
    let fill = |query: &str| {
        ["$__rate_interval", "$namespace", "$name"]
            .iter()
            .zip(["10s", ".*", ".*"])
            .fold(query.to_owned(), |query, (name, value)| query.replace(name, value))
    };
    found.into_iter().map(fill).collect()
}

/// A container that was restarted twice: there is a series for that.
fn restart_target(sandbox: &Sandbox) {
    let mut status = crate::kubelet::status("cdi-upload-server", "Running", "127.0.0.1");
    status["status"]["containerStatuses"][0]["restartCount"] = 2.into();
    let pod = sandbox.key(&names::target_pod("clone-0"));
    sandbox.cluster.patch(Kind::Pod, &pod, Part::Status, &status).unwrap();
}

/// A PVC that a CloneSource fills, without its CloneSource.
fn make_populated_claim(sandbox: &Sandbox) {
    let claim = sandbox.populated_claim("populated", &json!({}));
    sandbox.cluster.create(Kind::PersistentVolumeClaim, &claim).unwrap();
}

#[test]
fn every_dashboard_query_returns_samples_and_every_rule_evaluates() {
    let sandbox = Sandbox::new();
    let (metrics, pages) = (Closed::new(), Closed::new());
    let (metrics_port, pages_port) = (metrics.port(), pages.port());
    make_golden(&sandbox);
    let page = make(&sandbox, metrics_port, 0, true).unwrap();
    restart_target(&sandbox);
    make_populated_claim(&sandbox);
    let mut ends = Ends::start(&sandbox, metrics_port, &page);
    let _controller = Running::controller(&sandbox, pages_port);
    let prometheus = Prometheus::start(pages_port, metrics_port);

    let queries = queries();
    assert!(queries.len() > 20, "the dashboard was not understood: {queries:?}");
    let deadline = Instant::now() + PATIENCE;
    let mut silent = queries.clone();
    while !silent.is_empty() {
        assert!(Instant::now() < deadline, "without an answer: {silent:#?}\n{}", ends.report());
        std::thread::sleep(Duration::from_millis(500));
        silent.retain(|query| prometheus.samples(query) == json!([]));
    }
    for label in ["namespace", "name"] {
        assert_ne!(prometheus.label_values("decant_clone_progress_percent", label), json!([]), "{label}");
    }
    let rules = prometheus.rules();
    assert!(rules.len() > 10, "{rules:?}");
    let is_ill = |rule: &&Value| rule["health"] == "err" || rule["lastError"].is_string();
    let ill: Vec<&Value> = rules.iter().filter(is_ill).collect();
    assert!(ill.is_empty(), "{ill:#?}");
}
