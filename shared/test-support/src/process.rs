//! Processes under test: their standard error is collected by line, and they are killed with the test.

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
    /// Starts `command` without standard input and output.
    pub fn spawn(command: &mut Command) -> Self {
        Self::spawn_watched(command, |_| {})
    }

    /// The same; `watch` is called with each line of the log, from another thread, before a test can see the line.
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
                log.change(|read| read.is_over = true);
            }
        });
        Self { child, log }
    }

    /// Its process number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the first line of its log that contains `part`.
    pub fn line(&self, part: &str) -> String {
        self.nth_line(part, 1)
    }

    /// Waits for the `count`th line of its log that contains `part`.
    pub fn nth_line(&self, part: &str, count: usize) -> String {
        let find = |lines: &[String]| lines.iter().filter(|line| line.contains(part)).nth(count - 1).cloned();
        self.log
            .wait(|read| find(&read.lines))
            .unwrap_or_else(|lines| panic!("no line {count} with {part:?} in {lines:#?}"))
    }

    /// Waits for a line after the first `skip` that contains `part`; it and how many lines there are up to it.
    pub fn line_after(&self, skip: usize, part: &str) -> (usize, String) {
        let find = |lines: &[String]| {
            let mut rest = lines.iter().enumerate().skip(skip);
            rest.find(|(_, line)| line.contains(part)).map(|(at, line)| (at + 1, line.clone()))
        };
        self.log
            .wait(|read| find(&read.lines))
            .unwrap_or_else(|lines| panic!("no line after {skip} has {part:?}: {lines:#?}"))
    }

    /// The log up to now.
    pub fn log(&self) -> Vec<String> {
        self.log.0.0.lock().unwrap().lines.clone()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Ends it as a failing node, or a kernel short of memory, does.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The most memory that it has had at one time, in KiB.
    pub fn peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Whether it ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Whether it ended by itself and successfully.
    pub fn has_succeeded(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some_and(|status| status.success())
    }

    /// Waits until it has ended; its exit code, and none if a signal ended it.
    pub fn wait(&mut self) -> Option<i32> {
        let ended = self.log.wait(|read| read.is_over.then_some(()));
        ended.unwrap_or_else(|lines| panic!("it does not end: {lines:#?}"));
        self.child.wait().unwrap().code()
    }

    /// Waits until it has ended; its exit code and its log.
    pub fn ended(mut self) -> (Option<i32>, Vec<String>) {
        (self.wait(), self.log())
    }

    /// Waits until it has ended, which must be successful; its log.
    pub fn succeeded(self) -> Vec<String> {
        let (code, log) = self.ended();
        assert_eq!(code, Some(0), "{log:#?}");
        log
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended already in most tests.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Debug, Default)]
struct Read {
    lines: Vec<String>,
    is_over: bool,
}

/// The lines of a log, as they come.
#[derive(Debug, Clone, Default)]
struct Log(Arc<(Mutex<Read>, Condvar)>);

impl Log {
    fn change(&self, change: impl FnOnce(&mut Read)) {
        change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
    }

    /// Waits until `find` finds something; all lines if the process ends, or hangs, without it.
    fn wait<T>(&self, find: impl Fn(&Read) -> Option<T>) -> Result<T, Vec<String>> {
        let guard = self.0.0.lock().unwrap();
        let is_open = |read: &mut Read| find(read).is_none() && !read.is_over;
        let (read, _) = self.0.1.wait_timeout_while(guard, HANG, is_open).unwrap();
        find(&read).ok_or_else(|| read.lines.clone())
    }
}
