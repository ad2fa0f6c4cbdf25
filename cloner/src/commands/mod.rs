//! The roles of pods, source and target: a configuration from flags and environment, the servers around the data path,
//! the termination message. Beside them `digest`, which reads a volume and tells its digest.

pub mod cdi_args;
pub mod cli;
pub mod copy;
pub mod digest;
pub mod environment;
pub mod prep_pod;
pub mod source;
pub mod source_config;
pub mod target;
pub mod target_config;
pub mod termination_message;

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use decant_shared::protocol::progress::Progress;

use crate::error::Result;

/// Fresh counters that know when they started.
pub(crate) fn new_progress() -> Arc<Progress> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Arc::new(Progress::new(now.as_secs()))
}

/// Leaves `message` where the kubelet finds it. That it cannot be written (the node's disk may be full) is only logged: what
/// happened stays what it was, and a target that told its source that it is done is done.
pub(crate) fn leave_termination_message(log: &Path, message: &str) {
    if let Err(unwritable) = termination_message::write(log, message) {
        log::warn!("{unwritable}");
    }
}

/// Runs `role` and leaves the reason if it fails.
pub(crate) fn with_termination_message<T>(log: &Path, role: impl FnOnce() -> Result<T>) -> Result<T> {
    role().inspect_err(|error| leave_termination_message(log, &error.to_string()))
}
