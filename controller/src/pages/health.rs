//! The state of the process that its pages show.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::api::client::KubeCluster;
use crate::api::counted::Counted;
use crate::leader::hold::Leader;
use crate::reconcile::reconciler::Reconciler;

/// The state of the process. A standby replica has no reconciler.
pub struct HealthState {
    calls: Arc<Counted<KubeCluster>>,
    leader: Option<Leader>,
    synced: AtomicBool,
    reconciler: Mutex<Option<Arc<Reconciler>>>,
}

impl HealthState {
    /// The state of a process that has just started. Without `leader` it always acts.
    pub fn new(calls: Arc<Counted<KubeCluster>>, leader: Option<Leader>) -> Self {
        Self { calls, leader, synced: AtomicBool::new(false), reconciler: Mutex::default() }
    }

    /// The workers have started and the initial lists of all watches are complete.
    pub fn open(&self, reconciler: Arc<Reconciler>) {
        *self.reconciler.lock().unwrap_or_else(PoisonError::into_inner) = Some(reconciler);
        self.synced.store(true, Ordering::Release);
    }

    /// The workers have stopped: another replica is the leader.
    pub fn close(&self) {
        self.synced.store(false, Ordering::Release);
        *self.reconciler.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether this process acts now.
    pub fn is_leader(&self) -> bool {
        self.leader.as_ref().is_none_or(Leader::is_leader)
    }

    /// Whether it is ready: it acts with complete stores, or is a standby.
    pub fn is_ready(&self) -> bool {
        !self.is_leader() || self.synced.load(Ordering::Acquire)
    }

    /// The calls to the API server.
    pub fn calls(&self) -> &Counted<KubeCluster> {
        &self.calls
    }

    /// The workers and what they share, once they have started.
    pub fn reconciler(&self) -> Option<Arc<Reconciler>> {
        self.reconciler.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
