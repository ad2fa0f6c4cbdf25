//! `kubectl decant clone`.

use decant_controller::api::cluster::Cluster;
use decant_controller::objects::Kind;
use serde_json::{Value, json};

use super::{
    a_moment, as_user, command, command_with, end, interrupt, make_claim, plugin, running, succeeded, tell,
};
use crate::budget::process::Process;
use crate::ground::{Ground, eventually};
use crate::kubelet::Kubelet;

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

#[test]
fn a_clone_is_a_data_volume_that_asks_for_it() {
    let ground = Ground::new();
    make_claim(&ground, "golden", &json!({}));
    let said = plugin(&ground, &["clone", "golden", "--size", "20Gi"]);
    assert_eq!(
        (said.code, said.out.as_str()),
        (0, "datavolume.cdi.kubevirt.io/golden-clone created\n"),
        "{}",
        said.err
    );
    let made = ground.cluster.get(Kind::DataVolume, &ground.key("golden-clone")).unwrap().value();
    assert_eq!(made["spec"]["source"]["pvc"], json!({ "namespace": ground.namespace, "name": "golden" }));
    assert_eq!(made["spec"]["storage"]["resources"]["requests"]["storage"], "20Gi");
    let again = plugin(&ground, &["clone", "golden"]);
    assert_eq!(again.code, 6);
    assert!(
        again.err.contains("Error from server (AlreadyExists)") && again.err.contains("golden-clone"),
        "{}",
        again.err
    );
}

#[test]
fn what_was_made_is_printed_as_json_and_yaml() {
    let ground = Ground::new();
    make_claim(&ground, "golden", &json!({}));
    let said = plugin(&ground, &["clone", "golden", "--to", "a", "-o", "json"]);
    assert_eq!(said.json()["metadata"]["name"], "a");
    let said = plugin(&ground, &["clone", "golden", "--to", "b", "-o", "yaml"]);
    let yaml: Value = serde_saphyr::from_str(&said.out).unwrap();
    assert_eq!((&yaml["kind"], &yaml["metadata"]["name"]), (&json!("DataVolume"), &json!("b")));
    assert!(yaml["metadata"].get("managedFields").is_none());
}

#[test]
fn a_source_or_a_namespace_that_is_not_there_is_named_as_kubectl_does() {
    let ground = Ground::new();
    let said = plugin(&ground, &["clone", "golden"]);
    assert_eq!(
        (said.code, said.err.as_str()),
        (3, "Error from server (NotFound): persistentvolumeclaims \"golden\" not found\n")
    );
    make_claim(&ground, "golden", &json!({}));
    // A volume may name a class that nobody has defined.
    let said = plugin(&ground, &["clone", "golden", "--to", "c", "--storage-class", "fast"]);
    assert_eq!(said.code, 0);
    assert!(said.err.starts_with("Warning: there is no StorageClass \"fast\""), "{}", said.err);
    let said = plugin(&ground, &["clone", "golden", "--to-namespace", "nowhere"]);
    assert_eq!(said.code, 3);
    assert!(said.err.contains("namespaces \"nowhere\" not found"), "{}", said.err);
    let said = plugin(&ground, &["clone", "golden", "--size", "1Gi"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("1.00 GiB") && said.err.contains("8.00 GiB"), "{}", said.err);
    assert_eq!(plugin(&ground, &["clone", "golden", "--to", "golden"]).code, 2);
}

#[test]
fn who_may_not_clone_hears_the_servers_words() {
    let ground = Ground::new();
    let folder = tempfile::tempdir().unwrap();
    let file = as_user(&folder, "jane");
    let said = end(command_with(&ground, &file, &["clone", "golden"]).spawn().unwrap());
    assert_eq!(said.code, 6, "{}", said.err);
    assert!(
        said.err.starts_with("Error from server (Forbidden)")
            && said.err.contains("User \"jane\" cannot create"),
        "{}",
        said.err
    );
}

#[test]
fn waiting_ends_well_when_a_real_controller_says_so() {
    let ground = Ground::new();
    make_claim(&ground, "golden", &json!({}));
    let _kubelet = Kubelet::start(&ground);
    let _controller = Process::start(&ground);
    let said = plugin(&ground, &["clone", "golden", "--to", "copy", "--wait", "--timeout", "60s"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.ends_with("datavolume.cdi.kubevirt.io/copy cloned\n"), "{}", said.out);
    assert!(said.err.contains("Succeeded"), "{}", said.err);
}

#[test]
fn waiting_tells_how_far_it_is_line_by_line_where_there_is_no_terminal() {
    let ground = Ground::new();
    make_claim(&ground, "golden", &json!({}));
    let child = command(&ground, &["clone", "golden", "--to", "copy", "--wait"]).spawn().unwrap();
    eventually("it is made", PATIENCE, || ground.cluster.get(Kind::DataVolume, &ground.key("copy")).is_ok());
    a_moment();
    tell(&ground, "copy", &running("25.00%"));
    a_moment();
    tell(&ground, "copy", &succeeded());
    let said = end(child);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("copy  CloneInProgress  [======>                 ]  25.00 %"), "{}", said.err);
    assert!(!said.err.contains('\u{1b}'), "{}", said.err);
}

#[test]
fn a_clone_without_permission_ends_the_wait_with_a_hint() {
    let ground = Ground::new();
    make_claim(&ground, "golden", &json!({}));
    let child = command(&ground, &["clone", "golden", "--to", "copy", "--wait"]).spawn().unwrap();
    eventually("it is made", PATIENCE, || ground.cluster.get(Kind::DataVolume, &ground.key("copy")).is_ok());
    tell(
        &ground,
        "copy",
        &json!({ "conditions": [
        { "type": "Bound", "status": "False", "reason": "CloneNotAllowed", "message": "Nothing allows it" }] }),
    );
    let said = end(child);
    assert_eq!(said.code, 4, "{}", said.err);
    assert!(
        said.err.contains("CloneNotAllowed: Nothing allows it")
            && said.err.contains("decant.dev/allow-clone-to"),
        "{}",
        said.err
    );
    assert!(ground.cluster.get(Kind::DataVolume, &ground.key("copy")).is_ok(), "the DataVolume stays");
}

#[test]
fn a_wait_ends_with_its_time_with_a_signal_and_with_the_data_volume() {
    let ground = Ground::new();
    make_claim(&ground, "golden", &json!({}));
    let said = plugin(&ground, &["clone", "golden", "--to", "a", "--wait", "--timeout", "1s"]);
    assert_eq!(said.code, 7, "{}", said.err);
    assert!(said.err.contains("timed out") && said.err.contains("the clone continues"), "{}", said.err);

    let child = command(&ground, &["clone", "golden", "--to", "b", "--wait"]).spawn().unwrap();
    eventually("it is made", PATIENCE, || ground.cluster.get(Kind::DataVolume, &ground.key("b")).is_ok());
    a_moment();
    interrupt(&child);
    let said = end(child);
    assert_eq!(said.code, 130, "{}", said.err);
    assert!(said.err.contains("kubectl decant status") && said.err.contains("--follow"), "{}", said.err);

    let child = command(&ground, &["clone", "golden", "--to", "c", "--wait"]).spawn().unwrap();
    eventually("it is made", PATIENCE, || ground.cluster.get(Kind::DataVolume, &ground.key("c")).is_ok());
    a_moment();
    let made = ground.cluster.get(Kind::DataVolume, &ground.key("c")).unwrap().value();
    ground.cluster.delete(Kind::DataVolume, &ground.key("c"), &crate::ground::uid(&made), None).unwrap();
    let said = end(child);
    assert_eq!(said.code, 3, "{}", said.err);
    assert!(said.err.contains("was deleted"), "{}", said.err);
}
