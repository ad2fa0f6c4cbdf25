//! What a test on a real cluster needs: a namespace, volumes on this machine, a controller; all gone afterwards.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The version of the images that `scripts/cluster.sh images` made.
const IMAGE: &str = concat!("localhost/decant/cloner:", env!("CARGO_PKG_VERSION"));
/// Pods start within some seconds; a machine with two busy cores may take longer.
const PATIENCE: Duration = Duration::from_secs(120);

static BEDS: AtomicU32 = AtomicU32::new(0);

/// A namespace with volumes and a controller of its own.
pub(crate) struct Bed {
    pub(crate) namespace: String,
    class: String,
    volumes: Vec<String>,
    controller: Option<Child>,
    flags: Vec<String>,
    cluster: PathBuf,
}

/// Runs `kubectl`; panics with its words when it fails.
pub(crate) fn kubectl(args: &[&str], input: Option<&Value>) -> String {
    let (ok, text) = try_kubectl(args, input);
    assert!(ok, "kubectl {args:?}: {text}");
    text
}

fn try_kubectl(args: &[&str], input: Option<&Value>) -> (bool, String) {
    let mut child = Command::new("kubectl")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kubectl starts");
    let mut stdin = child.stdin.take().unwrap();
    if let Some(input) = input {
        stdin.write_all(input.to_string().as_bytes()).unwrap();
    }
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let text = if output.status.success() { output.stdout } else { output.stderr };
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn script(args: &[&str]) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/cluster.sh");
    let output = Command::new(path).args(args).output().expect("scripts/cluster.sh starts");
    assert!(output.status.success(), "cluster.sh {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Bed {
    /// A namespace; no controller runs yet.
    pub(crate) fn new(flags: &[&str]) -> Self {
        assert!(
            std::env::var_os("KUBECONFIG").is_some(),
            "KUBECONFIG names no cluster: scripts/cluster.sh up"
        );
        let cluster =
            std::env::var("DECANT_CLUSTER_DIR").unwrap_or_else(|_| "/var/tmp/decant-cluster".to_owned());
        let namespace = format!("t{}-{}", std::process::id(), BEDS.fetch_add(1, Ordering::Relaxed));
        kubectl(&["create", "namespace", &namespace], None);
        Self {
            class: namespace.clone(),
            namespace,
            volumes: Vec::new(),
            controller: None,
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            cluster: cluster.into(),
        }
    }

    /// Makes volumes that only this test's claims get.
    pub(crate) fn volumes(&mut self, mode: &str, size: &str, count: usize) {
        let first = self.volumes.len();
        let names: Vec<String> = (first..first + count).map(|n| format!("{}-{n}", self.namespace)).collect();
        let mut args = vec!["volume", "add", mode, size, &self.class];
        args.extend(names.iter().map(String::as_str));
        script(&args);
        self.volumes.extend(names);
    }

    /// Starts the controller; its log goes to the test's.
    pub(crate) fn start(&mut self) {
        let child = Command::new(env!("CARGO_BIN_EXE_controller"))
            .args(["run", "--pull-policy", "Never", "--cloner-image", IMAGE])
            .args(["--namespace", &self.namespace])
            .args(&self.flags)
            .spawn()
            .expect("the controller starts");
        self.controller = Some(child);
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.controller.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM; returns the exit code.
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        let mut child = self.controller.take()?;
        assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
        child.wait().unwrap().code()
    }

    pub(crate) fn claim(&self, name: &str, mode: &str, size: &str) {
        let spec = self.claim_spec(mode, size);
        self.apply(&json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": name }, "spec": spec }));
        self.wait("pvc", name, |claim| claim["status"]["phase"] == "Bound");
    }

    fn claim_spec(&self, mode: &str, size: &str) -> Value {
        json!({
            "accessModes": ["ReadWriteOnce"], "volumeMode": mode, "storageClassName": self.class,
            "resources": { "requests": { "storage": size } },
        })
    }

    /// A DataVolume that clones `source` (namespace/name).
    pub(crate) fn data_volume(&self, name: &str, source: (&str, &str), mode: &str, size: &str) {
        let (namespace, source) = source;
        self.apply(&json!({
            "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume", "metadata": { "name": name },
            "spec": {
                "source": { "pvc": { "namespace": namespace, "name": source } },
                "pvc": self.claim_spec(mode, size),
            },
        }));
    }

    pub(crate) fn apply(&self, object: &Value) {
        kubectl(&["-n", &self.namespace, "apply", "-f", "-"], Some(object));
    }

    pub(crate) fn get(&self, kind: &str, name: &str) -> Option<Value> {
        let (ok, text) = try_kubectl(&["-n", &self.namespace, "get", kind, name, "-o", "json"], None);
        ok.then(|| serde_json::from_str(&text).unwrap())
    }

    /// Waits until the object is as it should be, and returns it.
    pub(crate) fn wait(&self, kind: &str, name: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.get(kind, name);
            if let Some(object) = seen.as_ref().filter(|object| is_so(object)) {
                return object.clone();
            }
            if Instant::now() > deadline {
                let pods = try_kubectl(&["get", "pods", "-A", "-o", "wide"], None).1;
                panic!(
                    "{kind} {name} in {} did not get there: {:#}\n{pods}",
                    self.namespace,
                    seen.unwrap_or_default()
                );
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    pub(crate) fn succeeds(&self, name: &str) -> Value {
        self.wait("dv", name, |dv| dv["status"]["phase"] == "Succeeded")
    }

    /// Waits until nothing of the clone is left but the claim.
    pub(crate) fn is_tidy(&self, name: &str) {
        self.wait("pvc", name, |claim| {
            claim["metadata"]["finalizers"] == json!(["kubernetes.io/pvc-protection"])
        });
        let pods = kubectl(
            &["-n", &self.namespace, "get", "pods", "-l", "app=containerized-data-importer", "-o", "name"],
            None,
        );
        assert_eq!(pods, "", "pods are left");
    }

    /// The file or device behind a claim, on this machine.
    pub(crate) fn behind(&self, claim: &str) -> PathBuf {
        let object = self.get("pvc", claim).unwrap();
        let volume = self.cluster.join("volumes").join(object["spec"]["volumeName"].as_str().unwrap());
        if object["spec"]["volumeMode"] == "Block" {
            std::fs::read_to_string(volume.join("device")).unwrap().trim().into()
        } else {
            volume.join("mount")
        }
    }

    /// Fills a claim with `bytes` bytes that do not compress, as a disk image or on the device.
    pub(crate) fn fill(&self, claim: &str, bytes: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let noise: Vec<u8> = (0..bytes.div_ceil(8))
            .flat_map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()
            })
            .take(bytes)
            .collect();
        let path = self.behind(claim);
        if path.is_dir() {
            let image = path.join("disk.img");
            std::fs::write(&image, &noise).unwrap();
            std::os::unix::fs::chown(&image, Some(107), Some(107)).unwrap();
        } else {
            std::fs::OpenOptions::new().write(true).open(path).unwrap().write_all(&noise).unwrap();
        }
        assert!(Command::new("sync").status().unwrap().success());
        noise
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        // Objects go while the controller still runs: it takes its finalizers away.
        let namespace = &self.namespace;
        try_kubectl(&["-n", namespace, "delete", "dv,pvc,pods", "--all", "--timeout=60s"], None);
        if let Some(mut child) = self.controller.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        try_kubectl(&["delete", "namespace", namespace, "--timeout=60s"], None);
        if !self.volumes.is_empty() {
            let mut args = vec!["volume", "remove"];
            args.extend(self.volumes.iter().map(String::as_str));
            if std::thread::panicking() {
                let _ = std::panic::catch_unwind(|| script(&args));
            } else {
                script(&args);
            }
        }
    }
}
