//! The roles of pods, source and target: a configuration from flags and environment, the servers around the data path,
//! the termination message. Beside them `digest`, which reads a volume and tells its digest.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use decant_shared::protocol::progress::Progress;

use crate::error::Result;
use crate::termination;

pub mod digest;
pub mod source;
pub mod target;

/// Fresh counters that know when they started.
pub(crate) fn new_progress() -> Arc<Progress> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Arc::new(Progress::new(now.as_secs()))
}

/// Leaves `message` where the kubelet finds it. That it cannot be written (the node's disk may be full) is only logged: what
/// happened stays what it was, and a target that told its source that it is done is done.
pub(crate) fn leave_word(log: &Path, message: &str) {
    if let Err(unwritable) = termination::write(log, message) {
        log::warn!("{unwritable}");
    }
}

/// Runs `role` and leaves the reason if it fails.
pub(crate) fn with_last_word<T>(log: &Path, role: impl FnOnce() -> Result<T>) -> Result<T> {
    role().inspect_err(|error| leave_word(log, &error.to_string()))
}
