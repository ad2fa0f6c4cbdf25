//! How much many running clones cost: writes, seconds, memory, CPU. The pods are objects that the test made; each
//! source pod's address leads to a metrics page of the test, on 127.x.y.z.

#![allow(clippy::cast_precision_loss, reason = "figures")]

pub(crate) mod many_clones;
mod pages;
pub(crate) mod process;

use std::sync::Arc;
use std::time::{Duration, Instant};

use decant_controller::api::cluster::{Cluster, ListParams, Part, Watch, WatchEvent};
use decant_controller::objects::Kind;
use serde_json::Value;

use crate::kubelet::status;
use crate::sandbox::{Sandbox, eventually};
use many_clones::ManyClones;
use pages::Pages;
use process::Process;

/// The budget for progress writes per second of all clones.
const WRITES_PER_SEC: f64 = 20.0;
/// For how long is counted; longer than one round through 1,000 clones.
const COUNTED: Duration = Duration::from_secs(60);
/// Writes are observed later than they are made: the API server delivers changes in batches.
const WINDOW_SECS: usize = 5;
/// Clones that end while the others continue.
const ENDING: usize = 20;

/// What was measured.
struct Figures {
    writes_max: f64,
    writes_mean: f64,
    phase_max: Duration,
    memory_mib: f64,
    cpu_percent: f64,
}

/// DataVolumes, and how many of them run; the others are done.
#[derive(Clone, Copy)]
struct Load {
    all: usize,
    running: usize,
}

/// What the budget is for.
const A_THOUSAND: Load = Load { all: 1_000, running: 1_000 };

fn measure(Load { all, running }: Load) -> Figures {
    let sandbox = Sandbox::new();
    let pages = Arc::new(Pages::start(&sandbox));
    let clones = ManyClones::new(&sandbox, &pages, all, running);
    let process = Process::start(&sandbox);
    eventually("every running clone was asked", Duration::from_secs(180), || pages.asked() >= running);

    settle(&sandbox);
    let mut seconds = vec![0; usize::try_from(COUNTED.as_secs()).unwrap()];
    let mut watch = changes(&sandbox);
    let (cpu, begun) = (process.cpu(), Instant::now());
    while begun.elapsed() < COUNTED {
        if let Some(WatchEvent::Applied(_)) = watch.next(Duration::from_millis(100)).unwrap() {
            let second = usize::try_from(begun.elapsed().as_secs()).unwrap();
            if let Some(count) = seconds.get_mut(second) {
                *count += 1;
            }
        }
    }
    let spent = process.cpu() - cpu;
    let phase_max = (0..ENDING).map(|number| time_to_succeed(&sandbox, &clones, number)).max().unwrap();
    let writes_mean = seconds.iter().sum::<usize>() as f64 / seconds.len() as f64;
    Figures {
        writes_max: seconds
            .chunks(WINDOW_SECS)
            .map(|window| window.iter().sum::<usize>())
            .max()
            .unwrap_or_default() as f64
            / WINDOW_SECS as f64,
        writes_mean,
        phase_max,
        memory_mib: process.peak_mib(),
        cpu_percent: 100.0 * spent.as_secs_f64() / COUNTED.as_secs_f64(),
    }
}

/// All changes of DataVolumes from now on.
fn changes(sandbox: &Sandbox) -> Box<dyn Watch> {
    // One object is enough to get the current version; a long list would be outdated when it arrives.
    let one = ListParams { limit: 1, ..sandbox.params() };
    let version = sandbox.cluster.list(Kind::DataVolume, &one).unwrap().resource_version;
    sandbox.cluster.watch(Kind::DataVolume, &sandbox.params(), &version).unwrap()
}

/// Waits until only progress is written: first the controller writes the status of every DataVolume.
fn settle(sandbox: &Sandbox) {
    let deadline = Instant::now() + Duration::from_secs(180);
    loop {
        let mut watch = changes(sandbox);
        let (begun, mut writes) = (Instant::now(), 0.0);
        while begun.elapsed() < Duration::from_secs(3) {
            if let Some(WatchEvent::Applied(_)) = watch.next(Duration::from_millis(100)).unwrap() {
                writes += 1.0;
            }
        }
        if writes <= 3.0 * WRITES_PER_SEC + 5.0 {
            return;
        }
        assert!(Instant::now() < deadline, "{writes} writes in 3 s, and no end");
    }
}

/// From the end of a target pod to the phase of its DataVolume.
fn time_to_succeed(sandbox: &Sandbox, clones: &ManyClones, number: usize) -> Duration {
    let (dv, pod) = clones.names(number);
    let begun = Instant::now();
    let ended = status("cdi-upload-server", "Succeeded", "127.0.0.1");
    sandbox.cluster.patch(Kind::Pod, &sandbox.key(&pod), Part::Status, &ended).unwrap();
    eventually("the phase is written", Duration::from_secs(20), || {
        let dv: Value = sandbox.cluster.get(Kind::DataVolume, &sandbox.key(&dv)).unwrap().value();
        dv["status"]["phase"] == "Succeeded"
    });
    begun.elapsed()
}

fn print(load: Load, figures: &Figures) {
    let Figures { writes_max, writes_mean, phase_max, memory_mib, cpu_percent } = figures;
    println!(
        "| DataVolumes | running | writes/s mean | writes/s max (5 s) | slowest phase change s | peak MiB | CPU % |"
    );
    println!("|---|---|---|---|---|---|---|");
    println!(
        "| {} | {} | {writes_mean:.1} | {writes_max:.1} | {:.2} | {memory_mib:.1} | {cpu_percent:.1} |",
        load.all,
        load.running,
        phase_max.as_secs_f64()
    );
}

/// The load of the test, or the one that `scripts/bench.sh controller` names, such as `10000:100`: 100 running clones among 10,000
/// DataVolumes.
fn load() -> Load {
    let Ok(text) = std::env::var("DECANT_BUDGET_LOAD") else { return A_THOUSAND };
    let (all, running) = text.split_once(':').expect("DECANT_BUDGET_LOAD is DATAVOLUMES:RUNNING");
    Load { all: all.parse().unwrap(), running: running.parse().unwrap() }
}

#[test]
fn a_thousand_running_clones_stay_within_the_budget() {
    let load = load();
    let figures = measure(load);
    print(load, &figures);
    // A minute that begins with a write has one more.
    assert!(figures.writes_mean <= WRITES_PER_SEC + 0.2, "{} writes per second", figures.writes_mean);
    assert!(figures.writes_max <= WRITES_PER_SEC + 1.0, "{} writes per second for 5 s", figures.writes_max);
    assert!(figures.phase_max < Duration::from_secs(2), "{:?} until a phase was written", figures.phase_max);
    assert!(figures.cpu_percent < 20.0, "{} % of a core", figures.cpu_percent);
    // More DataVolumes need more memory.
    if load.all <= A_THOUSAND.all {
        assert!(figures.memory_mib < 64.0, "{} MiB", figures.memory_mib);
    }
}
