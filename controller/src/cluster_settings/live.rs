//! The policy that counts now.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::api::cluster::{ApiError, Cluster};
use crate::cluster_settings::merge::{EffectivePolicy, merge};
use crate::cluster_settings::read::{ClusterConfig, read};
use crate::policy::Policy;

/// The policy of the flags, completed with the settings of the cluster, which may change while the controller runs.
#[derive(Debug)]
pub struct LivePolicy {
    flags: Policy,
    current: Mutex<EffectivePolicy>,
}

impl LivePolicy {
    /// The policy of the flags. The settings of the cluster are not read yet.
    pub fn new(flags: Policy) -> Self {
        let current = merge(&flags, &ClusterConfig::default());
        Self { flags, current: Mutex::new(current) }
    }

    /// The policy that counts now.
    pub fn now(&self) -> Arc<Policy> {
        Arc::clone(&self.lock().policy)
    }

    /// Reads the settings of the cluster. On an error the previous settings stay. Changes and problems are logged once.
    pub fn refresh(&self, cluster: &dyn Cluster) -> Result<(), ApiError> {
        let new = merge(&self.flags, &read(cluster)?);
        let mut current = self.lock();
        for problem in new.problems.iter().filter(|problem| !current.problems.contains(problem)) {
            log::warn!("{problem}");
        }
        for applied in new.applied.iter().filter(|applied| !current.applied.contains(applied)) {
            log::info!("setting {applied}");
        }
        *current = new;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, EffectivePolicy> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
