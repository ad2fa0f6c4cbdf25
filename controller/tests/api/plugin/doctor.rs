//! `kubectl decant doctor` where only definitions are installed, and nobody acts.

use serde_json::Value;

use super::{as_user, command_with, end, make_data_volume, plugin, tell};
use crate::ground::Ground;

fn checks(report: &Value, about: &str) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = report["checks"].as_array().unwrap().iter();
    all.filter(|check| text(&check["about"]).contains(about))
        .map(|check| (text(&check["state"]), format!("{} {}", text(&check["found"]), text(&check["help"]))))
        .collect()
}

#[test]
fn what_is_there_is_well_and_what_is_missing_is_named_with_what_to_do() {
    let ground = Ground::new();
    make_data_volume(&ground, "copy");
    tell(
        &ground,
        "copy",
        &serde_json::json!({ "phase": "CloneScheduled", "conditions": [
        { "type": "Running", "status": "False", "reason": "CloneSourceInUse", "message": "pod n/vm using it" }] }),
    );
    let said = plugin(&ground, &["doctor", "-o", "json", "--controller-namespace", &ground.namespace]);
    assert_eq!(said.code, 1, "{}", said.err);
    let report = said.json();
    assert_eq!(report["healthy"], false);
    let definitions = checks(&report, "CustomResourceDefinition");
    assert_eq!(definitions.len(), 5, "{report:#}");
    assert!(definitions.iter().all(|(state, _)| state == "ok"), "{report:#}");
    for (about, word) in [
        ("controller in namespace", "kubectl apply -k"),
        ("Lease", "no controller has ever acted"),
        ("rights of system:serviceaccount", "none of the"),
        ("certificate authority", "the controller creates it"),
        ("storage classes", "storage provider"),
        (&format!("clone {}/copy", ground.namespace), "stop the pods"),
    ] {
        let found = checks(&report, about);
        assert!(
            !found.is_empty() && found.iter().all(|(state, text)| state == "fail" && text.contains(word)),
            "{about}: {report:#}"
        );
    }
    assert_eq!(checks(&report, "your own rights")[0].0, "ok", "{report:#}");
    assert_eq!(checks(&report, "admission webhook")[0].0, "note", "{report:#}");
}

#[test]
fn people_read_lines_with_ok_and_fail() {
    let ground = Ground::new();
    let said = plugin(&ground, &["doctor", "--controller-namespace", &ground.namespace]);
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(
        said.out.contains("\nok    CustomResourceDefinition datavolumes.cdi.kubevirt.io: serves v1beta1\n")
            || said.out.starts_with("ok    CustomResourceDefinition"),
        "{}",
        said.out
    );
    assert!(said.out.contains("\nFAIL  controller in namespace"), "{}", said.out);
    assert!(!said.out.contains('\u{1b}'));
}

#[test]
fn who_may_see_nothing_gets_notes_and_no_alarm_about_it() {
    let ground = Ground::new();
    let folder = tempfile::tempdir().unwrap();
    let file = as_user(&folder, "jane");
    let said = end(command_with(&ground, &file, &["doctor", "-o", "json"]).spawn().unwrap());
    let report = said.json();
    assert_eq!(said.code, 0, "{report:#}");
    let notes = checks(&report, "CustomResourceDefinition");
    assert!(
        notes.iter().all(|(state, text)| state == "note" && text.contains("cannot be checked")),
        "{report:#}"
    );
    assert!(checks(&report, "your own rights")[0].1.contains("create datavolumes"), "{report:#}");
}
