//! `kubectl decant doctor` at a complete installation and at an incomplete one.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Installed, NAMESPACE};
use crate::environment::{PATIENCE, TestEnv};
use crate::kubectl::kubectl;
use crate::plugin::{decant, end};

/// State and what was found, of the checks about `about`.
fn checks(report: &Value, about: &str) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = report["checks"].as_array().unwrap().iter();
    all.filter(|check| text(&check["about"]).contains(about))
        .map(|check| (text(&check["state"]), text(&check["found"])))
        .collect()
}

fn doctor(env: &TestEnv) -> (i32, Value) {
    let (code, out, err) = end(decant(&env.namespace, &["doctor", "-o", "json"]).spawn().unwrap());
    (code, serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out} {err}")))
}

/// Asks doctor until its report is as it should be.
fn doctor_when(env: &TestEnv, is_so: impl Fn(i32, &Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (code, report) = doctor(env);
        if is_so(code, &report) {
            return report;
        }
        assert!(Instant::now() < deadline, "{report:#}");
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn has_failed(report: &Value, about: &str) -> bool {
    checks(report, about).iter().any(|(state, _)| state == "fail")
}

#[test]
fn doctor_passes_a_complete_installation_and_names_what_another_lacks() {
    let env = TestEnv::for_whole_cluster(&[]);
    let installed = Installed::with_webhook();
    // The API server takes a moment until it trusts the webhook.
    let report = doctor_when(&env, |code, _| code == 0);
    assert_eq!(report["healthy"], true);
    for about in [
        "CustomResourceDefinition",
        "Deployment",
        "rights of system:serviceaccount",
        "certificate authority",
        "webhook configuration",
        "admission webhook",
        "storage classes",
        "Lease",
    ] {
        let found = checks(&report, about);
        assert!(!found.is_empty() && found.iter().all(|(state, _)| state == "ok"), "{about}: {report:#}");
    }
    assert_eq!(checks(&report, "Lease")[0].1, format!("{} is the leader", installed.leader()));

    // One definition is removed; the DataVolumes' own would take all DataVolumes with it.
    kubectl(&["delete", "crd", "storageprofiles.cdi.kubevirt.io"], None);
    let (code, report) = doctor(&env);
    kubectl(&["apply", "-f", concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/base/crds.yaml")], None);
    assert_eq!(code, 1);
    assert!(
        has_failed(&report, "storageprofiles.cdi.kubevirt.io") && !has_failed(&report, "datavolumes"),
        "{report:#}"
    );

    let both = "app.kubernetes.io/name in (decant-controller,decant-webhook)";
    kubectl(&[&NAMESPACE[..], &["scale", "deployment", "-l", both, "--replicas=0"]].concat(), None);
    // As soon as the programs have ended; the kubelet keeps their pods for longer.
    let lacking = ["Deployment", "Lease", "admission webhook"];
    let report =
        doctor_when(&env, |code, report| code == 1 && lacking.iter().all(|about| has_failed(report, about)));
    assert!(!has_failed(&report, "CustomResourceDefinition"), "{report:#}");
}
