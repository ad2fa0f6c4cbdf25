//! Measures the budget for bandwidth with real processes: the controller's pollers share it among clones that run directly.
//! `scripts/bench.sh bandwidth` runs it: `bandwidth CLONER DIRECTORY CLONES BUDGET`.
//!
//! Bytes are those on the targets' disks, so the measurement does not rely on what the clones report.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement that cannot continue has failed")]

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use decant_controller::api::cluster::{ApiError, Cluster, ListPage, ListParams, Part, Watch};
use decant_controller::certificates::pki::Pki;
use decant_controller::objects::{self, Key, Kind, Object, Pod, Uid};
use decant_controller::policy::Policy;
use decant_controller::progress::bandwidth::{LimitWish, START};
use decant_controller::progress::poller::Pollers;
use decant_controller::progress::scraper::Scraper;
use decant_controller::token::key::TokenKey;
use decant_controller_test_support::cluster::Empty;
use decant_shared::process::stop::Stop;
use decant_shared::protocol::limit_order::{KEY_VARIABLE, POD_UID_VARIABLE};
use decant_shared::protocol::units::Rate;
use decant_test_support::process::Process;
use serde_json::{Value, json};
use ureq::Agent;
use ureq::tls::TlsConfig;

/// The periods over which bytes are counted.
const WINDOW: Duration = Duration::from_secs(10);
/// How long a change may take.
const CHANGE: Duration = Duration::from_secs(5);

/// A cluster whose pods are the processes on this machine: it forwards polls, as an API server does.
struct Forwarder(Agent);

impl Cluster for Forwarder {
    fn get(&self, kind: Kind, key: &Key) -> Result<Object, ApiError> {
        Empty.get(kind, key)
    }
    fn list(&self, kind: Kind, params: &ListParams) -> Result<ListPage, ApiError> {
        Empty.list(kind, params)
    }
    fn watch(&self, kind: Kind, params: &ListParams, version: &str) -> Result<Box<dyn Watch>, ApiError> {
        Empty.watch(kind, params, version)
    }
    fn create(&self, kind: Kind, object: &Value) -> Result<Object, ApiError> {
        // The authorities are created, and read back as they were.
        Ok(Object::from(object.clone())).or_else(|_: ApiError| Empty.create(kind, object))
    }
    fn patch(&self, kind: Kind, key: &Key, part: Part, patch: &Value) -> Result<Object, ApiError> {
        Empty.patch(kind, key, part, patch)
    }
    fn replace(&self, kind: Kind, key: &Key, object: &Value) -> Result<Object, ApiError> {
        Empty.replace(kind, key, object)
    }
    fn delete(&self, kind: Kind, key: &Key, uid: &Uid, grace_secs: Option<u32>) -> Result<(), ApiError> {
        Empty.delete(kind, key, uid, grace_secs)
    }
    fn pod_proxy(&self, _: &Key, port: u16, path: &str, _: Duration, _: usize) -> Result<String, ApiError> {
        let failed = |e: ureq::Error| ApiError { code: 0, reason: String::new(), message: e.to_string() };
        let mut answer = self.0.get(format!("https://127.0.0.1:{port}{path}")).call().map_err(failed)?;
        answer.body_mut().read_to_string().map_err(failed)
    }
}

struct Clones {
    pollers: Arc<Pollers>,
    running: HashMap<Key, (Process, PathBuf)>,
}

impl Clones {
    fn start(&mut self, number: usize, cloner: &str, directory: &Path, keys: &TokenKey) {
        let key = Key::new("n", number.to_string());
        let target = directory.join(format!("target-{number}"));
        fs::create_dir(&target).unwrap();
        let uid = format!("pod-{number}");
        let mut command = std::process::Command::new(cloner);
        command.env_clear().arg("direct").env("OWNER_UID", "owner").env("VOLUME_MODE", "filesystem");
        command.env("MOUNT_POINT", directory.join("source")).env("DESTINATION", target.join("disk.img"));
        command.env("DECANT_METRICS_PORT", "0").env("DECANT_LIMIT", START.0.to_string());
        command.env(KEY_VARIABLE, keys.limit_signer().unwrap().public_key()).env(POD_UID_VARIABLE, &uid);
        let process = Process::spawn(&mut command);
        let line = process.line("metrics on https://");
        let port: u16 = line.trim_end_matches("/metrics").rsplit(':').next().unwrap().parse().unwrap();
        let pod: Pod = objects::decode(Object::from(json!({
            "metadata": { "namespace": "n", "name": number.to_string(), "uid": uid },
            "spec": { "containers": [{ "ports": [{ "name": "metrics", "containerPort": port }] }] },
            "status": { "containerStatuses": [{ "name": "cdi-clone-source", "state": { "running": {} } }] },
        })))
        .unwrap();
        self.pollers.bandwidth.follow(&key, &Uid::from(&*uid), Instant::now());
        self.wish(&key, None);
        self.pollers.readings.follow(&key, &Arc::new(pod), &Uid::from("owner"));
        self.pollers.queue.add(key.clone(), Duration::from_millis(500));
        self.running.insert(key, (process, target));
    }

    fn wish(&self, key: &Key, limit: Option<Rate>) {
        if self.pollers.bandwidth.wish(key, &LimitWish::Limit(limit)).is_changed {
            self.pollers.queue.add(key.clone(), Duration::ZERO);
        }
    }

    fn end(&mut self, key: &Key) {
        self.pollers.readings.forget(key);
        self.pollers.bandwidth.forget(key);
        self.running.remove(key);
    }

    fn written_bytes(&self, key: &Key) -> u64 {
        size_bytes(&self.running[key].1)
    }

    /// Bytes per second of each clone over one window.
    fn rates(&self) -> HashMap<Key, f64> {
        let bytes = || -> HashMap<Key, u64> {
            self.running.keys().map(|key| (key.clone(), self.written_bytes(key))).collect()
        };
        let (before, start) = (bytes(), Instant::now());
        std::thread::sleep(WINDOW);
        let (after, secs) = (bytes(), start.elapsed().as_secs_f64());
        #[allow(clippy::cast_precision_loss)]
        after.into_iter().map(|(key, bytes)| (key.clone(), (bytes - before[&key]) as f64 / secs)).collect()
    }

    /// How long it takes until what `is_done` checks holds, at most twice what is promised.
    fn until(&self, is_done: impl Fn(&Self) -> bool) -> Duration {
        let start = Instant::now();
        while !is_done(self) && start.elapsed() < CHANGE * 2 {
            std::thread::sleep(Duration::from_millis(20));
        }
        start.elapsed()
    }

    fn limit(&self, key: &Key) -> Option<Rate> {
        self.pollers.readings.get(key).and_then(|progress| progress.limit)
    }
}

/// Bytes on the disk below `directory`.
fn size_bytes(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size_bytes(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

struct Report {
    budget: f64,
    is_well: bool,
}

impl Report {
    /// A row about the sum of all clones, which has to be within 5 % of the budget.
    fn sum(&mut self, what: &str, rates: &HashMap<Key, f64>) {
        let sum: f64 = rates.values().sum();
        let percent = sum * 100.0 / self.budget;
        self.is_well &= (95.0..=105.0).contains(&percent);
        let least = rates.values().copied().fold(f64::INFINITY, f64::min);
        let most = rates.values().copied().fold(0.0, f64::max);
        println!(
            "| {what} | {} | {percent:.1} % | {:.2} to {:.2} MiB/s |",
            rates.len(),
            mib(least),
            mib(most)
        );
    }

    fn change(&mut self, what: &str, took: Duration) {
        self.is_well &= took <= CHANGE;
        println!("{what}: {:.1} s", took.as_secs_f64());
    }
}

fn mib(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [cloner, directory, count, budget] = arguments.as_slice() else {
        panic!("see the top of the source")
    };
    let (directory, count) = (Path::new(directory), count.parse::<usize>().unwrap());
    let budget: Rate = budget.parse().unwrap();
    decant_shared::process::log::init(
        decant_shared::process::log::Format::Text,
        log::LevelFilter::Warn,
        Box::new(std::io::stderr()),
    );
    let provider = rustls::crypto::ring::default_provider();
    let _ = provider.clone().install_default();
    let tls = TlsConfig::builder().disable_verification(true);
    let config = Agent::config_builder().tls_config(tls.build()).proxy(None);
    let agent: Agent = config.timeout_global(Some(Duration::from_secs(2))).build().into();
    let cluster: Arc<dyn Cluster> = Arc::new(Forwarder(agent));
    let pki = Arc::new(Pki::open(&*cluster, "n", time::OffsetDateTime::now_utc()).unwrap());
    let keys = TokenKey::new(&[3; 32]);
    let mut policy = Policy::default();
    policy.scheduling.bandwidth_budget = Some(budget);
    policy.scheduling.running_max = count;
    let scraper = Scraper::new(cluster, pki, policy.intervals.scrape_limit).with_signer(keys.limit_signer());
    let pollers = Pollers::new(scraper, policy.intervals.clone(), Arc::new(|_| {}));
    let pollers = Arc::new(pollers.with_budget(&policy.scheduling));
    let stop = Stop::new();
    let threads = pollers.start(4, &stop).unwrap();
    let mut clones = Clones { pollers, running: HashMap::new() };
    #[allow(clippy::cast_precision_loss)]
    let mut report = Report { budget: budget.0 as f64, is_well: true };
    println!("| Moment | Clones | Sum, of the budget | One clone |\n|---|---|---|---|");
    (0..count).for_each(|number| clones.start(number, cloner, directory, &keys));
    std::thread::sleep(CHANGE);
    for _ in 0..3 {
        report.sum("all run", &clones.rates());
    }
    let first = Key::new("n", "0");
    let low = Rate(budget.0 / 200);
    clones.wish(&first, Some(low));
    let lowered = clones.until(|clones| clones.limit(&first) == Some(low));
    std::thread::sleep(CHANGE);
    report.sum("one has a tenth of its share", &clones.rates());
    clones.wish(&first, None);
    let raised = clones.until(|clones| clones.limit(&first).is_some_and(|limit| limit > Rate(low.0 * 8)));
    let halves: Vec<Key> =
        clones.running.keys().filter(|key| **key != first).take(count / 2).cloned().collect();
    halves.iter().for_each(|key| clones.end(key));
    std::thread::sleep(CHANGE);
    report.sum("half of them ended", &clones.rates());
    (0..count / 2).for_each(|number| clones.start(count + number, cloner, directory, &keys));
    report.sum("as many new ones start", &clones.rates());
    println!();
    report.change("a lower limit took effect after", lowered);
    report.change("a higher limit took effect after", raised);
    stop.cancel();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(report.is_well, "the budget was not kept within 5 %, or a change took longer than 5 s");
}
