//! The progress of running clones: polling their source pods, and limiting how often progress is written. The polls also
//! carry the bandwidth limits.

pub mod bandwidth;
pub mod clone_progress;
pub mod page;
pub mod poller;
pub mod scraper;
pub mod shares;
pub mod write_budget;
