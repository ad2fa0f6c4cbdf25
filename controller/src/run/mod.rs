//! Connects the parts of the controller and runs them until a stop.

pub mod beside_cdi;
mod volume_populators;

use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use decant_shared::process::stop::Stop;
use time::OffsetDateTime;

use crate::api::cluster::Cluster;
use crate::certificates::pki::Pki;
use crate::cluster_settings::LivePolicy;
use crate::objects::Key;
use crate::pages::health::HealthState;
use crate::pods::made::MadePods;
use crate::policy::{Policy, Scope};
use crate::progress::poller::Pollers;
use crate::progress::scraper::Scraper;
use crate::progress::write_budget::WriteBudget;
use crate::reconcile::act::Executor;
use crate::reconcile::data_sources::DataSourceReporter;
use crate::reconcile::observe::Observer;
use crate::reconcile::observe::drivers::Drivers;
use crate::reconcile::permission::guarded::Guarded;
use crate::reconcile::permission::judge::Judge;
use crate::reconcile::reconciler::{Reconciler, Rounds};
use crate::reconcile::scheduling::CloneScheduler;
use crate::token::key::TokenKey;
use crate::watch::queue::Queue;
use crate::watch::store::Stores;
use crate::watch::unreadable::Unreadables;
use crate::watch::watcher::{Wake, Watches};

/// Interval between two checks of the authorities and registrations: they last for months, but objects may be deleted or
/// replaced.
const AUTHORITY_LOOK: Duration = Duration::from_secs(600);
/// Interval between two reads of the settings of the cluster: two small lists.
const SETTINGS_LOOK: Duration = Duration::from_secs(10);
/// How often the settings of the cluster are read before clones start without them.
const SETTINGS_ATTEMPTS: u32 = 3;
/// Interval between two checks that all threads are alive.
const THREADS_LOOK: Duration = Duration::from_secs(1);

/// The namespaces, the Service of the webhook and the numbers of threads.
#[derive(Debug, Clone)]
pub struct RunSettings {
    /// Namespace of the controller's own Secrets.
    pub namespace: String,
    /// The Service through which the API server reaches the admission webhook.
    pub webhook_service: String,
    /// The namespace to watch; `None` for all.
    pub watch_namespace: Option<String>,
    /// Threads that reconcile clones.
    pub workers: usize,
    /// Threads that poll sources.
    pub pollers: usize,
}

/// Runs until `stop`. All its threads have ended when it returns. It reports its state to `health`.
pub fn run(
    cluster: &Arc<dyn Cluster>,
    policy: Policy,
    settings: &RunSettings,
    health: Option<&HealthState>,
    stop: &Stop,
) -> Result<(), String> {
    let pki = Pki::open(&**cluster, &settings.namespace, OffsetDateTime::now_utc())?;
    let pki = Arc::new(pki);
    let keys = Arc::new(TokenKey::load(&**cluster, &settings.namespace)?);
    let stores = Arc::new(Stores::new(Arc::clone(&keys)));
    let unreadable = Arc::new(Unreadables::default());
    let queue = Arc::new(Queue::default());
    let wake: Wake = {
        let queue = Arc::clone(&queue);
        Arc::new(move |key: Key| queue.add(key, Duration::ZERO))
    };
    let failed = |e: std::io::Error| format!("cannot start a thread: {e}");
    let namespace = settings.watch_namespace.as_deref();
    let scope = policy.scope;
    if scope == Scope::All {
        beside_cdi::check(&**cluster, OffsetDateTime::now_utc())?;
    }
    let watches =
        Watches::start(cluster, &stores, &unreadable, namespace, scope, &wake, stop).map_err(failed)?;
    // While the stores are being filled, an object that is not listed yet would seem to be gone.
    while !watches.all_synced() && stop.sleep(Duration::from_millis(50)) {}
    if !stop.is_set() {
        log::info!("watching {} DataVolumes and {} PVCs", stores.data_volumes.len(), stores.claims.len());
    }

    let guarded =
        Guarded::new(Arc::clone(cluster), settings.namespace.clone(), settings.webhook_service.clone());
    let judge = Judge::new(Arc::clone(cluster), Arc::clone(&keys), guarded);
    let data_sources = DataSourceReporter::new(Arc::clone(cluster), Arc::clone(&stores));
    let clones = WatchedObjects { stores, unreadable, queue, wake };
    let policy = Arc::new(LivePolicy::new(policy));
    refresh_settings(&policy, &**cluster, stop);
    let reconciler =
        Arc::new(build_reconciler(cluster, Arc::clone(&policy), &pki, clones, Seal { keys, judge }));
    let mut threads = reconciler.pollers.start(settings.pollers, stop).map_err(failed)?;
    threads.extend(reconciler.start(settings.workers, stop).map_err(failed)?);
    // Beside CDI they are CDI's.
    if scope == Scope::All {
        let stop = stop.clone();
        let thread = Builder::new().name("data-sources".to_owned()).spawn(move || data_sources.run(&stop));
        threads.push(thread.map_err(failed)?);
    }
    if let Some(health) = health {
        health.open(Arc::clone(&reconciler));
    }
    volume_populators::register(&**cluster, scope);
    let read_settings = || {
        if let Err(e) = policy.refresh(&**cluster) {
            log::debug!("cannot read the settings of the cluster, the previous ones stay: {e}");
        }
    };
    let result = supervise(&threads, stop, read_settings, || {
        volume_populators::register(&**cluster, scope);
        if let Err(e) = pki.refresh(&**cluster, &settings.namespace, OffsetDateTime::now_utc()) {
            log::warn!("{e}");
        }
    });
    for thread in threads {
        // A panic has already been printed.
        let _ = thread.join();
    }
    watches.join();
    if let Some(health) = health {
        health.close();
    }
    result
}

/// The stores of the watches, and the queue that they wake.
struct WatchedObjects {
    stores: Arc<Stores>,
    unreadable: Arc<Unreadables>,
    queue: Arc<Queue>,
    wake: Wake,
}

/// The keys of the controller, and the judge of permissions.
struct Seal {
    keys: Arc<TokenKey>,
    judge: Judge,
}

fn build_reconciler(
    cluster: &Arc<dyn Cluster>,
    policy: Arc<LivePolicy>,
    pki: &Arc<Pki>,
    known: WatchedObjects,
    seal: Seal,
) -> Reconciler {
    let of_flags = policy.now();
    let intervals = &of_flags.intervals;
    let scraper = Scraper::new(Arc::clone(cluster), Arc::clone(pki), intervals.scrape_limit)
        .with_signer(seal.keys.limit_signer());
    let made = Arc::new(MadePods::default());
    let scheduler = Arc::new(CloneScheduler::new(of_flags.scheduling.clone()));
    Reconciler {
        cluster: Arc::clone(cluster),
        executor: Executor::new(
            Arc::clone(cluster),
            Arc::clone(pki),
            Arc::clone(&policy),
            Arc::clone(&seal.keys),
            Arc::clone(&made),
            Arc::clone(&scheduler),
        ),
        observer: Observer {
            cluster: Arc::clone(cluster),
            stores: known.stores,
            scheduler,
            keys: seal.keys,
            judge: seal.judge,
            pki: Arc::clone(pki),
            made,
            drivers: Drivers::default(),
            policy: Arc::clone(&policy),
        },
        pollers: Arc::new(
            Pollers::new(scraper, intervals.clone(), known.wake).with_budget(&of_flags.scheduling),
        ),
        queue: known.queue,
        budget: WriteBudget::new(intervals),
        policy,
        rounds: Rounds::default(),
        unreadable: known.unreadable,
        last_errors: Mutex::default(),
    }
}

/// Reads the settings of the cluster before the first clone is decided about. If the API server does not answer, they are
/// read later.
fn refresh_settings(policy: &LivePolicy, cluster: &dyn Cluster, stop: &Stop) {
    for _ in 0..SETTINGS_ATTEMPTS {
        match policy.refresh(cluster) {
            Ok(()) => return,
            Err(e) => log::warn!("cannot read the settings of the cluster: {e}"),
        }
        if !stop.sleep(THREADS_LOOK) {
            return;
        }
    }
}

/// Waits for a stop, reads the settings of the cluster, and refreshes authorities and registrations. If a thread ends early, the controller ends: without some of its
/// workers it would become slower without a visible cause.
fn supervise(
    threads: &[JoinHandle<()>],
    stop: &Stop,
    read_settings: impl Fn(),
    look_after: impl Fn(),
) -> Result<(), String> {
    let mut looked = Instant::now();
    let mut settings_read = Instant::now();
    while stop.sleep(THREADS_LOOK) {
        if let Some(dead) = threads.iter().find(|thread| thread.is_finished()) {
            let name = dead.thread().name().unwrap_or_default().to_owned();
            if stop.is_set() {
                break;
            }
            stop.cancel();
            return Err(format!("the thread {name} died: see its last log line above"));
        }
        if settings_read.elapsed() >= SETTINGS_LOOK {
            settings_read = Instant::now();
            read_settings();
        }
        if looked.elapsed() >= AUTHORITY_LOOK {
            looked = Instant::now();
            look_after();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
