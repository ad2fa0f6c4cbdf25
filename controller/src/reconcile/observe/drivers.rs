//! Determines which provisioners are CSI drivers of this cluster.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::api::cluster::{ApiError, Cluster};
use crate::objects::{Key, Kind};

/// How long an answer counts: drivers are installed and removed by hand.
const ANSWER_LIFE_SECS: u64 = 60;

/// A cache of the API server's answers, so that many claims of one class cost one request a minute.
#[derive(Debug, Default)]
pub struct Drivers {
    known: Mutex<HashMap<String, DriverAnswer>>,
    /// Whether the API server keeps the data sources of claims, and when that was determined.
    data_sources: Mutex<Option<(bool, Instant)>>,
}

#[derive(Debug, Clone, Copy)]
struct DriverAnswer {
    is_csi: bool,
    asked: Instant,
}

impl Drivers {
    /// Whether the API server keeps the data sources of claims, if that was determined recently.
    pub(super) fn keeps_data_sources(&self) -> Option<bool> {
        let known = *self.data_sources.lock().unwrap_or_else(PoisonError::into_inner);
        let (kept, asked) = known?;
        (asked.elapsed() < Duration::from_secs(ANSWER_LIFE_SECS)).then_some(kept)
    }

    pub(super) fn note_data_sources(&self, kept: bool) {
        *self.data_sources.lock().unwrap_or_else(PoisonError::into_inner) = Some((kept, Instant::now()));
    }

    /// Whether there is a CSIDriver with the name of `provisioner`. If the controller may not read CSIDrivers, it
    /// counts as one: then nothing is reported that CDI's clients could misunderstand.
    pub(super) fn has(
        &self,
        cluster: &dyn Cluster,
        provisioner: &str,
        now: Instant,
    ) -> Result<bool, ApiError> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(provisioner).copied();
        if let Some(answer) = known
            && now.saturating_duration_since(answer.asked) < Duration::from_secs(ANSWER_LIFE_SECS)
        {
            return Ok(answer.is_csi);
        }
        let is_csi = match cluster.get(Kind::CsiDriver, &Key::new("", provisioner)) {
            Ok(_) => true,
            Err(e) if e.is_not_found() => false,
            Err(e) if e.is_forbidden() => {
                log::warn!("cannot determine whether {provisioner} is a CSI driver: {e}");
                true
            }
            Err(e) => return Err(e),
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(provisioner.to_owned(), DriverAnswer { is_csi, asked: now });
        Ok(is_csi)
    }
}
