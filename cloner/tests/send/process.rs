//! The source as a process, started as CDI's controllers do: no command, everything in the environment.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use decant_test_support::certificates::Pki;
use decant_test_support::process::Process;
use rustix::process::Signal;
use tempfile::TempDir;

pub(crate) const OWNER_UID: &str = "3b0c2d9e-0f0a-4d7c-9a51-8f6f2b1d7e11";

/// A source that is not started yet.
pub(crate) struct Source {
    pub(crate) command: Command,
    directory: TempDir,
}

impl Source {
    /// With everything in the environment but what to read.
    pub(crate) fn new(pki: &Pki, url: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("termination-log"), "").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_cloner"));
        command
            .env_clear()
            .env("UPLOAD_URL", url)
            .env("CLIENT_KEY", &pki.client_key_pem)
            .env("CLIENT_CERT", &pki.client_pem)
            .env("SERVER_CA_CERT", &pki.authority_pem)
            .env("OWNER_UID", OWNER_UID)
            .env("PREALLOCATION", "false")
            .env("DECANT_METRICS_PORT", "0")
            .env("DECANT_RETRY_SECS", "0")
            .env("DECANT_TERMINATION_LOG", directory.path().join("termination-log"));
        Self { command, directory }
    }

    pub(crate) fn block(self, path: &Path) -> Self {
        self.env("VOLUME_MODE", "block").env("MOUNT_POINT", path)
    }

    pub(crate) fn filesystem(self, path: &Path) -> Self {
        self.env("VOLUME_MODE", "filesystem").env("MOUNT_POINT", path)
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    pub(crate) fn args(mut self, raw_text: &[&str]) -> Self {
        self.command.args(raw_text);
        self
    }

    pub(crate) fn start(mut self) -> Running {
        let process = Process::spawn(&mut self.command);
        let message = self.directory.path().join("termination-log");
        Running { process, heard: 0, message, _directory: self.directory }
    }

    /// Runs it to its end.
    pub(crate) fn run(self) -> Outcome {
        self.start().wait()
    }
}

/// A source that runs; killed when dropped.
pub(crate) struct Running {
    process: Process,
    /// How many lines of its log [`Running::wait_for_line`] has returned or skipped.
    heard: usize,
    message: PathBuf,
    _directory: TempDir,
}

/// What a source left behind.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) log: Vec<String>,
    /// The termination message.
    pub(crate) termination_message: String,
}

impl Running {
    /// Waits for the next log line that contains `part`.
    pub(crate) fn wait_for_line(&mut self, part: &str) -> String {
        let (heard, line) = self.process.line_after(self.heard, part);
        self.heard = heard;
        line
    }

    /// The port that the metrics page is served on.
    pub(crate) fn metrics_port(&mut self) -> u16 {
        let line = self.wait_for_line("metrics on https://");
        let port = line.trim_end_matches("/metrics").rsplit(':').next().unwrap();
        port.parse().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) fn terminate(self) -> Outcome {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Waits for the end.
    pub(crate) fn wait(self) -> Outcome {
        let (code, log) = self.process.ended();
        Outcome { code, log, termination_message: fs::read_to_string(&self.message).unwrap() }
    }
}

impl Outcome {
    /// The one error line, which is also the termination message.
    pub(crate) fn error(&self) -> &str {
        let mut errors = self.log.iter().filter_map(|line| line.split_once(" ERROR ")).map(|(_, text)| text);
        let error = errors.next().unwrap_or_else(|| panic!("no error: {self:#?}"));
        assert_eq!(errors.next(), None, "a second error");
        assert_eq!(error, self.termination_message, "the termination message");
        error
    }

    pub(crate) fn assert_failed(&self, code: i32, parts: &[&str]) {
        let error = self.error();
        for part in parts {
            assert!(error.contains(part), "{error:?} lacks {part:?}");
        }
        assert_eq!(self.code, Some(code), "{error}");
    }

    pub(crate) fn assert_done(&self) {
        let is_word = self.termination_message == "Clone Complete"
            || self.termination_message.starts_with("Clone Complete; decant1:");
        assert!(self.code == Some(0) && is_word, "{self:#?}");
    }
}
