//! `kubectl decant doctor` where only definitions are installed and no controller runs.

use serde_json::Value;

use super::{as_user, command_with, end, make_data_volume, plugin, write_status};
use crate::sandbox::Sandbox;

fn checks(report: &Value, about: &str) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = report["checks"].as_array().unwrap().iter();
    all.filter(|check| text(&check["about"]).contains(about))
        .map(|check| (text(&check["state"]), format!("{} {}", text(&check["found"]), text(&check["help"]))))
        .collect()
}

#[test]
fn doctor_passes_what_is_installed_and_names_what_is_missing() {
    let sandbox = Sandbox::new();
    make_data_volume(&sandbox, "copy");
    write_status(
        &sandbox,
        "copy",
        &serde_json::json!({ "phase": "CloneScheduled", "conditions": [
        { "type": "Running", "status": "False", "reason": "CloneSourceInUse", "message": "pod n/vm using it" }] }),
    );
    let output = plugin(&sandbox, &["doctor", "-o", "json", "--controller-namespace", &sandbox.namespace]);
    assert_eq!(output.code, 1, "{}", output.err);
    let report = output.json();
    assert_eq!(report["healthy"], false);
    let definitions = checks(&report, "CustomResourceDefinition");
    assert_eq!(definitions.len(), 7, "{report:#}");
    assert!(definitions.iter().all(|(state, _)| state == "ok"), "{report:#}");
    for (about, word) in [
        ("controller in namespace", "kubectl apply -k"),
        ("Lease", "no controller has been the leader yet"),
        ("rights of system:serviceaccount", "none of the"),
        ("certificate authority", "the controller creates it"),
        (&format!("clone {}/copy", sandbox.namespace), "stop the pods"),
    ] {
        let found = checks(&report, about);
        assert!(
            !found.is_empty() && found.iter().all(|(state, text)| state == "fail" && text.contains(word)),
            "{about}: {report:#}"
        );
    }
    // All classes, and those that can fill a PVC before it is bound.
    let classes = checks(&report, "storage classes");
    let states: Vec<&str> = classes.iter().map(|(state, _)| state.as_str()).collect();
    assert_eq!(states, ["fail", "note"], "{report:#}");
    assert!(classes[0].1.contains("storage provider"), "{report:#}");
    assert_eq!(checks(&report, "your own rights")[0].0, "ok", "{report:#}");
    assert_eq!(checks(&report, "admission webhook")[0].0, "note", "{report:#}");
}

#[test]
fn doctor_prints_lines_with_ok_and_fail() {
    let sandbox = Sandbox::new();
    let output = plugin(&sandbox, &["doctor", "--controller-namespace", &sandbox.namespace]);
    assert_eq!(output.code, 1, "{}", output.err);
    assert!(
        output.out.contains("\nok    CustomResourceDefinition datavolumes.cdi.kubevirt.io: serves v1beta1\n")
            || output.out.starts_with("ok    CustomResourceDefinition"),
        "{}",
        output.out
    );
    assert!(output.out.contains("\nFAIL  controller in namespace"), "{}", output.out);
    assert!(!output.out.contains('\u{1b}'));
}

#[test]
fn a_user_without_rights_gets_notes_instead_of_failures() {
    let sandbox = Sandbox::new();
    let directory = tempfile::tempdir().unwrap();
    let file = as_user(&directory, "jane");
    let output = end(command_with(&sandbox, &file, &["doctor", "-o", "json"]).spawn().unwrap());
    let report = output.json();
    assert_eq!(output.code, 0, "{report:#}");
    let notes = checks(&report, "CustomResourceDefinition");
    assert!(
        notes.iter().all(|(state, text)| state == "note" && text.contains("cannot be checked")),
        "{report:#}"
    );
    assert!(checks(&report, "your own rights")[0].1.contains("create datavolumes"), "{report:#}");
}
