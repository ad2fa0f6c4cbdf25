//! Reports progress: the ticker computes it, and progress lines and the metrics page show it.

pub mod metrics;
pub mod progress_log;
pub mod ticker;
