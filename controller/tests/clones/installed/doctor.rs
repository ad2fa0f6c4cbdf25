//! `kubectl decant doctor` at a complete installation and at an incomplete one.

use serde_json::Value;

use super::{Installed, NAMESPACE};
use crate::environment::TestEnv;
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

fn has_failed(report: &Value, about: &str) -> bool {
    checks(report, about).iter().any(|(state, _)| state == "fail")
}

#[test]
fn doctor_passes_a_complete_installation_and_names_what_another_lacks() {
    let env = TestEnv::for_whole_cluster(&[]);
    let installed = Installed::with_webhook();
    // The API server takes a moment until it trusts the webhook.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let report = loop {
        let (code, report) = doctor(&env);
        if code == 0 {
            break report;
        }
        assert!(std::time::Instant::now() < deadline, "{report:#}");
        std::thread::sleep(std::time::Duration::from_secs(1));
    };
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
    let gone = [&NAMESPACE[..], &["wait", "--for=delete", "pod", "-l", both, "--timeout=60s"]].concat();
    kubectl(&gone, None);
    let (code, report) = doctor(&env);
    assert_eq!(code, 1);
    for about in ["Deployment", "Lease", "admission webhook"] {
        assert!(has_failed(&report, about), "{about}: {report:#}");
    }
    assert!(!has_failed(&report, "CustomResourceDefinition"), "{report:#}");
}
