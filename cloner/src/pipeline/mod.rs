//! Threads that work on a stream: the lanes between them, and joining them.

pub mod join;
pub mod lanes;
