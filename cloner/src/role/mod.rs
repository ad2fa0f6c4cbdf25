//! The two pod roles: a configuration from flags and environment, the servers around the data path, the
//! termination message.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use decant_shared::progress::Progress;

use crate::error::{Error, Result};
use crate::termination;

pub mod digest;
pub mod source;
pub mod target;

/// Fresh counters that know when they started.
pub(crate) fn new_progress() -> Arc<Progress> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Arc::new(Progress::new(now.as_secs()))
}

/// Leaves the reason of a failure where the kubelet finds it. That it cannot be written is only logged: the
/// reason itself matters more.
pub(crate) fn leave_word(log: &Path, error: &Error) {
    if let Err(unwritable) = termination::write(log, &error.to_string()) {
        log::warn!("{unwritable}");
    }
}

/// Runs `role` and leaves the reason if it fails.
pub(crate) fn with_last_word<T>(log: &Path, role: impl FnOnce() -> Result<T>) -> Result<T> {
    role().inspect_err(|error| leave_word(log, error))
}
