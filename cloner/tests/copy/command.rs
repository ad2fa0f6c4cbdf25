//! `cloner copy` as a process, and directories to use it in.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use decant_test_support::disks::Mounted;
use decant_test_support::process::Process;
use decant_test_support::{able, until};
use rustix::process::Signal;
use tempfile::TempDir;

/// The result of a copy.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    pub(crate) fn assert_done(&self) {
        assert_eq!(self.code, Some(0), "{self:#?}");
    }

    /// One line on stderr, with all `parts` in it, after the program's name.
    pub(crate) fn assert_failed(&self, code: i32, parts: &[&str]) {
        let error = self.stderr.strip_suffix('\n').unwrap_or(&self.stderr);
        assert!(error.starts_with("cloner: ") && !error.contains('\n'), "{self:#?}");
        for part in parts {
            assert!(error.contains(part), "{error:?} lacks {part:?}");
        }
        assert_eq!((self.code, self.stdout.as_str()), (Some(code), ""), "{self:#?}");
    }
}

/// The command with these arguments and an empty environment.
pub(crate) fn command<W: AsRef<OsStr>>(arguments: &[W]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloner"));
    command.env_clear().arg("copy").args(crate::MODE).args(arguments).stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub(crate) fn copy<W: AsRef<OsStr>>(arguments: &[W]) -> Outcome {
    let output = command(arguments).output().unwrap();
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A copy under way; killed when dropped.
pub(crate) struct Running(Process);

impl Running {
    /// Starts to copy `source` to `target`. Returns when `appears` exists and the program handles signals: `appears` may be
    /// a leftover that existed before the program started.
    pub(crate) fn start_and_wait_for(appears: &Path, source: &Path, target: &Path) -> Self {
        // Slow enough that it still runs when a busy machine reaches the next line.
        let arguments = ["--log-format=json".as_ref(), "--limit=1MiB/s".as_ref(), source, target];
        let process = Process::spawn(&mut command(&arguments));
        if crate::IS_WIRE {
            process.line("\"receiving a ");
        }
        until(&appears.display().to_string(), || appears.exists());
        until("the handlers for signals", || has_handlers(process.id()));
        Self(process)
    }

    /// Stops it until `assert_success`: it keeps its locks, and cannot end before the test is ready for that.
    pub(crate) fn paused(self) -> Self {
        self.0.signal(Signal::STOP);
        self
    }

    /// Waits until it has ended by itself with success.
    pub(crate) fn assert_success(self) {
        self.0.signal(Signal::CONT);
        self.0.succeeded();
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Ends it by `signal` and waits for its end. Returns its exit code.
    pub(crate) fn end(mut self, signal: Signal) -> Option<i32> {
        self.0.signal(signal);
        self.0.wait()
    }
}

/// Whether this process handles SIGINT and SIGTERM: their bits in the mask `SigCgt` of proc_pid_status(5).
fn has_handlers(id: u32) -> bool {
    let bits: u64 = [Signal::INT, Signal::TERM].iter().map(|signal| 1 << (signal.as_raw() - 1)).sum();
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(mask.trim(), 16).unwrap() & bits == bits
}

/// The filesystem, or `None` if this machine cannot make it. The reason is reported.
pub(crate) fn if_able(made: Result<Mounted, String>) -> Option<Mounted> {
    made.map_err(|why| able(false, &why)).ok()
}

/// A directory to copy in.
pub(crate) struct Scratch(TempDir);

impl Scratch {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// In memory, for files whose sync to a disk takes a minute.
    pub(crate) fn in_memory() -> Self {
        Self(tempfile::tempdir_in("/dev/shm").unwrap())
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A file, and the directories on the way to it.
    pub(crate) fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        fs::create_dir_all(self.at(name).parent().unwrap()).unwrap();
        fs::write(self.at(name), content).unwrap();
        self.at(name)
    }

    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        fs::create_dir_all(self.at(name)).unwrap();
        self.at(name)
    }

    /// A file that consists of one hole.
    pub(crate) fn hole(&self, name: &str, size_bytes: u64) -> PathBuf {
        fs::File::create(self.at(name)).unwrap().set_len(size_bytes).unwrap();
        self.at(name)
    }
}

pub(crate) use decant_test_support::names;
