//! What the controller's own pages show: filled in while it comes up, read by whoever asks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::api::client::KubeCluster;
use crate::api::counted::Counted;
use crate::leader::hold::Leader;
use crate::reconcile::reconciler::Workshop;

/// Everything worth showing. A replica that waits for the Lease has no workshop yet.
pub struct Board {
    calls: Arc<Counted<KubeCluster>>,
    leader: Option<Leader>,
    synced: AtomicBool,
    shop: Mutex<Option<Arc<Workshop>>>,
}

impl Board {
    /// A board of a process that has just started. Without `leader` it acts whatever others do.
    pub fn new(calls: Arc<Counted<KubeCluster>>, leader: Option<Leader>) -> Self {
        Self { calls, leader, synced: AtomicBool::new(false), shop: Mutex::default() }
    }

    /// The workers exist from now on, and every watch has seen everything once.
    pub fn open(&self, shop: Arc<Workshop>) {
        *self.shop.lock().unwrap_or_else(PoisonError::into_inner) = Some(shop);
        self.synced.store(true, Ordering::Release);
    }

    /// The workers are gone: somebody else acts.
    pub fn close(&self) {
        self.synced.store(false, Ordering::Release);
        *self.shop.lock().unwrap_or_else(PoisonError::into_inner) = None;
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
    pub fn shop(&self) -> Option<Arc<Workshop>> {
        self.shop.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
