//! A source and a target, each a process that can be killed and started again, with a relay between them.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use decant_test_support::certificates::{Ca, SENDER};
use decant_test_support::cgroup::Cgroup;
use decant_test_support::noise;
use decant_test_support::process::Process;
use decant_test_support::relay::Relay;
use tempfile::TempDir;

use crate::matrix::streams;

pub(crate) const MIB: u64 = 1 << 20;
/// Four segments and a piece of a fifth one.
pub(crate) const SIZE_BYTES: u64 = 4 * 64 * MIB + 10 * MIB;

/// Both ends of a clone, and where they live.
pub(crate) struct Pair {
    place: TempDir,
    source: PathBuf,
    destination: PathBuf,
    volume_mode: &'static str,
    /// The target's user, if it is another one.
    target_uid: Option<u32>,
    /// Each end starts in one of these.
    cgroups: Option<[Cgroup; 2]>,
    /// The source connects to it, so each target can listen on a port that the system chooses.
    relay: Relay,
}

impl Pair {
    /// From `source` to `destination`, a device or the path of an image.
    pub(crate) fn new(source: &Path, destination: &Path) -> Self {
        let place = tempfile::tempdir().unwrap();
        let ca = Ca::new("authority");
        std::fs::write(place.path().join("ca.crt"), ca.pem()).unwrap();
        ca.server().write(place.path(), "tls");
        ca.client(SENDER).write(place.path(), "client");
        let (source, destination) = (source.to_owned(), destination.to_owned());
        Self {
            place,
            source,
            destination,
            volume_mode: "block",
            target_uid: None,
            cgroups: None,
            relay: Relay::new(),
        }
    }

    /// The same for a source that is a directory.
    pub(crate) fn of_directory(source: &Path, destination: &Path) -> Self {
        Self { volume_mode: "filesystem", ..Self::new(source, destination) }
    }

    /// The same with a target of this user, who gets the directory.
    pub(crate) fn with_target_uid(self, uid: u32) -> Self {
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(self.place.path(), open).unwrap();
        std::os::unix::fs::chown(self.destination.parent().unwrap(), Some(uid), Some(uid)).unwrap();
        Self { target_uid: Some(uid), ..self }
    }

    /// The same ends for a volume that is found somewhere else now.
    pub(crate) fn from(self, source: &Path) -> Self {
        Self { source: source.to_owned(), ..self }
    }

    pub(crate) fn relay(&self) -> &Relay {
        &self.relay
    }

    /// Starts the source in the first and the target in the second of `cgroups`.
    pub(crate) fn in_cgroups(self, cgroups: [Cgroup; 2]) -> Self {
        Self { cgroups: Some(cgroups), ..self }
    }

    pub(crate) fn cgroups(&self) -> &[Cgroup; 2] {
        self.cgroups.as_ref().unwrap()
    }

    /// The cloner, in the control group of this end if it has one. Without environment.
    fn cloner(&self, end: usize) -> Command {
        let cloner = env!("CARGO_BIN_EXE_cloner");
        let mut command = match &self.cgroups {
            Some(cgroups) => cgroups[end].command(cloner),
            None => Command::new(cloner),
        };
        command.env_clear();
        command
    }

    /// A file of noise in the place of this pair.
    pub(crate) fn source_file(directory: &Path) -> PathBuf {
        let path = directory.join("source.img");
        std::fs::write(&path, noise(usize::try_from(SIZE_BYTES).unwrap(), 7)).unwrap();
        path
    }

    /// Where its keys are: `tls`, `client`, with `.crt` and `.key`, and `ca.crt`.
    pub(crate) fn place(&self) -> &Path {
        self.place.path()
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.place.path().join(name)).unwrap()
    }

    pub(crate) fn target(&self) -> CloneProcess {
        self.target_to(&self.destination)
    }

    /// A target with another destination than that of the pair.
    pub(crate) fn target_to(&self, destination: &Path) -> CloneProcess {
        self.target_with(destination, &[])
    }

    /// The same with some more in its environment.
    pub(crate) fn target_with(&self, destination: &Path, variables: &[(&str, &str)]) -> CloneProcess {
        let mut command = self.cloner(1);
        command.arg("target");
        if let Some(uid) = self.target_uid {
            command.uid(uid).gid(uid);
        }
        for (name, file) in
            [("TLS_CERT_FILE", "tls.crt"), ("TLS_KEY_FILE", "tls.key"), ("CLIENT_CERT_FILE", "ca.crt")]
        {
            command.env(name, self.place.path().join(file));
        }
        command.env("DESTINATION", destination).env("CLIENT_NAME", SENDER);
        command.env("LISTEN_ADDRESS", "127.0.0.1").env("LISTEN_PORT", "0");
        command.env("DECANT_PLAIN_HEALTH_PORT", "0").envs(variables.iter().copied());
        let set_target = self.relay.target_setter();
        CloneProcess(Process::spawn_watched(&mut command, move |line| {
            if let Some((_, address)) = line.split_once("waiting for a clone on https://") {
                set_target(address.rsplit(':').next().unwrap().trim().parse().unwrap());
            }
        }))
    }

    /// One process that clones directly.
    pub(crate) fn direct(&self, limit: &str) -> CloneProcess {
        self.direct_with(limit, &[])
    }

    /// The same with some more in its environment.
    pub(crate) fn direct_with(&self, limit: &str, variables: &[(&str, &str)]) -> CloneProcess {
        let mut command = self.cloner(1);
        self.configure_direct(&mut command, limit);
        CloneProcess(Process::spawn(command.envs(variables.iter().copied())))
    }

    /// The same where each of these system calls fails with EIO.
    pub(crate) fn direct_without(&self, calls: &str) -> CloneProcess {
        let mut command = Command::new("strace");
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}")]);
        command.args(["-e", &format!("inject={calls}:error=EIO"), env!("CARGO_BIN_EXE_cloner")]);
        self.configure_direct(&mut command, "10GiB/s");
        CloneProcess(Process::spawn(&mut command))
    }

    fn configure_direct(&self, command: &mut Command, limit: &str) {
        command.arg("direct").env("OWNER_UID", "uid").env("VOLUME_MODE", self.volume_mode);
        command.env("MOUNT_POINT", &self.source).env("DESTINATION", &self.destination);
        command.env("DECANT_METRICS_PORT", "0").env("DECANT_LIMIT", limit);
    }

    pub(crate) fn source(&self, limit: &str) -> CloneProcess {
        self.source_with(limit, &[])
    }

    /// A source with some more in its environment.
    pub(crate) fn source_with(&self, limit: &str, variables: &[(&str, &str)]) -> CloneProcess {
        let port = self.relay.port();
        let mut command = self.cloner(0);
        command.arg("source");
        command.env("UPLOAD_URL", format!("https://127.0.0.1:{port}/v1beta1/upload"));
        command.env("CLIENT_KEY", self.read("client.key")).env("CLIENT_CERT", self.read("client.crt"));
        command.env("SERVER_CA_CERT", self.read("ca.crt")).env("OWNER_UID", "uid");
        command.env("VOLUME_MODE", self.volume_mode).env("MOUNT_POINT", &self.source);
        command.env("DECANT_METRICS_PORT", "0").env("DECANT_LIMIT", limit);
        command.env("DECANT_STREAMS", streams().to_string());
        CloneProcess(Process::spawn(command.env("DECANT_RETRY_SECS", "60").envs(variables.iter().copied())))
    }

    /// Asserts that source and destination are equal to the last byte.
    pub(crate) fn assert_equal(&self, destination: &Path) {
        let mut ends =
            [&self.source, &destination.to_owned()].map(|path| BufReader::new(File::open(path).unwrap()));
        let [source, target] = &mut ends;
        let mut left = SIZE_BYTES;
        while left > 0 {
            let (ours, theirs) = (source.fill_buf().unwrap(), target.fill_buf().unwrap());
            let len = ours.len().min(theirs.len());
            assert!(len > 0 && ours[..len] == theirs[..len], "they differ {left} bytes before the end");
            source.consume(len);
            target.consume(len);
            left = left.saturating_sub(len as u64);
        }
    }
}

/// A process, killed with the test.
pub(crate) struct CloneProcess(Process);

impl CloneProcess {
    /// Waits until its log has a line with this.
    pub(crate) fn wait_for_line(&self, part: &str) -> String {
        self.0.line(part)
    }

    /// The whole log of one that has ended.
    pub(crate) fn whole_log(&mut self) -> Vec<String> {
        self.0.wait();
        self.0.log()
    }

    /// As a failing node, or a kernel short of memory, does.
    pub(crate) fn kill(&mut self) {
        self.0.kill();
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        self.0.signal(signal);
    }

    /// Stops it until it is killed.
    pub(crate) fn stop(&self) {
        self.0.signal(rustix::process::Signal::STOP);
    }

    /// Whether it ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.has_ended()
    }

    /// Whether it ended by itself with success.
    pub(crate) fn ended_well(&mut self) -> bool {
        self.0.has_succeeded()
    }

    /// Its exit code and its log.
    pub(crate) fn ended(self) -> (Option<i32>, Vec<String>) {
        self.0.ended()
    }

    /// Asserts that it succeeded; its log.
    pub(crate) fn assert_success(self) -> Vec<String> {
        self.0.succeeded()
    }
}

/// Asserts that both succeeded; the source's log. If the source failed, the target's log shows why.
pub(crate) fn assert_both_succeed(source: CloneProcess, mut target: CloneProcess) -> Vec<String> {
    let (code, log) = source.ended();
    if code != Some(0) {
        target.kill();
        let (target_code, target_log) = target.ended();
        panic!("the source ended with {code:?}: {log:#?}, the target with {target_code:?}: {target_log:#?}");
    }
    target.assert_success();
    log
}

/// Bytes that a source's last attempt put on the wire, from its last log line.
pub(crate) fn wire_bytes(log: &[String]) -> u64 {
    let line = log.iter().find(|line| line.contains("clone complete")).unwrap();
    let wire = line.rsplit_once('(').unwrap().1.split_once(" on the wire, ").unwrap().0;
    let (number, unit) = wire.split_once(' ').unwrap();
    let unit_bytes = match unit {
        "B" => 1.0,
        "KiB" => 1024.0,
        "MiB" => 1_048_576.0,
        other => panic!("{other}"),
    };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let bytes = (number.parse::<f64>().unwrap() * unit_bytes) as u64;
    bytes
}
