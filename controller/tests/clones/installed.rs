//! `kubectl apply -k controller/deploy`: what the README says, with two replicas in the cluster.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::MIB;
use crate::bed::{Bed, kubectl};
use crate::content::holds;

const NAMESPACE: [&str; 2] = ["-n", "decant-system"];

/// Gone again at the end, so that other controllers can act.
struct Installed;

impl Installed {
    fn new() -> Self {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy");
        kubectl(&["apply", "-k", folder], None);
        let installed = Self;
        let rollout = ["rollout", "status", "deployment", "decant-controller", "--timeout=100s"];
        kubectl(&[&NAMESPACE[..], &rollout].concat(), None);
        installed
    }

    fn leader(&self) -> String {
        let path = "jsonpath={.spec.holderIdentity}";
        kubectl(&[&NAMESPACE[..], &["get", "lease", "decant-controller", "-o", path]].concat(), None)
    }

    fn page(&self, pod: &str, page: &str) -> String {
        let path = format!("/api/v1/namespaces/decant-system/pods/http:{pod}:8080/proxy/{page}");
        kubectl(&["get", "--raw", &path], None)
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        let delete = ["delete", "deployment", "decant-controller", "--timeout=60s"];
        if std::thread::panicking() {
            let _ = std::panic::catch_unwind(|| kubectl(&[&NAMESPACE[..], &delete].concat(), None));
        } else {
            kubectl(&[&NAMESPACE[..], &delete].concat(), None);
        }
    }
}

/// The process in the pod `name`, seen from outside.
fn process_of(name: &str) -> u32 {
    let wanted = format!("POD_NAME={name}");
    let is_it = |pid: &u32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
    };
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.find(is_it).expect("the pod has a process on this machine")
}

fn signal(process: u32, signal: &str) {
    let status = Command::new("kill").args([signal, &process.to_string()]).status().unwrap();
    assert!(status.success());
}

#[test]
fn one_of_two_replicas_acts_and_the_other_takes_over_within_twenty_seconds() {
    let mut bed = Bed::open(&[]);
    bed.volumes("block", "16Mi", 3);
    bed.claim("golden", "Block", "16Mi");
    let noise = bed.fill("golden", MIB);
    let installed = Installed::new();
    bed.data_volume("first", (&bed.namespace, "golden"), "Block", "16Mi");
    bed.succeeds("first");
    holds(&bed, "first", &noise);

    let first = installed.leader();
    assert_eq!(installed.page(&first, "healthz"), "OK");
    assert_eq!(installed.page(&first, "readyz"), "OK");
    assert!(installed.page(&first, "metrics").contains("\ndecant_leader 1\n"));
    let names = ["get", "pods", "-l", "app.kubernetes.io/name=decant-controller", "-o", "json"];
    let pods: Value = serde_json::from_str(&kubectl(&[&NAMESPACE[..], &names].concat(), None)).unwrap();
    let names: Vec<&str> =
        pods["items"].as_array().unwrap().iter().filter_map(|pod| pod["metadata"]["name"].as_str()).collect();
    assert_eq!(names.len(), 2);
    let other = names.iter().find(|name| **name != first).unwrap();
    assert!(installed.page(other, "metrics").contains("\ndecant_leader 0\n"));

    // Frozen, not killed: a pod that is killed is back within a second and still holds its Lease.
    let process = process_of(&first);
    signal(process, "-STOP");
    let frozen = Instant::now();
    while installed.leader() == first || installed.leader().is_empty() {
        assert!(frozen.elapsed() < Duration::from_secs(20), "nobody took over");
        std::thread::sleep(Duration::from_millis(200));
    }
    println!("taken over after {:?}", frozen.elapsed());
    signal(process, "-CONT");
    let woken = Instant::now();
    while std::fs::read_to_string(format!("/proc/{process}/comm")).is_ok_and(|comm| comm == "controller\n") {
        assert!(woken.elapsed() < Duration::from_secs(20), "the one that was frozen still acts");
        std::thread::sleep(Duration::from_millis(200));
    }
    bed.data_volume("second", (&bed.namespace, "golden"), "Block", "16Mi");
    bed.succeeds("second");
    holds(&bed, "second", &noise);
}
