//! The progress that a user sees while a clone runs.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use crate::MIB;
use crate::content::assert_content;
use crate::environment::{PATIENCE, TestEnv};

/// `kubectl get dv NAME -w`: the lines that the screen shows.
pub(crate) struct KubectlWatch {
    kubectl: Child,
    lines: Receiver<String>,
}

impl KubectlWatch {
    pub(crate) fn of(env: &TestEnv, name: &str) -> Self {
        let mut kubectl = Command::new("kubectl")
            .args(["-n", &env.namespace, "get", "dv", name, "-w", "--no-headers"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("kubectl starts");
        let screen = BufReader::new(kubectl.stdout.take().unwrap());
        let (sender, lines) = channel();
        // Ends with kubectl.
        std::thread::spawn(move || {
            screen.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self { kubectl, lines }
    }

    /// Phase and progress of each line up to the first one with the phase `last`, repetitions left out.
    pub(crate) fn until(self, last: &str) -> Vec<(String, String)> {
        let deadline = Instant::now() + PATIENCE;
        let mut rows: Vec<(String, String)> = Vec::new();
        while rows.last().is_none_or(|(phase, _)| phase != last) {
            let line = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            let line = line.unwrap_or_else(|e| panic!("no line with the phase {last}: {e}: {rows:?}"));
            let mut words = line.split_whitespace().skip(1).map(str::to_owned);
            rows.extend(words.next().zip(words.next()));
        }
        rows.dedup();
        rows
    }
}

impl Drop for KubectlWatch {
    fn drop(&mut self) {
        let _ = self.kubectl.kill();
        let _ = self.kubectl.wait();
    }
}

pub(crate) fn percentages(rows: &[(String, String)]) -> Vec<f64> {
    let shown = rows.iter().filter(|(phase, progress)| phase == "CloneInProgress" && progress != "N/A");
    shown.map(|(_, progress)| progress.strip_suffix('%').unwrap().parse().unwrap()).collect()
}

fn slow_clone(env: &mut TestEnv) -> Vec<u8> {
    env.volumes("block", "128Mi", 2);
    env.claim("golden", "Block", "128Mi");
    env.fill("golden", 120 * MIB)
}

/// Flags of a controller that reports every second.
pub(crate) const SHORT_INTERVALS: [&str; 4] = ["--poll-secs", "1", "--progress-secs", "1"];

/// Raises the limit of a clone that would take eight minutes with it. The clone succeeds within the usual deadline.
pub(crate) fn assert_a_raised_limit_acts_on_a_running_clone(flags: &[&str]) {
    let mut env = TestEnv::new(flags);
    let noise = slow_clone(&mut env);
    env.start();
    env.limited_data_volume("copy", (&env.namespace, "golden"), ("Block", "128Mi"), "256KiB/s");
    env.wait("dv", "copy", |dv| {
        dv["status"]["conditions"][2]["message"].as_str().unwrap_or_default().contains(" of 128.00 MiB, ")
    });
    env.lift_limit("copy");
    env.wait_for_success("copy");
    assert_content(&env, "copy", &noise);
}

#[test]
fn a_raised_limit_acts_on_a_running_clone_over_the_network() {
    assert_a_raised_limit_acts_on_a_running_clone(&SHORT_INTERVALS);
}

#[test]
fn kubectl_get_shows_every_phase_and_a_growing_percentage() {
    let mut env = TestEnv::new(&SHORT_INTERVALS);
    let noise = slow_clone(&mut env);
    // Twenty seconds: several lines of progress.
    env.limited_data_volume("copy", (&env.namespace, "golden"), ("Block", "128Mi"), "6MiB/s");
    let screen = KubectlWatch::of(&env, "copy");
    env.start();
    let copying = env.wait("dv", "copy", |dv| {
        let message = dv["status"]["conditions"][2]["message"].as_str().unwrap_or_default();
        message.contains(" of 128.00 MiB, ") && message.ends_with(" left")
    });
    assert!(copying["metadata"]["annotations"]["decant.dev/rate-bytes-per-second"].is_string(), "{copying}");
    env.wait_for_success("copy");
    let rows = screen.until("Succeeded");
    let mut phases: Vec<&str> = rows.iter().map(|(phase, _)| phase.as_str()).collect();
    phases.dedup();
    // Very short phases may be missing, but not these.
    let order = ["Pending", "CloneScheduled", "CloneInProgress", "Succeeded"];
    let seen: Vec<&&str> = order.iter().filter(|phase| phases.contains(phase)).collect();
    assert!(phases.ends_with(&["CloneScheduled", "CloneInProgress", "Succeeded"]), "{rows:?}");
    assert_eq!(seen.len(), phases.iter().filter(|phase| order.contains(phase)).count(), "{rows:?}");
    let percentages = percentages(&rows);
    assert!(percentages.len() >= 3, "{rows:?}");
    assert!(percentages.is_sorted(), "{rows:?}");
    assert!(rows.iter().any(|(_, progress)| progress.len() == "12.34%".len()), "two decimals: {rows:?}");
    assert_eq!(rows.last().unwrap(), &("Succeeded".to_owned(), "100.0%".to_owned()));
    assert_content(&env, "copy", &noise);
}

/// Drops what one user of this machine sends to metrics ports.
pub(crate) struct MetricsBlock(u32);

impl MetricsBlock {
    pub(crate) fn start(user: u32) -> Self {
        let block = Self(user);
        block.rule("-I");
        block
    }

    fn rule(&self, what: &str) {
        let user = self.0.to_string();
        let rule =
            ["-w", what, "OUTPUT", "-p", "tcp", "--dport", "8443", "-m", "owner", "--uid-owner", &user];
        let status = Command::new("iptables").args(rule).args(["-j", "DROP"]).status().unwrap();
        assert!(status.success(), "iptables {what}");
    }
}

impl Drop for MetricsBlock {
    fn drop(&mut self) {
        self.rule("-D");
    }
}

#[test]
fn progress_is_reported_if_the_controller_cannot_reach_the_pod() {
    let mut env = TestEnv::new(&SHORT_INTERVALS);
    slow_clone(&mut env);
    let user = 54_000 + std::process::id() % 1000;
    let _deaf = MetricsBlock::start(user);
    // Twenty seconds: several lines of progress.
    env.limited_data_volume("copy", (&env.namespace, "golden"), ("Block", "128Mi"), "6MiB/s");
    let screen = KubectlWatch::of(&env, "copy");
    env.start_as(user);
    env.wait_for_success("copy");
    let rows = screen.until("Succeeded");
    assert!(percentages(&rows).iter().any(|percent| (1.0..100.0).contains(percent)), "{rows:?}");
}
