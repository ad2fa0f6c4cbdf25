//! The five commands: `source`, `target` and `direct` run in pods, `copy` clones on this machine, and `digest` prints the
//! digest of a volume. Flags and the environment configure them. The commands in pods write a termination message.

pub mod cdi_args;
pub mod cli;
pub mod copy;
pub mod digest;
pub mod direct;
pub mod environment;
mod metrics_server;
pub mod prep_pod;
pub mod source;
pub mod source_config;
pub mod target;
pub mod target_config;
pub mod termination_message;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use decant_shared::protocol::progress::Progress;

/// New counters that start at the current time.
pub(crate) fn new_progress() -> Arc<Progress> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Arc::new(Progress::new(now.as_secs()))
}
