//! Clones in one pod (docs/decisions/0014-direct-clones.md).

mod alone;

use serde_json::{Value, json};

use crate::MIB;
use crate::content::assert_content;
use crate::environment::TestEnv;
use crate::kubectl::{kubectl, try_kubectl};
use crate::progress::assert_a_raised_limit_acts_on_a_running_clone;

/// The flags of a controller that clones in one pod where it can, and reports every second.
pub(crate) const AUTO: [&str; 6] = ["--transfer", "auto", "--poll-secs", "1", "--progress-secs", "1"];
/// How the bytes traveled.
pub(crate) const TRANSFER_MODE: &str = "decant.dev/transfer-mode";

impl TestEnv {
    /// A DataVolume with these annotations.
    pub(crate) fn annotated_data_volume(&self, name: &str, (mode, size): (&str, &str), annotations: &Value) {
        self.apply(&json!({
            "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume",
            "metadata": { "name": name, "annotations": annotations },
            "spec": {
                "source": { "pvc": { "namespace": self.namespace, "name": "golden" } },
                "pvc": self.claim_spec(mode, size),
            },
        }));
    }

    /// The pods of clones in the namespace: name and role.
    pub(crate) fn clone_pods(&self) -> Vec<(String, String)> {
        let args = ["get", "pods", "-l", "app=containerized-data-importer", "-o", "json"];
        let list: Value =
            serde_json::from_str(&kubectl(&[&["-n", &self.namespace], &args[..]].concat(), None)).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let pods = list["items"].as_array().unwrap().iter().map(|pod| &pod["metadata"]);
        pods.map(|meta| (text(&meta["name"]), text(&meta["labels"]["decant.dev/role"]))).collect()
    }

    /// Waits until the message of a DataVolume tells its progress in one pod.
    fn wait_for_direct_progress(&self, name: &str) -> Value {
        self.wait("dv", name, |dv| {
            let message = dv["status"]["conditions"][2]["message"].as_str().unwrap_or_default();
            message.starts_with("in one pod: ") && message.contains(" of ")
        })
    }

    fn wait_for_percent(&self, name: &str, percent: f64) {
        self.wait("dv", name, |dv| {
            let progress = dv["status"]["progress"].as_str().unwrap_or_default();
            progress.trim_end_matches('%').parse::<f64>().is_ok_and(|found| found > percent)
        });
    }

    /// The messages of all events in the namespace.
    fn messages(&self) -> String {
        kubectl(&["-n", &self.namespace, "get", "events", "-o", "jsonpath={.items[*].message}"], None)
    }

    /// The digest that a DataVolume reports.
    fn digest(&self, name: &str) -> String {
        let annotation = |dv: &Value| dv["metadata"]["annotations"]["decant.dev/digest"].clone();
        annotation(&self.wait("dv", name, |dv| annotation(dv).is_string())).as_str().unwrap().to_owned()
    }

    /// Asserts that a complete clone reports this mode.
    fn assert_mode(&self, name: &str, mode: &str) {
        for kind in ["pvc", "dv"] {
            let object =
                self.wait(kind, name, |object| !object["metadata"]["annotations"][TRANSFER_MODE].is_null());
            assert_eq!(object["metadata"]["annotations"][TRANSFER_MODE], mode, "{kind} {name}");
        }
    }
}

fn has_the_digest_of_two_pods(mode: &str) {
    let mut env = TestEnv::new(&AUTO);
    env.volumes(&mode.to_lowercase(), "96Mi", 3);
    env.claim("golden", mode, "96Mi");
    let noise = env.fill("golden", 60 * MIB);
    env.start();
    let limit = json!({ "decant.dev/bandwidth-limit": "4MiB/s" });
    env.annotated_data_volume("one", (mode, "96Mi"), &limit);
    let running = env.wait_for_direct_progress("one");
    assert_eq!(running["status"]["phase"], "CloneInProgress", "{running}");
    assert_eq!(running["status"]["conditions"][2]["status"], "True", "{running}");
    assert_eq!(env.clone_pods(), [("cdi-upload-one".to_owned(), "direct".to_owned())]);
    let secrets = ["get", "secrets", "-l", "app=containerized-data-importer", "-o", "name"];
    assert_eq!(kubectl(&[&["-n", &env.namespace], &secrets[..]].concat(), None), "");
    env.wait_for_percent("one", 20.0);
    let dv = env.wait_for_success("one");
    assert_eq!(dv["status"]["progress"], "100.0%");
    env.wait_for_cleanup("one");
    assert_content(&env, "one", &noise);
    env.assert_mode("one", "direct");
    let messages = env.messages();
    assert!(messages.contains("/one in progress, in one pod"), "{messages}");
    assert!(messages.contains("Source and target hold the same"), "{messages}");
    env.annotated_data_volume("two", (mode, "96Mi"), &json!({ "decant.dev/transfer": "network" }));
    env.wait_for_success("two");
    assert_content(&env, "two", &noise);
    env.assert_mode("two", "network");
    assert!(env.messages().contains("/two in progress, over the network"), "{}", env.messages());
    assert_eq!(env.digest("one"), env.digest("two"));
}

#[test]
fn one_pod_clones_a_device_with_the_digest_of_two_pods() {
    has_the_digest_of_two_pods("Block");
}

#[test]
fn one_pod_clones_a_filesystem_with_the_digest_of_two_pods() {
    has_the_digest_of_two_pods("Filesystem");
}

#[test]
fn a_raised_limit_acts_on_a_running_direct_clone() {
    assert_a_raised_limit_acts_on_a_running_clone(&AUTO);
}

/// A direct clone that runs for some 48 seconds, when 40 % of it are done.
fn half_done(flags: &[&str]) -> (TestEnv, Vec<u8>) {
    let mut env = TestEnv::new(&[&AUTO, flags].concat());
    env.volumes("block", "200Mi", 2);
    env.claim("golden", "Block", "200Mi");
    let noise = env.fill("golden", 190 * MIB);
    env.start();
    let limit = json!({ "decant.dev/bandwidth-limit": "4MiB/s" });
    env.annotated_data_volume("copy", ("Block", "200Mi"), &limit);
    env.wait_for_percent("copy", 40.0);
    (env, noise)
}

/// Deletes a pod at once, as if its node were gone.
fn remove_pod(env: &TestEnv, pod: &str) {
    kubectl(&["-n", &env.namespace, "delete", "pod", pod, "--force", "--grace-period=0"], None);
}

#[test]
fn a_direct_clone_resumes_in_a_new_pod_after_its_pod_is_deleted() {
    let (env, noise) = half_done(&[]);
    let first = env.get("pod", "cdi-upload-copy").unwrap()["metadata"]["uid"].clone();
    remove_pod(&env, "cdi-upload-copy");
    env.wait("pod", "cdi-upload-copy", |pod| {
        pod["metadata"]["uid"] != first && pod["status"]["phase"] == "Running"
    });
    assert_eq!(env.clone_pods(), [("cdi-upload-copy".to_owned(), "direct".to_owned())]);
    env.wait_for_resumption("copy", "cdi-upload-copy");
    env.lift_limit("copy");
    env.wait_for_success("copy");
    assert_content(&env, "copy", &noise);
    env.assert_mode("copy", "direct");
    env.wait_for_cleanup("copy");
}

/// A label of the node, which the pods of one test need.
struct NodeLabel(String);

impl NodeLabel {
    fn new() -> Self {
        Self(format!("test.decant.dev/direct-{}", std::process::id()))
    }

    fn put(&self) {
        kubectl(&["label", "nodes", "--all", "--overwrite", &format!("{}=yes", self.0)], None);
    }

    fn remove(&self) {
        try_kubectl(&["label", "nodes", "--all", &format!("{}-", self.0)], None);
    }
}

impl Drop for NodeLabel {
    fn drop(&mut self) {
        self.remove();
    }
}

#[test]
fn two_pods_resume_the_clone_of_a_pod_that_finds_no_node() {
    let label = NodeLabel::new();
    label.put();
    let (env, noise) = half_done(&["--node-selector", &format!("{}=yes", label.0)]);
    label.remove();
    remove_pod(&env, "cdi-upload-copy");
    env.wait("pvc", "copy", |claim| {
        claim["metadata"]["annotations"]["decant.dev/transfer-fallback"] == "true"
    });
    env.wait("pod", "cdi-upload-copy", |pod| pod["metadata"]["labels"]["decant.dev/role"] == "target");
    assert_ne!(env.get("dv", "copy").unwrap()["status"]["phase"], "Succeeded");
    label.put();
    let uid = env.get("pvc", "copy").unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    env.wait_for_resumption("copy", &format!("{uid}-source-pod"));
    env.lift_limit("copy");
    env.wait_for_success("copy");
    assert_content(&env, "copy", &noise);
    env.assert_mode("copy", "network");
    assert!(env.messages().contains("/copy over the network"), "{}", env.messages());
    env.wait_for_cleanup("copy");
}
