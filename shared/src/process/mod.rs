//! What every Decant program does once per process: logging, signals, panics, stopping, resource limits. And the memory
//! that it reads into.

pub mod descriptor_limit;
pub mod log;
pub mod page_buffer;
pub mod panics;
pub mod printable;
pub mod signal;
pub mod stop;
