//! The controller on the model: real rounds, with stores and wake-ups as the watches bring them, in virtual time.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex};

use decant_controller::api::cluster::Cluster;
use decant_controller::certificates::pki::Pki;
use decant_controller::cluster_settings::LivePolicy;
use decant_controller::objects::{Key, Kind, Object, decode};
use decant_controller::pods::made::MadePods;
use decant_controller::policy::{Policy, Transfer};
use decant_controller::progress::poller::Pollers;
use decant_controller::progress::scraper::Scraper;
use decant_controller::progress::write_budget::WriteBudget;
use decant_controller::reconcile::act::Executor;
use decant_controller::reconcile::data_sources::DataSourceReporter;
use decant_controller::reconcile::observe::Observer;
use decant_controller::reconcile::observe::drivers::Drivers;
use decant_controller::reconcile::permission::guarded::Guarded;
use decant_controller::reconcile::permission::judge::Judge;
use decant_controller::reconcile::reconciler::{Reconciler, Rounds};
use decant_controller::reconcile::scheduling::CloneScheduler;
use decant_controller::token::key::TokenKey;
use decant_controller::watch::queue::Queue;
use decant_controller::watch::store::{IndexKey, Store, StoreObject, Stores};
use decant_shared::process::stop::Stop;

use crate::kubernetes::{Change, Kubernetes};

/// Without a change for this long, nothing more will happen: the longest pause between two attempts is a minute.
const QUIET_MILLIS: u64 = 130_000;
/// More rounds than any population needs.
const ROUNDS_MAX: usize = 3000;
/// The kinds that the controller watches.
const WATCHED: [Kind; 6] = [
    Kind::DataVolume,
    Kind::DataSource,
    Kind::PersistentVolumeClaim,
    Kind::Pod,
    Kind::CloneSource,
    Kind::VolumeCloneSource,
];

static PKI: LazyLock<Arc<Pki>> = LazyLock::new(|| {
    Arc::new(Pki::open(&Kubernetes::default(), "decant", time::OffsetDateTime::now_utc()).unwrap())
});

/// A cluster with a controller that ends and is started again.
pub struct RunningCluster {
    /// The cluster.
    pub kubernetes: Arc<Kubernetes>,
    transfer: Transfer,
    reconciler: Reconciler,
    /// How many changes the watches have brought.
    delivered: usize,
    /// How many changes the watches are behind.
    pub lag: usize,
    due: BTreeMap<Key, u64>,
    now_millis: u64,
    /// How often a controller was started.
    pub starts: usize,
}

/// A reconciler in `cluster` with the settings `flags` that remembers nothing, with empty stores.
pub fn reconciler(
    cluster: Arc<dyn Cluster>,
    flags: Policy,
    keys: Arc<TokenKey>,
    pki: Arc<Pki>,
) -> Reconciler {
    let made = Arc::new(MadePods::default());
    let scheduler = Arc::new(CloneScheduler::new(flags.scheduling.clone()));
    let scraper = Scraper::new(Arc::clone(&cluster), Arc::clone(&pki), flags.intervals.scrape_limit);
    let pollers = Arc::new(Pollers::new(scraper, flags.intervals.clone(), Arc::new(|_| {})));
    let budget = WriteBudget::new(&flags.intervals);
    let policy = Arc::new(LivePolicy::new(flags));
    Reconciler {
        cluster: Arc::clone(&cluster),
        observer: Observer {
            cluster: Arc::clone(&cluster),
            stores: Arc::new(Stores::new(Arc::clone(&keys))),
            scheduler: Arc::clone(&scheduler),
            judge: Judge::new(
                Arc::clone(&cluster),
                Arc::clone(&keys),
                Guarded::new(Arc::clone(&cluster), "decant".to_owned(), "cdi-api".to_owned()),
            ),
            keys: Arc::clone(&keys),
            pki: Arc::clone(&pki),
            made: Arc::clone(&made),
            drivers: Drivers::default(),
            policy: Arc::clone(&policy),
        },
        executor: Executor::new(cluster, pki, Arc::clone(&policy), keys, made, scheduler),
        pollers,
        queue: Arc::new(Queue::default()),
        budget,
        policy,
        rounds: Rounds::default(),
        unreadable: Arc::default(),
        last_errors: Mutex::default(),
    }
}

fn reconciler_of(kubernetes: &Arc<Kubernetes>, transfer: Transfer) -> Reconciler {
    let flags = Policy { transfer, ..Policy::default() };
    reconciler(kubernetes.clone(), flags, Arc::new(TokenKey::new(&[7; 32])), Arc::clone(&PKI))
}

/// What the object referred to before the change, and refers to now.
fn put<T: StoreObject>(store: &Store<T>, change: &Change) -> Vec<IndexKey> {
    let view = change.object.clone().map(|object| decode::<T>(Object::from(object)).unwrap());
    let links = view.as_ref().map(StoreObject::indexed_by).unwrap_or_default();
    let before = match view.filter(|view| store.admits(view)) {
        Some(view) => store.put(view),
        None => store.remove(&change.key),
    };
    links.into_iter().chain(before.map(|before| before.indexed_by()).unwrap_or_default()).collect()
}

impl RunningCluster {
    /// Starts a controller in the cluster, whose clones take two pods.
    pub fn new(kubernetes: Kubernetes) -> Self {
        Self::with_transfer(kubernetes, Transfer::Network)
    }

    /// The same where the bytes of all clones travel in this way.
    pub fn with_transfer(kubernetes: Kubernetes, transfer: Transfer) -> Self {
        let kubernetes = Arc::new(kubernetes);
        let mut world = Self {
            reconciler: reconciler_of(&kubernetes, transfer),
            transfer,
            kubernetes,
            delivered: 0,
            lag: 0,
            due: BTreeMap::new(),
            now_millis: 0,
            starts: 0,
        };
        world.start();
        world
    }

    /// Starts a controller that remembers nothing.
    pub fn start(&mut self) {
        self.starts += 1;
        self.reconciler = reconciler_of(&self.kubernetes, self.transfer);
        self.due.clear();
        let mut state = self.kubernetes.lock();
        state.is_cut_off = false;
        self.delivered = state.log.len();
        let listed: Vec<Change> = WATCHED
            .into_iter()
            .flat_map(|kind| {
                let objects = state.all(kind).into_iter();
                objects.map(move |object| Change {
                    kind,
                    key: crate::kubernetes::key(&object),
                    object: Some(object),
                })
            })
            .collect();
        drop(state);
        // The watches fill the stores before the first round.
        listed.iter().for_each(|change| self.deliver(change));
        listed.iter().for_each(|change| self.deliver(change));
    }

    fn deliver(&mut self, change: &Change) {
        let stores = &self.reconciler.observer.stores;
        let links = match change.kind {
            Kind::DataVolume => put(&stores.data_volumes, change),
            Kind::DataSource => put(&stores.data_sources, change),
            Kind::PersistentVolumeClaim => put(&stores.claims, change),
            Kind::Pod => put(&stores.pods, change),
            Kind::CloneSource => put(&stores.clone_sources, change),
            Kind::VolumeCloneSource => put(&stores.volume_clone_sources, change),
            _ => return,
        };
        for key in stores.affected_by(change.kind, &change.key, links) {
            self.wake(key, 0);
        }
    }

    fn wake(&mut self, key: Key, after_millis: u64) {
        let at = self.now_millis + after_millis;
        let due = self.due.entry(key).or_insert(at);
        *due = at.min(*due);
    }

    /// Brings what the watches have, except for the last changes if they are behind.
    fn bring(&mut self, lag: usize) -> bool {
        let state = self.kubernetes.lock();
        let until = state.log.len().saturating_sub(lag).max(self.delivered);
        let news: Vec<Change> = state.log[self.delivered..until].to_vec();
        drop(state);
        self.delivered = until;
        news.iter().for_each(|change| self.deliver(change));
        !news.is_empty()
    }

    /// One round for one key that is due.
    fn round(&mut self) -> bool {
        let due = self.due.iter().filter(|(_, at)| **at <= self.now_millis).min_by_key(|(_, at)| **at);
        let Some(key) = due.map(|(key, _)| key.clone()) else { return false };
        self.due.remove(&key);
        let again = self.reconciler.work(&key);
        if let Some(again) = again {
            self.wake(key, u64::try_from(again.as_millis()).unwrap());
        }
        // What rounds wake.
        while self.reconciler.queue.depth().0 > 0 {
            let Some(key) = self.reconciler.queue.take(&Stop::new()) else { break };
            self.reconciler.queue.done(&key, None);
            self.wake(key, 0);
        }
        true
    }

    /// Writes the status of the DataSources, as the controller does regularly.
    pub fn report_data_sources(&mut self) {
        self.bring(0);
        let stores = Arc::clone(&self.reconciler.observer.stores);
        DataSourceReporter::new(self.kubernetes.clone(), stores).report(time::OffsetDateTime::now_utc());
    }

    /// Rounds of the controller and steps of Kubernetes until nothing more happens.
    pub fn settle(&mut self) {
        self.settle_until(|_| false);
    }

    /// The same, but at most until `is_reached` holds after a round or a step of Kubernetes.
    pub fn settle_until(&mut self, is_reached: impl Fn(&Kubernetes) -> bool) {
        let mut quiet_since = self.now_millis;
        let mut changes = 0;
        for _ in 0..ROUNDS_MAX {
            if is_reached(&self.kubernetes) {
                return;
            }
            self.bring(self.lag);
            let mut is_busy = self.round();
            if self.kubernetes.lock().is_cut_off {
                assert_eq!(self.reconciler.rounds.panics(), 0, "a round panicked");
                self.start();
                is_busy = true;
            }
            is_busy |= self.kubernetes.tick();
            let all = self.kubernetes.lock().log.len();
            if std::mem::replace(&mut changes, all) != all {
                quiet_since = self.now_millis;
            }
            if is_busy || self.bring(0) {
                continue;
            }
            match self.due.values().min() {
                Some(next) if *next <= quiet_since + QUIET_MILLIS => {
                    self.now_millis = self.now_millis.max(*next);
                }
                _ => {
                    assert_eq!(self.reconciler.rounds.panics(), 0, "a round panicked");
                    return;
                }
            }
        }
        panic!("the controller does not come to rest: {:#?}", last(&self.kubernetes));
    }
}

/// The last calls.
pub fn last(kubernetes: &Kubernetes) -> Vec<String> {
    let trace = kubernetes.lock().trace.clone();
    let show = std::env::var("TRACE").map_or(40, |n| n.parse().unwrap());
    trace[trace.len().saturating_sub(show)..].to_vec()
}
