//! `kubectl decant clone`.

use decant_controller::api::cluster::Cluster;
use decant_controller::objects::Kind;
use serde_json::{Value, json};

use super::{
    as_user, command, command_with, end, interrupt, make_claim, plugin, populated, populating, running,
    succeeded, wait_for_the_watch, write_population, write_status,
};
use crate::budget::process::Process;
use crate::kubelet::Kubelet;
use crate::sandbox::{Sandbox, eventually};

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

#[test]
fn clone_creates_a_data_volume() {
    let sandbox = Sandbox::new();
    make_claim(&sandbox, "golden", &json!({}));
    let output = plugin(&sandbox, &["clone", "golden", "--size", "20Gi"]);
    assert_eq!(
        (output.code, output.out.as_str()),
        (0, "datavolume.cdi.kubevirt.io/golden-clone created\n"),
        "{}",
        output.err
    );
    let made = sandbox.cluster.get(Kind::DataVolume, &sandbox.key("golden-clone")).unwrap().value();
    assert_eq!(made["spec"]["source"]["pvc"], json!({ "namespace": sandbox.namespace, "name": "golden" }));
    assert_eq!(made["spec"]["storage"]["resources"]["requests"]["storage"], "20Gi");
    let again = plugin(&sandbox, &["clone", "golden"]);
    assert_eq!(again.code, 6);
    assert!(
        again.err.contains("Error from server (AlreadyExists)") && again.err.contains("golden-clone"),
        "{}",
        again.err
    );
}

#[test]
fn clone_prints_the_created_object_as_json_and_yaml() {
    let sandbox = Sandbox::new();
    make_claim(&sandbox, "golden", &json!({}));
    let output = plugin(&sandbox, &["clone", "golden", "--to", "a", "-o", "json"]);
    assert_eq!(output.json()["metadata"]["name"], "a");
    let output = plugin(&sandbox, &["clone", "golden", "--to", "b", "-o", "yaml"]);
    let yaml: Value = serde_saphyr::from_str(&output.out).unwrap();
    assert_eq!((&yaml["kind"], &yaml["metadata"]["name"]), (&json!("DataVolume"), &json!("b")));
    assert!(yaml["metadata"].get("managedFields").is_none());
}

#[test]
fn a_missing_source_or_namespace_is_reported_as_by_kubectl() {
    let sandbox = Sandbox::new();
    let output = plugin(&sandbox, &["clone", "golden"]);
    assert_eq!(
        (output.code, output.err.as_str()),
        (3, "Error from server (NotFound): persistentvolumeclaims \"golden\" not found\n")
    );
    make_claim(&sandbox, "golden", &json!({}));
    // A volume may name a class that does not exist.
    let output = plugin(&sandbox, &["clone", "golden", "--to", "c", "--storage-class", "fast"]);
    assert_eq!(output.code, 0);
    assert!(output.err.starts_with("Warning: StorageClass \"fast\" does not exist"), "{}", output.err);
    let output = plugin(&sandbox, &["clone", "golden", "--to-namespace", "nowhere"]);
    assert_eq!(output.code, 3);
    assert!(output.err.contains("namespaces \"nowhere\" not found"), "{}", output.err);
    let output = plugin(&sandbox, &["clone", "golden", "--size", "1Gi"]);
    assert_eq!(output.code, 2);
    assert!(output.err.contains("1.00 GiB") && output.err.contains("8.00 GiB"), "{}", output.err);
    assert_eq!(plugin(&sandbox, &["clone", "golden", "--to", "golden"]).code, 2);
}

#[test]
fn a_forbidden_clone_is_reported_with_the_servers_message() {
    let sandbox = Sandbox::new();
    let directory = tempfile::tempdir().unwrap();
    let file = as_user(&directory, "jane");
    let output = end(command_with(&sandbox, &file, &["clone", "golden"]).spawn().unwrap());
    assert_eq!(output.code, 6, "{}", output.err);
    assert!(
        output.err.starts_with("Error from server (Forbidden)")
            && output.err.contains("User \"jane\" cannot create"),
        "{}",
        output.err
    );
}

#[test]
fn wait_succeeds_with_a_real_controller() {
    let sandbox = Sandbox::new();
    make_claim(&sandbox, "golden", &json!({}));
    let _kubelet = Kubelet::start(&sandbox);
    let _controller = Process::start(&sandbox);
    let output = plugin(&sandbox, &["clone", "golden", "--to", "copy", "--wait", "--timeout", "60s"]);
    assert_eq!(output.code, 0, "{}", output.err);
    assert!(output.out.ends_with("datavolume.cdi.kubevirt.io/copy cloned\n"), "{}", output.out);
    assert!(output.err.contains("Succeeded"), "{}", output.err);
}

#[test]
fn wait_prints_progress_lines_without_a_terminal() {
    let sandbox = Sandbox::new();
    make_claim(&sandbox, "golden", &json!({}));
    let child = command(&sandbox, &["clone", "golden", "--to", "copy", "--wait"]).spawn().unwrap();
    eventually("it is made", PATIENCE, || {
        sandbox.cluster.get(Kind::DataVolume, &sandbox.key("copy")).is_ok()
    });
    wait_for_the_watch();
    write_status(&sandbox, "copy", &running("25.00%"));
    wait_for_the_watch();
    write_status(&sandbox, "copy", &succeeded());
    let output = end(child);
    assert_eq!(output.code, 0, "{}", output.err);
    assert!(
        output.err.contains("copy  CloneInProgress  [======>                 ]  25.00 %"),
        "{}",
        output.err
    );
    assert!(!output.err.contains('\u{1b}'), "{}", output.err);
}

#[test]
fn wait_ends_with_a_hint_if_the_clone_is_not_permitted() {
    let sandbox = Sandbox::new();
    make_claim(&sandbox, "golden", &json!({}));
    let child = command(&sandbox, &["clone", "golden", "--to", "copy", "--wait"]).spawn().unwrap();
    eventually("it is made", PATIENCE, || {
        sandbox.cluster.get(Kind::DataVolume, &sandbox.key("copy")).is_ok()
    });
    write_status(
        &sandbox,
        "copy",
        &json!({ "conditions": [
        { "type": "Bound", "status": "False", "reason": "CloneNotAllowed", "message": "Nothing allows it" }] }),
    );
    let output = end(child);
    assert_eq!(output.code, 4, "{}", output.err);
    assert!(
        output.err.contains("CloneNotAllowed: Nothing allows it")
            && output.err.contains("decant.dev/allow-clone-to"),
        "{}",
        output.err
    );
    assert!(sandbox.cluster.get(Kind::DataVolume, &sandbox.key("copy")).is_ok(), "the DataVolume stays");
}

#[test]
fn wait_ends_on_timeout_signal_and_deletion() {
    let sandbox = Sandbox::new();
    make_claim(&sandbox, "golden", &json!({}));
    let output = plugin(&sandbox, &["clone", "golden", "--to", "a", "--wait", "--timeout", "1s"]);
    assert_eq!(output.code, 7, "{}", output.err);
    assert!(output.err.contains("timed out") && output.err.contains("the clone continues"), "{}", output.err);

    let child = command(&sandbox, &["clone", "golden", "--to", "b", "--wait"]).spawn().unwrap();
    eventually("it is made", PATIENCE, || sandbox.cluster.get(Kind::DataVolume, &sandbox.key("b")).is_ok());
    wait_for_the_watch();
    interrupt(&child);
    let output = end(child);
    assert_eq!(output.code, 130, "{}", output.err);
    assert!(
        output.err.contains("kubectl decant status") && output.err.contains("--follow"),
        "{}",
        output.err
    );

    let child = command(&sandbox, &["clone", "golden", "--to", "c", "--wait"]).spawn().unwrap();
    eventually("it is made", PATIENCE, || sandbox.cluster.get(Kind::DataVolume, &sandbox.key("c")).is_ok());
    wait_for_the_watch();
    let made = sandbox.cluster.get(Kind::DataVolume, &sandbox.key("c")).unwrap().value();
    sandbox.cluster.delete(Kind::DataVolume, &sandbox.key("c"), &crate::sandbox::uid(&made), None).unwrap();
    let output = end(child);
    assert_eq!(output.code, 3, "{}", output.err);
    assert!(output.err.contains("was deleted"), "{}", output.err);
}

#[test]
fn a_clone_as_claim_creates_a_clone_source_and_a_claim_that_owns_it() {
    let sandbox = Sandbox::new();
    make_claim(&sandbox, "golden", &json!({}));
    let flags = ["clone", "golden", "--to", "copy", "--as-claim", "--storage-class", "none"];
    let output = plugin(&sandbox, &[&flags[..], &["--verify", "readback", "--streams", "4"]].concat());
    assert_eq!(output.code, 0, "{}", output.err);
    assert_eq!(output.out, "clonesource.decant.dev/copy created\npersistentvolumeclaim/copy created\n");
    let claim = sandbox.cluster.get(Kind::PersistentVolumeClaim, &sandbox.key("copy")).unwrap().value();
    assert_eq!(claim["spec"]["dataSource"]["kind"], "CloneSource");
    assert_eq!(claim["spec"]["resources"]["requests"]["storage"], "8Gi");
    assert_eq!(claim["spec"]["volumeMode"], "Block");
    let source = sandbox.cluster.get(Kind::CloneSource, &sandbox.key("copy")).unwrap().value();
    let wanted = json!({ "kind": "PersistentVolumeClaim", "name": "golden", "namespace": sandbox.namespace });
    assert_eq!(source["spec"]["source"], wanted, "with the default kind");
    let settings = ["verify", "streams", "transfer"].map(|name| source["spec"][name].clone());
    assert_eq!(settings, [json!("readback"), json!(4), json!("auto")]);
    assert_eq!(source["metadata"]["ownerReferences"][0]["uid"], claim["metadata"]["uid"]);
    // Both exist already; nothing is changed or deleted.
    let again = plugin(&sandbox, &flags);
    assert_eq!(again.code, 6, "{}", again.err);
    assert!(sandbox.cluster.get(Kind::CloneSource, &sandbox.key("copy")).is_ok());
}

#[test]
fn a_claim_that_cannot_be_created_leaves_no_clone_source() {
    let sandbox = Sandbox::new();
    make_claim(&sandbox, "golden", &json!({}));
    make_claim(&sandbox, "copy", &json!({}));
    let output = plugin(&sandbox, &["clone", "golden", "--to", "copy", "--as-claim"]);
    assert_eq!(output.code, 6, "{}", output.err);
    assert!(sandbox.cluster.get(Kind::CloneSource, &sandbox.key("copy")).is_err());
}

#[test]
fn waiting_for_a_clone_as_claim_shows_its_progress_and_its_digest() {
    let sandbox = Sandbox::new();
    make_claim(&sandbox, "golden", &json!({}));
    let args = ["clone", "golden", "--to", "copy", "--as-claim", "--wait", "--timeout", "60s"];
    let child = command(&sandbox, &args).spawn().unwrap();
    eventually("it is made", PATIENCE, || {
        sandbox.cluster.get(Kind::PersistentVolumeClaim, &sandbox.key("copy")).is_ok()
    });
    wait_for_the_watch();
    write_population(&sandbox, "copy", &populating("25.00%"), "Pending");
    wait_for_the_watch();
    write_population(&sandbox, "copy", &populated(), "Bound");
    let output = end(child);
    assert_eq!(output.code, 0, "{}", output.err);
    assert!(output.err.contains("pvc/copy  HostClone") && output.err.contains("25.00 %"), "{}", output.err);
    assert!(output.out.ends_with("persistentvolumeclaim/copy cloned: sha256:00\n"), "{}", output.out);
}

#[test]
fn a_clone_source_with_a_wrong_value_is_refused_by_the_api_server() {
    let sandbox = Sandbox::new();
    let object = |spec: &Value| {
        json!({ "apiVersion": "decant.dev/v1alpha1", "kind": "CloneSource",
                "metadata": { "namespace": sandbox.namespace, "name": "c" }, "spec": spec })
    };
    for spec in [
        json!({ "source": {} }),
        json!({ "source": { "name": "g", "kind": "Secret" } }),
        json!({ "source": { "name": "g" }, "verify": "twice" }),
        json!({ "source": { "name": "g" }, "streams": 9 }),
        json!({ "source": { "name": "g" }, "transfer": "pigeon" }),
        json!({ "source": { "name": "g" }, "bandwidthLimit": "fast" }),
    ] {
        let refused = sandbox.cluster.create(Kind::CloneSource, &object(&spec)).unwrap_err();
        assert_eq!(refused.code, 422, "{spec}: {refused}");
    }
    for limit in ["50MiB/s", "50 MiB/s", "400kB/s", "52428800", "1.5Gi"] {
        let spec = json!({ "source": { "name": "g" }, "bandwidthLimit": limit });
        sandbox.cluster.dry_run(Kind::CloneSource, &object(&spec)).unwrap();
    }
}
