//! Pods of others that look like pods of a clone.

use serde_json::{Value, json};

use crate::MIB;
use crate::bed::Bed;
use crate::breaks::running_at;
use crate::content::holds;
use crate::kubectl::kubectl;

/// A pod that takes labels, annotations and owner of the pod `like`, in another namespace. It does nothing.
fn imitate(bed: &Bed, like: &str, name: &str, namespace: &str) {
    let pod = bed.get("pod", like).unwrap();
    let meta = &pod["metadata"];
    let imitation = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "namespace": namespace, "name": name,
            "labels": meta["labels"], "annotations": meta["annotations"],
            // Of a kind that does not exist, so that the garbage collector leaves it alone.
            "ownerReferences": [{ "apiVersion": "no.such/v1", "kind": "Thing", "name": "copy",
                                  "uid": bed.get("pvc", "copy").unwrap()["metadata"]["uid"], "controller": true }],
        },
        "spec": { "schedulerName": "nobody", "automountServiceAccountToken": false,
                  "containers": [{ "name": pod["spec"]["containers"][0]["name"], "image": "none" }] },
    });
    kubectl(&["apply", "-f", "-"], Some(&imitation));
}

fn secrets(namespace: &str) -> String {
    kubectl(&["-n", namespace, "get", "secrets", "-o", "name", "-l", "app=containerized-data-importer"], None)
}

#[test]
fn pods_elsewhere_that_imitate_those_of_a_clone_get_no_keys_and_change_nothing() {
    let (bed, noise) = running_at("3MiB/s", &[], 0);
    let elsewhere = format!("{}-x", bed.namespace);
    kubectl(&["create", "namespace", &elsewhere], None);
    let uid = bed.get("pvc", "copy").unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    let source_pod = format!("{uid}-source-pod");
    let before = bed.get("pod", &source_pod).unwrap()["metadata"]["uid"].clone();
    imitate(&bed, "cdi-upload-copy", "evil", &elsewhere);
    imitate(&bed, "cdi-upload-copy", "cdi-upload-copy", &elsewhere);
    imitate(&bed, &source_pod, &source_pod, &elsewhere);
    imitate(&bed, &source_pod, "another-source-pod", &elsewhere);
    // Its word would end the clone.
    let said = json!({ "status": { "phase": "Succeeded", "containerStatuses": [{
        "name": "cdi-upload-server", "image": "none", "imageID": "", "ready": false, "restartCount": 0,
        "state": { "terminated": { "exitCode": 0, "message":
            "{\"digest\":\"decant1:1:eeee\",\"digestConfirmed\":true}" } } }] } });
    let path = format!("/api/v1/namespaces/{elsewhere}/pods/evil/status");
    patch_status(&path, &said);

    bed.succeeds("copy");
    bed.wait("dv", "copy", |dv| {
        let digest = dv["metadata"]["annotations"]["decant.dev/digest"].as_str();
        digest.is_some_and(|digest| digest.starts_with("decant1:67108864:"))
    });
    holds(&bed, "copy", &noise);
    assert_eq!(secrets(&elsewhere), "", "a stranger's pod got keys");
    let pods = kubectl(&["-n", &elsewhere, "get", "pods", "-o", "name"], None);
    assert_eq!(pods.lines().count(), 4, "they are nothing to the controller: {pods}");
    let events = kubectl(&["-n", &bed.namespace, "get", "events", "-o", "json"], None);
    let events: Value = serde_json::from_str(&events).unwrap();
    let killed = events["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["involvedObject"]["uid"] == before && event["reason"] == "Killing");
    assert!(killed.count() <= 1, "the source pod was replaced");
    kubectl(&["delete", "namespace", &elsewhere, "--wait=false"], None);
}

/// `kubectl` of 1.20 cannot write a status.
fn patch_status(path: &str, status: &Value) {
    kubectl(&["replace", "--raw", path, "-f", "-"], Some(&merged(path, status)));
}

fn merged(path: &str, status: &Value) -> Value {
    let mut object: Value = serde_json::from_str(&kubectl(&["get", "--raw", path], None)).unwrap();
    object["status"] = status["status"].clone();
    object
}

#[test]
fn a_secret_that_was_there_before_is_neither_used_nor_changed() {
    let mut bed = Bed::new(&[]);
    bed.volumes("block", "16Mi", 2);
    bed.claim("golden", "Block", "16Mi");
    let noise = bed.fill("golden", MIB);
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "cdi-upload-copy" },
                         "stringData": { "password": "mine" } });
    bed.apply(&secret);
    let before = bed.get("secret", "cdi-upload-copy").unwrap();
    bed.start();
    bed.data_volume("copy", (&bed.namespace, "golden"), "Block", "16Mi");
    bed.succeeds("copy");
    holds(&bed, "copy", &noise);
    assert_eq!(bed.get("secret", "cdi-upload-copy").unwrap(), before);
}
