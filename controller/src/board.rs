//! What the controller's own pages show: filled in while it comes up, read by whoever asks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crate::calls::Counted;
use crate::kube::KubeCluster;
use crate::lease::Leader;
use crate::worker::Workshop;

/// Everything worth showing. A replica that waits for the Lease has no workshop yet.
pub struct Board {
    calls: Arc<Counted<KubeCluster>>,
    leader: Option<Leader>,
    synced: AtomicBool,
    shop: OnceLock<Arc<Workshop>>,
}

impl Board {
    /// A board of a process that has just started. Without `leader` it acts whatever others do.
    pub fn new(calls: Arc<Counted<KubeCluster>>, leader: Option<Leader>) -> Self {
        Self { calls, leader, synced: AtomicBool::new(false), shop: OnceLock::new() }
    }

    /// The workers exist from now on.
    pub fn open(&self, shop: Arc<Workshop>) {
        // Only a second workshop in one process would fail here, and there is none.
        let _ = self.shop.set(shop);
    }

    /// Every watch has seen everything once.
    pub fn synced(&self) {
        self.synced.store(true, Ordering::Release);
    }

    /// Whether this process acts now.
    pub fn is_leader(&self) -> bool {
        self.leader.as_ref().is_none_or(Leader::is_leader)
    }

    /// Whether it does what it is there for: it acts with full stores, or stands by.
    pub fn is_ready(&self) -> bool {
        !self.is_leader() || self.synced.load(Ordering::Acquire)
    }

    /// Calls to the API server.
    pub fn calls(&self) -> &Counted<KubeCluster> {
        &self.calls
    }

    /// The workers and what they share, once they exist.
    pub fn shop(&self) -> Option<&Workshop> {
        self.shop.get().map(Arc::as_ref)
    }
}
