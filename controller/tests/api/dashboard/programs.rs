//! The programs of a clone on loopback, with certificates from the controller's own authorities.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use decant_controller::certificates::pki::Pki;
use decant_controller::certificates::signer::Leaf;
use decant_test_support::net::Closed;
use time::OffsetDateTime;

use crate::budget::many_clones::Page;
use crate::sandbox::{Sandbox, kubeconfig};

/// The sender's name; any will do that both ends know.
const CLIENT: &str = "a/golden-a/clone-0";
/// Of certificates: longer than the test.
const LIFE: Duration = Duration::from_secs(3600);
/// Noise does not compress: this much at this rate takes longer than the test.
const DISK_BYTES: u64 = 256 << 20;
const LIMIT: &str = "1MiB/s";

/// A program that is ended when dropped.
pub(super) struct Running(Child);

impl Running {
    pub(super) fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}")))
    }

    /// The controller for this namespace alone, with its pages on `port`.
    pub(super) fn controller(sandbox: &Sandbox, port: u16) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_controller"));
        command.args(["run", "--namespace", &sandbox.namespace, "--watch-namespace", &sandbox.namespace]);
        command.args(["--listen", &format!("127.0.0.1:{port}"), "--poll-secs", "1", "--log-level", "warn"]);
        // Without a budget two series are absent.
        command.args(["--transfer", "network", "--total-bandwidth-limit", "1GiB/s"]);
        Self::start(command.arg("--kubeconfig").arg(kubeconfig()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Source and target, with what they read and write.
pub(super) struct Ends {
    source: Running,
    target: Running,
    _port: Closed,
    directory: tempfile::TempDir,
}

/// The cloner that was built for the image: DECANT_CLONER names it.
fn cloner() -> PathBuf {
    std::env::var_os("DECANT_CLONER")
        .expect("DECANT_CLONER names no cloner: scripts/on_cluster.sh does")
        .into()
}

fn log_name(program: &str) -> String {
    format!("{program}.log")
}

impl Ends {
    /// A slow clone, whose source has the page `page` on `metrics_port`.
    pub(super) fn start(sandbox: &Sandbox, metrics_port: u16, page: &Page) -> Self {
        let now = OffsetDateTime::now_utc();
        let pki = Pki::open(&*sandbox.cluster, &sandbox.namespace, now).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let log = |name: &str| fs::File::create(directory.path().join(log_name(name))).unwrap();
        let pair = |name: &str, leaf: &Leaf| {
            (write(&format!("{name}.crt"), &leaf.chain_pem), write(&format!("{name}.key"), &leaf.key_pem))
        };
        let (target_crt, target_key) =
            pair("target", &pki.server_leaf(&["localhost".to_owned()], LIFE, now).unwrap());
        let (page_crt, page_key) =
            pair("page", &pki.server_leaf(std::slice::from_ref(&page.host), LIFE, now).unwrap());
        let held = Closed::new();
        let upload_port = held.port();
        let target = Running::start(
            Command::new(cloner())
                .args(["target", "--plain-health-port", "0", "--termination-log"])
                .arg(directory.path().join("target.end"))
                .env("TLS_CERT_FILE", target_crt)
                .env("TLS_KEY_FILE", target_key)
                .env("CLIENT_CERT_FILE", write("clients.crt", &pki.client_bundle_pem()))
                .env("CLIENT_NAME", CLIENT)
                .env("LISTEN_ADDRESS", "127.0.0.1")
                .env("LISTEN_PORT", upload_port.to_string())
                .env("DESTINATION", directory.path().join("copy.img"))
                .stderr(log("target")),
        );
        let disk = directory.path().join("disk.img");
        let mut noise = std::io::Read::take(fs::File::open("/dev/urandom").unwrap(), DISK_BYTES);
        std::io::copy(&mut noise, &mut fs::File::create(&disk).unwrap()).unwrap();
        let leaf = pki.client_leaf(CLIENT, LIFE, now).unwrap();
        let source = Running::start(
            Command::new(cloner())
                .args(["source", "--content-type", "blockdevice-clone", "--limit", LIMIT])
                .args(["--metrics-port", &metrics_port.to_string(), "--mount"])
                .arg(&disk)
                .arg("--termination-log")
                .arg(directory.path().join("source.end"))
                .env("UPLOAD_URL", format!("https://localhost:{upload_port}/v1beta1/upload"))
                .env("CLIENT_CERT", leaf.chain_pem)
                .env("CLIENT_KEY", leaf.key_pem)
                .env("SERVER_CA_CERT", pki.server_bundle_pem())
                .env("OWNER_UID", &page.owner)
                .env("METRICS_TLS_CERT_FILE", page_crt)
                .env("METRICS_TLS_KEY_FILE", page_key)
                .stderr(log("source")),
        );
        Self { source, target, _port: held, directory }
    }

    /// Whether source and target run, and what they logged.
    pub(super) fn report(&mut self) -> String {
        let programs = [("source", &mut self.source), ("target", &mut self.target)];
        let lines = programs.map(|(name, program)| {
            let state =
                program.0.try_wait().unwrap().map_or("running".to_owned(), |status| status.to_string());
            let log = fs::read_to_string(self.directory.path().join(log_name(name))).unwrap();
            format!("{name}: {state}\n{log}")
        });
        lines.concat()
    }
}
