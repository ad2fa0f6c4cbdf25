//! Puts the parts together and runs them until a stop.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use decant_shared::stop::Stop;
use time::OffsetDateTime;

use crate::act::Hands;
use crate::budget::Budget;
use crate::cluster::Cluster;
use crate::line::Line;
use crate::observe::Eyes;
use crate::pki::Pki;
use crate::policy::Policy;
use crate::poll::Pollers;
use crate::queue::Queue;
use crate::resource::Key;
use crate::scrape::Scraper;
use crate::store::Stores;
use crate::watch::{Wake, Watches};
use crate::worker::Workshop;

/// Between two looks at the age of the authorities: they live for months.
const AUTHORITY_LOOK: Duration = Duration::from_secs(3600);

/// How many threads, and where.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Namespace of the controller's own Secrets.
    pub namespace: String,
    /// The one namespace to look at, or all.
    pub watch_namespace: Option<String>,
    /// Threads that look at clones.
    pub workers: usize,
    /// Threads that ask sources.
    pub pollers: usize,
}

/// Runs until `stop`; everything it started has ended when it returns.
pub fn run(
    cluster: &Arc<dyn Cluster>,
    policy: Policy,
    settings: &Settings,
    stop: &Stop,
) -> Result<(), String> {
    let policy = Arc::new(policy);
    let now = OffsetDateTime::now_utc();
    let pki = Arc::new(Pki::open(&**cluster, &settings.namespace, policy.pods.certificate_life, now)?);
    let stores = Arc::new(Stores::default());
    let queue = Arc::new(Queue::default());
    let wake: Wake = {
        let queue = Arc::clone(&queue);
        Arc::new(move |key: Key| queue.add(key, Duration::ZERO))
    };
    let failed = |e: std::io::Error| format!("a thread cannot be started: {e}");
    let watches =
        Watches::start(cluster, &stores, settings.watch_namespace.as_deref(), &wake, stop).map_err(failed)?;
    // Before all stores are full, what is missing would look as if it were gone.
    while !watches.all_synced() && stop.sleep(Duration::from_millis(50)) {}
    log::info!("watching {} DataVolumes and {} PVCs", stores.data_volumes.len(), stores.claims.len());

    let scraper = Scraper::new(Arc::clone(cluster), Arc::clone(&pki), policy.intervals.scrape_limit);
    let pollers = Arc::new(Pollers::new(scraper, policy.intervals.clone(), wake));
    let shop = Arc::new(Workshop {
        cluster: Arc::clone(cluster),
        eyes: Eyes {
            cluster: Arc::clone(cluster),
            stores: Arc::clone(&stores),
            line: Line::new(policy.admission.clone()),
        },
        hands: Hands::new(Arc::clone(cluster), Arc::clone(&pki), Arc::clone(&policy)),
        pollers: Arc::clone(&pollers),
        queue,
        budget: Budget::new(&policy.intervals),
        policy: Arc::clone(&policy),
        troubles: Mutex::default(),
    });
    let mut threads = pollers.start(settings.pollers, stop).map_err(failed)?;
    threads.extend(shop.start(settings.workers, stop).map_err(failed)?);
    while stop.sleep(AUTHORITY_LOOK) {
        if let Err(e) = pki.refresh(&**cluster, &settings.namespace, OffsetDateTime::now_utc()) {
            log::warn!("{e}");
        }
    }
    for thread in threads {
        // A panic has been printed already.
        let _ = thread.join();
    }
    watches.join();
    Ok(())
}
