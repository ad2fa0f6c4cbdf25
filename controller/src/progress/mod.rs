//! The progress of running clones: polling their source pods, and limiting how often progress is written.

pub mod clone_progress;
pub mod page;
pub mod poller;
pub mod scraper;
pub mod write_budget;
