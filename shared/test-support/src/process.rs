//! Processes under test. Their standard error is collected line by line, and they are killed when the test ends.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};

use rustix::process::{Pid, Signal, kill_process};

use crate::HANG;

/// A process; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: Log,
}

impl Process {
    /// Starts `command` with standard input and output connected to `/dev/null`.
    pub fn spawn(command: &mut Command) -> Self {
        Self::spawn_watched(command, |_| {})
    }

    /// Like [`Process::spawn`]. `watch` is called with each line of the log, in another thread, before the line becomes visible to the
    /// test.
    pub fn spawn_watched(command: &mut Command, watch: impl Fn(&str) + Send + 'static) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = Log::default();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn({
            let log = log.clone();
            move || {
                for line in stderr.split(b'\n').map_while(Result::ok) {
                    let line = String::from_utf8_lossy(&line).into_owned();
                    watch(&line);
                    log.change(|read| read.lines.push(line));
                }
                log.change(|read| read.is_complete = true);
            }
        });
        Self { child, log }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the first line of the log that contains `part`.
    pub fn line(&self, part: &str) -> String {
        self.nth_line(part, 1)
    }

    /// Waits for the `count`th line of the log that contains `part`, counted from 1.
    pub fn nth_line(&self, part: &str, count: usize) -> String {
        let find = |lines: &[String]| lines.iter().filter(|line| line.contains(part)).nth(count - 1).cloned();
        self.log
            .wait(|read| find(&read.lines))
            .unwrap_or_else(|lines| panic!("no line {count} with {part:?} in {lines:#?}"))
    }

    /// Waits for a line that contains `part`, not counting the first `skip` lines. Returns the line and the number of lines up to and
    /// including it.
    pub fn line_after(&self, skip: usize, part: &str) -> (usize, String) {
        let find = |lines: &[String]| {
            let mut rest = lines.iter().enumerate().skip(skip);
            rest.find(|(_, line)| line.contains(part)).map(|(at, line)| (at + 1, line.clone()))
        };
        self.log
            .wait(|read| find(&read.lines))
            .unwrap_or_else(|lines| panic!("no line after {skip} has {part:?}: {lines:#?}"))
    }

    /// The lines of the log so far.
    pub fn log(&self) -> Vec<String> {
        self.log.0.0.lock().unwrap().lines.clone()
    }

    /// Sends `signal` to the process.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Kills the process with SIGKILL, as a failing node or the kernel's out-of-memory killer does.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Peak memory use of the running process, in KiB.
    pub fn peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Whether the process has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Whether the process has ended with exit code 0.
    pub fn has_succeeded(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some_and(|status| status.success())
    }

    /// Waits until the process has ended. Returns its exit code, or `None` if a signal ended it.
    pub fn wait(&mut self) -> Option<i32> {
        let ended = self.log.wait(|read| read.is_complete.then_some(()));
        ended.unwrap_or_else(|lines| panic!("the process does not end: {lines:#?}"));
        self.child.wait().unwrap().code()
    }

    /// Waits until the process has ended. Returns its exit code and its log.
    pub fn ended(mut self) -> (Option<i32>, Vec<String>) {
        (self.wait(), self.log())
    }

    /// Waits until the process has ended, and panics unless its exit code is 0. Returns its log.
    pub fn succeeded(self) -> Vec<String> {
        let (code, log) = self.ended();
        assert_eq!(code, Some(0), "{log:#?}");
        log
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that the process has ended already, as in most tests.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Debug, Default)]
struct LogState {
    lines: Vec<String>,
    /// The process has closed its standard error.
    is_complete: bool,
}

/// The lines of a log, shared with the thread that reads them.
#[derive(Debug, Clone, Default)]
struct Log(Arc<(Mutex<LogState>, Condvar)>);

impl Log {
    fn change(&self, change: impl FnOnce(&mut LogState)) {
        change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
    }

    /// Waits until `find` returns something. The error has all lines: the process ended without it, or [`HANG`] has passed.
    fn wait<T>(&self, find: impl Fn(&LogState) -> Option<T>) -> Result<T, Vec<String>> {
        let guard = self.0.0.lock().unwrap();
        let is_pending = |read: &mut LogState| find(read).is_none() && !read.is_complete;
        let (read, _) = self.0.1.wait_timeout_while(guard, HANG, is_pending).unwrap();
        find(&read).ok_or_else(|| read.lines.clone())
    }
}
