//! The HTTP pages of the controller.

pub mod health;
pub mod metrics;
mod populated;
pub mod probes;
pub mod server;
pub mod status;
