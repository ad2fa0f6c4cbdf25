//! Unknown clients hold connections to the controller's ports: probes, scrapes and reviews are answered all the same, and its
//! memory stays below what the specification allows. The processes are real; the API server is a small one in memory.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed"
)]

mod api;

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use decant_test_support::flood::{Flood, Sources};
use decant_test_support::net::Closed;
use decant_test_support::{HANG, until};
use serde_json::{Value, json};
use tempfile::TempDir;
use ureq::Agent;
use ureq::tls::TlsConfig;

use api::Api;

/// Connections that are held to each port.
const HELD: usize = 500;
/// Requests of each kind.
const ASKED: u32 = 8;
/// What the process may use, in KiB: half of the limit of its Deployment.
const MEMORY_MAX_KIB: u64 = 128 << 10;
/// The beginning of a handshake, or of something that is no request, without an end.
const HALF_A_HELLO: &[u8] = b"\x16\x03\x01\x02\x00";

/// A process of the controller; killed with the test.
struct Process {
    child: Child,
    /// Held, so that no other process gets them before this one listens.
    _ports: [Closed; 3],
    pages: SocketAddr,
    probes: SocketAddr,
    webhook: SocketAddr,
    _api: Api,
    _directory: TempDir,
}

fn write_kubeconfig(path: &Path, server: SocketAddr) {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{ "name": "test", "cluster": { "server": format!("http://{server}") } }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
        "users": [{ "name": "test", "user": { "token": "t" } }],
    });
    std::fs::write(path, config.to_string()).unwrap();
}

impl Process {
    /// `controller COMMAND`, ready.
    fn start(command: &[&str]) -> Self {
        let (api, directory) = (Api::start(), tempfile::tempdir().unwrap());
        let kubeconfig = directory.path().join("kubeconfig");
        write_kubeconfig(&kubeconfig, api.address);
        let ports = [Closed::new(), Closed::new(), Closed::new()];
        let [pages, probes, webhook] = ports.each_ref().map(Closed::address);
        let child = Command::new(env!("CARGO_BIN_EXE_controller"))
            .args(command)
            .arg("--kubeconfig")
            .arg(&kubeconfig)
            .args(["--listen", &pages.to_string(), "--probe-listen", &probes.to_string()])
            .args(["--webhook-listen", &webhook.to_string()])
            .env_clear()
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let process = Self { child, _ports: ports, pages, probes, webhook, _api: api, _directory: directory };
        until("it is ready", || {
            process.get(process.probes, "readyz").is_ok() && TcpStream::connect(webhook).is_ok()
        });
        process
    }

    fn get(&self, address: SocketAddr, page: &str) -> Result<String, ureq::Error> {
        agent().get(format!("http://{address}/{page}")).call()?.body_mut().read_to_string()
    }

    fn review(&self) -> Result<Value, ureq::Error> {
        let review = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "the-review", "operation": "CREATE", "namespace": "team", "userInfo": { "username": "jane" },
                "object": {
                    "metadata": { "namespace": "team", "name": "copy" },
                    "spec": {
                        "source": { "pvc": { "namespace": "team", "name": "golden" } },
                        "pvc": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
                    },
                },
            },
        });
        let url = format!("https://{}/datavolume-validate", self.webhook);
        let mut answer = agent().post(url).send(review.to_string())?;
        Ok(serde_json::from_str(&answer.body_mut().read_to_string()?).unwrap())
    }

    /// The most memory that it has had at one time.
    fn peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    fn ports(&self) -> [SocketAddr; 3] {
        [self.pages, self.probes, self.webhook]
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client that connects for each question, as kubelets do.
fn agent() -> Agent {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls =
        TlsConfig::builder().disable_verification(true).unversioned_rustls_crypto_provider(provider).build();
    Agent::config_builder().tls_config(tls).proxy(None).timeout_global(Some(HANG)).build().into()
}

/// Asks everything while all ports are flooded, and prints a row of docs/performance.md.
fn is_served(process: &Process, sources: Sources, words: &'static [u8]) {
    let floods = process.ports().map(|address| Flood::start(address.port(), HELD, sources, words));
    let mut slowest = Duration::ZERO;
    for _ in 0..ASKED {
        for question in ["healthz", "readyz", "metrics", "review"] {
            let began = Instant::now();
            let is_answered = match question {
                "metrics" => process.get(process.pages, "metrics").unwrap().contains("decant_build_info"),
                "review" => process.review().unwrap()["response"]["uid"] == "the-review",
                probe => process.get(process.probes, probe).unwrap() == "OK",
            };
            assert!(is_answered, "{question}");
            slowest = slowest.max(began.elapsed());
        }
    }
    let (opened, peak) = (floods.iter().map(Flood::opened).sum::<usize>(), process.peak_kib());
    let kind = if words.is_empty() { "silent" } else { "half a hello" };
    println!(
        "| {sources:?} | {kind} | {opened} | {} of {} | {slowest:.2?} | {} |",
        4 * ASKED,
        4 * ASKED,
        peak >> 10
    );
    assert!(peak < MEMORY_MAX_KIB, "{peak} KiB");
}

fn all_floods(process: &Process) {
    println!("| from | connections | opened | answered | slowest | peak MiB |");
    for (sources, words) in [
        (Sources::OneAddress, b"".as_slice()),
        (Sources::ManyAddresses, b""),
        (Sources::TestAddress, b""),
        (Sources::OneAddress, HALF_A_HELLO),
        (Sources::ManyAddresses, HALF_A_HELLO),
    ] {
        is_served(process, sources, words);
    }
}

#[test]
fn a_flooded_controller_answers_probes_scrapers_and_reviews() {
    all_floods(&Process::start(&["run", "--no-leader-election"]));
}

#[test]
fn a_flooded_webhook_answers_probes_scrapers_and_reviews() {
    all_floods(&Process::start(&["webhook"]));
}

#[test]
fn the_probe_port_serves_only_probes() {
    let process = Process::start(&["webhook"]);
    assert_eq!(process.get(process.probes, "healthz").unwrap(), "OK");
    for page in ["metrics", "status"] {
        assert!(matches!(process.get(process.probes, page), Err(ureq::Error::StatusCode(404))), "{page}");
    }
}
