//! The controller's own HTTP pages.

pub mod health;
pub mod metrics;
pub mod probes;
pub mod server;
pub mod status;
