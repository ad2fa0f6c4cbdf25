//! `kubectl apply -k controller/deploy`, as in the README, with two replicas in the cluster.

mod doctor;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::MIB;
use crate::content::assert_content;
use crate::environment::{PATIENCE, TestEnv};
use crate::kubectl::{kubectl, try_kubectl};
use crate::processes::Process;
use crate::rights;

const NAMESPACE: [&str; 2] = ["-n", "decant-system"];

/// Gone again at the end, so that other controllers can act.
struct Installed;

impl Installed {
    /// `kubectl apply -k controller/deploy`.
    fn new() -> Self {
        apply_directory("");
        Self::rolled_out(&["decant-controller"])
    }

    /// The same with the webhook.
    fn with_webhook() -> Self {
        apply_directory("webhook");
        Self::rolled_out(&["decant-controller", "decant-webhook"])
    }

    fn rolled_out(deployments: &[&str]) -> Self {
        let installed = Self;
        for name in deployments {
            let rollout = ["rollout", "status", "deployment", name, "--timeout=100s"];
            kubectl(&[&NAMESPACE[..], &rollout].concat(), None);
        }
        installed
    }

    fn leader(&self) -> String {
        let path = "jsonpath={.spec.holderIdentity}";
        kubectl(&[&NAMESPACE[..], &["get", "lease", "decant-controller", "-o", path]].concat(), None)
    }

    /// The running ones: a pod that the node evicted stays in the list.
    fn pods(&self, name: &str) -> Vec<String> {
        let path = "jsonpath={.items[*].metadata.name}";
        let label = format!("app.kubernetes.io/name={name}");
        let args = ["get", "pods", "-l", &label, "--field-selector=status.phase=Running", "-o", path];
        kubectl(&[&NAMESPACE[..], &args].concat(), None).split(' ').map(str::to_owned).collect()
    }

    fn page(&self, pod: &str, page: &str) -> String {
        let path = format!("/api/v1/namespaces/decant-system/pods/http:{pod}:8080/proxy/{page}");
        kubectl(&["get", "--raw", &path], None)
    }
}

/// `kubectl apply -k` of a directory in `controller/deploy`, with the newest released kubectl: some directories are too new for
/// that of an old cluster. Neither kubectl nor the API server may warn.
fn apply_directory(directory: &str) {
    let newest = std::env::var("DECANT_NEWEST_KUBECTL").expect("scripts/on_cluster.sh sets it");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(directory);
    let output = Command::new(newest).args(["apply", "-k"]).arg(path).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.is_empty(), "kubectl apply -k {directory:?} warns: {stderr}");
}

impl Drop for Installed {
    fn drop(&mut self) {
        for kind in ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"] {
            let name =
                &format!("cdi-api-datavolume-{}", if kind.starts_with('m') { "mutate" } else { "validate" });
            let _ = std::panic::catch_unwind(|| kubectl(&["delete", kind, name, "--ignore-not-found"], None));
        }
        // The pods, too: the next installation counts its own.
        let both = "app.kubernetes.io/name in (decant-controller,decant-webhook)";
        let pods = ["delete", "pods", "-l", both, "--timeout=120s"];
        let deployments = ["delete", "deployments", "-l", both, "--timeout=120s"];
        for delete in [&deployments[..], &pods] {
            if std::thread::panicking() {
                let _ = std::panic::catch_unwind(|| kubectl(&[&NAMESPACE[..], delete].concat(), None));
            } else {
                kubectl(&[&NAMESPACE[..], delete].concat(), None);
            }
        }
    }
}

/// promtool is among what `scripts/test.sh setup` installs.
fn promtool_accepts(page: &str) {
    let mut promtool =
        Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).spawn().unwrap();
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    assert!(promtool.wait().unwrap().success(), "promtool objects to the page:\n{page}");
}

#[test]
fn a_second_replica_takes_over_within_twenty_seconds() {
    let mut env = TestEnv::for_whole_cluster(&[]);
    env.volumes("block", "16Mi", 3);
    env.claim("golden", "Block", "16Mi");
    let noise = env.fill("golden", MIB);
    let installed = Installed::new();
    env.data_volume("first", (&env.namespace, "golden"), "Block", "16Mi");
    env.wait_for_success("first");
    assert_content(&env, "first", &noise);

    let first = installed.leader();
    assert_eq!(installed.page(&first, "healthz"), "OK");
    assert_eq!(installed.page(&first, "readyz"), "OK");
    let page = installed.page(&first, "metrics");
    assert!(page.contains("\ndecant_leader 1\n"));
    promtool_accepts(&page);
    let names = installed.pods("decant-controller");
    assert_eq!(names.len(), 2);
    let other = names.iter().find(|name| **name != first).unwrap();
    assert!(installed.page(other, "metrics").contains("\ndecant_leader 0\n"));

    // Frozen, not killed: a pod that is killed is back within a second and still holds its Lease.
    let process = Process::with("POD_NAME", &first);
    process.signal("-STOP");
    let frozen = Instant::now();
    while installed.leader() == first || installed.leader().is_empty() {
        assert!(frozen.elapsed() < Duration::from_secs(20), "nobody took over");
        std::thread::sleep(Duration::from_millis(200));
    }
    println!("taken over after {:?}", frozen.elapsed());
    process.signal("-CONT");
    let woken = Instant::now();
    while !installed.page(&first, "metrics").contains("\ndecant_leader 0\n") {
        assert!(woken.elapsed() < Duration::from_secs(20), "the one that was frozen still acts");
        std::thread::sleep(Duration::from_millis(200));
    }
    env.data_volume("second", (&env.namespace, "golden"), "Block", "16Mi");
    env.wait_for_success("second");
    assert_content(&env, "second", &noise);
}

/// Lets `user` do with `resource` of `namespace` what `verbs` allows.
fn grant(namespace: &str, user: &str, verbs: &str, resource: &str) {
    let (verbs, resource) = (format!("--verb={verbs}"), format!("--resource={resource}"));
    kubectl(&["-n", namespace, "create", "role", user, &verbs, &resource], None);
    let (role, user_flag) = (format!("--role={user}"), format!("--user={user}"));
    kubectl(&["-n", namespace, "create", "rolebinding", user, &role, &user_flag], None);
}

/// The output of `kubectl` when `user` creates a DataVolume.
fn create_as(user: &str, namespace: &str, object: &Value) -> (bool, String) {
    try_kubectl(&["-n", namespace, "--as", user, "create", "-f", "-", "-o", "json"], Some(object))
}

const TOKEN: &str = "cdi.kubevirt.io/storage.clone.token";
const LONG_TOKEN: &str = "cdi.kubevirt.io/storage.extended.clone.token";

#[test]
fn across_namespaces_the_webhook_decides_and_tokens_cannot_be_forged_or_moved() {
    let mut env = TestEnv::for_whole_cluster(&[]);
    let mut owner = TestEnv::for_whole_cluster(&[]);
    owner.volumes("block", "16Mi", 1);
    owner.claim("golden", "Block", "16Mi");
    let noise = owner.fill("golden", MIB);
    env.volumes("block", "16Mi", 2);
    let target = env.namespace.clone();
    for user in ["jane", "joe"] {
        grant(&target, user, "create,get,patch", "datavolumes.cdi.kubevirt.io");
    }
    grant(&owner.namespace, "jane", "create", "datavolumes.cdi.kubevirt.io/source");
    let installed = Installed::with_webhook();
    let object = |name: &str, annotations: Value| {
        json!({
            "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume",
            "metadata": { "name": name, "annotations": annotations },
            "spec": {
                "source": { "pvc": { "namespace": owner.namespace, "name": "golden" } },
                "pvc": { "accessModes": ["ReadWriteOnce"], "volumeMode": "Block", "storageClassName": target,
                         "resources": { "requests": { "storage": "16Mi" } } },
            },
        })
    };
    // The API server takes a moment until it trusts the webhook.
    let refused =
        format!("User joe has insufficient permissions in clone source namespace {}", owner.namespace);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (made, text) = create_as("joe", &target, &object("denied", json!({})));
        assert!(!made, "joe has no right to the source, and got: {text}");
        if text.contains(&refused) {
            break;
        }
        assert!(Instant::now() < deadline, "{text}");
        std::thread::sleep(Duration::from_millis(500));
    }

    let (made, text) = create_as("jane", &target, &object("copy", json!({ LONG_TOKEN: "forged" })));
    assert!(made, "{text}");
    let made: Value = serde_json::from_str(&text).unwrap();
    let token = made["metadata"]["annotations"][TOKEN].as_str().expect("the webhook gave a token").to_owned();
    assert!(made["metadata"]["annotations"][LONG_TOKEN].is_null(), "what jane forged is still there");
    env.wait_for_success("copy");
    assert_content(&env, "copy", &noise);

    // Borrowed: the short and the long token of one clone on another, in spite of the webhook.
    let long = env.get("dv", "copy").unwrap()["metadata"]["annotations"][LONG_TOKEN].clone();
    assert!(long.is_string());
    let (made, text) =
        create_as("joe", &target, &object("borrowed", json!({ TOKEN: token, LONG_TOKEN: long })));
    assert!(!made && text.contains(&refused), "{text}");
    let patch = r#"{"spec":{"source":{"pvc":{"name":"secret"}}}}"#;
    let args = ["-n", &target, "--as", "jane", "patch", "dv", "copy", "--type=merge", "-p", patch];
    let (done, text) = try_kubectl(&args, None);
    assert!(!done && text.contains("Cannot update DataVolume Spec"), "{text}");
    // With a DataSource, the rights on its claim count.
    env.apply(&json!({
        "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataSource", "metadata": { "name": "images" },
        "spec": { "source": { "pvc": { "namespace": owner.namespace, "name": "golden" } } },
    }));
    let mut backing_path = object("behind", json!({}));
    backing_path["spec"]["source"] = Value::Null;
    backing_path["spec"]["sourceRef"] = json!({ "kind": "DataSource", "name": "images" });
    let (made, text) = create_as("joe", &target, &backing_path);
    assert!(!made && text.contains(&refused), "{text}");
    let mut tiny = object("tiny", json!({}));
    tiny["spec"]["pvc"]["resources"]["requests"]["storage"] = json!("1Ki");
    let (made, text) = create_as("jane", &target, &tiny);
    assert!(!made && text.contains("PVC size should be at least 1MiB"), "{text}");
    for pod in ["decant-controller", "decant-webhook"].into_iter().flat_map(|name| installed.pods(name)) {
        rights::note_page(&installed.page(&pod, "metrics"));
    }
}

#[test]
fn without_the_webhook_a_user_written_token_is_ignored() {
    let mut env = TestEnv::for_whole_cluster(&[]);
    let mut owner = TestEnv::for_whole_cluster(&[]);
    owner.volumes("block", "16Mi", 1);
    owner.claim("golden", "Block", "16Mi");
    env.start();
    env.apply(&json!({
        "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume",
        "metadata": { "name": "copy", "annotations": { TOKEN: "e30.e30.AAAA", LONG_TOKEN: "e30.e30.AAAA" } },
        "spec": {
            "source": { "pvc": { "namespace": owner.namespace, "name": "golden" } },
            "pvc": { "accessModes": ["ReadWriteOnce"], "volumeMode": "Block",
                     "resources": { "requests": { "storage": "16Mi" } } },
        },
    }));
    let message = env.wait_for_reason("copy", "Bound", "CloneNotAllowed");
    assert!(message.contains("it is not a token"), "{message}");
    assert!(env.get("pvc", "copy").is_none(), "a claim was made without permission");
}
