//! The HTTP pages of the controller.

pub mod health;
pub mod metrics;
pub mod probes;
pub mod server;
pub mod status;
