//! What the controller's own pages show: filled in while it comes up, read by whoever asks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::api::client::KubeCluster;
use crate::api::counted::Counted;
use crate::leader::hold::Leader;
use crate::reconcile::reconciler::Reconciler;

/// Everything worth showing. A replica that waits for the Lease has no workshop yet.
pub struct HealthState {
    calls: Arc<Counted<KubeCluster>>,
    leader: Option<Leader>,
    synced: AtomicBool,
    reconciler: Mutex<Option<Arc<Reconciler>>>,
}

impl HealthState {
    /// A board of a process that has just started. Without `leader` it acts whatever others do.
    pub fn new(calls: Arc<Counted<KubeCluster>>, leader: Option<Leader>) -> Self {
        Self { calls, leader, synced: AtomicBool::new(false), reconciler: Mutex::default() }
    }

    /// The workers exist from now on, and every watch has seen everything once.
    pub fn open(&self, reconciler: Arc<Reconciler>) {
        *self.reconciler.lock().unwrap_or_else(PoisonError::into_inner) = Some(reconciler);
        self.synced.store(true, Ordering::Release);
    }

    /// The workers are gone: somebody else acts.
    pub fn close(&self) {
        self.synced.store(false, Ordering::Release);
        *self.reconciler.lock().unwrap_or_else(PoisonError::into_inner) = None;
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
    pub fn reconciler(&self) -> Option<Arc<Reconciler>> {
        self.reconciler.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
