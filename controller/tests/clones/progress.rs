//! The progress that a user sees while a clone runs.

use std::io::Read;
use std::process::{Child, Command, Stdio};

use crate::content::assert_content;
use crate::environment::TestEnv;
use crate::kubectl::kubectl;
use crate::{MIB, SLOW};

/// `kubectl get dv NAME -w`: the lines that the screen shows.
pub(crate) struct KubectlWatch(Child);

impl KubectlWatch {
    pub(crate) fn of(env: &TestEnv, name: &str) -> Self {
        let child = Command::new("kubectl")
            .args(["-n", &env.namespace, "get", "dv", name, "-w", "--no-headers"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("kubectl starts");
        Self(child)
    }

    /// Phase and progress of each line, repetitions left out.
    pub(crate) fn end(mut self) -> Vec<(String, String)> {
        // The last change is on its way to the screen.
        std::thread::sleep(std::time::Duration::from_millis(500));
        self.0.kill().unwrap();
        let mut text = String::new();
        self.0.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        self.0.wait().unwrap();
        let mut rows: Vec<(String, String)> = text
            .lines()
            .filter_map(|line| {
                let mut words = line.split_whitespace().skip(1);
                Some((words.next()?.to_owned(), words.next()?.to_owned()))
            })
            .collect();
        rows.dedup();
        rows
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

const SHORT_INTERVALS: [&str; 4] = ["--poll-secs", "1", "--progress-secs", "1"];

/// A clone that would take eight minutes ends soon after its limit is raised, which no other test could wait for.
pub(crate) fn assert_a_raised_limit_acts_on_a_running_clone(flags: &[&str]) {
    let mut env = TestEnv::new(flags);
    let noise = slow_clone(&mut env);
    env.start();
    env.limited_data_volume("copy", (&env.namespace, "golden"), ("Block", "128Mi"), "256KiB/s");
    env.wait("dv", "copy", |dv| {
        dv["status"]["conditions"][2]["message"].as_str().unwrap_or_default().contains(" of 128.00 MiB, ")
    });
    let limit = "decant.dev/bandwidth-limit=512MiB/s";
    kubectl(&["-n", &env.namespace, "annotate", "--overwrite", "dv", "copy", limit], None);
    env.wait_for_success("copy");
    assert_content(&env, "copy", &noise);
}

#[test]
fn a_raised_limit_acts_on_a_running_clone_over_the_network() {
    assert_a_raised_limit_acts_on_a_running_clone(&SHORT_INTERVALS);
}

#[test]
fn kubectl_get_shows_every_phase_and_a_growing_percentage() {
    let mut env = TestEnv::new(
        &[SLOW, [SHORT_INTERVALS[0], SHORT_INTERVALS[1]], [SHORT_INTERVALS[2], SHORT_INTERVALS[3]]].concat(),
    );
    let noise = slow_clone(&mut env);
    env.data_volume("copy", (&env.namespace, "golden"), "Block", "128Mi");
    let screen = KubectlWatch::of(&env, "copy");
    env.start();
    let copying = env.wait("dv", "copy", |dv| {
        let message = dv["status"]["conditions"][2]["message"].as_str().unwrap_or_default();
        message.contains(" of 128.00 MiB, ") && message.ends_with(" left")
    });
    assert!(copying["metadata"]["annotations"]["decant.dev/rate-bytes-per-second"].is_string(), "{copying}");
    env.wait_for_success("copy");
    let rows = screen.end();
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
    let mut env = TestEnv::new(
        &[SLOW, [SHORT_INTERVALS[0], SHORT_INTERVALS[1]], [SHORT_INTERVALS[2], SHORT_INTERVALS[3]]].concat(),
    );
    slow_clone(&mut env);
    let user = 54_000 + std::process::id() % 1000;
    let _deaf = MetricsBlock::start(user);
    env.data_volume("copy", (&env.namespace, "golden"), "Block", "128Mi");
    let screen = KubectlWatch::of(&env, "copy");
    env.start_as(user);
    env.wait_for_success("copy");
    let rows = screen.end();
    assert!(percentages(&rows).iter().any(|percent| (1.0..100.0).contains(percent)), "{rows:?}");
}
