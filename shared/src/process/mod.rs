//! What every Decant program does once per process: logging, signals, panics, stopping, resource limits.

pub mod descriptor_limit;
pub mod log;
pub mod panics;
pub mod printable;
pub mod signal;
pub mod stop;
