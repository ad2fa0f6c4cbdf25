//! What every Decant process needs: logging, signals, panics, stopping, resource limits, and buffers for reads.

pub mod descriptor_limit;
pub mod log;
pub mod page_buffer;
pub mod panics;
pub mod printable;
pub mod signal;
pub mod stop;
