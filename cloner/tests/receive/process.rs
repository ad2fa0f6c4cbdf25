//! A target as a process, killed with the test.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use decant_test_support::certificates::{Ca, SENDER};
use decant_test_support::process::Process;
use rustix::process::Signal;
use tempfile::TempDir;

use super::client::{Answer, Client, ClientIdentity};

/// The configuration that a target is started with.
pub(crate) struct TargetBuilder {
    pub(crate) ca: Ca,
    place: TempDir,
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    uid: Option<u32>,
}

impl TargetBuilder {
    /// A target as CDI's controller starts it, for an empty directory.
    pub(crate) fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        std::fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
        std::fs::create_dir(place.path().join("data")).unwrap();
        let ca = Ca::new("authority");
        let server = ca.server();
        let builder =
            Self { ca, place, arguments: vec!["target".to_owned()], environment: BTreeMap::new(), uid: None };
        let key = builder.file("tls.key", &server.key_pem());
        let chain = builder.file("tls.crt", &server.chain_pem());
        let roots = builder.file("ca.crt", &builder.ca.pem());
        let log = builder.file("termination-log", "");
        std::fs::set_permissions(&log, Permissions::from_mode(0o666)).unwrap();
        let image = builder.directory().join("disk.img");
        builder
            .set("TLS_KEY_FILE", &key)
            .set("TLS_CERT_FILE", &chain)
            .set("CLIENT_CERT_FILE", &roots)
            .set("DECANT_TERMINATION_LOG", &log)
            .set("DESTINATION", image.to_str().unwrap())
            .set("CLIENT_NAME", SENDER)
            .set("LISTEN_ADDRESS", "127.0.0.1")
            .set("LISTEN_PORT", "0")
            .set("DECANT_PLAIN_HEALTH_PORT", "0")
    }

    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn unset(mut self, name: &str) -> Self {
        self.environment.remove(name);
        self
    }

    pub(crate) fn get(&self, name: &str) -> &str {
        &self.environment[name]
    }

    /// Starts it with these arguments instead of `target`.
    pub(crate) fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments = arguments.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Runs it as this user.
    pub(crate) fn with_uid(mut self, uid: u32) -> Self {
        self.uid = Some(uid);
        self
    }

    /// Writes a file that lives as long as the target; its path.
    pub(crate) fn file(&self, name: &str, content: &str) -> String {
        let path = self.place.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The volume's directory, unless DESTINATION is set.
    pub(crate) fn directory(&self) -> PathBuf {
        self.place.path().join("data")
    }

    /// Starts it and does not wait for anything.
    pub(crate) fn start(self) -> Target {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cloner"));
        command.args(&self.arguments).env_clear().envs(&self.environment);
        if let Some(uid) = self.uid {
            command.uid(uid).gid(uid);
        }
        Target { process: Process::spawn(&mut command), builder: self, port: 0 }
    }

    /// Starts it and waits until it listens.
    pub(crate) fn ready(self) -> Target {
        let mut target = self.start();
        let line = target.line("waiting for a clone on https://");
        target.port = line.rsplit(':').next().unwrap().trim().parse().unwrap();
        target
    }

    /// Runs it to its end: for a target that must not start.
    pub(crate) fn run(self) -> Outcome {
        self.start().ended()
    }
}

/// How a target ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    /// The termination message.
    pub(crate) message: String,
    pub(crate) stderr: Vec<String>,
}

impl Outcome {
    /// Asserts that it ended as a finished clone does. Returns whether preallocation is reported.
    pub(crate) fn assert_success(self) -> bool {
        assert_eq!(self.code, Some(0), "{self:?}");
        let json: serde_json::Value = serde_json::from_str(&self.message).unwrap();
        assert!(json["message"].as_str().unwrap().starts_with("Clone Complete"), "{json}");
        json["preallocationApplied"].as_bool().unwrap()
    }
}

/// A target that runs.
pub(crate) struct Target {
    process: Process,
    pub(crate) builder: TargetBuilder,
    pub(crate) port: u16,
}

impl Target {
    pub(crate) fn directory(&self) -> PathBuf {
        self.builder.directory()
    }

    /// A connection as the sender it waits for.
    pub(crate) fn sender(&self) -> Client {
        Client::connect(self.port, &self.sender_identity()).unwrap()
    }

    pub(crate) fn sender_identity(&self) -> ClientIdentity {
        ClientIdentity::trusting(&self.builder.ca).with_identity(self.builder.ca.client(SENDER))
    }

    /// Sends these bytes (a whole request, or less) and takes the answer.
    pub(crate) fn request(&self, request: &[u8]) -> Answer {
        let mut client = self.sender();
        client.send_as_far_as_it_goes(request);
        client.answer()
    }

    /// Waits for the first line of its log that contains `part`.
    pub(crate) fn line(&self, part: &str) -> String {
        self.process.line(part)
    }

    /// Waits for the `count`th such line.
    pub(crate) fn nth_line(&self, part: &str, count: usize) -> String {
        self.process.nth_line(part, count)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// The most memory that it has had at one time.
    pub(crate) fn peak_kib(&self) -> u64 {
        self.process.peak_kib()
    }

    /// Waits until it has ended: its exit code.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        self.process.wait()
    }

    /// Waits until it has ended: all about it.
    pub(crate) fn ended(mut self) -> Outcome {
        let code = self.exit_code();
        let log = self.builder.environment.get("DECANT_TERMINATION_LOG");
        let message = log.map_or(String::new(), |log| std::fs::read_to_string(Path::new(log)).unwrap());
        Outcome { code, message, stderr: self.process.log() }
    }
}
