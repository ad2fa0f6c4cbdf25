//! Threads that work on a stream: lanes of messages between them, and joining them.

pub mod join;
pub mod lanes;
