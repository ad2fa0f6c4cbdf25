//! Pods of others that look like pods of a clone.

use serde_json::{Value, json};

use crate::MIB;
use crate::breaks::running_at;
use crate::content::assert_content;
use crate::environment::TestEnv;
use crate::kubectl::kubectl;

/// A pod that takes labels, annotations and owner of the pod `like`, in another namespace. It does nothing.
fn make_imitation(env: &TestEnv, like: &str, name: &str, namespace: &str) {
    let pod = env.get("pod", like).unwrap();
    let meta = &pod["metadata"];
    let imitation = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "namespace": namespace, "name": name,
            "labels": meta["labels"], "annotations": meta["annotations"],
            // Of a kind that does not exist, so that the garbage collector leaves it alone.
            "ownerReferences": [{ "apiVersion": "no.such/v1", "kind": "Thing", "name": "copy",
                                  "uid": env.get("pvc", "copy").unwrap()["metadata"]["uid"], "controller": true }],
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
fn imitations_of_clone_pods_in_other_namespaces_get_no_keys_and_change_nothing() {
    let (env, noise) = running_at("256KiB/s", &[], 0);
    let elsewhere = format!("{}-x", env.namespace);
    kubectl(&["create", "namespace", &elsewhere], None);
    let uid = env.get("pvc", "copy").unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    let source_pod = format!("{uid}-source-pod");
    let before = env.get("pod", &source_pod).unwrap()["metadata"]["uid"].clone();
    make_imitation(&env, "cdi-upload-copy", "evil", &elsewhere);
    make_imitation(&env, "cdi-upload-copy", "cdi-upload-copy", &elsewhere);
    make_imitation(&env, &source_pod, &source_pod, &elsewhere);
    make_imitation(&env, &source_pod, "another-source-pod", &elsewhere);
    // Its status would end the clone.
    let said = json!({ "status": { "phase": "Succeeded", "containerStatuses": [{
        "name": "cdi-upload-server", "image": "none", "imageID": "", "ready": false, "restartCount": 0,
        "state": { "terminated": { "exitCode": 0, "message":
            "{\"digest\":\"decant1:1:eeee\",\"digestConfirmed\":true}" } } }] } });
    let path = format!("/api/v1/namespaces/{elsewhere}/pods/evil/status");
    patch_status(&path, &said);

    env.lift_limit("copy");
    env.wait_for_success("copy");
    env.wait("dv", "copy", |dv| {
        let digest = dv["metadata"]["annotations"]["decant.dev/digest"].as_str();
        digest.is_some_and(|digest| digest.starts_with("decant1:67108864:"))
    });
    assert_content(&env, "copy", &noise);
    assert_eq!(secrets(&elsewhere), "", "a stranger's pod got keys");
    let pods = kubectl(&["-n", &elsewhere, "get", "pods", "-o", "name"], None);
    assert_eq!(pods.lines().count(), 4, "they are nothing to the controller: {pods}");
    let events = kubectl(&["-n", &env.namespace, "get", "events", "-o", "json"], None);
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
fn an_existing_secret_is_neither_used_nor_changed() {
    let mut env = TestEnv::new(&[]);
    env.volumes("block", "16Mi", 2);
    env.claim("golden", "Block", "16Mi");
    let noise = env.fill("golden", MIB);
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "cdi-upload-copy" },
                         "stringData": { "password": "mine" } });
    env.apply(&secret);
    let before = env.get("secret", "cdi-upload-copy").unwrap();
    env.start();
    env.data_volume("copy", (&env.namespace, "golden"), "Block", "16Mi");
    env.wait_for_success("copy");
    assert_content(&env, "copy", &noise);
    assert_eq!(env.get("secret", "cdi-upload-copy").unwrap(), before);
}
