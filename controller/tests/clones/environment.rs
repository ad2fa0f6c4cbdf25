//! What a test on a real cluster needs: a namespace, volumes on this machine, a controller; all gone afterwards.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use decant_test_support::net::Closed;
use serde_json::{Value, json};

use crate::api_relay::{ApiRelay, Call, Fate, Kill};
use crate::kubectl::{kubectl, script, try_kubectl};
use crate::rights;

/// The version of the images that `scripts/cluster.sh images` made.
const IMAGE: &str = concat!("localhost/decant/cloner:", env!("CARGO_PKG_VERSION"));
/// How long a wait lasts. Pods start within some seconds; their end, or that of their volumes and objects, takes longer: the kubelet
/// of 1.20 removes what is left of pods once a minute, the garbage collector pauses while it learns of kinds that came or went.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

static ENVIRONMENTS: AtomicU32 = AtomicU32::new(0);

/// A class of the dynamic provisioner that differs from those in `scripts/cluster/provisioner.yaml`.
pub(crate) struct ProvisionedClass<'a> {
    /// Claims wait for their first consumer.
    pub(crate) waits: bool,
    /// `Delete` or `Retain`.
    pub(crate) reclaim_policy: &'a str,
    /// `delaySecs` and `refuse`, as text.
    pub(crate) parameters: Value,
}

/// A namespace with volumes and a controller of its own.
pub(crate) struct TestEnv {
    pub(crate) namespace: String,
    pub(crate) class: String,
    volumes: Vec<String>,
    controller: Option<Child>,
    flags: Vec<String>,
    cluster: PathBuf,
    /// Between the controller and the API server.
    relay: Option<ApiRelay>,
    /// The controller's role in its namespace exists.
    has_role: bool,
    /// Objects outside of the namespace: kind and name.
    made: Vec<(&'static str, String)>,
    /// The controller's own pages.
    pub(crate) pages: SocketAddr,
    /// Held, so that no other process gets it while no controller runs.
    _port: Closed,
}

impl TestEnv {
    /// A namespace, and a controller for it alone that does not run yet.
    pub(crate) fn new(flags: &[&str]) -> Self {
        let mut env = Self::for_whole_cluster(flags);
        env.flags.extend(["--watch-namespace".to_owned(), env.namespace.clone()]);
        env
    }

    /// A namespace, and a controller for the whole cluster that does not run yet. Only one at a time.
    pub(crate) fn for_whole_cluster(flags: &[&str]) -> Self {
        assert!(
            std::env::var_os("KUBECONFIG").is_some(),
            "KUBECONFIG names no cluster: scripts/cluster.sh up"
        );
        let cluster =
            std::env::var("DECANT_CLUSTER_DIR").unwrap_or_else(|_| "/var/tmp/decant-cluster".to_owned());
        let namespace = format!("t{}-{}", std::process::id(), ENVIRONMENTS.fetch_add(1, Ordering::Relaxed));
        kubectl(&["create", "namespace", &namespace], None);
        let port = Closed::new();
        Self {
            class: namespace.clone(),
            namespace,
            volumes: Vec::new(),
            controller: None,
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            cluster: cluster.into(),
            relay: None,
            has_role: false,
            made: Vec::new(),
            pages: port.address(),
            _port: port,
        }
    }

    /// Claims of this environment wait for their first consumer.
    pub(crate) fn use_class_with_late_binding(&mut self) {
        self.make_class("kubernetes.io/no-provisioner");
    }

    /// The same, with the class of a CSI driver. There is no such driver: the volumes are made by hand.
    pub(crate) fn use_csi_class_with_late_binding(&mut self) {
        let name = format!("{}.example", self.namespace);
        let driver = json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": { "name": name },
            "spec": { "attachRequired": false },
        });
        kubectl(&["apply", "-f", "-"], Some(&driver));
        self.make_class(&name);
        self.made.push(("csidriver", name));
    }

    /// Makes a class of the provisioner that `scripts/cluster.sh provisioner up` starts, beside its own classes; returns its
    /// name.
    pub(crate) fn make_provisioned_class(&mut self, wishes: &ProvisionedClass<'_>) -> String {
        let name = format!("{}-{}", self.namespace, self.made.len());
        let class = json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": { "name": name },
            "provisioner": "provisioner.test.decant.dev",
            "volumeBindingMode": if wishes.waits { "WaitForFirstConsumer" } else { "Immediate" },
            "reclaimPolicy": wishes.reclaim_policy, "parameters": wishes.parameters,
        });
        kubectl(&["apply", "-f", "-"], Some(&class));
        self.made.push(("storageclass", name.clone()));
        name
    }

    /// The volume, whose reclaim policy is `Retain`, is removed at the end.
    pub(crate) fn remove_at_the_end(&mut self, volume: &str) {
        self.volumes.push(volume.to_owned());
    }

    fn make_class(&mut self, provisioner: &str) {
        let class = json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": { "name": self.class },
            "provisioner": provisioner, "volumeBindingMode": "WaitForFirstConsumer",
        });
        kubectl(&["apply", "-f", "-"], Some(&class));
        self.made.push(("storageclass", self.class.clone()));
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

    /// Starts the controller with the rights of its role; its log goes to the test's.
    pub(crate) fn start(&mut self) {
        let kubeconfig = std::env::temp_dir().join(format!("{}.kubeconfig", self.namespace));
        if !self.has_role {
            rights::grant_own_role(&self.namespace);
            rights::write_kubeconfig(&kubeconfig, self.relay.as_ref().map(ApiRelay::url).as_deref());
            self.has_role = true;
        }
        let mut command = self.command();
        let controller = command.arg("--kubeconfig").arg(&kubeconfig).spawn().expect("the controller starts");
        if let Some(relay) = &self.relay {
            relay.controller_is(controller.id());
        }
        self.controller = Some(controller);
    }

    /// The next controllers reach the API server through a relay that asks `judge` about each call that changes something.
    pub(crate) fn judge_calls(&mut self, judge: impl FnMut(&Call) -> Fate + Send + 'static) {
        self.relay = Some(ApiRelay::start(judge));
    }

    /// Waits until the relay kills the controller.
    pub(crate) fn wait_for_kill(&mut self, limit: Duration) -> Option<Kill> {
        let kill = self.relay.as_ref().expect("the controller has a relay").next_kill(limit)?;
        self.kill();
        Some(kill)
    }

    /// Starts the controller as another user of this machine.
    pub(crate) fn start_as(&mut self, user: u32) {
        use std::os::unix::process::CommandExt;
        let kubeconfig = std::env::temp_dir().join(format!("{}.kubeconfig", self.namespace));
        rights::write_kubeconfig(&kubeconfig, self.relay.as_ref().map(ApiRelay::url).as_deref());
        std::os::unix::fs::chown(&kubeconfig, Some(user), Some(user)).unwrap();
        // The program itself may lie where that user may not look.
        rights::grant_own_role(&self.namespace);
        let program = std::env::temp_dir().join(format!("{}.controller", self.namespace));
        std::fs::copy(env!("CARGO_BIN_EXE_controller"), &program).unwrap();
        let mut command = Command::new(&program);
        command.args(self.command().get_args()).arg("--kubeconfig").arg(&kubeconfig);
        self.controller = Some(command.current_dir("/").uid(user).gid(user).spawn().unwrap());
        std::thread::sleep(Duration::from_secs(1));
        std::fs::remove_file(program).unwrap();
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_controller"));
        let image = if self.flags.iter().any(|flag| flag == "--cloner-image") { None } else { Some(IMAGE) };
        command.args(["run", "--pull-policy", "Never", "--namespace", &self.namespace]);
        // Most tests are about two pods and the network between them; those about one pod say so.
        if !self.flags.iter().any(|flag| flag == "--transfer") {
            command.args(["--transfer", "network"]);
        }
        command.args(["--listen", &self.pages.to_string()]);
        // Nothing listens there: a call through a proxy would fail.
        command.env("HTTPS_PROXY", "http://127.0.0.1:9").env("https_proxy", "http://127.0.0.1:9");
        command.args(image.into_iter().flat_map(|image| ["--cloner-image", image])).args(&self.flags);
        command
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        rights::note_calls(self.pages);
        if let Some(mut child) = self.controller.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM; returns the exit code.
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        rights::note_calls(self.pages);
        let mut child = self.controller.take()?;
        assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
        child.wait().unwrap().code()
    }

    pub(crate) fn apply(&self, object: &Value) {
        kubectl(&["-n", &self.namespace, "apply", "-f", "-"], Some(object));
    }

    pub(crate) fn get(&self, kind: &str, name: &str) -> Option<Value> {
        let (ok, text) = try_kubectl(&["-n", &self.namespace, "get", kind, name, "-o", "json"], None);
        ok.then(|| serde_json::from_str(&text).unwrap())
    }

    /// Waits until the object is as it should be, and returns it.
    pub(crate) fn wait(&self, kind: &str, name: &str, mut is_so: impl FnMut(&Value) -> bool) -> Value {
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

    /// Waits until the source of a clone sends data.
    pub(crate) fn wait_for_copying(&self, name: &str) {
        let running = "cdi.kubevirt.io/storage.condition.source.running";
        self.wait("pvc", name, |claim| claim["metadata"]["annotations"][running] == "true");
    }

    pub(crate) fn wait_for_success(&self, name: &str) -> Value {
        self.wait("dv", name, |dv| dv["status"]["phase"] == "Succeeded")
    }

    /// Waits until nothing of the clone is left but the claim.
    pub(crate) fn wait_for_cleanup(&self, name: &str) {
        self.wait("pvc", name, |claim| {
            claim["metadata"]["finalizers"] == json!(["kubernetes.io/pvc-protection"])
        });
        // The controller does not wait until a pod that it deleted is gone.
        let pods =
            ["-n", &self.namespace, "get", "pods", "-l", "app=containerized-data-importer", "-o", "name"];
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = kubectl(&pods, None);
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "pods are left: {left}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// The backing file or device of a claim, on this machine.
    pub(crate) fn backing_path(&self, claim: &str) -> PathBuf {
        let spec = self.get("pvc", claim).unwrap()["spec"].clone();
        self.backing_path_of_volume(
            spec["volumeName"].as_str().unwrap(),
            spec["volumeMode"].as_str().unwrap(),
        )
    }

    /// The same for a volume.
    pub(crate) fn backing_path_of_volume(&self, volume: &str, mode: &str) -> PathBuf {
        let volume = self.volumes_directory().join(volume);
        if mode == "Block" {
            std::fs::read_to_string(volume.join("device")).unwrap().trim().into()
        } else {
            volume.join("mount")
        }
    }

    /// The directory on this machine that has a directory for each volume.
    pub(crate) fn volumes_directory(&self) -> PathBuf {
        self.cluster.join("volumes")
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
        let path = self.backing_path(claim);
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

impl Drop for TestEnv {
    fn drop(&mut self) {
        if let Some(relay) = &self.relay {
            relay.pass_all();
        }
        // Objects go while the controller still runs: it takes its finalizers away.
        let namespace = &self.namespace;
        try_kubectl(
            &["-n", namespace, "delete", "statefulsets,dv,pvc,pods", "--all", "--timeout=150s"],
            None,
        );
        if let Some(mut child) = self.controller.take() {
            rights::note_calls(self.pages);
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_file(std::env::temp_dir().join(format!("{namespace}.kubeconfig")));
        try_kubectl(&["delete", "namespace", namespace, "--timeout=150s"], None);
        for (kind, name) in &self.made {
            try_kubectl(&["delete", kind, name], None);
        }
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
