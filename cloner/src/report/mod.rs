//! Progress for people and programs: the ticker, progress lines, and the metrics page.

pub mod metrics;
pub mod progress_log;
pub mod ticker;
