//! `kubectl decant` with a real controller, nodes and data. Found by `kubectl` itself, as users find it.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::MIB;
use crate::content::assert_content;
use crate::environment::{PATIENCE, TestEnv};
use crate::progress::SHORT_INTERVALS;

/// `kubectl decant ARGS` in the namespace of a test.
pub(crate) fn decant(namespace: &str, args: &[&str]) -> Command {
    // A program of another package: next to the controller.
    let directory = Path::new(env!("CARGO_BIN_EXE_controller")).parent().unwrap();
    assert!(directory.join("kubectl-decant").exists(), "build it with `cargo build -p kubectl-decant`");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path =
        std::env::join_paths([directory.to_owned()].into_iter().chain(std::env::split_paths(&path))).unwrap();
    let mut command = Command::new("kubectl");
    command.arg("decant").args(args).args(["-n", namespace]).env("PATH", path);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Code, standard output, standard error.
pub(crate) fn end(child: Child) -> (i32, String, String) {
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// Twenty seconds for the source of `reporting_env`: several lines of progress.
const LIMIT: &str = "3MiB/s";

/// A source of 60 MiB, and a controller that reports every second.
fn reporting_env() -> (TestEnv, Vec<u8>) {
    let mut env = TestEnv::new(&SHORT_INTERVALS);
    env.volumes("block", "64Mi", 2);
    env.claim("golden", "Block", "64Mi");
    let noise = env.fill("golden", 60 * MIB);
    env.start();
    (env, noise)
}

#[test]
fn clone_with_wait_shows_progress_and_ends_with_the_content() {
    let (env, noise) = reporting_env();
    let what = ["clone", "golden", "--to", "copy", "--storage-class", &env.class, "--limit", LIMIT];
    let args = [&what[..], &["--wait", "--timeout", "5m"]].concat();
    let (code, out, err) = end(decant(&env.namespace, &args).spawn().unwrap());
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with("datavolume.cdi.kubevirt.io/copy created\n"), "{out}");
    let last = out.lines().last().unwrap();
    assert!(last.contains("copy cloned: 64.00 MiB, over the network, decant1:"), "{out}");
    let between =
        err.lines().filter(|line| line.contains("CloneInProgress") && line.contains(" of 64.00 MiB"));
    assert!(between.count() >= 2, "{err}");
    assert_content(&env, "copy", &noise);
}

#[test]
fn a_followed_clone_shows_growing_bars_until_it_is_done() {
    let (env, _) = reporting_env();
    env.limited_data_volume("copy", (&env.namespace, "golden"), ("Block", "64Mi"), LIMIT);
    let (code, out, err) =
        end(decant(&env.namespace, &["status", "copy", "--follow", "-o", "json"]).spawn().unwrap());
    assert_eq!(code, 0, "{err}");
    let all: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let percentages: Vec<f64> = all.iter().filter_map(|seen| seen["percent"].as_f64()).collect();
    assert!(percentages.len() >= 3 && percentages.is_sorted(), "{out}");
    let last = all.last().unwrap();
    assert_eq!((&last["state"], &last["percent"]), (&json!("Succeeded"), &json!(100.0)), "{out}");
    assert!(all.iter().any(|seen| seen["rateBytesPerSecond"].is_u64()), "{out}");
    let (_, out, _) = end(decant(&env.namespace, &["status"]).spawn().unwrap());
    assert!(out.lines().nth(1).unwrap().contains("[========================] 100.00 %"), "{out}");
}

#[test]
fn cleanup_removes_retained_pods_and_finished_data_volumes_only() {
    let mut env = TestEnv::new(&[]);
    env.volumes("block", "16Mi", 2);
    env.claim("golden", "Block", "16Mi");
    let noise = env.fill("golden", MIB);
    env.start();
    env.apply(&json!({
        "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume",
        "metadata": { "name": "copy", "annotations": { "cdi.kubevirt.io/storage.pod.retainAfterCompletion": "true" } },
        "spec": {
            "source": { "pvc": { "namespace": env.namespace, "name": "golden" } },
            "pvc": { "accessModes": ["ReadWriteOnce"], "volumeMode": "Block", "storageClassName": env.class,
                     "resources": { "requests": { "storage": "16Mi" } } },
        },
    }));
    env.wait_for_success("copy");
    env.wait("pvc", "copy", |claim| claim["metadata"]["annotations"]["k8s.io/CloneOf"].is_string());
    let found = |args: &[&str]| -> Value {
        let (code, out, err) = end(decant(&env.namespace, args).spawn().unwrap());
        assert_eq!(code, 0, "{err}");
        serde_json::from_str(&out).unwrap()
    };
    let kinds = |found: &Value| -> Vec<String> {
        found["leftovers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|left| left["kind"].as_str().unwrap().to_owned())
            .collect()
    };
    // The pods end on their own.
    env.wait("dv", "copy", |_| kinds(&found(&["cleanup", "--dry-run", "-o", "json"])) == ["Pod", "Pod"]);
    assert_eq!(
        kinds(&found(&["cleanup", "--finished", "--yes", "-o", "json"])),
        ["Pod", "Pod", "DataVolume"]
    );
    let deadline = std::time::Instant::now() + PATIENCE;
    while env.get("dv", "copy").is_some() {
        assert!(std::time::Instant::now() < deadline, "the DataVolume is still there");
        std::thread::sleep(std::time::Duration::from_millis(300));
    }
    let claim = env.get("pvc", "copy").expect("the PVC stays");
    assert!(claim["metadata"].get("ownerReferences").is_none(), "{claim}");
    assert!(claim["metadata"].get("deletionTimestamp").is_none(), "{claim}");
    assert_content(&env, "copy", &noise);
    env.wait_for_cleanup("copy");
}
