//! How far running clones are: asking their source pods, and how often that may be written.

pub mod clone_progress;
pub mod page;
pub mod poller;
pub mod scraper;
pub mod write_budget;
