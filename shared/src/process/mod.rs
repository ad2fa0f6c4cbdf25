//! What each program of Decant does once for its process: log, handle signals and panics, stop, raise limits.

pub mod descriptor_limit;
pub mod log;
pub mod panics;
pub mod printable;
pub mod signal;
pub mod stop;
