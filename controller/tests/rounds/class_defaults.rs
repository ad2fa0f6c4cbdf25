//! DataVolumes that leave fields of their claim open, as clients that move disks between storage classes create them.

use decant_controller::objects::Kind;
use serde_json::{Value, json};

use crate::*;

fn open_data_volume(storage: &Value) -> (Kind, Value) {
    let (kind, mut object) = data_volume(&json!({}));
    object["spec"] = json!({
        "source": { "pvc": { "namespace": "n", "name": "golden" } }, "storage": storage,
    });
    (kind, object)
}

fn storage_class(name: &str, mark: &str) -> (Kind, Value) {
    let object = json!({ "metadata": { "name": name, "annotations": { mark: "true" } }, "provisioner": "p",
                         "volumeBindingMode": "Immediate" });
    (Kind::StorageClass, object)
}

fn storage_profile(name: &str, spec: &Value) -> (Kind, Value) {
    let annotations = json!({ "cdi.kubevirt.io/minimumSupportedPvcSize": "4Gi" });
    let object =
        json!({ "metadata": { "name": name, "annotations": annotations }, "spec": {}, "status": spec });
    (Kind::StorageProfile, object)
}

fn shared_block() -> Value {
    json!({ "claimPropertySets": [{ "accessModes": ["ReadWriteMany"], "volumeMode": "Block" },
                                  { "accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem" }] })
}

const VIRT: &str = "storageclass.kubevirt.io/is-default-virt-class";
const DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";

fn created(objects: Vec<(Kind, Value)>, forbidden: &[Kind]) -> Value {
    let controller = TestController::launch(objects, forbidden);
    controller.settle();
    controller.claim().unwrap()["spec"].clone()
}

#[test]
fn a_clone_that_names_only_class_and_size_gets_the_modes_of_the_profile() {
    let storage = json!({ "storageClassName": "other", "resources": { "requests": { "storage": "10Gi" } } });
    let objects = vec![
        open_data_volume(&storage),
        source(),
        storage_class("other", "x"),
        storage_profile("other", &shared_block()),
    ];
    let claim = created(objects, &[]);
    assert_eq!((&claim["accessModes"], &claim["volumeMode"]), (&json!(["ReadWriteMany"]), &json!("Block")));
    assert_eq!(claim["resources"]["requests"]["storage"], (10_u64 << 30).to_string());
}

#[test]
fn a_clone_that_names_nothing_uses_the_default_class_for_machines_and_its_minimum_size() {
    let objects = vec![
        open_data_volume(&json!({})),
        source(),
        storage_class("plain", DEFAULT),
        storage_class("virt", VIRT),
        storage_profile("virt", &shared_block()),
    ];
    let claim = created(objects.clone(), &[]);
    assert_eq!(claim["storageClassName"], "virt");
    assert_eq!(claim["accessModes"], json!(["ReadWriteMany"]));
    assert_eq!(claim["resources"]["requests"]["storage"], (4_u64 << 30).to_string());

    // Without the right to read profiles, the source decides.
    let claim = created(objects, &[Kind::StorageProfile]);
    assert_eq!(
        (&claim["storageClassName"], &claim["accessModes"]),
        (&json!("virt"), &json!(["ReadWriteOnce"]))
    );
    assert_eq!(claim["resources"]["requests"]["storage"], (1_u64 << 30).to_string());
}

#[test]
fn a_profile_that_cannot_be_understood_counts_as_none() {
    let storage = json!({ "storageClassName": "other" });
    let objects = vec![
        open_data_volume(&storage),
        source(),
        storage_class("other", "x"),
        storage_profile("other", &json!({ "claimPropertySets": "many" })),
    ];
    let claim = created(objects, &[]);
    assert_eq!((&claim["accessModes"], &claim["volumeMode"]), (&json!(["ReadWriteOnce"]), &json!("Block")));
}

#[test]
fn a_literal_spec_is_not_completed() {
    let objects = vec![
        data_volume(&json!({})),
        source(),
        storage_class("c", VIRT),
        storage_profile("c", &shared_block()),
    ];
    assert_eq!(created(objects, &[]), size());
}
