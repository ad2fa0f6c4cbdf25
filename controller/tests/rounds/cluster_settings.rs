//! Settings of the cluster, from the objects of CDI to the pods of a clone.

use decant_controller::objects::Kind;
use serde_json::{Value, json};

use crate::*;

fn config() -> (Kind, Value) {
    let object = json!({
        "metadata": { "name": "config" },
        "status": { "defaultPodResourceRequirements": { "limits": { "memory": "2Gi" } }, "preallocation": true },
    });
    (Kind::CdiConfig, object)
}

fn cdi(name: &str, phase: &str) -> (Kind, Value) {
    let near = json!({ "requiredDuringSchedulingIgnoredDuringExecution": [{ "topologyKey": "rack" }] });
    let object = json!({
        "metadata": { "name": name }, "status": { "phase": phase },
        "spec": { "workload": { "nodeSelector": { "disk": name }, "affinity": { "podAffinity": near } } },
    });
    (Kind::Cdi, object)
}

fn target_pod(extra: Vec<(Kind, Value)>, forbidden: &[Kind]) -> Value {
    let mut objects = vec![data_volume(&json!({})), source()];
    objects.extend(extra);
    let controller = TestController::launch(objects, forbidden);
    let cluster = &*controller.reconciler.cluster;
    controller.reconciler.policy.refresh(cluster).unwrap();
    controller.settle();
    controller.bind("pv");
    controller.settle();
    controller.stub.all(Kind::Pod).pop().unwrap()
}

fn memory(pod: &Value) -> &Value {
    &pod["spec"]["containers"][0]["resources"]["limits"]["memory"]
}

#[test]
fn pods_have_the_resources_and_the_placement_of_the_cluster() {
    let pod = target_pod(vec![config(), cdi("cdi", "Deployed")], &[]);
    assert_eq!(memory(&pod), "2Gi");
    assert_eq!(pod["spec"]["nodeSelector"], json!({ "disk": "cdi" }));
    let terms = &pod["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    assert_eq!(terms, &json!([{ "topologyKey": "rack" }]));
    let environment = pod["spec"]["containers"][0]["env"].as_array().unwrap();
    let preallocation = environment.iter().find(|variable| variable["name"] == "PREALLOCATION").unwrap();
    assert_eq!(preallocation["value"], "true");
}

#[test]
fn a_cdi_that_its_operator_refused_has_no_effect() {
    let pod = target_pod(vec![cdi("a", "Error"), cdi("b", "Deployed")], &[]);
    assert_eq!(pod["spec"]["nodeSelector"], json!({ "disk": "b" }));
    let pod = target_pod(vec![cdi("a", "Deployed"), cdi("b", "Deployed")], &[]);
    assert_eq!(pod["spec"]["nodeSelector"], Value::Null);
}

#[test]
fn without_the_right_to_read_them_or_without_the_objects_the_flags_count() {
    let objects = || vec![config(), cdi("cdi", "Deployed")];
    for pod in [target_pod(objects(), &[Kind::CdiConfig, Kind::Cdi]), target_pod(Vec::new(), &[])] {
        assert_eq!((memory(&pod), &pod["spec"]["nodeSelector"]), (&json!("600M"), &Value::Null));
    }
}
