//! Settings of the pods of one clone: from DataVolume, PVC and CloneSource to the pods.

use decant_controller::objects::Kind;
use serde_json::{Value, json};

use crate::scenarios::{ACROSS, Asker, DATA, Scenario, assert_complete, target};
use decant_controller_test_support::running_cluster::RunningCluster;

const LOCAL: Scenario = Scenario { is_across: false, ..ACROSS };

/// A world in which the object that asks has these annotations, and its CloneSource these fields.
fn world(scenario: Scenario, annotations: &Value, fields: &Value) -> RunningCluster {
    let kubernetes = scenario.cluster();
    scenario.ask(&kubernetes);
    let mut state = kubernetes.lock();
    let kind = match scenario.asker {
        Asker::Claim => Kind::PersistentVolumeClaim,
        Asker::DataVolume => Kind::DataVolume,
    };
    state.change(kind, &target(), |object| object["metadata"]["annotations"] = annotations.clone());
    if scenario.asker == Asker::Claim {
        let from = decant_controller::objects::Key::new("t", "from");
        state.change(Kind::CloneSource, &from, |source| {
            for (name, value) in fields.as_object().unwrap() {
                source["spec"][name] = value.clone();
            }
        });
    }
    state.is_copying_slow = true;
    drop(state);
    RunningCluster::new(kubernetes)
}

fn pods(world: &RunningCluster) -> Vec<Value> {
    world.kubernetes.all(Kind::Pod)
}

fn placement() -> Value {
    json!({ "nodeSelector": { "disk": "ssd" }, "tolerations": [{ "key": "storage", "operator": "Exists" }] })
}

#[test]
fn all_pods_of_a_clone_get_the_settings_of_their_user() {
    let annotations = json!({ "decant.dev/placement": placement().to_string(), "decant.dev/pod-labels": r#"{"team":"web"}"# });
    let fields = json!({ "placement": placement(), "podLabels": { "team": "web" } });
    let data_volume = Scenario { asker: Asker::DataVolume, ..LOCAL };
    for (scenario, annotations, fields) in [
        (LOCAL, &annotations, &json!({})),
        (LOCAL, &json!({}), &fields),
        (data_volume, &annotations, &json!({})),
    ] {
        let mut world = world(scenario, annotations, fields);
        scenario.run(&mut world);
        assert_eq!(pods(&world).len(), 2, "{scenario:?}");
        for pod in pods(&world) {
            assert_eq!(pod["spec"]["nodeSelector"], json!({ "disk": "ssd" }), "{scenario:?}");
            assert_eq!(pod["spec"]["tolerations"][0]["key"], "storage");
            assert_eq!(pod["metadata"]["labels"]["team"], "web");
        }
        world.kubernetes.lock().is_copying_slow = false;
        world.settle();
        assert_complete(scenario, &world, DATA);
    }
}

#[test]
fn in_the_namespace_of_the_source_only_the_choice_of_nodes_counts() {
    let fields = json!({ "placement": placement(), "podLabels": { "team": "web" } });
    let mut world = world(ACROSS, &json!({}), &fields);
    ACROSS.run(&mut world);
    assert_eq!(pods(&world).len(), 2);
    for pod in pods(&world) {
        assert_eq!(pod["metadata"]["namespace"], "s");
        assert_eq!(pod["spec"]["nodeSelector"], json!({ "disk": "ssd" }));
        assert_eq!(pod["spec"].get("tolerations"), None);
        assert_eq!(pod["metadata"]["labels"].get("team"), None);
    }
}

#[test]
fn a_wrong_setting_of_pods_is_refused_before_there_is_a_pod() {
    let wrong = json!({ "decant.dev/placement": r#"{"tolerations":[{"key":"a","effect":"Never"}]}"# });
    let field = json!({ "podLabels": { "cdi.kubevirt.io": "x" } });
    let data_volume = Scenario { asker: Asker::DataVolume, ..LOCAL };
    for (scenario, annotations, fields, word) in [
        (LOCAL, &wrong, &json!({}), "decant.dev/placement: tolerations[0].effect"),
        (LOCAL, &json!({}), &field, "spec.podLabels"),
        (data_volume, &wrong, &json!({}), "decant.dev/placement: tolerations[0].effect"),
    ] {
        let mut world = world(scenario, annotations, fields);
        world.settle();
        assert!(pods(&world).is_empty(), "{word}");
        let events = world.kubernetes.all(Kind::Event);
        let is_named = |event: &Value| {
            event["reason"] == "ErrClaimNotValid"
                && event["message"].as_str().is_some_and(|text| text.contains(word))
        };
        assert!(events.iter().any(is_named), "{word}: {events:#?}");
    }
}

#[test]
fn a_setting_that_is_wrong_on_the_claim_alone_is_reported_there() {
    let data_volume = Scenario { asker: Asker::DataVolume, ..LOCAL };
    let kubernetes = data_volume.cluster();
    data_volume.ask(&kubernetes);
    let mut world = RunningCluster::new(kubernetes);
    world.settle_until(|kubernetes| kubernetes.find(Kind::PersistentVolumeClaim, &target()).is_some());
    world.kubernetes.lock().change(Kind::PersistentVolumeClaim, &target(), |claim| {
        claim["metadata"]["annotations"]["decant.dev/pod-labels"] = "team=web".into();
    });
    world.settle();
    assert!(pods(&world).is_empty());
    let claim = world.kubernetes.find(Kind::PersistentVolumeClaim, &target()).unwrap();
    let error = &claim["metadata"]["annotations"]["cdi.kubevirt.io/cloneError"];
    assert!(error.as_str().is_some_and(|text| text.contains("decant.dev/pod-labels")), "{error}");
}
