//! Reports progress: the ticker computes it, and progress lines and the metrics page show it. The page also takes the
//! controller's orders about the bandwidth limit.

pub mod limit_control;
pub mod metrics;
pub mod progress_log;
pub mod ticker;
